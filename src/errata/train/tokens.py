"""Rows → token ids and masks, by the model's own chat template; only the answer is learnt.

Checked, not assumed: the prompt's ids begin the whole conversation's ids, the answer's end token is
inside the mask, there is one BOS, and something is left to learn after truncation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from errata.errors import BadInput
from errata.records import Message, PreferencePair, SftExample
from errata.train.packing import IGNORE, Encoded, Tree, grow
from errata.train.turns import answered, as_messages, conversation, shorten


def encode(
    tokenizer: Any,
    messages: Sequence[Message],
    seq_len: int,
    where: str,
    shortened: list[str] | None = None,
) -> Encoded:
    """Ids and labels of a conversation that ends with the assistant's answer.

    Too long a prompt loses its beginning (after BOS), never the answer, and `where` is added to
    `shortened`. Raises BadInput when the answer alone does not fit, or when the template writes the
    prompt differently once answered.
    """
    prompt, answer = answered(tokenizer, messages, where)
    if len(answer) >= seq_len:
        raise BadInput(
            f"{where}: the answer has {len(answer)} tokens, seq_len is {seq_len}; raise seq_len"
        )
    room = seq_len - len(answer)
    if len(prompt) > room and shortened is not None:
        shortened.append(where)
    prompt = shorten(tokenizer, prompt, room)
    return Encoded(prompt + answer, [IGNORE] * len(prompt) + answer)


def encode_sft(
    tokenizer: Any, rows: Sequence[SftExample], seq_len: int, shortened: list[str] | None = None
) -> list[Tree]:
    """Every SFT row; an error names the row's id, `shortened` gets those whose prompt was cut."""
    return [
        grow(encode(tokenizer, conversation(row), seq_len, f"row {row.id}", shortened))
        for row in rows
    ]


def encode_pairs(
    tokenizer: Any,
    rows: Sequence[PreferencePair],
    seq_len: int,
    shortened: list[str] | None = None,
) -> list[Tree]:
    """Every preference pair as a tree: the prompt once, then chosen and rejected.

    Both sides keep the same end of too long a prompt. An error names the pair's id; sides that are
    the same tokens teach nothing and are refused.
    """
    out = []
    for row in rows:
        prompt = as_messages(row.prompt)
        both = [
            encode(tokenizer, [*prompt, *as_messages(text, "assistant")], seq_len, where, shortened)
            for text, where in (
                (row.chosen, f"pair {row.id} chosen"),
                (row.rejected, f"pair {row.id} rejected"),
            )
        ]
        both = _same_prompt(tokenizer, both)
        if both[0] == both[1]:
            raise BadInput(f"pair {row.id}: both answers are the same tokens; take it out")
        out.append(grow(*both))
    return out


def _same_prompt(tokenizer: Any, both: list[Encoded]) -> list[Encoded]:
    """What truncation took from one side's prompt is taken from the other's as well."""
    prompts = [sum(label == IGNORE for label in side.labels) for side in both]
    if prompts[0] == prompts[1]:
        return both
    room = min(prompts)
    longer = both[prompts.index(max(prompts))]
    whole = longer.ids[: max(prompts)]
    short = shorten(tokenizer, whole, room)
    other = both[prompts.index(room)]
    if other.ids[:room] != short:  # not truncated: the sides' prompts differ (several turns)
        return both
    cut = Encoded(short + longer.ids[len(whole) :], [IGNORE] * room + longer.labels[len(whole) :])
    return [cut if side is longer else side for side in both]


def show_mask(tokenizer: Any, tree: Tree, branch: int = 0) -> str:
    """One row as text, what is learnt between ⟦ ⟧: mask bugs show at a glance."""
    out, inside = "", False
    row = tree.branches[branch]
    ids, labels = tree.prefix + row.ids, [IGNORE] * len(tree.prefix) + row.labels
    for token, label in zip(ids, labels, strict=True):
        if (label != IGNORE) != inside:
            inside = not inside
            out += "⟦" if inside else "⟧"
        out += tokenizer.decode([token])
    return out + ("⟧" if inside else "")
