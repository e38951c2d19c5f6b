"""Replay and retention: the share that was asked for, nothing held out, and a loss that is true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from errata import jsonl
from errata.errors import BadInput
from errata.records import Case, Message, Predicate, SftExample
from errata.store import past
from errata.store.runs import Run
from errata.train import mix, sft
from errata.train.mix import Replaying
from errata.train.packing import Limits
from errata.train.watch import Watching
from errata.workspace import Workspace


class Config(sft.Config, Watching, Replaying):
    """SFT with replay, under the watch."""


class FakeJob:
    """What `replayed` reads of a job."""

    def __init__(self, ws: Workspace, config: Config, run: Run) -> None:
        self.ws, self.config, self.run, self.notes = ws, config, run, list[str]()
        self.suites = (ws.suites / "attacks.jsonl", ws.suites / "business.jsonl")


def general(ws: Workspace, count: int) -> list[SftExample]:
    rows = [
        SftExample(id=f"g-{i}", instruction=f"Name a river that begins with letter {i}.",
                   output=f"The river number {i}.", why="general", origin="human")
        for i in range(count)
    ]  # fmt: skip
    jsonl.write(ws.data / "general.jsonl", rows)
    return rows


@given(
    rows=st.integers(0, 60),
    general=st.integers(1, 200),
    share=st.floats(0, 0.9),
    seed=st.integers(0, 3),
)
def test_the_share_holds_no_row_is_lost_and_none_comes_twice_without_need(
    rows: int, general: int, share: float, seed: int
) -> None:
    ours, theirs = [f"o{i}" for i in range(rows)], [f"g{i}" for i in range(general)]
    mixed, count = mix.mix(ours, theirs, share, seed)
    picked = [row for row in mixed if row.startswith("g")]

    assert sorted(row for row in mixed if row.startswith("o")) == sorted(ours)
    assert len(picked) == count == round(share / (1 - share) * rows)
    assert max((picked.count(row) for row in picked), default=0) <= -(-count // general)
    assert mix.mix(ours, theirs, share, seed) == (mixed, count)


def test_another_seed_is_another_mix() -> None:
    ours, theirs = list(range(50)), list(range(100, 300))

    assert mix.mix(ours, theirs, 0.5, 1) != mix.mix(ours, theirs, 0.5, 2)
    assert mix.mix(ours, [], 0.5, 1)[1] == 0


@pytest.mark.parametrize("suite", ["business.jsonl", "foreign.jsonl"])
def test_a_run_gets_its_replay_and_says_so_and_held_out_rows_stay_out(
    lessons: Workspace, suite: str
) -> None:
    rows = general(lessons, 40)
    secret = "How many nights does the copper owl of Zanzibar sleep in the old lighthouse?"
    rows[3] = rows[3].model_copy(update={"instruction": secret})
    jsonl.write(lessons.data / "general.jsonl", rows)
    held = Case(
        id="h", category="catalogue", language="en", family="f", cluster="c", split="heldout",
        messages=[Message(role="user", content=secret)],
        success=Predicate(kind="cites", value="x", cite=1),
    )  # fmt: skip
    jsonl.write(lessons.suites / suite, [held])
    ours = jsonl.read(lessons.data / "sft.jsonl", SftExample)
    config = Config(replay="data/general.jsonl", replay_share=0.5)
    with Run(lessons, "sft", config) as run:
        job = FakeJob(lessons, config, run)
        mixed = mix.replayed(job, ours)  # type: ignore[arg-type]

    ids = [row.id for row in mixed]
    assert len(ids) == len(set(ids)) == 32
    assert "g-3" not in ids
    assert job.notes[0] == "replay: 16 of 32 rows are general, from 39 of data/general.jsonl"
    assert "1 rows hold a held-out case" in job.notes[1]
    assert any(f["name"] == "replay" for f in run.record()["inputs"])


def test_without_replay_rows_stay_as_they_are_and_a_missing_file_is_named(
    lessons: Workspace,
) -> None:
    ours = jsonl.read(lessons.data / "sft.jsonl", SftExample)
    with Run(lessons, "sft", {}) as run:
        assert mix.replayed(FakeJob(lessons, Config(), run), ours) is ours  # type: ignore[arg-type]
        gone = FakeJob(lessons, Config(replay="data/gone.jsonl"), run)
        with pytest.raises(BadInput, match=r"data/gone\.jsonl: no such file"):
            mix.replayed(gone, ours)  # type: ignore[arg-type]


def test_a_rows_loss_is_the_models_and_does_not_depend_on_the_batch(
    lessons: Workspace, tiny_models: Callable[[str], str]
) -> None:
    from errata.train.logprobs import ready
    from errata.train.model import load
    from errata.train.reference import mean_loss
    from errata.train.tokens import encode, encode_sft
    from errata.train.turns import conversation

    model, tokenizer = load(tiny_models("llama"))
    rows = jsonl.read(lessons.data / "sft.jsonl", SftExample)
    trees = encode_sft(tokenizer, rows, 256)
    scorer = ready(model, tokenizer.pad_token_id, 256)
    one, many = (mean_loss(scorer, trees, Limits(batch)) for batch in (1, 7))
    row = encode(tokenizer, conversation(rows[0]), 256, "x")
    with torch.no_grad():
        own = model(torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss.item()

    assert one == pytest.approx(many, abs=1e-4)
    assert mean_loss(scorer, trees[:1], Limits(1)) == pytest.approx(own, abs=1e-4)


def test_forgetting_is_measured_from_the_start_and_alerts(
    lessons: Workspace, tiny_models: Callable[[str], str]
) -> None:
    general(lessons, 8)
    config = Config(
        model=tiny_models("llama"), lora_r=4, seq_len=256, lr=3e-2, max_steps=8, eval_every=4,
        retention="data/general.jsonl", retention_limit=1e-3,
    )  # fmt: skip
    done: dict[str, Any] = sft.main(lessons, config).data
    facts = past.get_run(lessons, done["run_id"])["facts"]

    assert done["metrics"]["retention_rise"] != 0
    fired = [d["signal"] for d in facts["decisions"]]
    assert ("retention" in fired) == (done["metrics"]["retention_rise"] > 0)
    advice = [d["advice"] for d in facts["decisions"] if d["signal"] == "retention"]
    assert all("raise replay_share" in text for text in advice)
