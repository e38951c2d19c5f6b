"""The tokens and the chat template of a checkpoint, asked what training will ask them.

An end token, a pad token of its own; a template that keeps the system turn and earlier turns, ends
an answer, and has the answer where training looks for it (train/turns.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from errata.doctor.finding import Check, of_error
from errata.errors import BadInput
from errata.language import say
from errata.records import Message
from errata.train.turns import PLAIN_TEMPLATE, answered

SETTINGS = "tokenizer_config.json"
TALK = [
    Message(role="system", content="Answer as the blue desk does."),
    Message(role="user", content="Is the lamp in stock?"),
    Message(role="assistant", content="Yes, seven of them."),
    Message(role="user", content="And the kettle?"),
    Message(role="assistant", content="The kettle is sold out."),
]


def look(where: str, folder: Path, tokenizer: Any) -> Iterator[Check]:
    """What is wrong with them, or missing."""
    yield from _tokens(where, folder, tokenizer)
    yield from _turns(where, folder, tokenizer)


def _tokens(where: str, folder: Path, tokenizer: Any) -> Iterator[Check]:
    """End and padding. Errata labels by position, so padding never hides an end; others' trainers
    take every pad token out of the labels, and a model trained there never stops."""
    at = f"{folder.name}/{SETTINGS}"
    if tokenizer.eos_token_id is None:
        said = say("the tokenizer has no end token, so no answer would end",
                   "分词器没有结束符，回答不会结束")  # fmt: skip
        step = say(f"set eos_token in {at}", f"在 {at} 中设置 eos_token")
        yield Check("bad", where, said, step)
        return
    step = say(f"set pad_token in {at} to a token that no answer holds",
               f"在 {at} 中把 pad_token 设为回答中不会出现的词元")  # fmt: skip
    if tokenizer.pad_token_id is None:
        yield Check("warn", where, say("there is no pad token", "没有填充符"), step)
    elif tokenizer.pad_token_id == tokenizer.eos_token_id:
        said = say("the pad token is the end token: trainers that mask padding hide the end",
                   "填充符就是结束符：屏蔽填充的训练器会把结束符一并屏蔽")  # fmt: skip
        yield Check("warn", where, said, step)


def _turns(where: str, folder: Path, tokenizer: Any) -> Iterator[Check]:
    if not tokenizer.chat_template:
        said = say("there is no chat template; turns are written as `role: text`",
                   "没有对话模板；各轮写作 `role: text`")  # fmt: skip
        step = say(f"copy chat_template.jinja of the chat model to {folder.name}/, if it has one",
                   f"若原对话模型有 chat_template.jinja，把它放进 {folder.name}/")  # fmt: skip
        yield Check("warn", where, said, step)
        tokenizer.chat_template = PLAIN_TEMPLATE
    step = say("mend the chat template", "修正对话模板")
    try:
        text = _written(tokenizer, TALK)
    except TemplateError as error:
        said = say(f"the chat template refuses a system turn: {error}",
                   f"对话模板不接受 system 轮：{error}")  # fmt: skip
        try:
            _written(tokenizer, TALK[1:])
        except TemplateError:
            said = say(f"the chat template fails: {error}", f"对话模板出错：{error}")
        yield Check("bad", where, said, step)
        return
    lost = [message.role for message in TALK if message.content not in text]
    if lost:
        roles = ", ".join(dict.fromkeys(lost))
        said = say(f"the chat template drops what was said as {roles}",
                   f"对话模板丢掉了 {roles} 的内容")  # fmt: skip
        yield Check("bad", where, said, step)
    elif tokenizer.eos_token_id is not None:
        yield from _answer(where, folder, tokenizer)


def _written(tokenizer: Any, talk: list[Message]) -> str:
    turns = [message.model_dump() for message in talk]
    return str(tokenizer.apply_chat_template(turns, tokenize=False))


def _answer(where: str, folder: Path, tokenizer: Any) -> Iterator[Check]:
    """What would be learnt of a conversation: the last answer and its end, and nothing else."""
    try:
        prompt, answer = answered(tokenizer, TALK, where)
    except (BadInput, TemplateError) as error:
        yield of_error(where, BadInput(str(error)))
        return
    learnt = tokenizer.decode(answer)
    if TALK[-1].content not in learnt or TALK[-1].content in tokenizer.decode(prompt):
        said = say("the assistant's answer is not where training looks for it: nothing is learnt",
                   "训练找不到助手的回答：什么也学不到")  # fmt: skip
        step = say("mend the chat template: an answer must follow its generation prompt",
                   "修正对话模板：回答须紧跟生成提示")  # fmt: skip
        yield Check("bad", where, said, step)
    elif tokenizer.eos_token not in _written(tokenizer, TALK)[-80:]:
        end = tokenizer.eos_token
        said = say(f"the chat template does not end an answer with {end}; training adds it",
                   f"对话模板没有用 {end} 结束回答；训练时会补上")  # fmt: skip
        step = say(f"set eos_token in {folder.name}/{SETTINGS} to what ends a turn there",
                   f"把 {folder.name}/{SETTINGS} 的 eos_token 设为结束一轮的词元")  # fmt: skip
        yield Check("warn", where, said, step)
