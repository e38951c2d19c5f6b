"""`errata sft` through its own main: what it learns, and what an interruption does not change."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from errata import candidates, cli, jsonl
from errata.errors import BadInput, Blocked
from errata.records import Message
from errata.store import past
from errata.store.runs import Run
from errata.train import sft
from errata.train.job import Interrupted
from errata.train.logprobs import ready
from errata.train.model import add_lora, load, save_adapter, with_adapter
from errata.train.settings import Bound
from errata.workspace import Workspace

Adapter = Callable[[Workspace, str], dict[str, Any]]


def go(ws: Workspace, knobs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One run; its --json line."""
    return sft.main(ws, sft.Config(**{"log_every": 1, **knobs, **more})).data


def same(one: dict[str, Any], two: dict[str, Any], atol: float) -> bool:
    return one.keys() == two.keys() and all(torch.allclose(one[k], two[k], atol=atol) for k in one)


def test_it_learns_and_leaves_a_candidate_a_report_and_a_log(
    lessons: Workspace, knobs: dict[str, Any]
):
    done = go(
        lessons, knobs, outputs=["runs/{run_id}/candidate.json", "reports/posttrain/{run_id}.md"]
    )

    assert done["steps"] == len(done["losses"]) == 6
    assert done["losses"][-1] < done["losses"][0] - 0.5
    assert {"cpu_seconds", "wall_seconds", "peak_rss_gib", "run_id", "adapter"} <= done.keys()
    made = candidates.resolve(lessons, done["run_id"])
    assert made.digest == done["candidate_digest"]
    assert candidates.verify(lessons, made)[1] == lessons.path(done["adapter"])
    page = (lessons.reports / "posttrain" / f"{done['run_id']}.md").read_text()
    assert "⟦It costs 42 yuan. [1]<|end|>⟧" in page
    assert done["run_id"] in (lessons.reports / "posttrain" / "experiment-log.md").read_text()
    files = {f.name for f in lessons.path(done["adapter"]).iterdir()}
    assert files == {"adapter_config.json", "adapter_model.safetensors"}


def test_the_first_loss_is_the_base_models_own(lessons: Workspace, knobs: dict[str, Any]):
    from errata.records import SftExample
    from errata.train.tokens import encode_sft

    done = go(lessons, knobs, micro_batch=16, max_steps=1)
    model, tokenizer = load(knobs["model"])
    rows = encode_sft(tokenizer, jsonl.read(lessons.data / "sft.jsonl", SftExample), 256)
    with torch.no_grad():
        scored, _ = ready(model, tokenizer.pad_token_id, 256)(rows)

    assert done["losses"] == [pytest.approx(-scored.logps.mean().item(), abs=1e-3)]


def test_micro_batches_do_not_change_the_step(
    lessons: Workspace, knobs: dict[str, Any], adapter_of: Adapter
):
    wide = go(lessons, knobs, micro_batch=8, grad_accum=1, lr=1e-3)
    narrow = go(lessons, knobs, micro_batch=1, grad_accum=8, lr=1e-3)

    assert wide["losses"] == pytest.approx(narrow["losses"], abs=1e-4)  # the log has 4 digits
    assert same(adapter_of(lessons, wide["run_id"]), adapter_of(lessons, narrow["run_id"]), 1e-5)


def test_the_same_seed_gives_the_same_run_and_another_one_does_not(
    lessons: Workspace, knobs: dict[str, Any], adapter_of: Adapter
):
    one, two, other = (go(lessons, knobs, lora_dropout=0.1, seed=s) for s in (17, 17, 18))

    assert one["losses"] == two["losses"] != other["losses"]
    assert same(adapter_of(lessons, one["run_id"]), adapter_of(lessons, two["run_id"]), 0.0)
    assert one["candidate_digest"] == two["candidate_digest"] != other["candidate_digest"]


