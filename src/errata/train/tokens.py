"""Rows → token ids and masks, by the model's own chat template; only the answer is learnt.

Checked, not assumed: the prompt's ids begin the whole conversation's ids, the answer's end token is
inside the mask, there is one BOS, and something is left to learn after truncation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from errata.errors import BadInput
from errata.records import Message, PreferencePair, SftExample, Text
from errata.train.packing import IGNORE, Encoded, Tree, grow

# For a tokenizer without a chat template: roles by name, the end token after an answer.
PLAIN_TEMPLATE = (
    "{{ bos_token or '' }}{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}"
    "{{ eos_token if m['role'] == 'assistant' else '' }}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def as_messages(text: Text, role: str = "user") -> list[Message]:
    """A plain string is one turn."""
    return [Message(role=role, content=text)] if isinstance(text, str) else list(text)  # type: ignore[arg-type]


def conversation(row: SftExample) -> list[Message]:
    """The turns of an SFT row in either of its forms."""
    if row.messages is not None:
        return row.messages
    ask = f"{row.instruction}\n{row.input}" if row.input else str(row.instruction)
    return [Message(role="user", content=ask), Message(role="assistant", content=row.output or "")]


def fold(messages: Sequence[Message]) -> list[Message]:
    """For templates that know no documents and tool turns: these join the next user turn, or are
    one where the assistant speaks next."""
    out: list[Message] = []
    pending = ""
    for message in messages:
        if message.role in ("documents", "tool"):
            pending += f"{message.role}:\n{message.content}\n\n"
        elif pending and message.role == "user":
            out.append(Message(role="user", content=pending + message.content))
            pending = ""
        elif pending and message.role == "assistant":
            out += [Message(role="user", content=pending.strip()), message]
            pending = ""
        else:
            out.append(message)
    return [*out, Message(role="user", content=pending.strip())] if pending else out


def sayable(tokenizer: Any, messages: Sequence[Message]) -> list[dict[str, str]]:
    """The turns; folded where the template refuses a role, or leaves its words out unsaid."""
    turns = [m.model_dump() for m in messages]
    folded = [m.model_dump() for m in fold(messages)]
    if folded == turns:
        return turns
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except TemplateError:
        return folded
    return turns if all(m.content.strip() in text for m in messages) else folded


def render(tokenizer: Any, messages: Sequence[Message], answer_next: bool) -> list[int]:
    """Ids of the turns by the chat template; `answer_next` opens the assistant's turn."""
    ids: list[int] = tokenizer.apply_chat_template(
        sayable(tokenizer, messages),
        add_generation_prompt=answer_next,
        tokenize=True,
        return_dict=False,
    )
    bos = tokenizer.bos_token_id
    twice = bos is not None and bos != tokenizer.eos_token_id and ids[:2] == [bos, bos]
    return ids[1:] if twice else ids


def shorten(tokenizer: Any, prompt: list[int], room: int) -> list[int]:
    """The last `room` ids of a prompt; what is lost is its beginning, but never BOS."""
    if len(prompt) <= room:
        return prompt
    keep = prompt[:1] if prompt[0] == tokenizer.bos_token_id else []
    return keep + prompt[len(prompt) - room + len(keep) :]


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
    prompt = render(tokenizer, messages[:-1], answer_next=True)
    whole = render(tokenizer, messages, answer_next=False)
    if whole[: len(prompt)] != prompt:
        raise BadInput(
            f"{where}: the chat template rewrites the prompt once it is answered; mend the template"
        )
    answer = whole[len(prompt) :]
    end = tokenizer.eos_token_id
    answer = answer[: len(answer) - answer[::-1].index(end)] if end in answer else [*answer, end]
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
