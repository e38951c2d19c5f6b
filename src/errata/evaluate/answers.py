"""Ask a candidate every case of a suite once: answers are kept by candidate, prompt and decoding.

Evaluate, safety and the rollout's traffic share the cache, and a cut-off run goes on where it was.
The cache lies below .errata/, which git does not track.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from errata import jsonl
from errata.evaluate.generate import Decoding
from errata.progress import show_progress
from errata.records import Candidate, Case, Message
from errata.serve.engine import engine_for
from errata.workspace import Workspace

CHUNK = 256  # prompts between two writes of the cache


def prompt_of(candidate: Candidate, messages: Sequence[Message]) -> list[Message]:
    """What the model is really asked: the candidate's system prompt, then the case's own."""
    if not candidate.system_prompt:
        return list(messages)
    rest = list(messages)
    text = candidate.system_prompt
    if rest and rest[0].role == "system":
        text, rest = f"{text}\n{rest[0].content}", rest[1:]
    return [Message(role="system", content=text), *rest]


class Cache:
    """Answers of one candidate under one decoding, in a JSONL file that grows."""

    def __init__(self, ws: Workspace, candidate: Candidate, decoding: Decoding) -> None:
        key = jsonl.digest([candidate.digest, decoding.__dict__]).removeprefix("sha256:")[:20]
        self.path: Path = ws.state / "answers" / f"{key}.jsonl"
        self.known: dict[str, str] = {}
        if self.path.exists():
            # A run that was cut off may have left half a line, and half a character in it.
            for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
                try:
                    row = json.loads(line)
                    self.known[row["prompt"]] = row["answer"]
                except (ValueError, KeyError, TypeError):
                    continue

    def add(self, rows: dict[str, str]) -> None:
        """Keep new answers."""
        self.known.update(rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n")  # ends the line that a cut-off run left open
            for prompt, answer in rows.items():
                file.write(
                    json.dumps({"prompt": prompt, "answer": answer}, ensure_ascii=False) + "\n"
                )


def ask(
    ws: Workspace,
    candidate: Candidate,
    prompts: Sequence[Sequence[Message]],
    decoding: Decoding | None = None,
    label: str = "",
) -> list[str]:
    """One answer a prompt, in order; only what the cache lacks is generated."""
    decoding = decoding or Decoding(
        max_new_tokens=int(candidate.decoding.get("max_new_tokens", 48)),
        temperature=float(candidate.decoding.get("temperature", 0.0)),
    )
    asked = [prompt_of(candidate, messages) for messages in prompts]
    keys = [jsonl.digest(messages) for messages in asked]
    cache = Cache(ws, candidate, decoding)
    todo = {
        key: messages for key, messages in zip(keys, asked, strict=True) if key not in cache.known
    }
    # Similar lengths together: a batch is as wide as its longest prompt.
    names = sorted(todo, key=lambda key: sum(len(m.content) for m in todo[key]))
    show = show_progress(label or "answers", len(names))
    if names:
        engine, adapter = engine_for(ws, candidate)
        for start in range(0, len(names), CHUNK):
            part = names[start : start + CHUNK]
            said = engine.answer([todo[key] for key in part], adapter, decoding)
            cache.add(dict(zip(part, said, strict=True)))
            show(start + len(part))
    return [cache.known[key] for key in keys]


def pick(cases: Sequence[Case], split: str, per_cell: int | None) -> list[Case]:
    """The cases of a split; `per_cell` at most of each category and language."""
    chosen = [case for case in cases if case.split == split]
    if per_cell is None:
        return chosen
    counts: dict[tuple[str, str], int] = {}
    kept = []
    # By the hash in the id: a fixed sample that does not follow the order of the file.
    for case in sorted(chosen, key=lambda c: c.id.rsplit("-", 1)[-1]):
        cell = (case.category, case.language)
        if counts.get(cell, 0) < per_cell:
            counts[cell] = counts.get(cell, 0) + 1
            kept.append(case)
    return kept
