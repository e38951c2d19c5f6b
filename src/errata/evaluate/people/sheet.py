"""A sheet for each rater, and the same rows at the terminal; neither says whose answer is whose."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from errata import jsonl, sheets
from errata.config import hint
from errata.errors import BadInput
from errata.evaluate.people import ratings
from errata.evaluate.people.ratings import QUESTIONS, Rating
from errata.evaluate.people.sample import Row, Sample
from errata.intake.redact import load_policy, redact_many, workspace_key
from errata.language import say, visible
from errata.store import people
from errata.workspace import Workspace

HEADS = ("id", "rater", "language", "context", "question", "answer_a", "answer_b")
MADE_BY = "errata human model=RUN sheet="


def texts(ws: Workspace, rows: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    """Context, question, answer A and answer B of each row, redacted as all that is kept is."""
    raw = [text for row in rows for text in _raw(row)]
    clean = [found.text for found in redact_many(raw, load_policy(ws).rules, workspace_key(ws))]
    return list(zip(clean[::4], clean[1::4], clean[2::4], clean[3::4], strict=True))


def _raw(row: Row) -> tuple[str, str, str, str]:
    place = max((n for n, turn in enumerate(row.messages) if turn.role == "user"), default=-1)
    others = [turn for n, turn in enumerate(row.messages) if n != place]
    context = "\n".join(f"[{turn.role}] {turn.content}" for turn in others)
    second = row.answer(row.side("b")) if row.theirs is not None else ""
    return context, row.question, row.answer(row.side("a")), second


def path_of(base: Path, rater: str) -> Path:
    """`human.csv` of rater r1 is `human-r1.csv`."""
    return base.with_name(f"{base.stem}-{rater}{base.suffix or '.csv'}")


def write(ws: Workspace, sample: Sample, base: Path) -> list[Path]:
    """One sheet a rater, in the order of the sample, which tells nothing; the paths."""
    out = []
    told = dict(zip((row.id for row in sample.rows), texts(ws, sample.rows), strict=True))
    blank = [""] * len(ratings.columns(sample))
    for rater in sample.raters:
        rows = [row for row in sample.rows if rater in row.raters]
        lines = [(row.id, rater, row.language, *told[row.id], *blank) for row in rows]
        path = path_of(base, rater)
        jsonl.write_text(path, sheets.written([*HEADS, *ratings.columns(sample)], lines))
        out.append(path)
    return out


def filled(ws: Workspace, paths: Sequence[Path], every: Sequence[Sample]) -> list[Rating]:
    """The ratings of filled sheets; BadInput, and none of them, where a row is wrong."""
    known = {row.id: (sample, row) for sample in every for row in sample.rows}
    by, out, seen = people.actor(ws).name, list[Rating](), set[tuple[str, str]]()
    for path in paths:
        found = path if path.is_file() else ws.path(path)
        for line, cells in sheets.read(found, ("id", "rater"), MADE_BY):
            try:
                one = _filled(cells, known, by)
            except BadInput as error:
                raise BadInput(f"{path}:{line}: {error}; nothing was taken") from None
            if one is None:
                continue
            if (one.id, one.rater) in seen:
                raise BadInput(f"{path}:{line}: id: {one.id} of {one.rater} stands here twice; "
                               "keep one of the two; nothing was taken")  # fmt: skip
            seen.add((one.id, one.rater))
            out.append(one)
    of = {one.sample for one in out}
    if len(of) > 1:
        raise BadInput("human: sheets of two samples; take them in one after the other")
    return out


def _filled(
    cells: Mapping[str, str], known: Mapping[str, tuple[Sample, Row]], by: str
) -> Rating | None:
    id, rater = cells["id"].strip(), cells["rater"].strip()
    if id not in known:
        raise BadInput(f"id: `{id}` is no row of a sample drawn here")
    sample, row = known[id]
    if rater not in row.raters:
        raise BadInput(f"rater: `{rater}` was not given this row ({', '.join(row.raters)} was)")
    lacking = [name for name in ratings.columns(sample) if name not in cells]
    if lacking:
        raise BadInput(f"no column {', '.join(lacking)}; see `{MADE_BY}`")
    told = ratings.said(cells, sample)
    return ratings.rating(row, sample, rater, by, told) if told else None


def asked(ws: Workspace, sample: Sample, rater: str) -> Iterator[Rating]:
    """Ask at the terminal until nothing waits, or the person stops; each rating as it is given."""
    if rater not in sample.raters:
        raise BadInput(f"rater: `{rater}` is not of this sample{hint(rater, sample.raters)}")
    rows = ratings.waiting(sample, ratings.read(ws, sample.id), rater)
    by, told = people.actor(ws).name, texts(ws, rows)
    for place, (row, shown) in enumerate(zip(rows, told, strict=True), 1):
        sys.stdout.write(_shown(shown, f"{place}/{len(rows)} {row.id}", sample) + "\n")
        cells = _cells(sample)
        if cells is None:
            return
        if cells:
            yield ratings.rating(row, sample, rater, by, cells)


def _shown(told: tuple[str, str, str, str], place: str, sample: Sample) -> str:
    context, question, a, b = told
    lines = [f"\n{place}", *([context] if context else []), say("question: ", "问题：") + question]
    lines.append(say("answer A: ", "回答 A：") + a)
    if sample.baseline:
        lines.append(say("answer B: ", "回答 B：") + b)
    lines += [f"  {name}: {say(QUESTIONS[name].en, QUESTIONS[name].zh)}"
              for name in sample.questions]  # fmt: skip
    return visible("\n".join(lines))


def _cells(sample: Sample) -> dict[str, str] | None:
    """Every column in turn; {}: the row is put off; None: the person stops."""
    cells: dict[str, str] = {}
    for name in ratings.columns(sample):
        while True:
            sys.stdout.write(f"{name} [{_ways(name)}] > ")
            sys.stdout.flush()
            line = sys.stdin.readline()
            if not line or line.strip() == "/quit":
                return None
            if not line.strip() and name != "reason":
                return {}
            try:
                cells[name] = line.strip() if name == "reason" else ratings.word(name, line)
            except BadInput as error:
                sys.stdout.write(f"{error}\n")
                continue
            break
    return cells


def _ways(name: str) -> str:
    if name == "reason":
        return say("why, or empty", "理由，可留空")
    known = ratings.PREFERENCE if name == "preference" else QUESTIONS[name.rsplit("_", 1)[0]].values
    return "/".join(known) + say(", empty: later, /quit", "，回车跳过，/quit 退出")
