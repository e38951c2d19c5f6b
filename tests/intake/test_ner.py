"""A pipeline of names and addresses is joined with the rules; without one, one line says so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.errors import BadInput
from errata.intake.redact import Policy, load_policy, redact
from errata.workspace import Workspace

spacy = pytest.importorskip("spacy")
KEY = b"k" * 32


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A blank pipeline that knows two names, an address and a city."""
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns(
        [{"label": "PERSON", "pattern": "Ada Lovelace"}, {"label": "PER", "pattern": "Alan"},
         {"label": "ADDRESS", "pattern": "12 St James Square"}, {"label": "GPE", "pattern": "London"}]
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("ner") / "names"
    nlp.to_disk(folder)
    return str(folder)


def test_names_and_addresses_are_joined_with_what_rules_find(pipeline: str) -> None:
    text = "Ada Lovelace, 12 St James Square, London, ada@b.io, asks for Alan."
    done = redact(text, Policy(ner=pipeline), key=KEY)
    found = [(f.rule, text[f.start : f.end]) for f in done.findings]
    assert found == [("ner-person", "Ada Lovelace"), ("ner-address", "12 St James Square"),
                     ("email", "ada@b.io"), ("ner-person", "Alan")]  # fmt: skip
    assert "London" in done.text
    assert redact(text, Policy(), key=KEY).findings != done.findings


def test_it_is_in_the_hash_and_can_be_switched_off_by_tag(pipeline: str) -> None:
    with_it = Policy(ner=pipeline)
    assert with_it.hash != Policy().hash
    some = redact(
        "Ada Lovelace, 12 St James Square", Policy(ner=pipeline, off=["ner-person"]), key=KEY
    )
    assert [found.tag for found in some.findings] == ["ADDRESS"]


@settings(max_examples=50, deadline=None)
@given(
    words=st.lists(st.sampled_from(["Ada", "Lovelace", " ", "Alan", "a@b.io", "13812345678", "，"]))
)
def test_redacting_twice_changes_nothing(pipeline: str, words: list[str]) -> None:
    once = redact("".join(words), Policy(ner=pipeline), key=KEY)
    assert redact(once.text, Policy(ner=pipeline), key=KEY) == (once.text, [])


def test_a_folder_of_the_workspace_is_meant_from_its_root(pipeline: str, tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "models").symlink_to(pipeline, target_is_directory=True)
    (tmp_path / "policies" / "redaction.yaml").write_text("ner: models\n")
    policy = load_policy(Workspace(tmp_path))
    assert redact("by Alan", policy, key=KEY).findings


@pytest.mark.parametrize("name", ["no/such/folder", "xx_no_such_pipeline"])
def test_a_pipeline_that_is_not_there_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(BadInput, match=f"ner: `{name}` is no spaCy pipeline") as refused:
        redact("x", Policy(ner=name), key=KEY)
    assert "\n" not in str(refused.value)


def test_without_spacy_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(BadInput, match=r"pip install 'errata\[ner\]'"):
        redact("x", Policy(ner="another"), key=KEY)