def test_an_interrupted_run_goes_on_to_where_a_straight_one_ends(
    lessons: Workspace,
    knobs: dict[str, Any],
    stop_at: Callable[[int], list[int]],
    adapter_of: Adapter,
):
    straight = go(lessons, knobs, lora_dropout=0.1)
    before = signal.getsignal(signal.SIGTERM)
    begun = stop_at(3)
    more = {"lora_dropout": 0.1, "save_every": 50}  # another config than the straight run's
    with pytest.raises(Interrupted, match="stopped at step 4; run the same command again"):
        go(lessons, knobs, **more)
    cut = past.list_runs(lessons, "sft")[-1]
    assert cut["status"] == "failed"
    assert not (lessons.runs / cut["id"] / "candidate.json").exists()
    assert signal.getsignal(signal.SIGTERM) == before
    done = go(lessons, knobs, **more)

    assert begun == [0, 1, 2, 3, 4, 5]  # and none twice
    notes = past.get_run(lessons, done["run_id"])["facts"]["notes"]
    assert notes == [f"resumed from runs/{cut['id']}/checkpoints/checkpoint-4"]
    assert done["losses"] == straight["losses"]
    assert same(adapter_of(lessons, done["run_id"]), adapter_of(lessons, straight["run_id"]), 0.0)
    # What is finished is not gone on with: the same command now is a new run from the start.
    assert past.get_run(lessons, go(lessons, knobs, **more)["run_id"])["facts"]["notes"] == []


def test_a_checkpoint_survives_a_second_interruption_and_a_half_written_one_is_passed_over(
    lessons: Workspace, knobs: dict[str, Any], stop_at: Callable[[int], list[int]]
):
    stop_at(2)
    with pytest.raises(Interrupted):
        go(lessons, knobs)
    first = past.list_runs(lessons, "sft")[-1]["id"]
    torn = lessons.runs / first / "checkpoints" / "checkpoint-9"
    torn.mkdir()
    (torn / "adapter_config.json").write_text("{")
    # A run that died at once left its fingerprint and no checkpoint.
    config = sft.Config(**{"log_every": 1, **knobs})
    with pytest.raises(RuntimeError), Run(lessons, "sft", config) as run:
        state = (lessons.runs / first / "resume.json").read_text()
        (run.dir / "resume.json").write_text(state)
        raise RuntimeError("killed before its first checkpoint")
    done = go(lessons, knobs)

    notes = past.get_run(lessons, done["run_id"])["facts"]["notes"]
    assert notes == [f"resumed from runs/{first}/checkpoints/checkpoint-3"]


def test_other_data_is_never_resumed(
    lessons: Workspace, knobs: dict[str, Any], stop_at: Callable[[int], list[int]]
):
    stop_at(2)
    with pytest.raises(Interrupted):
        go(lessons, knobs)
    cut = past.list_runs(lessons, "sft")[-1]["id"]
    rows = (lessons.data / "sft.jsonl").read_text().splitlines(keepends=True)
    jsonl.write_text(lessons.data / "sft.jsonl", "".join(rows[:-1]))

    with pytest.raises(BadInput, match="no checkpoint of this config and data"):
        go(lessons, knobs, resume=cut)
    done = go(lessons, knobs)
    assert past.get_run(lessons, done["run_id"])["facts"]["notes"] == []


def test_a_budget_ends_a_run_with_what_it_has(lessons: Workspace, knobs: dict[str, Any]):
    done = go(lessons, knobs, budget_hours=1e-9)

    assert done["steps"] == 1
    assert candidates.resolve(lessons, done["run_id"]).adapter


def test_a_validation_loss_is_measured_where_there_are_rows(
    lessons: Workspace, knobs: dict[str, Any]
):
    rows = (lessons.data / "sft.jsonl").read_text()
    jsonl.write_text(lessons.data / "sft.valid.jsonl", rows)
    done = go(lessons, knobs, eval_dataset="data/sft.valid.jsonl", max_steps=2)
    assert done["metrics"]["eval_loss"] > 0

    # micro_batch only says how many rows are scored at once
    again = go(
        lessons, knobs, eval_dataset="data/sft.valid.jsonl", max_steps=1, micro_batch=16, lr=1e-9
    )
    assert again["metrics"]["eval_loss"] == pytest.approx(again["losses"][0], abs=1e-3)


@pytest.mark.parametrize(
    ("accept", "error", "words"),
    [
        ({"loss": Bound(max=1e-6)}, Blocked, "loss .* is above 1e-06; see reports/posttrain/"),
        ({"loss": Bound(min=1e6)}, Blocked, "is below 1e.06"),
        ({"lost": Bound(max=1.0)}, BadInput, "`lost` is not measured here; known: hours, loss"),
    ],
)
def test_thresholds(
    lessons: Workspace,
    knobs: dict[str, Any],
    accept: dict[str, Bound],
    error: type[Exception],
    words: str,
):
    with pytest.raises(error, match=words):
        go(lessons, knobs, accept=accept, max_steps=1)


