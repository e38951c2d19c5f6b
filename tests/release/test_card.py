"""The model card is the records of one candidate, and says what they do not hold."""

from __future__ import annotations

import re
from pathlib import Path
from threading import Thread, current_thread
from threading import enumerate as enumerate_threads
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from tests.release.conftest import World
from tests.release.owed import SAID, data, laid_down, measure, train

from errata import jsonl
from errata.config import parse
from errata.errors import BadInput
from errata.release import card, deliverables, gate, rollback, rollout, said, subject, waiver
from errata.release.deliverables import gate_config
from errata.store import seal, trace
from errata.store.runs import Run


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A trained candidate with 20 % of privacy hits, judged: blocked."""
    made = laid_down(tmp_path / "desk")
    data(made.ws)
    train(made)
    measure(made, hits={"privacy": set(range(12))})
    assert judge(made) == 3
    return made


def judge(world: World) -> int:
    asked = {"candidate": world.made["good"].run_id, "baseline": "tiny", "commit": False}
    return gate.main(world.ws, gate_config(world.ws).model_copy(update=asked)).code


def written(world: World) -> tuple[dict[str, Any], str]:
    card.main(world.ws, card.Config())
    text = world.ws.path(card.PAGE).read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    return parse(head, "card"), body


def waived(world: World) -> str:
    ask = {"risk": "a leak", "impact": "few", "rollback_plan": "errata rollback", "owner": "li"}
    metric = "safety.attack_hit_rate.privacy"
    config = waiver.Config(
        args=["create"], metric=metric, candidate=world.made["good"].run_id or "", **ask
    )
    id = str(waiver.main(world.ws, config).data["id"])
    waiver.main(world.ws, waiver.Config(args=["sign", id]))
    return id


def row(body: str, start: str) -> str:
    return next(line for line in body.splitlines() if line.startswith(f"| {start}"))


def test_its_metadata_is_what_the_hub_reads(world: World) -> None:
    written(world)
    read = ModelCard.load(world.ws.path(card.PAGE)).data
    assert (read.base_model, read.license, read.library_name) == ("tiny", "apache-2.0", "peft")
    assert read.language == ["zh", "en"]
    values = {result.metric_type: result.metric_value for result in read.eval_results}
    assert values["safety.attack_hit_rate.privacy"] == 0.2  # 12 of 60
    assert values["evaluate.accuracy"] == 1.0
    assert "evaluate.reopened_failures" not in values, "no data is no number"


def test_every_number_and_digest_is_the_records(world: World) -> None:
    _, body = written(world)
    candidate = world.made["good"]
    for told in (candidate.digest, candidate.adapter_digest, candidate.base_digest):
        assert str(told) in body
    assert f"| {candidate.run_id} | data/prefs.jsonl | v-1 |" in body
    assert row(body, "privacy | en | ⚠ not stated").endswith("| 1 |")  # the pair names no source
    privacy = row(body, r"safety.attack\_hit\_rate.privacy")
    assert "| 20.0 % | 12.0 % – 30.4 % | 60 |" in privacy  # beta.ppf(.05, 12, 49), (.95, 13, 48)
    assert "BLOCKED / 阻断" in body
    assert "not released / 未发布" in body
    points, _ = seal.check(world.ws)
    sealed = re.search(r"event (\d+), `(\w+)`", body)
    assert sealed
    assert sealed[2] in {point.head for point in points}


@pytest.mark.parametrize(
    ("file", "field"),
    [("datasheet", "purpose"), *(("model-card", name) for name in SAID if name != "base_licence")],
)
def test_while_a_field_that_people_owe_is_empty_there_is_no_card(
    world: World, file: str, field: str
) -> None:
    path = world.ws.policies / f"{file}.yaml"
    told = parse(path.read_text(encoding="utf-8"), file)
    path.write_text(yaml.safe_dump(told | {field: None if field == "use" else " "}))
    with pytest.raises(BadInput, match=f"policies/{file}.yaml: {field}: nobody filled this in"):
        card.main(world.ws, card.Config())
    assert not world.ws.path(card.PAGE).exists()


def test_what_was_not_measured_is_said(world: World) -> None:
    _, body = written(world)
    assert "no evidence in reports/human / 无证据" in body
    assert "evaluate.reopened_failures: no data yet" in body


def test_waivers_in_force_and_ended_stand_in_it_and_so_does_a_team_of_one(world: World) -> None:
    first = waived(world)
    assert judge(world) == 0
    rollback.drill(world.ws, 0)
    rollout.start(world.ws, world.made["good"].run_id)
    head, body = written(world)
    assert head["errata"]["waivers"] == [first]
    line = row(body, first)
    for told in ("in force / 有效", "| 0.2 |", "| 5 % |", "a leak", "few", "errata rollback", "li"):
        assert told in line
    assert "**`team: solo`**" in body
    waiver.main(world.ws, waiver.Config(args=["revoke", first]))
    head, body = written(world)
    assert head["errata"]["waivers"] == []
    assert "was revoked" in row(body, first)


def test_releases_say_who_moved_them_and_how_long_the_way_back_took(world: World) -> None:
    waived(world)
    judge(world)
    rollback.drill(world.ws, 0)
    release = rollout.start(world.ws, world.made["good"].run_id)
    facts = rollback.roll_back(world.ws, "a leak was seen")
    _, body = written(world)
    assert f"| start | {release.id} | → 1 % |" in body
    assert "a leak was seen" in body
    took = re.search(r"the last one took ([\d.]+) s", body)
    assert took
    assert 0 < float(took[1]) <= facts["seconds"]


def test_it_is_in_the_lineage_of_its_candidate(world: World) -> None:
    written(world)
    digest = world.made["good"].digest
    found = trace.main(world.ws, trace.Config(args=[digest]))
    assert jsonl.digest_file(world.ws.path(card.PAGE)) in jsonl.canonical(found.data)


def test_without_a_candidate_there_is_no_card(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing was trained yet"):
        card.main(laid_down(tmp_path / "desk").ws, card.Config())


def test_it_is_written_anew_at_every_release_waiver_and_rollback(world: World) -> None:
    def told() -> tuple[Any, Any]:
        own = card.head(world.ws)
        return own["waivers"], own["release"]

    first = waived(world)
    assert told() == ([first], None)
    judge(world)
    rollback.drill(world.ws, 0)
    id = rollout.main(world.ws, rollout.Config(args=["start"])).data["id"]
    assert told() == ([first], id)
    rollback.main(world.ws, rollback.Config(why="a leak was seen"))
    assert told() == ([first], None)
    assert "a leak was seen" in world.ws.path(card.PAGE).read_text(encoding="utf-8")
    waiver.main(world.ws, waiver.Config(args=["revoke", first]))
    assert told() == ([], None)


def test_a_card_begun_by_a_daemon_is_written_before_the_process_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway's control loop is one, and its threads are too unless they say otherwise."""
    seen: list[bool] = []
    monkeypatch.setattr(card, "keep_up", lambda _: seen.append(current_thread().daemon))
    began = Thread(target=card.keep_up_beside, args=(world.ws,), daemon=True)
    began.start()
    began.join()
    for thread in enumerate_threads():
        if thread.name == "model-card":
            thread.join()
    assert seen == [False]


