"""`errata export`: a new candidate that is whole or not there, and is held against its source."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from errata import candidates, jsonl
from errata.config import load as load_config
from errata.errors import BadInput, Blocked, ErrataError
from errata.evaluate import stage as evaluate
from errata.export import artifact, merge, size, stage
from errata.records import Case, Message, Predicate
from errata.release import gate
from errata.serve.engine import engine_for
from errata.store import lineage, past
from errata.store.runs import Run
from errata.train import sft
from errata.train.model import load
from errata.workspace import Workspace

bnb = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is missing")
ggml = pytest.mark.skipif(find_spec("gguf") is None, reason="gguf is missing")


def case(number: int, split: str) -> Case:
    return Case(
        id=f"tool-en-{split}{number:04d}", category="tool", language="en", family="f",
        cluster=f"c{number}", split=split,
        messages=[Message(role="user", content=f"Order {number}?")],
        success=Predicate(kind="calls", tool="order_status", value=str(number)),
    )  # fmt: skip


@pytest.fixture
def asked(lessons: Workspace) -> Workspace:
    """Lessons, and a suite with a dev and a held-out part."""
    rows = [case(n, split) for split in ("dev", "heldout") for n in range(6)]
    jsonl.write(lessons.suites / "business.jsonl", rows)
    return lessons


@pytest.fixture
def tuned(asked: Workspace, knobs: dict[str, Any]) -> str:
    """A run whose adapter changes the model clearly."""
    return str(sft.main(asked, sft.Config(**knobs)).data["run_id"])


def export(ws: Workspace, model: str, **knobs: Any) -> dict[str, Any]:
    return stage.main(ws, stage.Config(model=model, prompts=4, **knobs)).data


def test_a_merged_export_is_the_same_model_under_another_digest(asked: Workspace, tuned: str):
    done = export(asked, tuned, format="fp32")
    source, made = candidates.resolve(asked, tuned), candidates.resolve(asked, done["run_id"])

    assert made.digest == done["candidate_digest"] != source.digest
    assert (made.adapter, made.base) == (None, f"runs/{done['run_id']}/artifact")
    assert made.decoding == source.decoding
    assert done["retention"] == pytest.approx(1, abs=1e-3)
    assert done["kl"] < 1e-6 > done["noise"] - 1e-2
    prompt = [[Message(role="user", content="How much is the amber lamp?")]]
    said = []
    for one in (source, made):
        engine, adapter = engine_for(asked, one)
        said.append(engine.answer(prompt, adapter))
    assert said[0] == said[1]


def test_a_trace_walks_from_the_export_to_the_rows_and_back(asked: Workspace, tuned: str):
    done = export(asked, tuned)
    up = json.dumps(lineage.trace(asked, done["candidate_digest"]).as_dict())
    down = json.dumps(lineage.trace(asked, "s-0-0").as_dict())

    assert done["run_id"] in up
    assert candidates.resolve(asked, tuned).digest in up
    assert '"s-0-0"' in up
    assert done["candidate_digest"] in down


@pytest.mark.parametrize(
    ("fmt", "bits"),
    [("bf16", 16), ("fp16", 16), pytest.param("int8", 8, marks=bnb),
     pytest.param("nf4", 4, marks=bnb), pytest.param("gguf-f16", 16, marks=ggml),
     pytest.param("gguf-q8_0", 8, marks=ggml), pytest.param("gguf-q4_0", 4, marks=ggml)],
)  # fmt: skip
def test_every_format_can_be_evaluated_and_is_measured(
    asked: Workspace, tuned: str, fmt: str, bits: int
):
    done = export(asked, tuned, format=fmt)
    measured = evaluate.main(asked, evaluate.Config(model=done["run_id"])).data

    assert measured["metrics"]["evaluate.accuracy"] is not None
    assert done["recheck_kl"] <= 0.01
    assert 0 < done["kl"] < {16: 0.01, 8: 0.1, 4: 5.0}[bits]
    page = (asked.reports / "export" / f"{done['run_id']}.md").read_text()
    assert f"errata gate --candidate {done['run_id']}" in page
    assert ("llama.cpp's" in page) == fmt.startswith("gguf")
    told = json.loads((asked.reports / "export" / f"{done['run_id']}.json").read_text())
    assert told["measures"]["retention"] == done["retention"]
    assert told["candidate_digest"] == done["candidate_digest"]


def test_the_estimate_of_the_size_is_near_and_not_below(asked: Workspace, tuned: str):
    base, _ = candidates.verify(asked, candidates.resolve(asked, tuned))
    found = size.shapes(Path(base))
    for fmt in ("fp32", "bf16"):
        whole = asked.path(str(export(asked, tuned, format=fmt)["artifact"]))
        real = size.on_disk(whole.glob("*.safetensors"))
        assert real * 0.95 <= size.estimate(found, fmt) <= real * 1.1
    # By hand: 64 rows of 32 in blocks of 34 bytes, the embedding and a norm in 16 and more bits.
    shapes = {"up.weight": [64, 32], "embed.weight": [10, 32], "norm.weight": [32]}
    assert size.estimate(shapes, "gguf-q8_0") == int(1.05 * (64 * 34 + 640 + 64))


def test_a_disk_that_is_too_small_is_known_before_it_starts(
    asked: Workspace, tuned: str, monkeypatch: pytest.MonkeyPatch
):
    full = shutil.disk_usage(asked.root)._replace(free=1000)
    monkeypatch.setattr(size.shutil, "disk_usage", lambda _: full)
    monkeypatch.setattr(stage, "_loaded", lambda *_: pytest.fail("it was loaded"))

    with pytest.raises(ErrataError, match=r"format=bf16 needs 0\.1 MiB, 0\.0 MiB are free; free"):
        export(asked, tuned)


def test_a_merge_that_is_another_model_is_refused_and_nothing_is_left(
    asked: Workspace, tuned: str, monkeypatch: pytest.MonkeyPatch
):
    def wrong(model: Any) -> Any:
        return model.unload()  # the adapter is lost

    monkeypatch.setattr(merge, "merged", wrong)
    with pytest.raises(Blocked, match=r"nats a token from base \+ adapter, 0\.01 allowed"):
        export(asked, tuned)

    run = past.list_runs(asked, "export")[-1]
    assert run["status"] == "blocked"
    assert sorted(path.name for path in (asked.runs / run["id"]).iterdir()) == ["run.json"]
    with pytest.raises(BadInput, match="this run left no candidate"):
        candidates.resolve(asked, run["id"])


def test_an_export_that_fails_after_it_was_written_leaves_nothing(
    asked: Workspace, tuned: str, monkeypatch: pytest.MonkeyPatch
):
    def fails(*_: Any) -> None:
        part = next(asked.runs.glob("*-export-*/artifact.part"))
        assert (part / "model.safetensors").is_file()
        raise ErrataError("the machine is out of memory")

    monkeypatch.setattr(stage, "compared", fails)
    with pytest.raises(ErrataError, match="out of memory"):
        export(asked, tuned)

    run = past.list_runs(asked, "export")[-1]
    assert sorted(path.name for path in (asked.runs / run["id"]).iterdir()) == ["run.json"]


def test_what_a_cut_off_export_left_goes_with_the_next(asked: Workspace, tuned: str):
    with pytest.raises(KeyboardInterrupt), Run(asked, "export", {}) as run:
        (run.dir / artifact.PART).mkdir()
        raise KeyboardInterrupt
    assert (run.dir / artifact.PART).is_dir()
    export(asked, tuned)

    assert not (run.dir / artifact.PART).exists()


def test_what_training_held_against_the_weights_blocks_their_export(asked: Workspace, tuned: str):
    source = candidates.resolve(asked, tuned)
    with Run(asked, "sft", {}) as run:
        run.note(unfit=["it forgot"], weights=source.adapter_digest)
    made = candidates.resolve(asked, str(export(asked, tuned)["run_id"]))

    assert [finding.why for finding in gate.unfit(asked, made) if "it forgot" in finding.why]


def test_an_adapter_by_itself_keeps_its_base_by_digest(asked: Workspace, tuned: str):
    done = export(asked, tuned, format="bf16", merge=False)
    source, made = candidates.resolve(asked, tuned), candidates.resolve(asked, done["run_id"])
    folder = asked.path(str(made.adapter))

    assert made.base_digest == source.base_digest
    assert made.adapter_digest != source.adapter_digest
    assert json.loads((folder / "base.json").read_text())["base_digest"] == source.base_digest
    state = load_file(folder / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
    assert done["retention"] == pytest.approx(1, abs=0.05)
    assert "recheck_kl" not in done


@ggml
def test_an_adapter_for_llama_cpp_scales_as_peft_does(asked: Workspace, tuned: str):
    from gguf import GGUFReader

    done = export(asked, tuned, format="gguf-f16", merge=False)
    made = candidates.resolve(asked, done["run_id"])
    reader = GGUFReader(asked.path(str(made.adapter)) / "lora.gguf")
    found = {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in reader.tensors}
    saved = load_file(asked.path(str(made.adapter)) / "adapter_model.safetensors")
    name = "base_model.model.model.layers.0.self_attn.{}_proj.lora_{}.weight"

    assert reader.fields["general.type"].contents() == "adapter"
    assert reader.fields["adapter.lora.alpha"].contents() == 8.0
    assert torch.equal(found["blk.0.attn_q.weight.lora_a"], saved[name.format("q", "A")])
    assert torch.equal(found["blk.0.attn_v.weight.lora_b"], saved[name.format("v", "B")])
    # Four heads of eight rows: row 1 is the fifth of the first head, as queries are turned.
    turned, plain = found["blk.0.attn_q.weight.lora_b"], saved[name.format("q", "B")]
    assert torch.equal(turned[[0, 1, 2, 8]], plain[[0, 4, 1, 8]])


@bnb
def test_a_qlora_adapter_is_told_how_far_its_16_bit_base_is_from_what_was_trained(
    asked: Workspace, knobs: dict[str, Any]
):
    run_id = sft.main(asked, sft.Config(**knobs, method="qlora")).data["run_id"]
    done = export(asked, run_id)

    assert done["recheck_kl"] < 0.01 < done["trained_kl"]  # nf4 of wild random weights is far


@bnb
def test_quantised_weights_are_not_merged_into_nor_quantised_again(asked: Workspace, tuned: str):
    done = export(asked, tuned, format="nf4")

    with pytest.raises(BadInput, match=r"runs/.*quantised already \(bitsandbytes\)"):
        export(asked, done["run_id"])


@pytest.mark.parametrize(
    ("panel", "message"),
    [
        ({"format": "int8", "merge": False}, "an adapter is not quantised, its base is; merge="),
        ({"format": "nf4", "backend": "torchao"}, "torchao has no nf4 here"),
        ({"backend": "torchao"}, "backend=torchao is for int8 and nf4, not for bf16"),
        ({"model": "endpoint:http://127.0.0.1:1/v1#m"}, "asked elsewhere and has no weights here"),
        ({"accept": {"retentoin": {"min": 1}}}, "`retentoin` is not measured here; known"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_in_a_line(
    asked: Workspace, tuned: str, panel: dict[str, Any], message: str
):
    with pytest.raises(BadInput, match=message):
        export(asked, **{"model": tuned, **panel})


def test_an_unknown_format_gets_a_hint():
    with pytest.raises(BadInput, match=r"no format `ggufq8_0`; did you mean `gguf-q8_0`\?; known"):
        load_config(None, stage.Config, ["format=ggufq8_0"])


@pytest.mark.parametrize(
    ("fmt", "package"), [("int8", "bitsandbytes"), ("gguf-f16", "gguf"), ("nf4", "bitsandbytes")]
)
def test_a_missing_package_is_told_with_its_install_line(
    asked: Workspace, tuned: str, monkeypatch: pytest.MonkeyPatch, fmt: str, package: str
):
    import importlib.util

    without = lambda name, *rest: None if name == package else find_spec(name, *rest)  # noqa: E731
    for module in ("errata.export.quantise", "errata.export.gguf"):
        monkeypatch.setattr(f"{module}.find_spec", without)
    with pytest.raises(BadInput, match=rf"needs.*{package}.*pip install 'errata\[export\]'"):
        export(asked, tuned, format=fmt)
    monkeypatch.setattr(importlib.util, "find_spec", without)  # and where such an export is loaded
    folder = asked.root / "some"
    folder.mkdir()
    told = {"quantization_config": {"quant_method": package}} if package != "gguf" else {}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **told}))
    (folder / "model.gguf").touch()
    with pytest.raises(BadInput, match=rf"stored with {package}, which is not here; run `pip"):
        load(str(folder))


def test_values_beyond_float16_are_refused(
    asked: Workspace, tiny_models: Callable[[str], str], tmp_path: Path
):
    shutil.copytree(tiny_models("llama"), tmp_path / "big")
    state = load_file(tmp_path / "big" / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    state[name][0, 0] = 1e6
    save_file(state, tmp_path / "big" / "model.safetensors", {"format": "pt"})

    with pytest.raises(BadInput, match=f"{name}: values beyond torch.float16's range; use"):
        export(asked, str(tmp_path / "big"), format="fp16")


def test_accept_is_held_against_what_was_measured(asked: Workspace, tuned: str):
    with pytest.raises(Blocked, match=r"retention \S+ is below 2"):
        export(asked, tuned, accept={"retention": {"min": 2}})


@pytest.mark.parametrize(
    ("knob", "value", "changes"),
    [("cases", 2, "paired"), ("prompts", 1, "positions"), ("recheck", 1e-12, ""),
     ("suite", "suites/other.jsonl", "paired")],
)  # fmt: skip
def test_every_knob_is_turned(asked: Workspace, tuned: str, knob: str, value: Any, changes: str):
    jsonl.write(asked.suites / "other.jsonl", [case(n, "dev") for n in range(3)])
    told = {"prompts": 4, "model": tuned}
    if not changes:
        with pytest.raises(Blocked, match="allowed"):
            stage.main(asked, stage.Config(**told, recheck=value))
        return
    usual = stage.main(asked, stage.Config(**told)).data
    turned = stage.main(asked, stage.Config(**{**told, knob: value})).data
    assert usual[changes] != turned[changes]
