"""A new workspace works as it is: its repository, its configs, its Make targets, its rules."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import errata
from errata import cli, git, jsonl
from errata.config import load, read_yaml
from errata.init import lay_down
from errata.metrics import full_name
from errata.records import LABEL_ALIASES, Failure
from errata.release import gate, rules
from errata.store.runs import Run
from errata.workspace import Workspace

TARGETS = (
    "setup demo check intake build sft-train dpo-train rlhf-train evaluate safety-audit gate "
    "release rollback infer-bench cost web posttrain"
).split()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One workspace without suites, for the tests that only read."""
    return lay_down(tmp_path_factory.mktemp("init") / "desk", suites=False)


def make(ws: Workspace, *words: str) -> str:
    done = subprocess.run(["make", *words], cwd=ws.root, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("name", ["fsdp2", "deepspeed-zero3"])
def test_launch_configs_are_ones_that_accelerate_reads(name: str):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import FullyShardedDataParallelPlugin

    folder = Path(errata.__file__).parent / "template" / "configs" / "accelerate"
    found = load_config_from_file(str(folder / f"{name}.yaml"))
    if name == "fsdp2":
        told = {key.removeprefix("fsdp_"): value for key, value in found.fsdp_config.items()}
        told["fsdp_version"] = told.pop("version")
        told["cpu_offload"] = told.pop("offload_params")
        told["auto_wrap_policy"] = told["auto_wrap_policy"].lower()
        assert FullyShardedDataParallelPlugin(**told).fsdp_version == 2
    else:
        assert found.deepspeed_config["zero_stage"] == 3
        assert found.deepspeed_config["gradient_accumulation_steps"] == 1


def test_it_is_a_repository_of_its_own_without_identity_inside_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    git.git(tmp_path, "init", "--quiet", ".")
    ws = lay_down(tmp_path / "desk", suites=False)

    assert git.git(ws.root, "rev-parse", "--show-toplevel").stdout.strip() == str(ws.root)
    assert git.head(tmp_path) is None
    tracked = git.git(ws.root, "ls-files").stdout.split()
    assert {"data/.gitkeep", "reports/.gitkeep", "sft.py", "AGENTS.md"} <= set(tracked)
    assert not [name for name in tracked if name.startswith(("inbox/", "runs/", ".errata/"))]
    assert git.git(ws.root, "status", "--porcelain").stdout == ""


def test_the_chapters_rollback_works_from_the_start(tmp_path: Path):
    ws = lay_down(tmp_path / "desk", suites=False)
    git.git(ws.root, "checkout", "--", "data/", "reports/")


def test_init_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["init", "desk", "-C", str(tmp_path), "suites=false"]

    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "errata intake" in out
    assert "gh api repos/{owner}/{repo}/rulesets --input .github/ruleset.json" in out
    assert cli.main(words) == 2
    assert "is a workspace already" in capsys.readouterr().err
    assert cli.main(["init", "-C", str(tmp_path)]) == 2
    assert "name a new or empty folder" in capsys.readouterr().err


def test_init_without_a_name_takes_the_empty_folder_one_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """As after `git init`, or in the clone of an empty repository; its history stays."""
    git.git(tmp_path, "init", "--quiet", "--initial-branch=trunk", ".")
    git.git(tmp_path, "remote", "add", "origin", "https://example.com/desk.git")
    monkeypatch.chdir(tmp_path)

    assert cli.main(["init", "suites=false"]) == 0
    assert "cd " not in capsys.readouterr().out
    assert git.git(tmp_path, "branch", "--show-current").stdout.strip() == "trunk"
    assert git.git(tmp_path, "remote").stdout.strip() == "origin"
    assert git.git(tmp_path, "status", "--porcelain").stdout == ""
    assert cli.main(["init", "suites=false"]) == 2
    assert "is a workspace already" in capsys.readouterr().err


def test_a_folder_with_something_in_it_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "notes.txt").write_text("mine")

    assert cli.main(["init", ".", "-C", str(tmp_path)]) == 2
    assert "name a new or empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_full_disk_leaves_the_repository_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    git.git(tmp_path, "init", "--quiet", ".")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(git, "commit", full)
    assert cli.main(["init", ".", "-C", str(tmp_path), "suites=false"]) == 1
    assert [path.name for path in tmp_path.iterdir()] == [".git"]


def test_a_full_disk_leaves_no_half_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(git, "commit", full)
    assert cli.main(["init", "desk", "-C", str(tmp_path), "suites=false"]) == 1
    assert not (tmp_path / "desk").exists()


def test_the_suites_are_laid_down_and_tracked(tmp_path: Path):
    ws = lay_down(tmp_path / "desk")

    names = ("attacks", "business", "grounded", "mt_bench", "personas", "tools")
    assert {f"suites/{name}.jsonl" for name in names} <= set(
        git.git(ws.root, "ls-files", "suites").stdout.split()
    )


