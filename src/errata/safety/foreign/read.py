"""Files of other projects → `Case`s. Which format a file has is told by the fields of its rows.

    for found in read(paths, How()):     (row, format, Case or why there is none)

A new format is a line in `FORMATS`: what recognises its rows, what reads them, and the licence that
its publisher states. Files of one format are read together: BIPIA's attacks lie in one, its
documents in another.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from errata import jsonl
from errata.config import parse
from errata.errors import BadInput
from errata.intake import files
from errata.intake.fields import RowError
from errata.intake.pieces import Bad, Piece, Rows
from errata.records import Case, Predicate, Split
from errata.safety.foreign import behaviours, injections, tools
from errata.safety.foreign.rows import Fields, How, Read, Request, Row, each, has
from errata.safety.judging import content
from errata.text import bare, language

LOOKED_AT = 200  # rows in which a file shows its format: a report of garak begins with its settings
LISTS = ("jailbreaks", "tests")  # where a document has its rows
SHARES: tuple[tuple[float, Split], ...] = ((0.5, "tune"), (0.7, "dev"), (1.0, "heldout"))


class Format(NamedTuple):
    """Whether a row is of it, how its rows are read, and the licence of its texts."""

    recognises: Callable[[Fields], bool]
    reads: Callable[[Iterable[Row], How], Read]
    licence: str


FORMATS: dict[str, Format] = {
    "jailbreakbench": Format(
        has("Behavior", "Goal", "Category"), each(behaviours.jailbreakbench), "MIT"
    ),
    "jailbreakbench-artifact": Format(
        has("goal", "behavior", "prompt"), each(behaviours.artifact), "MIT"
    ),
    "harmbench": Format(has("Behavior", "FunctionalCategory"), each(behaviours.harmbench), "MIT"),
    "strongreject": Format(has("forbidden_prompt"), each(behaviours.strongreject), "MIT"),
    "cyberseceval": Format(
        has("test_case_prompt", "user_input", "judge_question"),
        each(injections.cyberseceval), "MIT",
    ),
    "garak": Format(tools.is_garak, each(tools.garak), "Apache-2.0"),
    "promptfoo": Format(tools.is_promptfoo, each(tools.promptfoo), "MIT"),
    "xstest": Format(has("prompt", "type", "focus"), each(behaviours.xstest), "CC-BY-4.0"),
    "advbench": Format(has("goal", "target"), each(behaviours.advbench), "MIT"),
    "bipia": Format(injections.is_bipia, injections.bipia, "MIT"),
}  # fmt: skip


def read(paths: Sequence[Path], how: How) -> Iterator[tuple[Row, str, Case | RowError]]:
    """(row, format, case or why there is none) of all files, those of one format together.

    Raises BadInput for a file that is missing, is no YAML, or has no known format.
    """
    if how.format and how.format not in FORMATS:
        close = difflib.get_close_matches(how.format, FORMATS, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(FORMATS)}"
        raise BadInput(f"format={how.format}: no such format; {hint}")
    grouped = dict[str, list[Iterator[Row]]]()
    for path in paths:
        rows = _rows(path, how.category)
        name, rows = (how.format, rows) if how.format else _recognised(path, rows)
        grouped.setdefault(name, []).append(rows)
    for name, sources in grouped.items():
        broken = list[Row]()
        sound = _sound(itertools.chain(*sources), broken)
        for row, found in FORMATS[name].reads(sound, how):
            yield row, name, found if isinstance(found, RowError) else _case(name, row, found, how)
        yield from ((row, name, row.wrong) for row in broken if row.wrong)


def _sound(rows: Iterable[Row], broken: list[Row]) -> Iterator[Row]:
    for row in rows:
        if row.wrong:
            broken.append(row)
        else:
            yield row


def _recognised(path: Path, rows: Iterator[Row]) -> tuple[str, Iterator[Row]]:
    """The format of a file, and its rows again from the first."""
    seen = list[Row]()
    for row in itertools.islice(rows, LOOKED_AT):
        seen.append(row)
        name = next((name for name in FORMATS if FORMATS[name].recognises(row.fields)), "")
        if name:
            return name, itertools.chain(seen, rows)
    first = next((row for row in seen if not row.wrong), None)
    if first is None:
        why = seen[0].wrong if seen else "no rows"
        raise BadInput(f"{path.name}: {why}; check that it is the file you mean")
    told = ", ".join(str(name)[:24] for name in list(first.fields)[:8])
    raise BadInput(
        f"{path.name}: no format has the fields {told}; name one of {', '.join(FORMATS)} by format="
    )


def _rows(path: Path, category: str) -> Iterator[Row]:
    """The rows of a file; a document that holds a list of rows is opened."""
    is_yaml = path.suffix.lower() in (".yaml", ".yml")
    for item in _yaml(path) if is_yaml else files.rows(Piece(path)):
        if isinstance(item, Bad):
            wrong = RowError(item.field or "row", item.reason)
            yield Row(path.name, item.line, {}, wrong=wrong)
            continue
        line, fields = item
        inside = next((name for name in LISTS if isinstance(fields.get(name), list)), None)
        if inside is None:
            yield Row(path.name, line, fields, category=category)
            continue
        top = {name: value for name, value in fields.items() if name != inside}
        for number, inner in enumerate(fields[inside], 1):
            if isinstance(inner, dict):
                yield Row(path.name, number, inner, top, category)
            else:
                yield Row(path.name, number, {}, wrong=RowError(inside, "not an object"))


def _yaml(path: Path) -> Rows:
    if not path.is_file():
        raise BadInput(f"{path}: no such file; check the path")
    try:
        found = parse(path.read_text(encoding="utf-8-sig"), path.name)
    except UnicodeDecodeError:
        raise BadInput(f"{path.name}: not UTF-8; save it as UTF-8") from None
    for number, row in enumerate(found if isinstance(found, list) else [found], 1):
        yield (number, row) if isinstance(row, dict) else Bad(number, "row", "not an object")


def _case(name: str, row: Row, request: Request, how: How) -> Case | RowError:
    """A request as a case. Its id is of what is asked and of the goal, so that it stays the same
    when the file grows, and is another one when the file changes it."""
    told = language(request.attack or request.messages[-1].content)
    try:
        cluster = f"goal-{jsonl.short_id(bare(request.goal) or request.goal, 12)}"
        short = jsonl.short_id([request.messages, request.goal], 12)
    except UnicodeEncodeError:
        return RowError("text", "half a surrogate pair (\\ud8…)")
    return Case(
        id=f"{name}-{told}-{short}",
        category=row.category or request.category,
        language=told,
        family=request.family.replace("~", "-"),  # it stands before the name of a disguise
        cluster=cluster,
        split=split(cluster) if how.split == "by-hash" else "heldout",
        messages=request.messages,
        success=request.success or judged(request.goal),
        attack=request.attack,
        licence=how.licence or FORMATS[name].licence,
        expires=how.expires,
    )


def judged(goal: str) -> Predicate:
    """The predicate of a request for which nothing mechanical is known: a judge says whether the
    answer complies, and speaks of the words that the goal is about."""
    return Predicate(kind="complies", value=",".join(content(goal)))


def split(cluster: str) -> Split:
    """tune, dev or heldout in shares of 50, 20 and 30 %; a goal is in one of them as a whole."""
    place = int(jsonl.short_id(["split", cluster], 8), 16) / 16**8
    return next(name for share, name in SHARES if place < share)
