"""The workflow that init lays down, run line by line where CI runs it: in a fresh clone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.release.conftest import World
from tests.release.owed import owed

from errata import __version__, git, init
from errata.config import read_yaml
from errata.errors import NoDecision
from errata.init import lay_down
from errata.release import again, gate
from errata.release.deliverables import gate_config
from errata.store import audit, ledger
from errata.store.runs import Run
from errata.workspace import Workspace

TEMPLATE = Path(init.__file__).parent / "template"


def workflow() -> dict[str, Any]:
    return read_yaml(TEMPLATE / "dot-github" / "workflows" / "errata.yml")


def steps() -> dict[str, dict[str, Any]]:
    found = workflow()["jobs"]["errata"]["steps"]
    return {step.get("name") or step.get("uses") or step["run"]: step for step in found}


def clone(world: World, to: Path) -> Workspace:
    git.git(to, "clone", "-q", str(world.ws.root), "clone")
    return Workspace(to / "clone")


def errata_lines(ws: Workspace) -> dict[str, int]:
    """Each `errata …` line of the workflow, as its runner would type it; name → exit code."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    told = {"SINCE": "origin/main", "GITHUB_STEP_SUMMARY": str(ws.root / "step.md")}
    env = {**os.environ, "PATH": path, **told}
    found = {}
    for name, step in steps().items():
        if "errata" in step.get("run", "") and "pip" not in step["run"] and name != "safety":
            done = subprocess.run(["bash", "-eo", "pipefail", "-c", step["run"]], cwd=ws.root,
                                  env=env, capture_output=True, text=True)  # fmt: skip
            found[name] = done.returncode
            assert done.returncode in (0, 1, 3, 4), done.stderr
    return found


def test_it_asks_for_little_pins_its_actions_and_its_errata() -> None:
    told = workflow()
    assert told["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert set(told["on"]) == {"pull_request", "push"}
    text = (TEMPLATE / "dot-github" / "workflows" / "errata.yml").read_text(encoding="utf-8")
    assert "secrets." not in text
    assert all("@v" in step["uses"] for step in steps().values() if "uses" in step)
    major_minor = ".".join(__version__.split(".")[:2])
    assert f'pip install "errata=={major_minor}.*"' in steps()


def test_only_the_comment_may_fail_and_no_step_swallows_an_exit_code() -> None:
    lenient = [name for name, step in steps().items() if step.get("continue-on-error")]
    assert lenient == ["comment"]
    for name in ("audit", "deliverables", "gate", "safety"):
        run = steps()[name]["run"]
        assert run.startswith("errata ")
        assert not set("|;&") & set(run), f"{name}: its exit code is errata's own"
    assert all("${{" not in step.get("run", "") for step in steps().values()), "no injection"


def test_the_required_check_is_the_jobs_name() -> None:
    (job,) = workflow()["jobs"].values()
    text = (TEMPLATE / "dot-github" / "ruleset.json").read_text(encoding="utf-8")
    assert f'"context": "{job["name"]}"' in text
    assert ".github/ruleset.json" in init.REQUIRE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "code"),
    [({}, 0), ({"hits": {"privacy": set(range(12))}}, 3), ({"skip": ("injection",)}, 4)],
    ids=["pass", "blocked", "lacking"],
)
def test_its_lines_in_a_clone_end_as_the_gate_did(
    tmp_path: Path, settings: dict[str, Any], code: int
) -> None:
    world, _ = owed(tmp_path / "desk", code=code, **settings)
    ws = clone(world, tmp_path)
    assert errata_lines(ws) == {"audit": 0, "deliverables": 0, "gate": code, "summary": 0}
    summary = (ws.root / "step.md").read_text(encoding="utf-8")
    assert "# Check · 交付物检查" in summary
    assert "# Gate · 发布门禁" in summary


def gate_in(ws: Workspace, **settings: Any) -> Any:
    asked = {"again": True, "commit": False, **settings}
    return gate.main(ws, gate_config(ws).model_copy(update=asked))


def test_evidence_touched_in_the_pull_request_is_no_decision(tmp_path: Path) -> None:
    world, _ = owed(tmp_path / "desk", hits={"privacy": set(range(12))}, code=3)
    ws = clone(world, tmp_path)
    (path,) = (ws.reports / "safety").glob("*-good.cases.jsonl")
    path.write_text(path.read_text().replace('"hit": true', '"hit": false'))
    (path,) = (ws.reports / "safety").glob("*-good.json")
    path.write_text(path.read_text().replace("0.2", "0.0"))
    outcome = gate_in(ws)
    assert outcome.code != 0
    assert "changed after the run that wrote it" in outcome.text


def test_a_ledger_rewritten_in_the_pull_request_is_found_from_the_branch_it_goes_into(
    tmp_path: Path,
) -> None:
    """A ledger with a key of its own, committed: it holds by itself, and against HEAD."""
    world, _ = owed(tmp_path / "desk")
    ws = clone(world, tmp_path)
    git.git(ws.root, "rm", "-qr", "audit", "keys")
    for path in (ws.root / "audit", ws.root / "keys"):
        path.mkdir(exist_ok=True)
    ledger.append(ws, "verdict", id="mine", decision="pass")
    ledger.seal(ws)
    git.commit(ws, ["audit", "keys"], "mine")
    assert audit.verify(ws) == []
    assert any("origin/main" in problem for problem in audit.verify(ws, "origin/main"))


def test_what_training_held_against_the_weights_is_not_lost_in_a_clone(tmp_path: Path) -> None:
    """The clone has no record of the run that marked them unfit; the verdict tells it."""
    world, id = owed(tmp_path / "desk")
    with Run(world.ws, "sft", {}) as run:
        run.note(unfit=["loss rose"], weights=world.made["good"].adapter_digest)
    asked = {"candidate": id, "baseline": "tiny", "commit": False}
    assert gate.main(world.ws, gate_config(world.ws).model_copy(update=asked)).code == 3
    git.commit(world.ws, ["."], "all")
    outcome = gate_in(clone(world, tmp_path))
    assert outcome.code == 3
    assert "marked these weights unfit" in outcome.text


def test_without_the_verdict_of_the_training_machine_there_is_none_in_a_clone(
    tmp_path: Path,
) -> None:
    world, _ = owed(tmp_path / "desk")
    ws = clone(world, tmp_path)
    for path in (ws.reports / "gate").glob("*.json"):
        path.unlink()
    outcome = gate_in(ws)
    assert outcome.code == 4
    assert "no verdict given there is here" in outcome.text


def test_rows_erased_after_the_verdict_count_in_a_clone(tmp_path: Path) -> None:
    world, id = owed(tmp_path / "desk")
    digest = world.made["good"].digest
    ledger.append(world.ws, "erasure", rows=["f-1"], carried={digest: [[id, 1]]})
    ledger.seal(world.ws)
    git.commit(world.ws, ["."], "all")
    ws = clone(world, tmp_path)
    outcome = gate_in(ws)
    assert outcome.code == 3
    assert "learnt from 1 rows erased since" in outcome.text


def test_a_workspace_that_judged_nothing_has_no_decision(tmp_path: Path) -> None:
    ws = lay_down(tmp_path / "desk", suites=False)
    with pytest.raises(NoDecision, match="no candidate was judged yet"):
        gate_in(ws)


def test_a_manifest_that_is_not_committed_is_no_decision(tmp_path: Path) -> None:
    world, _ = owed(tmp_path / "desk")
    ws = clone(world, tmp_path)
    ws.path(again.manifest(world.made["good"].digest)).unlink()
    with pytest.raises(NoDecision, match="commit reports/"):
        gate_in(ws)
