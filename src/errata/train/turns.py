"""Turns → token ids, by the model's own chat template, and where the answer in them is.

Without torch: `errata doctor` asks a template what training will ask it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from errata.errors import BadInput
from errata.records import Message, SftExample, Text

# For a tokenizer without a chat template: roles by name, the end token after an answer. No space
# after the opened turn: tokenizers join it with the word that follows, which belongs to the answer.
PLAIN_TEMPLATE = (
    "{{ bos_token or '' }}{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}"
    "{{ eos_token if m['role'] == 'assistant' else '' }}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
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


def answered(
    tokenizer: Any, messages: Sequence[Message], where: str
) -> tuple[list[int], list[int]]:
    """Ids of the prompt, and of the answer up to its end token, which alone are learnt.

    Raises BadInput when the template writes the prompt differently once it is answered.
    """
    prompt = render(tokenizer, messages[:-1], answer_next=True)
    whole = render(tokenizer, messages, answer_next=False)
    if whole[: len(prompt)] != prompt:
        raise BadInput(
            f"{where}: the chat template rewrites the prompt once it is answered; mend the template"
        )
    answer = whole[len(prompt) :]
    end = tokenizer.eos_token_id
    ends = end in answer
    return prompt, answer[: len(answer) - answer[::-1].index(end)] if ends else [*answer, end]
