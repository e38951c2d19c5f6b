"""The safety bench plants what it says, by encoders that share nothing with the decoders."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(scope="module")
def work() -> Iterator[SimpleNamespace]:
    """The modules of bench/safetywork."""
    sys.path.insert(0, str(BENCH))
    names = ("encoders", "texts", "leaks")
    yield SimpleNamespace(**{name: importlib.import_module(f"safetywork.{name}") for name in names})
    sys.path.remove(str(BENCH))


@pytest.mark.parametrize("name", ["encoders.py", "texts.py"])
def test_what_writes_secrets_knows_nothing_of_what_reads_them(name: str) -> None:
    tree = ast.parse((BENCH / "safetywork" / name).read_text(encoding="utf-8"))
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    for node in ast.walk(tree):
        imported += [one.name for one in node.names] if isinstance(node, ast.Import) else []
    assert [module for module in imported if module.startswith("errata")] == []


def test_every_encoding_is_planted_and_all_but_plain_hide_what_they_hold(
    work: SimpleNamespace,
) -> None:
    secrets = [secret for _, secret in work.texts.secrets(Random(1), 2)]
    for name, encode in work.encoders.ENCODERS.items():
        said = {secret: encode(secret) for secret in secrets}
        assert any(said.values()), name
        shown = [s for s, text in said.items() if text and s in text and name != "plain"]
        assert shown == [], name


def test_clean_texts_hold_no_secret(work: SimpleNamespace) -> None:
    secrets = [secret for _, secret in work.texts.secrets(Random(1), 2)]
    for kind, make in work.texts.CLEAN.items():
        text = make(Random(2))
        assert text
        assert [s for s in secrets if s in text] == [], kind
