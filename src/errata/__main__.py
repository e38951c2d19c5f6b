"""`python -m errata`, and `accelerate launch -m errata`."""

from __future__ import annotations

from errata.cli import start

if __name__ == "__main__":
    start()
