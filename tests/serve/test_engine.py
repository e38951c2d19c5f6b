"""One base, many adapters: each answers as it would alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from errata import candidates
from errata.evaluate.generate import Decoding, answers
from errata.records import Message
from errata.serve import engine as room
from errata.serve.engine import Engine, engine_for
from errata.train.model import add_lora, load, save_adapter
from errata.workspace import Workspace

PROMPTS = [[Message(role="user", content=text)] for text in ("Hi", "Where is order 12?", "你好！")]
GREEDY = Decoding(12)


@pytest.fixture(scope="module")
def adapters(
    tiny_models: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """Two adapters that change what is said, of different ranks."""
    made = []
    for seed, rank in ((1, 2), (2, 4)):
        torch.manual_seed(seed)
        model = add_lora(load(tiny_models("llama"))[0], rank, 8, 0.0)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(0, 0.3)
        made.append(tmp_path_factory.mktemp("adapters") / str(seed))
        save_adapter(model, made[-1])
    return made


def alone(path: str, adapter: Path | None) -> list[str]:
    from peft import PeftModel

    model, tokenizer = load(path)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    return answers(model, tokenizer, PROMPTS, GREEDY)


def test_base_and_adapters_answer_as_they_would_alone(
    tiny_models: Callable[[str], str], adapters: list[Path]
):
    path = tiny_models("llama")
    expected = [alone(path, adapter) for adapter in (None, *adapters)]
    engine = Engine(path)
    assert engine.answer(PROMPTS, None, GREEDY) == expected[0]
    names = [engine.add(adapter) for adapter in adapters]

    for turn in (0, 2, 1, 0, 1, 2, 2, 0):  # switching leaves nothing behind
        name = None if turn == 0 else names[turn - 1]
        assert engine.answer(PROMPTS, name, GREEDY) == expected[turn]
    assert len({tuple(said) for said in expected}) == 3


def test_an_adapter_is_named_by_what_is_in_it(
    tiny_models: Callable[[str], str], adapters: list[Path], tmp_path: Path
):
    import shutil

    engine = Engine(tiny_models("llama"))
    shutil.copytree(adapters[0], tmp_path / "copy")
    first = engine.add(adapters[0])

    assert first == candidates.adapter_digest(adapters[0]).removeprefix("sha256:")[:16]
    assert engine.add(tmp_path / "copy") == first
    assert engine.add(adapters[1]) != first
    assert len(engine.names) == 2


def test_the_process_keeps_one_base(
    ws: Workspace, tiny_models: Callable[[str], str], adapters: list[Path],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
):  # fmt: skip
    import shutil

    monkeypatch.setattr(room, "_ENGINES", {})
    path = tiny_models("llama")
    plain, name = engine_for(ws, candidates.make(ws, path))
    assert name is None
    adapted, name = engine_for(ws, candidates.make(ws, path, adapters[0]))
    assert adapted is plain
    assert name in plain.names
    shutil.copytree(path, tmp_path / "other")
    template = tmp_path / "other" / "chat_template.jinja"
    template.write_text(template.read_text() + "{# another #}")
    other, _ = engine_for(ws, candidates.make(ws, str(tmp_path / "other")))
    assert other is not plain
    assert len(room._ENGINES) == 1