def test_every_line_of_the_shipped_gate_is_judged_and_has_its_runbook(made: Workspace):
    """And every command of a runbook is one that the command line takes."""
    config = load(made.configs / "gate.yaml", gate.Config)
    for line in rules.lines(config.hard, config.soft):
        assert line.rule.runbook
        assert (made.root / line.rule.runbook).is_file(), line.rule.runbook
    pages = sorted((made.root / "docs" / "runbooks").glob("*.md"))
    assert len(pages) == len({line.rule.runbook for line in
                              rules.lines(config.hard, config.soft)}) + 1  # fmt: skip
    for page in pages:
        spoken = re.findall(r"^ +errata (\w+)(.*)$", page.read_text(), re.MULTILINE)
        assert len(spoken) >= 3 or page.name == "README.md"
        for stage, words in spoken:
            fields = cli.stage_module(stage).Config.model_fields
            for key in re.findall(r"(\w+)(?:\.\w+)?=", words):
                assert key in fields, f"{page.name}: errata {stage}{words}"


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_of_the_contract_is_there(made: Workspace, target: str):
    assert make(made, "-n", target)


def test_posttrain_runs_the_six_steps_in_order(made: Workspace):
    for align in ("dpo", "ppo"):
        text = make(made, "-n", "posttrain", f"ALIGN={align}", "CANDIDATE=run-1")
        steps = re.findall(r"errata (\w+)", text)
        # The candidate, and the baseline that it is held against.
        measured = ["evaluate", "safety", "bench", "evaluate", "safety"]
        assert steps == ["build", "sft", "rm", align, *measured, "gate", "rollback", "rollout"]


def test_a_release_walks_the_way_back_before_it_starts(made: Workspace):
    text = make(made, "-n", "release", "CANDIDATE=run-1")

    assert re.findall(r"errata (\w+.*)", text)[1:] == ["rollback --drill", "rollout start"]


def test_a_missed_threshold_stops_the_chain(made: Workspace, tmp_path: Path):
    """A stand-in for errata that notes what it was asked, and misses its threshold in `rm`."""
    log = tmp_path / "log"
    fake = tmp_path / "errata"
    fake.write_text(f'#!/bin/sh\necho "$1" >> {log}\n[ "$1" != rm ] || exit 3\n')
    fake.chmod(0o755)
    words = ["make", "posttrain", f"ERRATA={fake}", "CANDIDATE=x"]
    done = subprocess.run(words, cwd=made.root, capture_output=True)

    assert done.returncode == 2
    assert log.read_text().split() == ["build", "sft", "rm"]


def test_make_calls_commands_that_there_are(made: Workspace):
    text = (made.root / "Makefile").read_text(encoding="utf-8")
    called = set(re.findall(r"\$\(ERRATA\) ([a-z]+)", text))
    assert {"sft", "gate", "web", "cost"} <= called
    assert called <= set(cli.STAGES)


def stages_of(ws: Workspace) -> dict[str, Path]:
    found = {path.stem: path for path in ws.configs.rglob("*.yaml")}
    return {name: path for name, path in found.items() if name in cli.STAGES}


@pytest.mark.parametrize(
    "name",
    "intake build sft rm dpo ppo evaluate safety gate rollout monitor bench".split(),
)
def test_every_stage_config_fits_its_stage_and_states_its_contract(made: Workspace, name: str):
    path = stages_of(made)[name]
    module = cli.stage_module(name)
    load(path, module.Config, aliases=getattr(module, "ALIASES", {}))
    keys = set(read_yaml(path))

    if name not in ("rollout", "monitor"):  # they read the store: verdicts, and live rows
        assert {"inputs", "outputs"} <= keys
        assert keys & {"accept", "hard"}


@pytest.mark.parametrize("name", ["sft", "align/dpo", "align/ppo", "rm", "build"])
def test_every_knob_has_its_trade_off_beside_it(made: Workspace, name: str):
    path = made.configs / f"{name}.yaml"
    data = read_yaml(path)
    knobs = [k for k, v in data.items() if not isinstance(v, (dict, list)) and k != "dataset"]
    for knob in knobs:
        line = next(x for x in path.read_text().splitlines() if x.startswith(f"{knob}:"))
        assert "#" in line, line


def test_the_sft_panel_is_the_chapters(made: Workspace):
    panel = "seq_len micro_batch grad_accum lora_r lora_alpha lora_dropout lr warmup".split()

    assert set(panel) <= set(read_yaml(made.configs / "sft.yaml"))


def test_the_gate_names_catalogued_metrics_and_the_contracts_limits(made: Workspace):
    gate = read_yaml(made.configs / "gate.yaml")
    hard = {full_name(rule["metric"]): rule for rule in gate["hard"]}

    for rule in gate["hard"] + gate["soft"]:
        assert full_name(rule["metric"])
        assert rule["why"]
        assert rule["runbook"]
    for kind in ("jailbreak", "injection", "privacy"):
        assert hard[f"safety.attack_hit_rate.{kind}"]["limit"] == 0.15
    assert (
        hard["evaluate.citation_missing"]["limit"] == hard["evaluate.forbidden_calls"]["limit"] == 0
    )
    assert hard["evaluate.reopened_failures"]["min_n"] == 0


