"""Erasure on both databases, on one desk: nine failures of seven people, learnt by a run."""

from __future__ import annotations

from typing import Any

import pytest
from tests.store.conftest import local, store

from errata import git, jsonl
from errata.build import stage as build
from errata.intake import stage as intake
from errata.privacy import erase
from errata.store.runs import Run
from errata.workspace import Workspace

__all__ = ["local", "store"]

PHONE = "13900139000"
ROWS: list[dict[str, Any]] = [
    {"prompt": f"Please call 139 0013 9000 about the order of lamp {n}", "bad_answer": "No.",
     "label": "politeness", "user_id": "c-42", "meta": {"reference": f"We call you, lamp {n}."}}
    for n in range(3)
] + [
    {"prompt": f"我想退掉第 {n} 号水壶，可以吗？", "bad_answer": "不行，滚。",
     "label": "politeness", "user_id": f"c-{n}",
     "meta": {"reference": f"可以的，第 {n} 号水壶支持退货。"}}
    for n in range(6)
]  # fmt: skip
SOURCES = "sources:\n  local: {purpose: [training], consent: made up for tests}\n"
SUITE = {"id": "b-1", "category": "smalltalk", "language": "en", "family": "f", "cluster": "c",
         "split": "heldout", "messages": [{"role": "user", "content": "hello there my friend"}],
         "success": {"kind": "says", "value": "x"}, "reference": "Hello."}  # fmt: skip


@pytest.fixture
def desk(store: Workspace) -> Workspace:
    """Nine failures of seven people, taken in, built into a version, and learnt by one run."""
    (store.configs / "intake.yaml").write_text(SOURCES, encoding="utf-8")
    (store.policies / "redaction.yaml").write_text("vault: [PHONE]\n")
    jsonl.write(store.inbox / "rows.jsonl", ROWS)
    for name in ("attacks", "business"):
        jsonl.write(store.suites / f"{name}.jsonl", [{**SUITE, "id": f"{name}-1"}])
    intake.main(store, intake.Config(sources={}))
    accept = build.Accept(min_rows=1, min_pairs=1, max_dup_share=1.0, max_template_share=1.0)
    build.main(store, build.Config(replay=0, lookalikes=0, retention=0, accept=accept))
    rows = [row["id"] for _, row in jsonl.rows(store.data / "sft.jsonl")]
    with Run(store, "sft", {"model": "tiny"}) as run:
        run.input("data/sft.jsonl")
        run.links((row, run.id, "trained") for row in rows)
        run.link(run.id, "sha256:" + "c" * 64, "made")
        run.node("sha256:" + "c" * 64, "candidate")
        run.note(first_row="call 139 0013 9000: <PHONE:12345678>", sample=said(store))
        jsonl.write_text(run.output("reports/posttrain/page.md"), f"It was asked: {said(store)}\n")
    answers = store.state / "answers" / "a.jsonl"
    jsonl.write(answers, [{"prompt": "x", "answer": PHONE}])
    git.commit(store, ["data", "reports", "suites"], "data")
    return store


def said(ws: Workspace) -> str:
    """A question of theirs as it is kept."""
    return str(next(jsonl.rows(ws.data / "failures.jsonl"))[1]["prompt"])


def run_erase(ws: Workspace, **given: Any) -> dict[str, Any]:
    return erase.main(ws, erase.Config(why="request 7", **given)).data


def everywhere(ws: Workspace, word: str) -> list[str]:
    """Files below the workspace that hold a word, but for git's own."""
    found = []
    for path in ws.root.rglob("*"):
        inside = path.relative_to(ws.root).parts[:1]
        if inside != (".git",) and path.is_file() and word.encode() in path.read_bytes():
            found.append(ws.relative(path))
    return found
