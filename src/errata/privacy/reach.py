"""Where a person's data may lie in a workspace, and how each place is cleaned.

    objects        earlier versions of data/ and suites/: rewritten, the old copies deleted
    data, suites   rows dropped                     reports, runs, .errata    rows and quotes
    inbox          raw rows dropped, known by what redaction would make of them
    answers, cache emptied: they are computed again when they are needed

Weights are not cleaned: who carries what is told by tombstone.py.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from errata import jsonl
from errata.intake import fields, parquet
from errata.intake.redact import keyed_hash, load_policy, pseudonyms, redactor, workspace_key
from errata.privacy import scrub
from errata.privacy.scrub import Marks
from errata.store import objects
from errata.workspace import Workspace

_CACHES = ("answers", "cache")
_CLOSED = ("objects", "keys", *_CACHES)  # below .errata: cleaned in their own ways
_REDACTED = ("data", "suites")  # what is there came through redaction
_WEIGHTS = {".safetensors", ".bin", ".pt", ".gguf", ".png", ".npz"}


class Copy(NamedTuple):
    """An object that held something of the person, and the one without it."""

    path: str
    old: str
    new: str
    dropped: list[dict[str, Any] | None]


def files(ws: Workspace, *folders: str) -> Iterator[Path]:
    """Texts below some folders of the workspace."""
    for folder in folders:
        for path in sorted((ws.root / folder).rglob("*")):
            inside = path.relative_to(ws.root).parts
            closed = inside[0] == ".errata" and (
                inside[1] in _CLOSED or inside[1][:8] == "store.db"
            )
            if path.is_file() and not closed and path.suffix not in _WEIGHTS:
                yield path


def found(ws: Workspace, kept: dict[str, str], marks: Marks) -> list[dict[str, Any]]:
    """Rows of the person in data/ and suites/, now and in every earlier version."""
    contents = [
        path.read_bytes() for path in files(ws, "data", "suites") if path.suffix == ".jsonl"
    ]
    contents += (content for name, content in _kept(ws, kept) if name.endswith(".jsonl"))
    dropped = (row for content in contents for row in scrub.file(".jsonl", content, marks).dropped)
    return [row for row in dropped if row]


def _kept(ws: Workspace, kept: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of each object that is there."""
    for digest, name in sorted(kept.items()):
        if objects.there(ws, digest):
            yield name, objects.get(ws, digest).read_bytes()


def rewritten(ws: Workspace, kept: dict[str, str], marks: Marks) -> list[Copy]:
    """Put a clean copy beside each object that holds something of the person."""
    copies = []
    for digest, name in sorted(kept.items()):
        if not objects.there(ws, digest):
            continue
        clean = scrub.file(name, objects.get(ws, digest).read_bytes(), marks)
        if clean.changed:
            copies.append(Copy(name, digest, objects.keep(ws, clean.content), clean.dropped))
    return copies


def clean(
    ws: Workspace, marks: Marks, *folders: str, note: Callable[[str, str], None]
) -> list[str]:
    """Clean the files below some folders; the names of those that were changed. `note` is told the
    digests before and after of each, before it is replaced."""
    changed, forms = [], written_forms(ws, marks)
    for path in files(ws, *folders):
        content = path.read_bytes()
        own = marks
        if ws.relative(path).split("/")[0] not in _REDACTED:
            own = replace(marks, words=marks.words | forms(content.decode("utf-8", "replace")))
        done = scrub.file(path.name, content, own)
        if done.changed:
            note(*(f"sha256:{hashlib.sha256(it).hexdigest()}" for it in (content, done.content)))
            with jsonl.replacing(path) as file:
                file.write(done.content)
            changed.append(ws.relative(path))
    return changed


def counted(ws: Workspace, marks: Marks) -> dict[str, int]:
    """File → rows of the person, for somebody who looks before they erase."""
    found = {}
    for path in files(ws, *_REDACTED, "reports"):
        if path.suffix == ".jsonl":
            found[ws.relative(path)] = len(scrub.file(path.name, path.read_bytes(), marks).dropped)
    return {name: rows for name, rows in found.items() if rows}


def written_forms(ws: Workspace, marks: Marks) -> Callable[[str], set[str]]:
    """How a text writes what redaction would have named as theirs: 138 0013 8000, ８６138…"""
    redact = redactor(ws, load_policy(ws))
    return lambda text: {
        value for token, value in pseudonyms(text, redact(text)) if token in marks.words
    }


def clean_inbox(ws: Workspace, marks: Marks, rows: list[dict[str, Any]]) -> int:
    """Drop raw rows of the person; how many there were."""
    mine, count = raw_test(ws, marks, rows), 0
    for path in files(ws, "inbox"):
        if path.suffix.lower() == ".parquet":
            count += parquet.drop(path, lambda row: mine(jsonl.canonical(row), row))
            continue
        done = scrub.rows(path.read_bytes(), mine)
        if done.dropped and not done.content.strip():
            path.unlink()  # its name may be that of a person
        elif done.dropped:
            with jsonl.replacing(path) as file:
                file.write(done.content)
        count += len(done.dropped)
    return count


def raw_test(
    ws: Workspace, marks: Marks, rows: list[dict[str, Any]]
) -> Callable[[str, dict[str, Any] | None], bool]:
    """Whether a raw line is the person's: by name, by what it says, or since it became a row."""
    key, redact = workspace_key(ws), redactor(ws, load_policy(ws))
    pairs = {(row.get("prompt"), row.get("bad_answer")) for row in rows if row.get("bad_answer")}
    hashes = {row["prompt_hmac"] for row in rows if row.get("prompt_hmac")}

    def mine(line: str, row: dict[str, Any] | None) -> bool:
        if row is None:
            return marks.speak(line) or marks.speak(redact(line).text)
        name = fields.subject(row)
        if name and f"u-{keyed_hash(key, 'subject', name)[:16]}" in marks.subjects:
            return True
        said = list(scrub.strings(row))
        clean = {redact(text).text for text in said}
        if any(marks.speak(text) for text in (*said, *clean)):
            return True
        if any(keyed_hash(key, "prompt", text) in hashes for text in said):
            return True
        return any(prompt in clean and answer in clean for prompt, answer in pairs)

    return mine


def empty_caches(ws: Workspace) -> list[str]:
    """Delete what can be computed again; the folders there were."""
    there = [ws.state / name for name in _CACHES if (ws.state / name).is_dir()]
    for folder in there:
        shutil.rmtree(folder)
    return [ws.relative(folder) for folder in there]


def mentions(value: Any, marks: Marks, forms: Callable[[str], set[str]]) -> tuple[Any, int]:
    """A JSON value without words and quotes of the person, and how many there were."""
    written = {form for text in scrub.strings(value) for form in forms(text)}
    return scrub.spoken(value, replace(marks, words=marks.words | written))
