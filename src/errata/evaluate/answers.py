"""Ask a candidate every case of a suite once: answers are kept by candidate, prompt and decoding.

Evaluate, safety and the rollout's traffic share the cache, and a cut-off run goes on where it was.
The cache lies below .errata/, which git does not track. Who answers is the engine in this process,
or a target elsewhere (targets.py), each of whose answers is kept as it comes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from errata import jsonl
from errata.candidates import TARGETS
from errata.errors import ErrataError
from errata.evaluate import targets
from errata.evaluate.generate import Decoding
from errata.language import say
from errata.progress import show_progress
from errata.records import Candidate, Case, Message
from errata.safety.isolation import prompt_of as prompt_of
from errata.serve.completion import Reply
from errata.serve.engine import engine_for
from errata.text import user_text
from errata.workspace import Workspace

CHUNK = 256  # prompts between two writes of the cache


class Cache:
    """Answers of one candidate under one decoding, in a JSONL file that grows."""

    def __init__(self, ws: Workspace, candidate: Candidate, decoding: Decoding) -> None:
        key = jsonl.digest([candidate.digest, decoding.__dict__]).removeprefix("sha256:")[:20]
        self.opened = False
        self.path: Path = ws.state / "answers" / f"{key}.jsonl"
        self.known: dict[str, str] = {}
        self.finish: dict[str, str] = {}  # how an answer ended, where it was not by its own end
        if self.path.exists():
            # A run that was cut off may have left half a line, and half a character in it.
            for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
                try:
                    row = json.loads(line)
                    self.known[row["prompt"]] = row["answer"]
                    self.finish[row["prompt"]] = row.get("finish", "stop")
                except (ValueError, KeyError, TypeError):
                    continue

    def add(self, prompt: str, reply: Reply) -> None:
        """Keep a new answer."""
        self.known[prompt], self.finish[prompt] = str(reply.text), reply.finish
        row = {"prompt": prompt, "answer": reply.text}
        if reply.finish != "stop":
            row["finish"] = reply.finish
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            # A cut-off run may have left a line open.
            file.write(("" if self.opened else "\n") + json.dumps(row, ensure_ascii=False) + "\n")
        self.opened = True


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
    show, trouble = show_progress(label or "answers", len(names)), ""
    ask_part = _asker(ws, candidate, decoding) if names else None
    for start in range(0, len(names), CHUNK):
        part = names[start : start + CHUNK]
        assert ask_part
        for done, (place, reply) in enumerate(ask_part([todo[key] for key in part]), 1):
            if reply.text is not None:
                cache.add(part[place], reply)
            elif reply.why:
                trouble = trouble or f"{reply.why}, asked {_asked(todo[part[place]])}"
            show(start + done)
        if trouble:
            kept = sum(key in cache.known for key in keys)
            told = f"{kept} of {len(keys)} answers are kept; run the same command again to go on"
            raise ErrataError(f"{candidate.base}: {trouble}; {told}")
    if candidate.base.startswith(TARGETS):
        _tell(candidate, [cache.finish[key] for key in keys], decoding)
    return [cache.known[key] for key in keys]


def _asker(ws: Workspace, candidate: Candidate, decoding: Decoding) -> targets.Asker:
    """Who answers a part of the prompts: a target, or the engine."""
    if candidate.base.startswith(TARGETS):
        return targets.asker(ws, candidate, decoding)
    engine, adapter = engine_for(ws, candidate)

    def answer(prompts: Sequence[Sequence[Message]]) -> Iterator[tuple[int, Reply]]:
        yield from enumerate(map(Reply, engine.answer(prompts, adapter, decoding)))

    return answer


def _asked(messages: Sequence[Message]) -> str:
    """The case by its own words, by which a suite can be searched."""
    return repr(user_text(messages)[:80])


def _tell(candidate: Candidate, ends: Sequence[str], decoding: Decoding) -> None:
    """How many answers did not end by themselves: they are scored as they stand."""
    for finish, en, zh in (
        ("length", f"were cut off at {decoding.max_new_tokens} tokens", "个回答因长度上限被截断"),
        ("content_filter", "were held back by the server's own filter", "个回答被服务端过滤器拦下"),
    ):
        if count := ends.count(finish):
            told = say(f"{count} of {len(ends)} answers {en}", f"{len(ends)} 中有 {count} {zh}")
            sys.stderr.write(f"errata: {candidate.base}: {told}\n")


def version(cases: Sequence[Case]) -> str:
    """The digest of what is asked and how it is scored: a case that was mended is another one."""
    return jsonl.digest([jsonl.plain(case) for case in cases])


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
