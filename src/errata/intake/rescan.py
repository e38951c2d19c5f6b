"""What the policy of today would find in what was kept under the policies of before.

    errata redact --rescan

Reads every version of data/ and suites/ that was ever kept, and the files below data/ and reports/
as they are and are called, changes none of them, and counts by rule, rows, files and dataset
versions. The remedy is `errata erase` for the rows that it names, then `errata intake` of the raw
rows and `errata build`: taken in again they are other rows, and the old ones would stay as well.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from errata import report
from errata.intake import names
from errata.intake.redact import Policy, beside, load_policy, redact_many, redactor, workspace_key
from errata.language import say
from errata.outcome import Outcome
from errata.privacy import scrub
from errata.store import database, ledger, objects
from errata.workspace import Workspace

BATCH = 500  # rows; bounds what is held in memory
SHOWN = 20
TRACKED = ("data", "reports")
PICTURES = (".png", ".svg", ".npz")


@dataclass
class Seen:
    """What was found so far."""

    counts: Counter[str] = field(default_factory=Counter)
    rows: dict[str, set[str]] = field(default_factory=dict)  # row → rules
    read: int = 0

    def add(self, row: dict[str, Any], rules: list[str]) -> None:
        """Count a row once, however many versions hold it."""
        name = str(row.get("id", "?"))
        if rules and name not in self.rows:
            self.rows[name] = set(rules)
            self.counts.update(rules)


def main(ws: Workspace) -> Outcome:
    """Count, tell, and write an event."""
    policy, key = load_policy(ws), workspace_key(ws)
    seen = Seen()
    done: set[str] = set()
    for batch in _batches(_rows(ws, done)):
        seen.read += len(batch)
        _look(batch, policy, key, seen)
    versions = _versions(ws, set(seen.rows))
    facts: dict[str, Any] = {
        "policy": policy.hash,
        "rows_read": seen.read,
        "rows": len(seen.rows),
        "counts": dict(sorted(seen.counts.items())),
        "versions": dict(sorted(versions.items())),
        "files": _files(ws, policy, key),
    }
    look = redactor(ws, policy)  # nothing is ever taken out of the ledger: no names of people in it
    told = {names.told(name, look, key): counts for name, counts in facts["files"].items()}
    ledger.append(ws, "rescan", **{**facts, "files": told})
    return Outcome(0, _text(facts, seen), {**facts, "ids": sorted(seen.rows)})


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _rows(ws: Workspace, done: set[str]) -> Iterator[dict[str, Any]]:
    """Each row of each kept version of a JSONL file, the same line once."""
    table = database.run_file
    below = sa.or_(table.c.path.startswith("data/"), table.c.path.startswith("suites/"))
    with database.reading(ws) as connection:
        named = sa.select(table.c.digest, table.c.path).where(below).distinct()
        kept = {row.digest for row in connection.execute(named) if row.path.endswith(".jsonl")}
    for digest in sorted(kept):
        if not objects.there(ws, digest):
            continue
        with objects.get(ws, digest).open("rb") as file:
            for line in file:
                row = _parsed(line, done)
                if row is not None:
                    yield row


def _parsed(line: bytes, done: set[str]) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    name = json.dumps(row, sort_keys=True)
    if not isinstance(row, dict) or name in done:
        return None
    done.add(name)
    return row


def _look(batch: list[dict[str, Any]], policy: Policy, key: bytes, seen: Seen) -> None:
    told = [said({k: v for k, v in row.items() if k != "redaction"}) for row in batch]
    rules = iter(found(list(chain.from_iterable(told)), policy, key))
    for row, own in zip(batch, told, strict=True):
        seen.add(row, [rule for _ in own for rule in next(rules)])


def said(row: Any) -> list[tuple[str, int]]:
    """What a row says, as intake looks at it, and from which character of each text on."""
    about = row.get("meta") if isinstance(row, dict) else None
    return [*((text, 0) for text in scrub.strings(row)), *_named(about)]


def _named(value: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Values behind their names, which say what some of them are."""
    if isinstance(value, dict):
        for inner, item in value.items():
            yield from _named(item, inner)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item, name)
    elif pair := beside(name, value if isinstance(value, str) else scrub.long_number(value)):
        yield pair, len(name) + 2


