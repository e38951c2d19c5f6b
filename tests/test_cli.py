"""The grammar, the exit codes, and what a user sees when something goes wrong."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from errata import cli
from errata.config import Section
from errata.errors import BadInput, Blocked, ErrataError, NoDecision
from errata.outcome import Outcome
from errata.workspace import Workspace


class Config(Section):
    lr: float = Field(default=1.0, description="how fast")
    model: str = "tiny"
    bf16: bool = False
    drill: bool = False
    args: list[str] = Field(default_factory=list)


class NoFiles(Section):
    lr: float = 1.0


Main = Callable[[Workspace, Any], Outcome]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A stage called `fake` that hands back its config."""
    module = types.ModuleType("fake_stage", "A stage for tests.")
    module.Config = Config  # type: ignore[attr-defined]
    module.ALIASES = {"learning_rate": "lr"}  # type: ignore[attr-defined]
    module.main = lambda _ws, config: Outcome(0, "done", config.model_dump())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_stage", module)
    monkeypatch.setitem(cli.STAGES, "fake", ("fake_stage", "a fake", "假的"))
    return module


def call(ws: Workspace, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(["fake", "-C", str(ws.root), *words])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["lr=2"], {"lr": 2.0}),
        (["--lr", "2"], {"lr": 2.0}),
        (["--lr=2e-4"], {"lr": 2e-4}),
        (["--learning_rate", "2e-4"], {"lr": 2e-4}),
        (["--learning-rate=3"], {"lr": 3.0}),
        (["--bf16"], {"bf16": True}),
        (["--bf16", "false"], {"bf16": False}),
        (["--bf16", "a.jsonl"], {"bf16": True, "args": ["a.jsonl"]}),
        (["--drill", "--model", "llama-7b"], {"drill": True, "model": "llama-7b"}),
        (["--model", "7"], {"model": "7"}),
        (["start", "x/y.jsonl"], {"args": ["start", "x/y.jsonl"]}),
        (["--", "lr=3", "--x"], {"args": ["lr=3", "--x"]}),
        (["./a=b.jsonl"], {"args": ["./a=b.jsonl"]}),
        (["model=a=b"], {"model": "a=b"}),
    ],
)
def test_the_grammar(
    ws: Workspace, capsys: pytest.CaptureFixture[str], stage: Any, words: list[str], expected: Any
):
    code, out, _ = call(ws, capsys, *words, "--json")

    assert code == 0
    assert out.splitlines()[0] == "done"
    found = json.loads(out.splitlines()[-1])
    assert found == {**Config().model_dump(), **expected}


def test_the_config_file_of_the_stage_is_read_then_overridden(
    ws: Workspace, capsys: pytest.CaptureFixture[str], stage: Any, tmp_path: Path
):
    (ws.configs / "fake.yaml").write_text("lr: 5\nmodel: seven\n")
    assert json.loads(call(ws, capsys, "lr=6", "--json")[1].splitlines()[-1])["lr"] == 6
    assert json.loads(call(ws, capsys, "--json")[1].splitlines()[-1])["model"] == "seven"
    (tmp_path / "other.yaml").write_text("lr: 9\n")
    out = call(ws, capsys, "--config", str(tmp_path / "other.yaml"), "--json")[1]
    assert json.loads(out.splitlines()[-1])["lr"] == 9
    stage.DEFAULT_CONFIG = "align/fake.yaml"
    assert json.loads(call(ws, capsys, "--json")[1].splitlines()[-1])["lr"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["learning_rte=1"],
            "command line: unknown key `learning_rte`; did you mean `learning_rate`?",
        ),
        (["--config", "none.yaml"], "none.yaml: no such config"),
        (["--config"], "--config needs a value"),
        (["lr=fast"], "command line: lr: "),
        (["--model"], "--model needs a value"),
        (["--model", "--bf16"], "--model needs a value"),
        (["--modle"], "command line: unknown key `modle`; did you mean `model`?"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(
    ws: Workspace, capsys: pytest.CaptureFixture[str], stage: Any, words: list[str], message: str
):
    code, _, err = call(ws, capsys, *words)

    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"errata: {message}")


def test_an_unknown_key_in_the_file_names_the_file(
    ws: Workspace, capsys: pytest.CaptureFixture[str], stage: Any
):
    (ws.configs / "fake.yaml").write_text("learning_rte: 5\n")

    assert call(ws, capsys)[2] == (
        "errata: configs/fake.yaml: unknown key `learning_rte`; did you mean `learning_rate`?\n"
    )


def test_positionals_are_refused_where_there_are_none(
    ws: Workspace, capsys: pytest.CaptureFixture[str], stage: Any
):
    stage.Config = NoFiles

    assert call(ws, capsys, "file")[0] == 2