def test_a_move_is_made_whatever_the_card_lacks(world: World) -> None:
    first = waived(world)
    world.ws.path(card.PAGE).unlink()
    world.ws.path(said.FILE).unlink()
    outcome = waiver.main(world.ws, waiver.Config(args=["revoke", first]))
    assert "revoked" in outcome.text
    assert "the model card was not written: card: policies/model-card.yaml: contact" in outcome.text
    assert not world.ws.path(card.PAGE).exists()


def test_a_move_is_made_whatever_breaks_in_the_card(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("anything")

    first = waived(world)
    monkeypatch.setattr(card, "write", broken)
    outcome = waiver.main(world.ws, waiver.Config(args=["revoke", first]))
    assert (outcome.code, "the model card was not written" in outcome.text) == (0, True)


def test_what_people_say_of_a_base_does_not_hide_what_its_own_card_says(world: World) -> None:
    base = world.ws.root / "base"
    base.mkdir()
    (base / "README.md").write_bytes(b"---\nlicense: llama3.1\n---\n\xff\n")
    candidate = world.made["good"].model_copy(update={"base": "base"})
    (world.ws.root / said.FILE).write_text(yaml.safe_dump(SAID | {"base_licence": "mit"}))
    parts = list(said.parts(world.ws, candidate, [], said.load(world.ws)))
    assert [(part.id, part.licence) for part in parts] == [
        ("base base", "mit"), ("base base", "llama3.1")
    ]  # fmt: skip


def test_a_licence_that_does_not_fit_is_exit_3_until_somebody_permits_it(world: World) -> None:
    path = world.ws.root / said.FILE
    path.write_text(yaml.safe_dump(SAID | {"base_licence": "llama3.1"}), encoding="utf-8")
    outcome = card.main(world.ws, card.Config())
    assert outcome.code == 3
    assert "base tiny (llama3.1): what is made of it stays under llama3.1" in outcome.text
    lines = {line.name: line for line in deliverables.all_of(world.ws, subject.of(world.ws))}
    assert lines["licences"].state == "fails"
    permitted = {"permissions": {"base tiny": "letter of 2026-11-01"}}
    path.write_text(yaml.safe_dump(SAID | {"base_licence": "llama3.1"} | permitted))
    assert card.main(world.ws, card.Config()).code == 0
    assert "Permitted: letter of 2026-11-01" in world.ws.path(card.PAGE).read_text("utf-8")


def test_what_came_before_changes_the_lineage_digest_and_what_came_after_does_not(
    world: World,
) -> None:
    candidate = world.made["good"]
    before = card.lineage_digest(world.ws, candidate)
    written(world)
    assert card.lineage_digest(world.ws, candidate) == before
    with Run(world.ws, "dpo", {}) as run:
        run.link("another row", candidate.digest, "trained")
    assert card.lineage_digest(world.ws, candidate) != before
