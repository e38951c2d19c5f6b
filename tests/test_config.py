"""YAML 1.2 scalars, overrides, and hints for a key that nothing reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from errata.config import Section, load, parse
from errata.errors import BadInput


class Accept(Section):
    loss: float = 1.0


class Rule(Section):
    metric: str
    limit: float = 0.0


class Config(Section):
    lr: float = 1e-4
    learning_rate_decay: float = 0.1
    model: str = "tiny"
    bf16: bool = False
    steps: int = 10
    tags: list[str] = Field(default_factory=list)
    accept: Accept = Accept()
    hard: list[Rule] = Field(default_factory=list)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sft.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("no", "no"), ("yes", "yes"), ("true", True), ("False", False),
        ("1e-5", 1e-5), ("1E5", 1e5), ("-.5", -0.5), ("1.", 1.0), ("010", 10), ("0o10", 8),
        ("0x1F", 31), ("1_000", "1_000"), ("12:30", "12:30"), ("2025-12-16", "2025-12-16"),
        ("~", None), ("null", None), ("", None), ("+3", 3), (".inf", float("inf")), ("<<", "<<"),
        ("越狱", "越狱"), ("'1'", "1"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any):
    found = parse(f"key: {text}", "x")["key"]

    assert (found, type(found)) == (value, type(value))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_that_python_prints_reads_back(number: float):
    assert parse(f"k: {number!r}", "x")["k"] == number


@given(st.integers())
def test_every_integer_reads_back(number: int):
    assert parse(f"k: {number}", "x")["k"] == number


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", r"sft\.yaml:1: not YAML"),
        ("lr: 1\nlr: 2", r"sft\.yaml:2: not YAML: key `lr` is written twice"),
        ("a: " + "[" * 20_000, r"sft\.yaml: nested too deep"),
        ("a: " + "9" * 5_000, r"a number too long"),
        ("a: !!bool x", r"no value of its tag; write it plainly"),
        ("a: !!timestamp x", r"no value of its tag"),
        ("- 1", r"sft\.yaml: the top is not `key: value`"),
        ("model: !!python/name:os.system", r"sft\.yaml:1: not YAML: could not determine"),
        ("? [a]\n: b", r"a key must be one word"),
        ("tags: &x [*x]", r"sft\.yaml:1: not YAML: found unconstructable recursive node"),
        ("learning_rte: 1", r"sft\.yaml: unknown key `learning_rte`; did you mean `learning_ra"),
        ("accept: {los: 1}", r"sft\.yaml: unknown key `los`; did you mean `loss`\?"),
        ("hard: [{metrc: x, metric: y}]", r"unknown key `metrc`; did you mean `metric`\?"),
        ("zzz: 1", r"unknown key `zzz`; known: accept, "),
        ("hard: [{limit: 1}]", r"hard\.0\.metric: missing; add it"),
        ("lr: fast", r"sft\.yaml: lr: .*\(got 'fast'\); correct the value"),
        ("lr: true", r"sft\.yaml: lr: "),
        ("steps: 1.5", r"sft\.yaml: steps: "),
        ("steps: '7'", r"sft\.yaml: steps: "),
        ("model: 7", r"sft\.yaml: model: "),
        ("learning_rate: 1\nlr: 2", r"another name of a key that is there"),
    ],
)  # fmt: skip
def test_a_wrong_config_is_one_line_that_says_where(tmp_path: Path, text: str, message: str):
    with pytest.raises(BadInput, match=message) as caught:
        load(written(tmp_path, text), Config, aliases={"learning_rate": "lr"})
    assert "\n" not in str(caught.value)


def test_a_missing_config_is_bad_input(tmp_path: Path):
    with pytest.raises(BadInput, match="no such config"):
        load(tmp_path / "none.yaml", Config)


def test_an_int_stands_for_a_float_and_an_empty_file_for_the_defaults(tmp_path: Path):
    assert load(written(tmp_path, "lr: 1"), Config).lr == 1.0
    assert load(written(tmp_path, "# nothing\n"), Config) == Config()


def test_overrides_win_over_the_file_and_reach_inside(tmp_path: Path):
    path = written(tmp_path, "lr: 1e-3\nhard:\n  - {metric: a, limit: 1}\n  - {metric: b}\n")
    found = load(path, Config, ["lr=2e-4", "accept.loss=3", "hard.1.limit=0.5", "bf16=true"])

    assert (found.lr, found.accept.loss, found.hard[1].limit, found.bf16) == (2e-4, 3.0, 0.5, True)


def test_a_word_on_the_command_line_needs_no_quotes():
    found = load(None, Config, ["model=7", "tags=a,b"])

    assert (found.model, found.tags) == ("7", ["a", "b"])


def test_a_text_with_yaml_signs_is_taken_as_it_is():
    assert load(None, Config, ["model=a: [b"]).model == "a: [b"
    assert load(None, Config, ["model=x=y"]).model == "x=y"


def test_an_error_of_an_override_says_command_line(tmp_path: Path):
    with pytest.raises(BadInput, match=r"^command line: lr: "):
        load(written(tmp_path, "steps: 1"), Config, ["lr=fast"])


@pytest.mark.parametrize("override", ["hard.9.limit=1", "lr.x.y=1", "=3", "noequals"])
def test_an_override_that_reaches_nothing_is_refused(tmp_path: Path, override: str):
    with pytest.raises(BadInput, match="command line"):
        load(written(tmp_path, "hard: [{metric: a}]"), Config, [override])


def test_aliases_work_in_file_and_on_the_command_line(tmp_path: Path):
    aliases = {"learning_rate": "lr"}

    assert load(written(tmp_path, "learning_rate: 2"), Config, aliases=aliases).lr == 2
    assert load(None, Config, ["learning_rate=3"], aliases=aliases).lr == 3


def test_a_config_is_frozen():
    with pytest.raises(ValidationError):
        Config().lr = 2.0  # type: ignore[misc]
