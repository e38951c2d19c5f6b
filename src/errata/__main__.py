"""`python -m errata`, and `accelerate launch -m errata`."""

from __future__ import annotations

import sys

from errata.cli import main

if __name__ == "__main__":
    sys.exit(main())
