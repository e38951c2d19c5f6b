"""What the doctor finds: whole checkpoints are well, each planted defect is named with its step."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from errata import cli, jsonl
from errata.doctor import checkpoint
from errata.doctor.finding import Check
from errata.init import lay_down
from errata.workspace import Workspace

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{% set messages = messages[1:] %}{% endif %}"
LAST_TURNS = "{% set messages = messages[:1] + messages[-2:] %}"
REFUSES = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
)
LENGTHS = {"configs/sft.yaml": 512}


@pytest.fixture
def whole(tiny_models: Callable[[str], str], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a whole checkpoint, to spoil."""

    def copy(kind: str = "llama") -> Path:
        folder = tmp_path / kind
        shutil.copytree(tiny_models(kind), folder)
        return folder

    return copy


def edit(path: Path, **fields: Any) -> None:
    """Set fields of a JSON file; None takes one out."""
    told = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({key: value for key, value in told.items() if value is not None}))


def look(folder: Path) -> list[Check]:
    return list(checkpoint.look("model m", folder, LENGTHS))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma2", "mistral", "gpt2"])
def test_a_whole_checkpoint_is_one_good_line(kind: str, whole: Callable[[str], Path]):
    (found,) = look(whole(kind))

    assert found.level == "ok", found
    assert found.said.startswith(f"{kind}, ")
    assert "context 512" in found.said


def template(folder: Path, text: str | None) -> None:
    (folder / "chat_template.jinja").unlink()
    if text:
        (folder / "chat_template.jinja").write_text(text)


def fewer_rows(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("embed_tokens.weight"))
    tensors[name] = tensors[name][:-3].clone()
    save_file(tensors, folder / "model.safetensors")


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def one_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