def fail(error: BaseException) -> Main:
    def main(_ws: Workspace, _config: Any) -> Outcome:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ErrataError("x"), 1),
        (BadInput("x"), 2),
        (Blocked("x"), 3),
        (NoDecision("x"), 4),
        (OSError(errno.ENOSPC, "No space left on device", "data/sft.jsonl"), 1),
        (PermissionError(errno.EACCES, "Permission denied", "data"), 1),
        (KeyError("x"), 1),
        (ValueError("two\nlines"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_failure_is_one_line_with_its_exit_code(
    ws: Workspace, capsys: pytest.CaptureFixture[str], stage: Any, error: BaseException, code: int
):
    stage.main = fail(error)
    found, out, err = call(ws, capsys, "--json")

    assert (found, err.count("\n")) == (code, 1)
    assert json.loads(out.splitlines()[-1])["code"] == code


def test_a_full_disk_says_what_to_do(ws: Workspace, capsys: pytest.CaptureFixture[str], stage: Any):
    stage.main = fail(OSError(errno.ENOSPC, "No space left on device", "data/sft.jsonl"))

    assert call(ws, capsys)[2] == (
        "errata: data/sft.jsonl: No space left on device; nothing half-written is left; "
        "free some space and run the command again\n"
    )


def test_debug_shows_the_trace(ws: Workspace, stage: Any):
    stage.main = fail(BadInput("x"))
    with pytest.raises(BadInput):
        cli.main(["fake", "-C", str(ws.root), "--debug"])


def test_an_outcome_decides_the_exit_code(
    ws: Workspace, capsys: pytest.CaptureFixture[str], stage: Any
):
    stage.main = lambda _ws, _config: Outcome(4, "not enough data", {"n": 3})

    assert call(ws, capsys) == (4, "not enough data\n", "")


def test_a_folder_that_is_no_workspace_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["status", "-C", str(tmp_path)]) == 2
    assert "is not a workspace; lay one down with `errata init DIR`" in capsys.readouterr().err


def test_an_unknown_command_gets_a_hint(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["biuld"]) == 2
    assert capsys.readouterr().err == "errata: no command `biuld`; did you mean `build`?\n"


def test_help_of_a_stage_shows_every_setting(capsys: pytest.CaptureFixture[str], stage: Any):
    assert cli.main(["fake", "--help"]) == 0
    out = capsys.readouterr().out

    assert "A stage for tests." in out
    assert "how fast [1.0]" in out
    assert "learning_rate" in out


def test_help_speaks_both_languages(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    cli.main(["--help"])
    assert "evidence of one digest → verdict" in capsys.readouterr().out
    monkeypatch.setenv("ERRATA_LANG", "zh_CN.UTF-8")
    cli.main(["--help"])
    assert "发布门禁" in capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in cli.STAGES if name != "fake"])
def test_every_stage_has_its_parts_and_is_described_in_both_languages(name: str):
    _, en, zh = cli.STAGES[name]
    module = cli.stage_module(name)

    assert module.__doc__
    assert callable(module.main)
    assert issubclass(module.Config, Section)
    assert en
    assert any("\u4e00" <= c <= "\u9fff" for c in zh)
    for key, info in module.Config.model_fields.items():
        assert info.description or key in ("inputs", "outputs", "accept"), f"{name}.{key}"


def imported_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nsys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


HEAVY = {"torch", "transformers", "pydantic", "scipy", "numpy", "sqlalchemy", "yaml", "sklearn"}


def test_importing_errata_and_asking_for_help_import_nothing_heavy():
    """A count of modules does not depend on how busy the machine is; seconds do."""
    loaded = imported_by("import errata\nfrom errata.cli import main\nmain(['--help'])")

    assert not HEAVY & loaded
    assert len(loaded) < 150


@pytest.mark.parametrize("module", ["stats", "metrics", "report", "records", "config", "jsonl"])
def test_the_core_imports_no_torch(module: str):
    assert not {"torch", "transformers", "matplotlib", "scipy"} & imported_by(
        f"import errata.{module}"
    )


@pytest.mark.parametrize("name", ["init", "status", "doctor", "runs", "trace", "audit"])
def test_housekeeping_needs_no_torch(name: str):
    assert "torch" not in imported_by(f"import {cli.STAGES[name][0]}")


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_what_steers_a_terminal_is_never_printed(ws, stage, capsys, json_too):
    evil = "\x1b[2J\x07\x9b31m\u202e evil\ttab"

    def fail(_ws: Workspace, _config: Any) -> Outcome:
        raise BadInput(evil, f"seen {evil}")

    for main in (fail, lambda _ws, _config: Outcome(0, evil, {"said": evil})):
        stage.main = main
        _, out, err = call(ws, capsys, *json_too)
        assert not set("\x1b\x07\x9b\u202e") & set(out + err)
        assert "evil" in out
        if json_too and not err:
            assert json.loads(out.splitlines()[-1])["said"] == evil


def test_what_is_told_does_not_steer_the_terminal(
    ws: Workspace, capsys: pytest.CaptureFixture[str], stage: Any
):
    stage.main = lambda *_: Outcome(0, "a\x1b[31m\nb\u202e \udcff", {})
    code, out, _ = call(ws, capsys)
    assert (code, out) == (0, "a\\x1b[31m\nb\\u202e \\udcff\n")

    def refuse(*_: Any) -> Outcome:
        raise BadInput("in\x9b2J.jsonl: no rows")

    stage.main = refuse
    assert call(ws, capsys, "--json")[2] == "errata: in\\x9b2J.jsonl: no rows\n"
