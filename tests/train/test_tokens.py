"""What is learnt of a row: the answer and its end, and nothing else, whatever the template."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from errata.errors import BadInput
from errata.records import Message, PreferencePair, SftExample
from errata.train import tokens
from errata.train.model import load_tokenizer
from errata.train.packing import IGNORE, grow
from errata.train.turns import PLAIN_TEMPLATE, render

PLAIN_ROLES = (  # a template like Qwen's: it says nothing of roles that it does not know
    "{% for m in messages %}{% if m['role'] in ['system', 'user', 'assistant'] %}"
    "{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{{ '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
STRICT_ROLES = (  # and one like Llama-2's and Gemma's: it refuses them
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] not in ['user', 'assistant'] %}{{ raise_exception('no role') }}{% endif %}"
    "{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def turns(*pairs: tuple[str, str]) -> list[Message]:
    return [Message(role=role, content=text) for role, text in pairs]  # type: ignore[arg-type]


TALK = turns(
    ("documents", "[1] The amber lamp costs 42 yuan."),
    ("user", "How much is the amber lamp?"),
    ("assistant", "It costs 42 yuan. [1]"),
)


@pytest.fixture
def tok(tiny_models: Callable[[str], str]) -> Any:
    """The desk's tokenizer, a fresh one each time."""
    return load_tokenizer(tiny_models("llama"))


def learnt(tok: Any, row: tokens.Encoded) -> str:
    return str(tok.decode([label for label in row.labels if label != IGNORE]))


def test_only_the_answer_and_its_end_token_are_learnt(tok: Any):
    row = tokens.encode(tok, TALK, 200, "row 1")

    assert learnt(tok, row) == "It costs 42 yuan. [1]<|end|>"
    assert row.labels[-1] == row.ids[-1] == tok.eos_token_id
    assert row.ids.count(tok.bos_token_id) == 1
    assert row.ids[0] == tok.bos_token_id
    assert tokens.show_mask(tok, grow(row)).endswith("<|assistant|>⟦It costs 42 yuan. [1]<|end|>⟧")


def test_the_prompt_is_the_one_that_generation_sees(tok: Any):
    row = tokens.encode(tok, TALK, 200, "row 1")
    prompt = render(tok, TALK[:-1], answer_next=True)

    assert row.ids[: len(prompt)] == prompt
    assert row.labels[: len(prompt)] == [IGNORE] * len(prompt)
    assert row.labels[len(prompt)] != IGNORE


def test_an_earlier_answer_in_the_conversation_is_not_learnt(tok: Any):
    talk = turns(("user", "Hello!"), ("assistant", "Hello, I am glad."), *[("user", "Bye")])
    row = tokens.encode(tok, [*talk, Message(role="assistant", content="Goodbye.")], 200, "r")

    assert learnt(tok, row) == "Goodbye.<|end|>"


def test_too_long_a_prompt_loses_its_beginning_but_neither_bos_nor_the_answer(tok: Any):
    whole = tokens.encode(tok, TALK, 500, "row 1")
    answer = [label for label in whole.labels if label != IGNORE]
    row = tokens.encode(tok, TALK, len(answer) + 6, "row 1")

    assert len(row.ids) == len(answer) + 6
    assert row.ids == [tok.bos_token_id, *whole.ids[len(whole.ids) - len(answer) - 5 :]]
    assert [label for label in row.labels if label != IGNORE] == answer


def test_one_token_of_room_keeps_bos_alone(tok: Any):
    answer = [x for x in tokens.encode(tok, TALK, 500, "r").labels if x != IGNORE]
    row = tokens.encode(tok, TALK, len(answer) + 1, "r")

    assert row.ids == [tok.bos_token_id, *answer]


def test_an_answer_that_does_not_fit_names_its_row(tok: Any):
    size = sum(label != IGNORE for label in tokens.encode(tok, TALK, 500, "r").labels)

    with pytest.raises(BadInput, match=f"row s-7: the answer has {size} tokens.*raise seq_len"):
        tokens.encode(tok, TALK, size, "row s-7")


def test_both_forms_of_an_sft_row_are_the_same_conversation(tok: Any):
    facts: dict[str, Any] = {"why": "w", "origin": "human"}
    long = SftExample(
        id="a", messages=turns(("user", "Hi\nthere"), ("assistant", "Hello")), **facts
    )
    short = SftExample(id="b", instruction="Hi", input="there", output="Hello", **facts)
    bare = SftExample(id="c", instruction="Hi", output="Hello", **facts)
    first, second, third = tokens.encode_sft(tok, [long, short, bare], 100)

    assert first == second
    assert (
        tok.decode(third.prefix + third.branches[0].ids)
        == "<|bos|><|user|>Hi<|end|><|assistant|>Hello<|end|>"
    )