def test_an_output_that_is_not_written_is_a_mistake_in_the_config(
    lessons: Workspace, knobs: dict[str, Any]
):
    with pytest.raises(
        BadInput, match=r"outputs names data/nothing\.json, which sft did not write"
    ):
        go(lessons, knobs, outputs=["data/nothing.json"], max_steps=1)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("", "data/sft.jsonl.*no row"),
        ("{\n", "data/sft.jsonl:1: "),
        (
            '{"id": "a", "instruction": "x", "output": "", "why": "w", "origin": "human"}\n',
            "sft.jsonl:1",
        ),
        ('{"id": "a", "instruktion": "x"}\n', "sft.jsonl:1"),
    ],
)
def test_unusable_rows_are_bad_input_and_leave_nothing_half_written(
    lessons: Workspace, knobs: dict[str, Any], rows: str, words: str
):
    (lessons.data / "sft.jsonl").write_text(rows)
    with pytest.raises(BadInput, match=words):
        go(lessons, knobs)

    run = past.list_runs(lessons, "sft")[-1]
    assert run["status"] == "failed"
    assert not (lessons.runs / run["id"] / "adapter").exists()
    (page,) = (lessons.reports / "posttrain").glob("*-sft-*")
    assert "| status / 状态 | failed / 失败 |" in page.read_text()