SETTINGS = "tokenizer_config.json"
# What is spoilt, how bad that is, what is said of it, and the step.
DEFECTS: dict[str, tuple[Callable[[Path], Any], str, str, str]] = {
    "no template": (lambda f: template(f, None), "warn", "no chat template", "chat_template.jinja"),
    "no system": (
        lambda f: template(f, NO_SYSTEM + CHATML), "bad", "drops what was said as system",
        "mend the chat template",
    ),
    "one turn": (
        lambda f: template(f, LAST_TURNS + CHATML), "bad", "drops what was said as user, assistant",
        "mend the chat template",
    ),
    "refuses": (
        lambda f: template(f, REFUSES + CHATML), "bad", "refuses a system turn: no system here",
        "mend the chat template",
    ),
    "broken template": (
        lambda f: template(f, "{{ raise_exception('odd') }}"), "bad", "template fails: odd",
        "mend the chat template",
    ),
    "rewritten prompt": (
        lambda f: template(f, "{{ messages | length }}{% if add_generation_prompt %}!{% endif %}"
                           + CHATML), "bad", "rewrites the prompt once it is answered",
        "mend the template",
    ),
    "other end": (
        lambda f: template(f, CHATML.replace("<|end|>", "[over]")), "warn",
        "does not end an answer with <|end|>", f"set eos_token in llama/{SETTINGS}",
    ),
    "no end": (
        lambda f: edit(f / SETTINGS, eos_token=None), "bad", "no end token",
        f"set eos_token in llama/{SETTINGS}",
    ),
    "no pad": (
        lambda f: edit(f / SETTINGS, pad_token=None), "warn", "no pad token",
        f"set pad_token in llama/{SETTINGS}",
    ),
    "pad is end": (
        lambda f: edit(f / SETTINGS, pad_token="<|end|>"), "warn", "the pad token is the end token",
        f"set pad_token in llama/{SETTINGS}",
    ),
    "more tokens than rows": (
        fewer_rows, "bad", "the tokenizer has 512 tokens, the embedding 509 rows",
        "resize_token_embeddings",
    ),
    "pickle": (pickled, "warn", "pytorch_model.bin is a pickle", "save_pretrained"),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(), "bad", "no weights", "copy the checkpoint",
    ),
    "cut short": (cut_short, "bad", "model.safetensors is damaged", "copy the checkpoint"),
    "a shard lacks": (one_shard, "bad", "such as model-00002.safetensors", "copy the checkpoint"),
    "broken config": (
        lambda f: (f / "config.json").write_text("{"), "bad", "config.json cannot be read",
        "copy the checkpoint",
    ),
    "unknown shape": (
        lambda f: edit(f / "config.json", model_type="lama"), "bad", "model_type 'lama'",
        "upgrade transformers",
    ),
    "short context": (
        lambda f: edit(f / "config.json", max_position_embeddings=128), "bad",
        "configs/sft.yaml: seq_len 512 is longer than the context of 128",
        "set `seq_len: 128` in configs/sft.yaml",
    ),
    "odd floats": (
        lambda f: edit(f / "config.json", dtype="float8_e4m3fn", torch_dtype=None), "warn",
        "dtype float8_e4m3fn", "dtype: float32",
    ),
    "no tokenizer": (
        lambda f: (f / "tokenizer.json").write_text("{}"), "bad", "no tokenizer can be read",
        "copy tokenizer.json",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_each_defect_is_named_with_its_step(name: str, whole: Callable[[str], Path]):
    spoil, level, said, step = DEFECTS[name]
    folder = whole()
    spoil(folder)
    found = [check for check in look(folder) if check.level != "ok"]

    assert [check.level for check in found] == [level], found
    assert said in found[0].said
    assert step in found[0].step


def doctor(
    ws: Workspace, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, list[str], dict[str, Any]]:
    code = cli.main(["doctor", "-C", str(ws.root), *words, "--json"])
    *lines, last = capsys.readouterr().out.splitlines()
    return code, lines, json.loads(last)


@pytest.fixture
def desk(tmp_path: Path) -> Workspace:
    return lay_down(tmp_path / "desk", suites=False)


def test_what_blocks_most_is_first_and_the_last_line_is_the_one_step(
    desk: Workspace, whole: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
):
    """Planted in the wrong order: rows, then a model, then a config."""
    jsonl.write_text(desk.data / "failures.jsonl", '{"prompt": "a"}\n')
    model = whole()
    edit(model / SETTINGS, eos_token=None)
    jsonl.write_text(desk.configs / "build.yaml", "sed: 1\n")
    code, lines, told = doctor(desk, capsys, f"model={model}")

    assert code == 1
    assert told["order"][:3] == ["configs/build.yaml", f"model {model}", "data/failures.jsonl"]
    assert lines[-2] == "3 problem(s)"
    assert lines[-1] == "next: correct configs/build.yaml, then `errata doctor`"
    assert [line.split(": ")[0] for line in lines if line.startswith("  1.")] == [
        "  1. configs/build.yaml"
    ]


def test_a_bad_row_is_named_by_its_line(desk: Workspace, capsys: pytest.CaptureFixture[str]):
    good = '{"id": "f-1", "prompt": "a", "bad_answer": "b", "label": "privacy"}\n'
    jsonl.write_text(desk.data / "failures.jsonl", good + good.replace("privacy", "x") + "{\n")
    code, lines, _ = doctor(desk, capsys)
    (line,) = (line for line in lines if line.startswith("BAD"))

    assert code == 1
    assert line.startswith("BAD   data/failures.jsonl:")
    assert "data/failures.jsonl:2: label" in line
    assert line.endswith("(and 1 rows more)")
    assert lines[-1].endswith("`git checkout -- data/failures.jsonl`, then `errata doctor`")


def test_a_new_workspace_is_ready_and_told_what_waits(
    desk: Workspace, capsys: pytest.CaptureFixture[str]
):
    code, lines, told = doctor(desk, capsys)

    assert (code, told["problems"]) == (0, 0)
    assert lines[-2:] == ["ready", "next: errata intake inbox/*.jsonl"]
    assert any("inbox/sample_failures.jsonl" in line for line in lines)
    assert any("fill in policies/datasheet.yaml before the gate" in line for line in lines)
    cli.main(["intake", "-C", str(desk.root)])
    capsys.readouterr()
    lines = doctor(desk, capsys)[1]
    assert not [line for line in lines if line.startswith("ok    inbox")]
    assert lines[-1] == "next: errata build"


def test_outside_a_workspace_the_step_lays_one_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    code, lines, _ = doctor(Workspace(tmp_path), capsys)

    assert code == 0
    assert lines[-1] == "next: `errata init desk && cd desk`"
    assert not list(tmp_path.iterdir())


def test_it_speaks_chinese(
    desk: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ERRATA_LANG", "zh")
    lines = doctor(desk, capsys)[1]

    assert lines[-2:] == ["就绪", "下一步：errata intake inbox/*.jsonl"]
    assert [line for line in lines if line.startswith("警告  datasheet") and "为空" in line]


def test_a_model_is_looked_at_without_torch(tiny_models: Callable[[str], str]):
    program = (
        "import sys; from pathlib import Path; from errata.doctor import checkpoint; "
        f"print(list(checkpoint.look('m', Path({tiny_models('qwen3')!r}), {{}}))); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "qwen3, " in done.stdout