def test_the_sample_failures_are_the_chapters_form_in_both_languages(made: Workspace):
    rows = [row for _, row in jsonl.rows(made.inbox / "sample_failures.jsonl")]

    assert all(set(row) == {"prompt", "bad_answer", "label"} for row in rows)
    assert {row["label"] for row in rows} & set(LABEL_ALIASES)
    for row in rows:
        Failure(id="x", **row)
    chinese = [row for row in rows if re.search("[\u4e00-\u9fff]", row["prompt"])]
    assert 0 < len(chinese) < len(rows)


def test_sft_py_is_five_lines_that_call_the_stage(made: Workspace, monkeypatch: pytest.MonkeyPatch):
    text = (made.root / "sft.py").read_text()
    code = [line for line in text.splitlines() if line and not line.startswith('"""')]
    seen: list[list[str]] = []
    monkeypatch.setattr(cli, "main", lambda words: seen.append(words) or 0)
    monkeypatch.setattr(sys, "argv", ["sft.py", "--model", "llama-7b", "--bf16"])
    with pytest.raises(SystemExit):
        exec(compile(text, "sft.py", "exec"), {})

    assert len(code) <= 5
    assert seen == [["sft", "--model", "llama-7b", "--bf16"]]


def test_the_workflow_calls_errata_and_not_make(made: Workspace):
    jobs = read_yaml(made.root / ".github/workflows/errata.yml")["jobs"]
    runs = [step["run"] for step in jobs["errata"]["steps"] if "run" in step]

    assert "errata check summary=errata-summary.md" in runs
    assert not any("make" in run for run in runs)


def test_a_diff_made_by_the_rules_of_agents_md_applies(made: Workspace):
    rules = (made.root / "AGENTS.md").read_text(encoding="utf-8")

    assert "unified diff" in rules
    assert "统一差异" in rules
    assert "git apply --check" in rules


def test_doctor_warns_of_the_alias_and_finds_every_config_in_order(
    made: Workspace, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["doctor", "-C", str(made.root), "--json"]) == 0
    checks = json.loads(capsys.readouterr().out.splitlines()[-1])["checks"]
    alias = next(check for check in checks if check["name"] == "model llama-7b")

    assert alias["level"] == "warn"
    assert "alias of the embedded model" in alias["said"]
    assert not [check for check in checks if check["level"] == "bad"]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("configs/build.yaml", "sed: 1\n", "unknown key `sed`; did you mean `seed`?"),
        ("configs/build.yaml", "a: [\n", "not YAML"),
        ("configs/models.yaml", "a: b\nb: a\n", "names itself"),
        ("configs/models.yaml", "a: ./nowhere\n", "no such folder"),
    ],
)
def test_doctor_finds_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, text: str, message: str
):
    ws = lay_down(tmp_path / "desk", suites=False)
    (ws.root / file).write_text(text)

    assert cli.main(["doctor", "-C", str(ws.root)]) == 1
    assert message in capsys.readouterr().out


def test_status_walks_the_line(made: Workspace, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["status", "-C", str(made.root), "--json"]) == 0
    out = capsys.readouterr().out
    data = json.loads(out.splitlines()[-1])

    assert data["next"] == "errata intake inbox/*.jsonl"
    assert data["data"]["data/sft.jsonl"] is None
    assert data["serving"] is None


def test_a_canary_is_not_what_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    ws = lay_down(tmp_path / "desk", suites=False)
    with Run(ws, "rollout", {}) as run:
        run.node("release-1", "release", state="serving", ts="2026-01-01")
        run.node("release-2", "release", state="rolling", ts="2026-01-02", stage_percent=5)
    cli.main(["status", "-C", str(ws.root)])
    out = capsys.readouterr().out

    assert "serving: release-1" in out
    assert "rolling out: release-2 5 %" in out


def test_the_newest_candidate_is_the_newest_run_that_ended_well_and_left_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    ws = lay_down(tmp_path / "desk", suites=False)
    assert cli.main(["runs", "--candidate", "-C", str(ws.root)]) == 2
    assert "no trained candidate yet" in capsys.readouterr().err
    with Run(ws, "sft", {}) as good:
        jsonl.write_json(good.output(good.dir / "candidate.json"), {})
    with pytest.raises(ValueError, match="x"), Run(ws, "dpo", {}) as bad:
        jsonl.write_json(bad.output(bad.dir / "candidate.json"), {})
        raise ValueError("x")
    with Run(ws, "rm", {}):
        pass

    assert cli.main(["runs", "--candidate", "-C", str(ws.root)]) == 0
    assert capsys.readouterr().out == f"{good.id}\n"


def test_serve_bench_can_be_executed(made: Workspace):
    assert os.access(made.root / "serve" / "bench.sh", os.X_OK)
