"""The output filter, for programs: `errata.guard.Guard().check(text, messages).text`."""

from errata.safety.guard.filter import Decision, Found, Guard
from errata.safety.guard.stream import stream

__all__ = ["Decision", "Found", "Guard", "stream"]