def test_both_answers_of_a_pair_follow_the_same_prompt(tok: Any):
    facts: dict[str, Any] = {"reason": "r", "rejected": "No"}
    plain = PreferencePair(id="p", prompt="Hi", chosen="Hello", **facts)
    listed = PreferencePair(
        id="p", prompt=turns(("user", "Hi")), chosen=turns(("assistant", "Hello")), **facts
    )
    one, two = tokens.encode_pairs(tok, [plain, listed], 100)

    assert one == two
    assert [learnt(tok, side) for side in one.branches] == ["Hello<|end|>", "No<|end|>"]
    assert tok.decode(one.prefix) == "<|bos|><|user|>Hi<|end|><|assistant|>"
    with pytest.raises(BadInput, match="pair p rejected: the answer has"):
        tokens.encode_pairs(tok, [plain.model_copy(update={"rejected": "No " * 300})], 100)


def test_a_prompt_too_long_for_one_side_is_cut_for_both_and_told(tok: Any):
    pair = PreferencePair(
        id="p", prompt="tell me " * 40, chosen="yes " * 20, rejected="no", reason="r"
    )
    shortened: list[str] = []
    (tree,) = tokens.encode_pairs(tok, [pair], 60, shortened)

    assert len(tree.prefix) + max(len(side.ids) for side in tree.branches) == 60
    assert tree.prefix[0] == tok.bos_token_id
    assert [learnt(tok, side).removesuffix("<|end|>") for side in tree.branches] == [
        pair.chosen, pair.rejected
    ]  # fmt: skip
    assert shortened == ["pair p chosen", "pair p rejected"]


def test_a_tokenizer_without_an_end_token_is_refused(
    tiny_models: Callable[[str], str], tmp_path: Path
):
    folder = tmp_path / "model"
    shutil.copytree(tiny_models("llama"), folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["eos_token"] = None
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(BadInput, match=r"no end token.*set eos_token in tokenizer_config\.json"):
        load_tokenizer(str(folder))


def test_a_pair_of_equal_answers_is_refused(tok: Any):
    pair = PreferencePair(id="p", prompt="Hi", chosen="Hello", rejected="Hello ", reason="r")
    both = pair.model_copy(update={"rejected": pair.chosen})
    with pytest.raises(BadInput, match="pair p: both answers are the same tokens"):
        tokens.encode_pairs(tok, [pair, both], 60)


def test_a_tokenizer_without_a_chat_template_gets_a_plain_one(tok: Any, tmp_path: Any):
    tok.chat_template = None
    tok.save_pretrained(tmp_path)
    plain = load_tokenizer(str(tmp_path))
    row = tokens.encode(plain, TALK, 500, "r")

    assert plain.chat_template == PLAIN_TEMPLATE
    assert learnt(plain, row) == " It costs 42 yuan. [1]<|end|>"
    text = plain.decode(row.ids)
    assert text.startswith("<|bos|>documents: [1] The amber lamp")
    assert text.endswith(
        "user: How much is the amber lamp?\nassistant: It costs 42 yuan. [1]<|end|>"
    )
    assert row.ids.count(plain.bos_token_id) == 1


@pytest.mark.parametrize("template", [PLAIN_ROLES, STRICT_ROLES])
def test_no_document_is_lost_where_the_template_does_not_know_documents(tok: Any, template: str):
    tok.chat_template = template
    row = tokens.encode(tok, TALK, 500, "r")

    said = "documents:\n[1] The amber lamp costs 42 yuan.\n\nHow much is the amber lamp?"
    assert f"<|user|>{said}<|end|>" in tok.decode(row.ids)
    assert learnt(tok, row) == "It costs 42 yuan. [1]<|end|>"


def test_a_tool_result_is_a_turn_of_its_own_where_the_template_knows_no_tools(tok: Any):
    tok.chat_template = STRICT_ROLES
    talk = turns(
        ("user", "Where is order 12?"), ("assistant", "CALL order_status(12)"), ("tool", "sent"),
        ("assistant", "It is sent."),
    )  # fmt: skip
    row = tokens.encode(tok, talk, 500, "r")

    assert "<|user|>tool:\nsent<|end|><|assistant|>It is sent.<|end|>" in tok.decode(row.ids)
    assert learnt(tok, row) == "It is sent.<|end|>"


def test_a_template_that_ends_its_turns_with_a_line_break_does_not_teach_it(tok: Any):
    tok.chat_template = PLAIN_ROLES
    row = tokens.encode(tok, TALK[1:], 500, "r")

    assert row.ids[-1] == tok.eos_token_id


def test_a_template_that_rewrites_the_prompt_once_answered_is_refused(tok: Any):
    tok.chat_template = (
        "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    with pytest.raises(BadInput, match="row x: the chat template rewrites the prompt"):
        tokens.encode(tok, TALK, 500, "row x")


def test_a_doubled_bos_is_written_once(tok: Any):
    tok.chat_template = "{{ bos_token }}" + tok.chat_template
    row = tokens.encode(tok, TALK, 500, "r")

    assert row.ids.count(tok.bos_token_id) == 1
    assert render(tok, TALK[:-1], answer_next=True).count(tok.bos_token_id) == 1


def test_padding_never_uses_the_end_token_when_there_is_another(tok: Any):
    assert tok.pad_token_id is not None
    assert tok.pad_token_id != tok.eos_token_id
