"""Was a secret given away? `errata.leak.find(secrets, text)`; what it reads: docs/safety.md."""

from __future__ import annotations

from errata.safety.leak.search import Found, Leak, find, find_across, look, weak
from errata.safety.leak.twin import twin

__all__ = ["Found", "Leak", "find", "find_across", "look", "twin", "weak"]