def found(told: list[tuple[str, int]], policy: Policy, key: bytes) -> list[list[str]]:
    """The rules that find something in each text."""
    done = redact_many([text for text, _ in told], policy.rules, key)
    return [[finding.rule for finding in text.findings if finding.end > at]
            for text, (_, at) in zip(done, told, strict=True)]  # fmt: skip


def _files(ws: Workspace, policy: Policy, key: bytes) -> dict[str, dict[str, int]]:
    """File below data/ or reports/ → rule → spans, of the files in which, or in whose names, the
    policy finds any."""
    hits = {}
    for path in sorted(p for folder in TRACKED for p in (ws.root / folder).rglob("*")):
        if path.is_file():
            name = ws.relative(path)
            said = [] if path.suffix in PICTURES else _told(path)
            if not name.startswith("data/failures/"):  # named by intake, for redacted sources
                said = [*said, (name, 0)]
            counts = Counter(chain.from_iterable(found(said, policy, key)))
            if counts:
                hits[name] = dict(sorted(counts.items()))
    return hits


def _told(path: Path) -> list[tuple[str, int]]:
    """What a file says: the texts of JSON, else its lines. The same text is looked at once."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.split("\n")
    documents = {".json": [text], ".sarif": [text], ".jsonl": lines}.get(path.suffix)
    try:
        rows = [json.loads(line) for line in documents or () if line.strip()]
    except ValueError:  # somebody's notes, or half a file: what it says is looked at all the same
        documents = None
    whole = ((line, 0) for line in lines)
    texts = (text for row in rows for text in said(row)) if documents else whole
    return list(dict.fromkeys(texts))


def _versions(ws: Workspace, rows: set[str]) -> Counter[str]:
    """Dataset versions that hold such rows, and how many."""
    table = database.member
    with database.reading(ws) as connection:
        pairs = connection.execute(sa.select(table.c.version, table.c.row))
        return Counter(pair.version for pair in pairs if pair.row in rows)


def _text(facts: dict[str, Any], seen: Seen) -> str:
    files = "\n".join(f"{name}: {', '.join(counts)}" for name, counts in facts["files"].items())
    if not seen.rows:
        found = files or say("none of data/ and reports/ either", "data/ 与 reports/ 亦无")
        return say(
            f"{facts['rows_read']} kept rows read: the policy finds nothing new in them.\n"
            f"Files: {found}",
            f"已检查 {facts['rows_read']} 条历史数据：按当前策略没有新发现。\n文件：{found}",
        )
    head = say(
        f"{facts['rows_read']} kept rows read. The policy of today would find something in "
        f"{facts['rows']} of them, in {len(facts['versions'])} dataset versions:",
        f"已检查 {facts['rows_read']} 条历史数据，按当前策略有 {facts['rows']} 条会被脱敏，"
        f"涉及 {len(facts['versions'])} 个数据版本：",
    )
    table = report.markdown_table(
        ["rule", "spans"], [[rule, str(count)] for rule, count in facts["counts"].items()]
    )
    shown = ", ".join(sorted(seen.rows)[:SHOWN])
    tail = say(
        f"Rows: {shown}\nNext: `errata erase ID… why=policy` takes them out of data/ and of kept "
        "versions; then `errata intake` of the raw rows, where they are still there, and "
        "`errata build`.",
        f"数据行：{shown}\n下一步：`errata erase ID… why=policy` 从 data/ 与历史版本中清除；"
        "原始数据仍在时重新 `errata intake`，再 `errata build`。",
    )
    return f"{head}\n\n{table}\n\n{tail}" + (f"\n\n{files}" if files else "")
