"""The chapter's own command lines, run as they are printed, in a workspace of `errata init`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from errata.init import lay_down
from errata.workspace import Workspace

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
CHAPTER = (
    "accelerate launch sft.py --model llama-7b --dataset data/sft.jsonl "
    "--lora_r 64 --lora_alpha 16 --lora_dropout 0.05 --learning_rate 2e-4 --bf16"
)


def shell(ws: Workspace, *words: str, expect: int = 0) -> str:
    """Run a program in the workspace; its output, after checking the exit code."""
    env = os.environ | {"HF_HUB_OFFLINE": "1", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=ws.root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == expect, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def shorten(ws: Workspace, *names: str) -> None:
    """A few steps are enough to see that a command line works."""
    for name in names:
        path = ws.configs / name
        text = path.read_text(encoding="utf-8")
        lines = [
            "max_steps: 3" if line.startswith("max_steps:") else line for line in text.split("\n")
        ]
        kept, skip = [], False
        for line in lines:  # three steps reach no threshold
            skip = line.startswith("accept:") or (skip and line.startswith("  "))
            if not skip:
                kept.append(line)
        path.write_text("\n".join(kept), encoding="utf-8")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with the sample failures taken in and built."""
    ws = lay_down(tmp_path_factory.mktemp("chapter") / "desk")
    shorten(ws, "sft.yaml", "rm.yaml", "align/dpo.yaml", "align/ppo.yaml")
    shell(ws, "make", "intake", "build")
    return ws


def test_the_literal_command_line_of_the_chapter_runs_and_names_the_alias(desk: Workspace) -> None:
    said = shell(desk, *CHAPTER.split())
    assert "alias of the embedded model" in said
    records = [json.loads(p.read_text()) for p in desk.runs.glob("*-sft-*/run.json")]
    config = max(records, key=lambda record: record["id"])["config"]
    assert config["lora_r"] == 64
    assert config["lora_alpha"] == 16
    assert config["lora_dropout"] == 0.05
    assert config["lr"] == 2e-4
    assert config["bf16"] is True


def test_doctor_warns_of_the_alias(desk: Workspace) -> None:
    assert "llama-7b" in shell(desk, "errata", "doctor")


def test_the_module_form_runs_too(desk: Workspace) -> None:
    words = CHAPTER.replace("sft.py --model llama-7b", "-m errata sft --model tiny").split()
    said = shell(desk, *words, "--json")
    last = [line for line in said.splitlines() if line.startswith("{")][-1]
    data = json.loads(last)
    assert data["steps"] == 3
    assert data["losses"]
    assert (desk.root / data["adapter"] / "adapter_model.safetensors").is_file()


def test_make_targets_of_the_chapter_do_what_they_say(desk: Workspace) -> None:
    shell(desk, "make", "sft-train")
    shell(desk, "make", "dpo-train")
    shell(desk, "make", "infer-bench")
    log = (desk.reports / "posttrain" / "experiment-log.md").read_text(encoding="utf-8")
    assert "-dpo-" in log
    assert "-sft-" in log


def test_safety_audit_concludes_over_three_classes(desk: Workspace) -> None:
    """The raw model fails it: make turns exit 3 into 2, and the report is there."""
    said = shell(desk, "make", "safety-audit", expect=2)
    assert "attack_hit_rate" in said
    page = (desk.reports / "safety.md").read_text(encoding="utf-8")
    for name in ("jailbreak", "injection", "privacy"):
        assert name in page


def test_git_checkout_is_the_rollback_and_the_next_command_notices(desk: Workspace) -> None:
    shell(desk, "git", "checkout", "--", "data/", "reports/")
    said = shell(desk, "errata", "status")
    assert "data/" in said or "failures" in said


def test_same_seed_same_metrics(desk: Workspace) -> None:
    """Time and memory apart, a run repeated is a run repeated."""
    seen = []
    for _ in range(2):
        said = shell(desk, "errata", "sft", "max_steps=4", "resume=never", "--json")
        data = json.loads([line for line in said.splitlines() if line.startswith("{")][-1])
        seen.append((data["losses"], data["candidate_digest"]))
    assert seen[0] == seen[1]
