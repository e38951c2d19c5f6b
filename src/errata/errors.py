"""What can go wrong, and the exit code a user's CI sees.

    ErrataError            1  the work failed (a crash in a stage, a full disk)
    ├── BadInput           2  usage, config, or a row that cannot be read: the user mends it
    ├── Blocked            3  a gate or an `accept` threshold said no
    └── NoDecision         4  not enough data to say yes or no; never a pass

Every message is one line: where, what, next step.
"""

from __future__ import annotations


class ErrataError(Exception):
    """The work failed; `exit_code` is what the process returns."""

    exit_code = 1

    def __init__(self, message: str = "", shown: str = "") -> None:
        super().__init__(message)
        self.shown = shown  # what was found all the same, for standard output


class BadInput(ErrataError, ValueError):
    """Usage, configuration or data that cannot be used as it is."""

    exit_code = 2


class Blocked(ErrataError):
    """A measured number missed its threshold."""

    exit_code = 3


class NoDecision(ErrataError):
    """Too few cases to decide; more data is the next step."""

    exit_code = 4
