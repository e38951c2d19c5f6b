"""What a release owes: all of it there is 0, and each thing lacking, changed or outdated is 1."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.release.conftest import World
from tests.release.owed import data, laid_down, lines, measure, owed, train

from errata import cli, git, jsonl
from errata.release import card, check, deliverables, gate, rollback, rollout, waiver
from errata.workspace import Workspace


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, str]:
    return owed(tmp_path_factory.mktemp("owed") / "desk")


@pytest.fixture
def world(made: tuple[World, str], tmp_path: Path) -> World:
    """A copy that a test may spoil."""
    shutil.copytree(made[0].ws.root, tmp_path / "desk")
    copy = World(Workspace(tmp_path / "desk"), stamp=10)
    copy.made = dict(made[0].made)
    return copy


def look(world: World) -> tuple[int, dict[str, dict[str, str]]]:
    outcome = check.main(world.ws, check.Config())
    return outcome.code, lines(outcome)


def test_all_there_and_up_to_date(world: World) -> None:
    code, found = look(world)
    assert {name: line["said"] for name, line in found.items() if line["state"] != "ok"} == {}
    assert code == 0
    prefs = jsonl.digest_file(world.ws.data / "prefs.jsonl")
    assert found["preference data"]["digest"] == prefs
    assert found["weights"]["digest"] == world.made["good"].adapter_digest


def append(path: str) -> Callable[[World], None]:
    def change(world: World) -> None:
        full = world.ws.path(path)
        full.write_text(full.read_text() + "\n", encoding="utf-8")

    return change


def remove(pattern: str) -> Callable[[World], None]:
    def change(world: World) -> None:
        for path in world.ws.root.glob(pattern):
            path.unlink()

    return change


def no_chinese_privacy(world: World) -> None:
    path = world.ws.suites / "attacks.jsonl"
    rows = [row for _, row in jsonl.rows(path) if row["id"] != "privacy-zh"]
    jsonl.write(path, rows)


def filter_changed(world: World) -> None:
    path = world.ws.policies / "filter.yaml"
    path.write_text(path.read_text().replace("hold: 160", "hold: 170"), encoding="utf-8")


def no_rollback(world: World) -> None:
    path = world.ws.policies / "rollback.md"
    path.write_text("Run `errata rolback`, then `errata rollback`.", encoding="utf-8")


def other_candidate(world: World) -> None:
    train(world, "newer")


@pytest.mark.parametrize(
    ("change", "name", "state", "said"),
    [
        (no_chinese_privacy, "attack classes", "fails", "privacy zh"),
        (append("configs/gate.yaml"), "gate rules", "ok", ""),
        (remove("configs/gate.yaml"), "gate rules", "fails", "without one nothing would ever"),
        (remove("sft.py"), "training script", "absent", "git checkout -- sft.py"),
        (remove("configs/align/dpo.yaml"), "config align/dpo", "absent", "git checkout"),
        (remove("runs/*/adapter/adapter_model.safetensors"), "weights", "fails", "differs"),
        (remove("reports/posttrain/*.svg"), "curves (picture)", "absent", "errata dpo"),
        (append("data/prefs.jsonl"), "preference data", "stale", "changed since"),
        (lambda w: data(w.ws, more=True), "preference data", "stale", "errata build"),
        (remove("reports/evaluate/*.json"), "evaluation report", "absent", "errata evaluate"),
        (other_candidate, "evaluation report", "stale", "about other candidates only"),
        (other_candidate, "model card", "stale", "another candidate"),
        (append("reports/filter-policy.md"), "filter policy (document)", "stale", "changed since"),
        (filter_changed, "filter policy (document)", "stale", "policies/filter.yaml was changed"),
        (no_rollback, "rollback plan", "fails", "no command `errata rolback`"),
        (remove("reports/model-card.md"), "model card", "absent", "errata card"),
        (append("reports/model-card.md"), "model card", "stale", "changed since"),
    ],
)
def test_each_thing_that_is_lacking_is_told_with_the_next_step(
    world: World, change: Callable[[World], None], name: str, state: str, said: str
) -> None:
    change(world)
    code, found = look(world)
    assert (found[name]["state"], code) == (state, 0 if state == "ok" else 1)
    assert said in found[name]["said"]


def test_evidence_that_was_touched_is_stale(world: World) -> None:
    (path,) = (world.ws.reports / "safety").glob("*-good.json")
    path.write_text(path.read_text().replace('"n": 60', '"n": 90', 1))
    assert "changed after the run" in look(world)[1]["red-team results"]["said"]


def test_a_card_older_than_a_verdict_is_stale_until_it_is_written_again(world: World) -> None:
    asked = gate.Config(candidate=world.made["good"].run_id or "", baseline="tiny", commit=False)
    gate.main(world.ws, cli_config(world, asked))
    assert "older than a verdict" in look(world)[1]["model card"]["said"]
    card.main(world.ws, card.Config())
    assert look(world)[0] == 0


def cli_config(world: World, asked: gate.Config) -> gate.Config:
    from errata.release.deliverables import gate_config

    return gate_config(world.ws).model_copy(update=asked.model_dump(exclude_defaults=True))


def test_a_release_whose_newest_verdict_is_no_pass_fails(world: World) -> None:
    id = world.made["good"].run_id or ""
    rollback.drill(world.ws, 0)
    release = rollout.start(world.ws, id)
    card.main(world.ws, card.Config())
    assert look(world)[0] == 0
    measure(world, hits={"privacy": set(range(30))})
    gate.main(world.ws, cli_config(world, gate.Config(candidate=id, baseline="tiny", commit=False)))
    code, found = look(world)
    line = found[f"release {release.id}"]
    assert (code, line["state"]) == (1, "fails")
    assert "is blocked" in line["said"]
    assert "errata rollback" in line["said"]


def test_a_waiver_that_ended_takes_the_release_with_it(world: World) -> None:
    """20 % of privacy hits, waived, released; revoked: the release has no ground any more."""
    ws, id = world.ws, world.made["good"].run_id or ""
    measure(world, hits={"privacy": set(range(12))})
    judged = cli_config(world, gate.Config(candidate=id, baseline="tiny", commit=False))
    assert gate.main(ws, judged).code == 3
    ask = {"risk": "r", "impact": "i", "rollback_plan": "p", "owner": "li", "candidate": id}
    metric = "safety.attack_hit_rate.privacy"
    made = waiver.main(ws, waiver.Config(args=["create"], metric=metric, **ask)).data["id"]
    waiver.main(ws, waiver.Config(args=["sign", made]))
    assert gate.main(ws, judged).code == 0
    rollback.drill(ws, 0)
    release = rollout.start(ws, id)
    card.main(ws, card.Config())
    assert look(world)[0] == 0
    waiver.main(ws, waiver.Config(args=["revoke", made]))
    code, found = look(world)
    assert code == 1
    assert "was revoked" in found[f"release {release.id}"]["said"]
    assert found["model card"]["state"] == "ok", "the revocation wrote it anew"


def test_a_new_workspace_fails_and_says_what_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ws = laid_down(tmp_path / "desk").ws
    assert cli.main(["check", "-C", str(ws.root)]) == 1
    out = capsys.readouterr().out
    for step in ("errata sft", "errata build", "errata evaluate", "errata safety", "errata card"):
        assert step in out
    assert "Traceback" not in out


def test_the_summary_has_what_is_lacking_first(world: World) -> None:
    remove("reports/model-card.md")(world)
    check.main(world.ws, check.Config(summary="s.md"))
    rows = [row for row in world.ws.path("s.md").read_text().splitlines() if row.startswith("| ")]
    assert rows[1].startswith("| model card / 模型卡 | absent / 缺失 |")


def test_every_name_has_its_chinese(world: World) -> None:
    names = [check._chinese(deliverables.Line(**line)) for line in look(world)[1].values()]
    assert [name for name in names if name.isascii()] == []


def test_the_numbers_of_a_clone_are_the_same_without_weights(world: World, tmp_path: Path) -> None:
    git.git(tmp_path, "clone", "-q", str(world.ws.root), "clone")
    code, found = look(World(Workspace(tmp_path / "clone")))
    assert (code, found["weights"]["state"]) == (0, "elsewhere")
    here = look(world)[1]
    assert {n: line["digest"] for n, line in found.items()} == {
        n: line["digest"] for n, line in here.items()
    }
