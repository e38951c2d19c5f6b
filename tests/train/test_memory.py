"""Memory that runs out: the part is halved, and no number changes."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from errata import jsonl
from errata.errors import ErrataError
from errata.records import PreferencePair
from errata.store import past
from errata.train import dpo, processes, sft
from errata.train.logprobs import Scorer, ready
from errata.train.model import load
from errata.train.packing import Limits, in_parts
from errata.train.reference import mean_loss
from errata.train.tokens import encode_pairs
from errata.workspace import Workspace


def go(ws: Workspace, stage: str, knobs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One run; its --json line."""
    module: Any = {"sft": sft, "dpo": dpo}[stage]
    found: dict[str, Any] = module.main(ws, module.Config(**{"log_every": 1, **knobs, **more})).data
    return found


@given(
    sizes=st.lists(st.integers(1, 50), max_size=12),
    rows=st.integers(1, 12),
    tokens=st.integers(0, 100),
    room=st.integers(1, 60),
)
def test_what_runs_out_of_memory_is_done_again_in_halves_and_the_rest_is_not(
    sizes: list[int], rows: int, tokens: int, room: int
):
    limits, done = Limits(rows, tokens), list[int]()

    def work(part: list[int]) -> int:
        if sum(sizes[i] for i in part) > max(room, 50):
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        done.extend(part)
        return sum(sizes[i] for i in part)

    found = in_parts(range(len(sizes)), lambda i: sizes[i], limits, work)
    assert sorted(done) == list(range(len(sizes)))
    assert sum(found) == sum(sizes)
    assert limits.rows <= rows
    assert limits.halved <= 12


def test_gradients_are_undone_and_everything_is_done_again():
    limits, added, undone = Limits(4), list[int](), list[int]()

    def work(part: list[int]) -> int:
        added.extend(part)
        if len(part) > 2 and len(undone) < 1 and part[0] < 10:
            raise torch.OutOfMemoryError("out of memory")
        return len(part)

    def undo() -> None:
        undone.append(len(added))
        added.clear()

    assert in_parts([11, 12, 13, 14, 1, 2, 3, 4], lambda i: i, limits, work, undo) == [2] * 4
    assert (undone, sorted(added)) == ([8], [1, 2, 3, 4, 11, 12, 13, 14])


def test_one_row_that_is_too_much_says_so_and_another_error_goes_its_way(
    monkeypatch: pytest.MonkeyPatch,
):
    def short(_: list[int]) -> None:
        raise RuntimeError("CUDA out of memory.")

    def wrong(_: list[int]) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(ErrataError, match=r"with 1 row.* lower seq_len, or use method=qlora"):
        in_parts([1, 1], lambda i: i, Limits(8), short)
    with pytest.raises(RuntimeError, match="shapes differ"):
        in_parts([1, 1], lambda i: i, Limits(8), wrong)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert processes.sharded()
    with pytest.raises(ErrataError, match="lower micro_tokens"):
        in_parts([1, 1], lambda i: i, Limits(8), short)


def no_more_than(patch: pytest.MonkeyPatch, rows: int) -> list[int]:
    """A forward without gradients takes so many rows and no more; the list holds what it was."""
    real, failed = Scorer.__call__, list[int]()

    def short(self: Scorer, data: list[Any], model: Any = None) -> Any:
        if not torch.is_grad_enabled() and len(data) > rows:
            failed.append(len(data))
            raise torch.OutOfMemoryError("out of memory")
        return real(self, data, model)

    patch.setattr(Scorer, "__call__", short)
    return failed


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_memory_that_runs_out_in_validation_or_reference_changes_no_number(
    lessons: Workspace, knobs: dict[str, Any], stage: str, monkeypatch: pytest.MonkeyPatch
):
    source = {"sft": "sft.jsonl", "dpo": "prefs.jsonl"}[stage]
    jsonl.write_text(lessons.data / "valid.jsonl", (lessons.data / source).read_text())
    more = {"eval_dataset": "data/valid.jsonl", "lr": 1e-3, "max_steps": 2}
    straight = go(lessons, stage, knobs, **more)
    failed = no_more_than(monkeypatch, 2)
    shutil.rmtree(lessons.cache / "reference", ignore_errors=True)
    halved = go(lessons, stage, knobs, **more, resume="never")

    assert failed
    assert halved["losses"] == pytest.approx(straight["losses"], abs=1e-4)
    assert halved["metrics"]["eval_loss"] == pytest.approx(straight["metrics"]["eval_loss"])
    notes = past.get_run(lessons, halved["run_id"])["facts"]["notes"]
    assert any("out of memory" in note for note in notes)


def test_memory_that_runs_out_in_a_mean_loss_changes_nothing(
    lessons: Workspace, knobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    model, tokenizer = load(knobs["model"])
    pairs = encode_pairs(tokenizer, jsonl.read(lessons.data / "prefs.jsonl", PreferencePair), 256)
    scorer = ready(model, tokenizer.pad_token_id, 256)
    before = mean_loss(scorer, pairs, Limits(16))
    failed = no_more_than(monkeypatch, 3)

    assert mean_loss(scorer, pairs, Limits(16)) == pytest.approx(before, abs=1e-5)
    assert failed == [16, 8, 4]
