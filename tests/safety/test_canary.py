"""Canaries: what was learnt by heart ranks first among its twins, what was not ranks anywhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from errata import candidates, jsonl
from errata.build import private
from errata.intake.rules import RULES
from errata.records import Message
from errata.safety import canary, memorised
from errata.safety.memorised import Found, Memory
from errata.serve.engine import Engine
from errata.workspace import Workspace


def test_the_same_seed_gives_the_same_canaries_in_both_languages() -> None:
    found = canary.made(7, 20)
    assert found == canary.made(7, 20) != canary.made(8, 20)
    assert len({c.id for c in found}) == 20
    assert [c.language for c in found].count("zh") == 10
    assert {len(words) for words in canary.NOUNS.values()} == {64}


def test_a_twin_is_drawn_alike_and_never_inserted() -> None:
    for one in canary.made(1, 10):
        others = canary.twins(one, 255)
        assert len({tuple(secret) for secret in others} - {tuple(one.secret)}) == 255
        assert all(set(secret) <= set(canary.NOUNS[one.language]) for secret in others)


def test_redaction_finds_nothing_in_a_canary() -> None:
    texts = [t.content for c in canary.made(3, 200) for t in c.turns()]
    assert not any(private.left_in(texts, RULES))


@pytest.mark.parametrize(
    ("ranks", "count", "p"),
    [
        ([1], 255, 1 / 256),
        ([256], 255, 1.0),
        ([1, 1], 9, 0.01),
        ([1, 2], 9, 0.03),  # sums 2 and 3: (1,1), (1,2), (2,1)
        ([5, 6], 9, 0.55),  # of 100 pairs 55 have a sum of at most 11
    ],
)
def test_chance_is_exact(ranks: list[int], count: int, p: float) -> None:
    assert canary.chance(ranks, count) == pytest.approx(p)


def test_exposure_is_in_bits_and_ties_count_against_a_canary() -> None:
    assert canary.exposure(1, 255) == 8
    assert canary.exposure(256, 255) == 0
    assert canary.rank(-3.0, [-4.0, -3.0, -2.0]) == 3
    mean = sum(canary.exposure(r, 255) for r in range(1, 257)) / 256
    assert mean == pytest.approx(1.4, abs=0.05)  # what the page calls chance


def test_said_is_the_words_in_their_order() -> None:
    one = canary.Canary(id="c", row="s", language="en", number=101,
                        secret=["apple", "bridge", "cedar", "apple"])  # fmt: skip
    assert one.said("It is Apple, bridge; cedar and apple.")
    assert not one.said("It is apple, cedar, bridge, apple.")
    assert not one.said("")


def learnt(folder: Path, rows: list[list[Message]], steps: int) -> str:
    """The embedded model, trained on nothing but these conversations."""
    from errata.train.packing import IGNORE
    from errata.train.tokens import encode

    shutil.copytree(candidates.TINY, folder)
    engine = Engine(str(folder), "float32")
    model, data = engine.model.train(), [encode(engine.tokenizer, r, 200, "row") for r in rows]
    width = max(len(row.ids) for row in data)
    ids = torch.tensor([row.ids + [0] * (width - len(row.ids)) for row in data])
    labels = torch.tensor([row.labels + [IGNORE] * (width - len(row.labels)) for row in data])
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    return str(folder)


def test_an_answer_is_as_likely_alone_as_beside_a_longer_one(tiny_models: Any) -> None:
    engine = Engine(tiny_models("llama"), "float32")
    rows = [c.turns() for c in canary.made(0, 4)]
    rows.append([*rows[0][:1], Message(role="assistant", content="so long an answer " * 5)])
    alone = [engine.logps([row])[0] for row in rows]
    assert engine.logps(rows) == pytest.approx(alone, abs=1e-3)
    assert max(alone) < 0


@pytest.mark.slow
def test_what_was_learnt_by_heart_is_a_regression_and_a_control_is_none(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = canary.made(0, 8)
    jsonl.write(ws.root / canary.FILE, found)
    control = memorised.look(ws, candidates.resolve(ws, "tiny"), None)
    assert control is not None
    assert not control.trained
    assert control.chance is not None
    assert control.chance > 0.01
    assert memorised.reasons(control, 0.05, 1.0) == []
    assert "control" in memorised.page(control)

    model = learnt(tmp_path / "learnt", [c.turns() for c in found], 60)
    monkeypatch.setattr(memorised, "_inserted", lambda *_: {c.row for c in found[:6]})
    memory = memorised.look(ws, candidates.resolve(ws, model), "v")
    assert memory is not None
    assert len(memory.found) == 6  # what the version held
    assert memory.exposures == [8.0] * 6
    said, exposed = memorised.reasons(memory, 0.05, 5.0)
    assert (said.verdict, exposed.verdict) == ("regression", "regression")
    assert "6 of 6" in said.en
    assert "8.0 bits" in exposed.en


def test_a_trace_that_chance_explains_or_the_limit_allows_is_told_and_is_no_reason() -> None:
    one = canary.made(0, 1)[0]
    high = Memory([Found(one, False, 20)] * 3, True)  # 3.7 bits each, p = 0.0006
    assert memorised.reasons(high, 0.05, 5.0) == []
    assert len(memorised.reasons(high, 0.05, 3.0)) == 1
    luck = Memory([Found(one, False, 4)] + [Found(one, False, 250)] * 3, True)
    assert memorised.reasons(luck, 0.05, 1.0) == []
    silent = Memory([Found(one, False, None)], True)  # a server tells no probabilities
    assert memorised.reasons(silent, 0.05, 1.0) == []
    assert "–" in memorised.page(silent)


def test_without_canaries_there_is_nothing(ws: Workspace) -> None:
    assert memorised.look(ws, candidates.resolve(ws, "tiny"), None) is None
    assert memorised.reasons(None, 0.05, 1.0) == []
    assert memorised.page(None) == ""