def test_the_command_line_exits_3_on_a_missed_threshold_and_2_on_a_missing_file(
    lessons: Workspace, knobs: dict[str, Any], capfd: pytest.CaptureFixture[str]
):
    flags = [f"--{key}={value}" for key, value in {**knobs, "max_steps": 1}.items()]
    where = ["sft", "-C", str(lessons.root), *flags]

    assert cli.main([*where, "accept.loss.max=1e-9"]) == 3
    assert cli.main([*where, "dataset=data/gone.jsonl"]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert [line.startswith("errata: ") for line in lines[-2:]] == [True, True]
    assert "data/gone.jsonl" in lines[-1]
    assert cli.main([*where, "--json"]) == 0
    assert json.loads(capfd.readouterr().out.strip().splitlines()[-1])["steps"] == 1


@pytest.fixture
def batch(tiny_models: Callable[[str], str]) -> tuple[Any, dict[str, torch.Tensor]]:
    model, _ = load(tiny_models("llama"))
    ids = list(range(10, 60))
    rows = torch.tensor([ids, ids[::-1]])
    return model.eval(), {"input_ids": rows, "attention_mask": torch.ones_like(rows)}


@torch.no_grad()
def logits(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    found: torch.Tensor = model(**batch).logits
    return found[batch["attention_mask"] > 0]


def test_an_adapter_starts_as_the_base_can_be_switched_off_and_merges(
    batch: tuple[Any, dict[str, torch.Tensor]],
):
    model, data = batch
    base = logits(model, data)
    torch.manual_seed(1)
    model = add_lora(model, 4, 8, 0.0).eval()
    assert torch.equal(logits(model, data), base)
    heads = [name for name, p in model.named_parameters() if p.requires_grad and "lm_head" in name]
    assert not heads
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    moved = logits(model, data)

    assert (moved - base).abs().max() > 0.1
    with model.disable_adapter():
        assert torch.equal(logits(model, data), base)
    assert torch.allclose(logits(model.merge_and_unload(), data), moved, atol=1e-3)


def test_going_on_copies_the_adapter_it_starts_from(
    batch: tuple[Any, dict[str, torch.Tensor]], tiny_models: Callable[[str], str], tmp_path: Path
):
    model, data = batch
    torch.manual_seed(1)
    first = add_lora(model, 4, 8, 0.0).eval()
    with torch.no_grad():
        for name, weight in first.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    save_adapter(first, tmp_path / "adapter")
    again = with_adapter(load(tiny_models("llama"))[0], tmp_path / "adapter", True)

    assert torch.equal(logits(again.eval(), data), logits(first, data))
    assert any(p.requires_grad for p in again.parameters())


def test_an_adapter_of_another_base_is_refused(tiny_models: Callable[[str], str], tmp_path: Path):
    from transformers import AutoConfig, AutoModelForCausalLM

    model, _ = load(tiny_models("llama"))
    save_adapter(add_lora(model, 4, 8, 0.0), tmp_path / "run" / "adapter")
    config = AutoConfig.from_pretrained(tiny_models("llama"), hidden_size=48, intermediate_size=80)
    other = AutoModelForCausalLM.from_config(config)
    with pytest.raises(BadInput, match="adapter run: made on another base"):
        with_adapter(other, tmp_path / "run" / "adapter", True)


@pytest.mark.parametrize("method", ["qlora", "full"])
def test_the_other_methods_train_and_leave_what_serves(
    lessons: Workspace, knobs: dict[str, Any], method: str
):
    if method == "qlora":
        pytest.importorskip("bitsandbytes", reason="QLoRA needs bitsandbytes: errata[qlora]")
    done = go(lessons, knobs, method=method, lr=1e-3 if method == "full" else 1e-2)

    assert done["losses"][-1] < done["losses"][0] - 0.3
    made = candidates.resolve(lessons, done["run_id"])
    _, adapter = candidates.verify(lessons, made)
    assert (adapter is None) == (method == "full")
    if method == "full":
        assert made.base == f"runs/{done['run_id']}/model"
        again = go(lessons, knobs, model=done["run_id"], max_steps=1, lr=1e-9)
        assert again["losses"][0] < done["losses"][-1] + 0.3  # it starts where the other ended


def test_four_bits_are_four_bits(lessons: Workspace, knobs: dict[str, Any]):
    pytest.importorskip("bitsandbytes", reason="QLoRA needs bitsandbytes: errata[qlora]")
    model, _ = load(knobs["model"], nf4=True)
    layer = model.model.layers[0].mlp.down_proj
    assert type(layer).__name__ == "Linear4bit"
    assert layer.weight.dtype == torch.uint8
    assert layer.weight.quant_state.nested  # double quantisation
    assert type(model.lm_head) is torch.nn.Linear


def test_messages_are_what_generation_would_send(lessons: Workspace, knobs: dict[str, Any]):
    """Trained long enough on one question, the model says the trained answer to it."""
    from errata.evaluate.answers import ask

    rows = list(jsonl.rows(lessons.data / "sft.jsonl"))[:1]
    jsonl.write(lessons.data / "sft.jsonl", [row for _, row in rows])
    done = go(lessons, knobs, max_steps=60, lora_r=16, lr_scheduler="constant")
    *prompt, answer = [Message(**turn) for turn in rows[0][1]["messages"]]

    assert ask(lessons, candidates.resolve(lessons, done["run_id"]), [prompt]) == [answer.content]


def test_an_alias_of_the_embedded_model_says_so(
    lessons: Workspace, knobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(candidates, "TINY", Path(knobs["model"]))
    jsonl.write_text(lessons.configs / "models.yaml", "llama-7b: tiny\n")
    done = sft.main(lessons, sft.Config(**{**knobs, "model": "llama-7b", "max_steps": 1}))

    assert "note: `llama-7b` is an alias of the embedded model" in done.text
    page = (lessons.reports / "posttrain" / f"{done.data['run_id']}.md").read_text()
    assert "> `llama-7b` is an alias of the embedded model" in page
    assert candidates.resolve(lessons, done.data["run_id"]).base == "tiny"


def test_the_chapters_flags_are_taken_as_they_stand(
    lessons: Workspace, knobs: dict[str, Any], capfd: pytest.CaptureFixture[str]
):
    flags = "--lora_r 64 --lora_alpha 16 --lora_dropout 0.05 --learning_rate 2e-4 --bf16".split()
    where = ["-C", str(lessons.root), "--model", knobs["model"], "--dataset", "data/sft.jsonl"]
    assert cli.main(["sft", *where, *flags, "max_steps=1", "--json"]) == 0

    done = json.loads(capfd.readouterr().out.strip().splitlines()[-1])
    config = past.get_run(lessons, done["run_id"])["config"]
    assert (config["lr"], config["lora_r"], config["bf16"]) == (2e-4, 64, True)
    saved = json.loads((lessons.path(done["adapter"]) / "adapter_config.json").read_text())
    assert (saved["r"], saved["lora_alpha"], saved["lora_dropout"]) == (64, 16, 0.05)
