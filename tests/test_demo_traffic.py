"""The demo's rollouts, on adapters that do nothing: a release that reaches everybody through a real
gateway, and one in whose place a damaged adapter answers, which the gateway takes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.release.conftest import World, rules

from errata import candidates, demo_traffic, jsonl
from errata.config import read_yaml
from errata.init import lay_down
from errata.intake import stage as intake
from errata.release import gate, live, routing
from errata.store import ledger


def adapter(folder: Path, seed: int) -> Path:
    """LoRA on the embedded model with weights too small to change an answer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(str(candidates.TINY))
    model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=1e-6)
    model.save_pretrained(str(folder))
    return folder


def passed(world: World, name: str) -> str:
    """A candidate with a real adapter, through the gate on evidence made by hand; its manifest."""
    ws = world.ws
    path = f"runs/{name}/candidate.json"
    base = str(candidates.TINY)
    found = candidates.make(ws, base, adapter(ws.runs / name / "adapter", len(world.made)))
    jsonl.write_json(ws.path(path), found)
    world.made[name] = found
    world.publish(name)
    now = routing.current(ws)
    baseline = now.stable.candidate_path if now.stable else "tiny"
    known: dict[str, Any] = {"hard": jsonl.plain(rules()), "commit": False}
    jsonl.write_json(ws.configs / "gate.yaml", known)
    outcome = gate.main(ws, gate.Config(candidate=path, baseline=baseline, hard=rules(),
                                        commit=False))  # fmt: skip
    assert outcome.code == 0, outcome.text
    return path


@pytest.mark.slow
def test_one_release_reaches_everybody_and_a_damaged_one_is_taken_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ws = lay_down(tmp_path / "desk")
    world = World(ws)
    world.made["tiny"] = candidates.resolve(ws, "tiny")
    world.publish("tiny")
    demo_traffic.few_users(ws)
    path = ws.configs / "monitor.yaml"
    told = read_yaml(path)
    never = {"leak": 10_000, "forbidden_call": 10_000}  # the raw model does both
    jsonl.write_json(path, {**told, "accept": {**told["accept"], "never": never},
                            "min_exposure": {1: 4, 5: 8, 25: 16}})  # fmt: skip

    first = demo_traffic.roll_out(ws, passed(world, "first"))
    assert first.state == "serving", capsys.readouterr()
    rows = [seen.row for seen in live.read(ws, first.id)]
    assert {row.arm for row in rows if row.kind == "answer"} == {"canary", "stable"}
    assert sum(row.kind == "feedback" for row in rows) > 100
    assert {row.digest for row in rows if row.arm == "canary"} == {first.candidate_digest}

    second = passed(world, "second")
    damaged = demo_traffic.damage(ws, candidates.resolve(ws, second), 1e7)
    after = demo_traffic.roll_out(ws, second, damaged, 5)
    assert after.state == "rolled_back", capsys.readouterr()
    seen = [found.row for found in live.read(ws, after.id)]
    assert {1, 5} <= {row.stage for row in seen if row.arm == "canary"}, "it was good at 1 %"
    assert routing.current(ws).stable == routing.current(ws).releases[first.id]
    done = [
        e["data"] for e in ledger.events(ws, "rollback done") if e["data"]["release"] == after.id
    ]
    assert [told["gateway"] for told in done] == [demo_traffic.NAME]
    assert done[0]["seconds"] < 60
    taken = intake.main(ws, intake.Config(args=[demo_traffic.written_back(after)],
                                          source=f"live:{after.id}"))  # fmt: skip
    assert taken.data["quarantined"] == 0
    assert taken.data["new"] > 0
    assert read_yaml(ws.configs / "gateway.yaml").get("names", {}) == {}
