"""Agents' traces of the same task, some of which succeeded: where a failed one took another way.

A trace is a row `{task, messages, success}`, with `task_id` where one task is put in several ways
and `tools` where an agent may call only some.
The first step at which a failed trace leaves a successful one is what went wrong:

    forbidden call   it calls a tool that must not be called
    wrong tool       another tool than the one that led to success
    wrong argument   the right tool, with another argument
    needless call    a tool where none was needed
    missing call     an answer where a tool was needed

The step becomes a failure like any other: rejected is what it did, the reference what led to
success.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from errata.intake.fields import Raw, RowError, meta, optional, subject, tags, text, time, turns
from errata.intake.pieces import Bad
from errata.records import Message
from errata.text import bare

MARKS = ("messages", "success")
MOST = 20_000  # traces that are held at once; tasks with more have been met often enough
MOST_SAID = 64 << 20  # characters of them: about 300 MB
_CALL = re.compile(r"CALL ([\w.-]+)\((.*)\)", re.DOTALL)


class Trace(NamedTuple):
    """One attempt at a task."""

    line: int
    row: dict[str, Any]
    steps: list[Message]


def steps(row: dict[str, Any]) -> list[Message]:
    """The turns of a trace; RowError for a row that is none."""
    found = turns(row["messages"], "messages")
    if not found or all(step.role != "user" for step in found):
        raise RowError("messages", "no task of a user in it")
    if not any(step.role == "assistant" for step in found):
        raise RowError("messages", "no step of the agent in it")
    if not isinstance(row["success"], bool):
        raise RowError("success", "not true or false")
    return found


def length(found: Sequence[Message]) -> int:
    """Characters that a trace says."""
    return sum(len(step.content) for step in found)


class Traces:
    """Traces of a file, by task."""

    def __init__(self) -> None:
        self.won: dict[str, list[Trace]] = {}
        self.lost: dict[str, list[Trace]] = {}
        self.held = self.said = 0

    def room(self, said: int) -> None:
        """Make room for one more; RowError where there is none."""
        if self.held >= MOST or self.said + said > MOST_SAID:
            raise RowError(
                "messages",
                f"more than {MOST} traces, or {MOST_SAID >> 20} million characters of them, in "
                "one file; split it by task",
            )
        self.held, self.said = self.held + 1, self.said + said

    def add(self, line: int, row: dict[str, Any]) -> None:
        """Take a trace; RowError for one that is none, or one too many."""
        found = steps(row)
        self.room(length(found))
        tried = self.won if row["success"] else self.lost
        tried.setdefault(_task(row, found), []).append(Trace(line, row, found))

    def failures(self) -> Iterator[tuple[int, Raw] | Bad]:
        """(line, failure) of each failed trace, or why nothing can be learnt from it."""
        for key, failed in self.lost.items():
            for trace in failed:
                try:
                    found = [_parted(trace, other) for other in self.won.get(key, ())]
                except RowError as error:
                    yield Bad(trace.line, error.field, error.reason)
                    continue
                # The one that goes along longest says most about the step that was wrong.
                best = max(filter(None, found), key=lambda raw: len(raw.context), default=None)
                if best:
                    yield trace.line, best._replace(subject=subject(trace.row))
                elif found:
                    yield Bad(
                        trace.line,
                        "messages",
                        "no step of the agent that differs",
                    )
                else:
                    yield Bad(trace.line, "success", "no other trace of its task succeeded")


def _task(row: dict[str, Any], steps: Sequence[Message]) -> str:
    """What makes two traces attempts at one task: its id, its name, or else its words."""
    named, said = row.get("task_id"), row.get("task")
    if named and isinstance(named, (str, int)):
        return str(named)
    asked = next(step.content for step in steps if step.role == "user")
    return bare(said if said and isinstance(said, str) else asked)


def _parted(bad: Trace, good: Trace) -> Raw | None:
    """The first step of the agent that differs, as a failure; None where none does."""
    for place, (ours, theirs) in enumerate(zip(bad.steps, good.steps, strict=False)):
        if bare(ours.content) == bare(theirs.content) and ours.role == theirs.role:
            continue
        if not (ours.role == theirs.role == "assistant"):
            return None  # the world answered otherwise: the step is not what made the difference
        if all(step.role != "user" for step in bad.steps[:place]):
            return None  # a greeting: nothing was asked yet
        return _failure(bad, place, ours.content, theirs.content)
    return None


def _failure(trace: Trace, place: int, bad: str, good: str) -> Raw:
    before, row = trace.steps[:place], trace.row
    asked = max(n for n, step in enumerate(before) if step.role == "user")
    kind = difference(bad, good, _allowed(row))
    return Raw(
        prompt=text({"task": before[asked].content}, "task"),
        bad_answer=text({"step": bad}, "step"),
        label="tool_misuse",
        source=optional(row, "source"),
        ts=time(row, "ts", "timestamp", "created_at"),
        context=before[:asked] + before[asked + 1 :],
        meta={**meta(row), "reference": good, "why": kind, "step": place},
        tags=[*tags(row), kind],
    )


def _allowed(row: dict[str, Any]) -> set[str] | None:
    """Names of the tools that the agent had: as names, or as OpenAI's definitions."""
    given = row.get("tools")
    if not isinstance(given, list):
        return None
    functions = (tool.get("function", tool) if isinstance(tool, dict) else tool for tool in given)
    names = (f.get("name") if isinstance(f, dict) else f for f in functions)
    return {name for name in names if isinstance(name, str)}


def difference(bad: str, good: str, allowed: set[str] | None = None) -> str:
    """What was wrong with a step, by the one that led to success."""
    did, should = _CALL.search(bad), _CALL.search(good)
    if did and allowed is not None and did[1] not in allowed:
        return "forbidden call"
    if did and should:
        return "wrong argument" if did[1] == should[1] else "wrong tool"
    return "needless call" if did else "missing call" if should else "wrong answer"
