"""What is told of the data: by what happened, by people, and in the form that the Hub reads."""

from __future__ import annotations

import json

import pytest
from huggingface_hub import DatasetCard

from errata import jsonl
from errata.build import stage
from errata.errors import BadInput
from errata.intake import human
from errata.records import Candidate, Failure
from errata.release import gate
from errata.store.runs import Run
from errata.workspace import Workspace

SOURCES = "sources:\n  local: {purpose: [training], consent: made up for tests}\n"
SAID = """owner: li@example.com
licence: CC-BY-4.0
purpose: support desks
collected: from tickets, under the terms
known_gaps: few elderly callers
"""
CONFIG = stage.Config(validation=0.0, accept=stage.Accept(min_rows=1, min_pairs=1))


@pytest.fixture
def ws(suited: Workspace) -> Workspace:
    (suited.configs / "intake.yaml").write_text(SOURCES)
    jsonl.write(suited.data / "failures.jsonl", [
        Failure(id="f-1", prompt="How tall is the copper fan?", bad_answer="No idea.",
                label="factuality", ts="2026-01-02T00:00:00Z", source="local",
                meta={"reference": "It is 42 cm tall."}),
        Failure(id="f-2", prompt="茶壶多少钱？", bad_answer="不知道。", label="factuality"),
        Failure(id="f-3", prompt="灯多高？", bad_answer="不清楚。", label="factuality",
                meta={"reference": "灯高四十厘米。"}),
    ])  # fmt: skip
    return suited


def built(ws: Workspace) -> tuple[str, DatasetCard]:
    stage.main(ws, CONFIG)
    sheet = (ws.reports / "datasheet.md").read_text(encoding="utf-8")
    return sheet, DatasetCard((ws.data / "README.md").read_text(encoding="utf-8"))


def test_the_sheet_says_what_happened_and_what_people_left_empty(ws: Workspace):
    sheet, _ = built(ws)
    version = json.loads((ws.data / "version.json").read_text())["id"]
    assert version in sheet
    assert "1 failures wait for an answer" in sheet
    assert "factuality zh: 1 pairs, fewer than 20" in sheet
    assert sheet.count("⚠ empty") == 5
    assert "No row is like one of 2 held-out cases" in sheet


def test_the_card_is_one_that_the_hub_reads(ws: Workspace):
    (ws.policies / "datasheet.yaml").write_text(SAID)
    sheet, card = built(ws)
    assert "few elderly callers" in sheet
    assert "few elderly callers" in card.text
    told = card.data.to_dict()
    assert (told["license"], told["language"]) == ("cc-by-4.0", ["en", "zh"])
    assert told["size_categories"] == ["n<1K"]
    files = {one["config_name"]: one["data_files"] for one in told["configs"]}
    assert files["sft"] == [{"split": "train", "path": "sft.jsonl"}]
    for parts in files.values():
        for part in parts:
            assert (ws.data / part["path"]).is_file()


def test_a_licence_that_the_hub_does_not_know_is_named(ws: Workspace):
    (ws.policies / "datasheet.yaml").write_text("licence: Our Own Terms 2")
    _, card = built(ws)
    told = card.data.to_dict()
    assert (told["license"], told["license_name"]) == ("other", "our-own-terms-2")


@pytest.mark.parametrize("said", ["licence: apache-2.0", "owner: '  '", ""])
def test_the_gate_holds_a_trained_model_until_people_have_answered(ws: Workspace, said: str):
    (ws.policies / "datasheet.yaml").write_text(said)
    with Run(ws, "dpo", {}) as run:
        pass
    model = Candidate(base="tiny", base_digest="x", run_id=run.id, digest="sha256:x")
    (finding,) = gate.unanswered(ws, model)
    assert (finding.strictness, finding.status) == ("hard", "no_decision")
    assert "known_gaps" in finding.why
    assert gate.unanswered(ws, model.model_copy(update={"run_id": None})) == []
    (ws.policies / "datasheet.yaml").write_text(SAID)
    assert gate.unanswered(ws, model) == []


def test_a_field_that_there_is_not_is_refused(ws: Workspace):
    (ws.policies / "datasheet.yaml").write_text("license: mit")
    with pytest.raises(BadInput, match="licence"):
        human.load(ws)
