"""The shapes that raw rows come in: a row's own fields say which it is.

A new shape is a function `row -> Raw` and its line in `FORMS`, beside a row that it reads;
tests/intake/test_forms.py walks them. A row that says that its answer was good (a thumb up, a test
that passed) raises `NoFailure`: it is counted and not taken in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from errata.intake.fields import (
    NoFailure,
    Raw,
    RowError,
    blank,
    called,
    content,
    known,
    meta,
    optional,
    tags,
    text,
    time,
    turns,
)
from errata.records import Message

Row = dict[str, Any]


class Form(NamedTuple):
    """A shape: the fields that mark it, how it is read, and an example."""

    id: str
    marks: tuple[str, ...]
    read: Callable[[Row], Raw]
    example: Row


def _raw(row: Row, prompt: str, bad: str, context: Sequence[Message] = (), /, **facts: Any) -> Raw:
    """The parts that all shapes share."""
    given = {name: value for name, value in facts.items() if value not in (None, "")}
    return Raw(
        prompt=prompt,
        bad_answer=bad,
        label=None,
        source=optional(row, "source"),
        ts=time(row, "ts", "timestamp", "created_at", "created", "time", "date"),
        context=list(context),
        meta={**meta(row), **given},
        tags=tags(row),
    )


def _asked(found: list[Message], field: str) -> tuple[list[Message], str]:
    """The turns before the last question, and the question."""
    if not found or found[-1].role != "user" or blank(found[-1].content):
        raise RowError(field, "no user turn before the last answer")
    return found[:-1], found[-1].content


def failure(row: Row) -> Raw:
    """`prompt, bad_answer, label`, the chapter's minimal form, and our fields beyond it."""
    context = turns(row.get("context", []), "context")
    return _raw(row, text(row, "prompt"), text(row, "bad_answer"), context)


def chat(row: Row, field: str = "messages") -> Raw:
    """A conversation, of an agent too: the last answer was bad, unless `label` says true (KTO)."""
    if row.get("label") is True:
        raise NoFailure
    found = turns(row[field], field)
    if not found or found[-1].role != "assistant" or blank(found[-1].content):
        raise RowError(field, "the last turn is not an answer of the assistant")
    before, bad = found[:-1], found[-1].content
    asked = max((n for n, turn in enumerate(before) if turn.role == "user"), default=-1)
    if asked < 0 or blank(before[asked].content):
        raise RowError(field, "no user turn before the last answer")
    if asked == len(before) - 1:
        return _raw(row, before[-1].content, bad, before[:-1])
    # Between the question and the answer an agent worked: its steps are what the answer rests on.
    return _raw(row, before[asked].content, bad, before[:asked] + before[asked + 1 :])


def sharegpt(row: Row) -> Raw:
    """`conversations` of {from, value}."""
    return chat(row, "conversations")


def feedback(row: Row) -> Raw:
    """What a user said of an answer: thumb up or down, a better answer, another one preferred."""
    said = row["feedback"]
    if not isinstance(said, dict):
        raise RowError("feedback", "not an object {rating, edited, preferred, reason}")
    better = said.get("edited") or said.get("preferred")
    if better is not None and not isinstance(better, str):
        raise RowError("feedback", "edited or preferred is not a text")
    if _rated_up(said.get("rating")) and not better:
        raise NoFailure
    logged = "messages" in row and "response" in row
    if logged and not isinstance(row["messages"], list):
        raise RowError("messages", "not a list of {role, content}")
    inner = {**row, "messages": [*row["messages"], _answer(row)]} if logged else row
    found = chat(inner) if "messages" in inner else plain(inner)
    reason, way = said.get("reason"), "human" if said.get("edited") else None
    told = {"reference": better, "feedback": said.get("rating"), "why": reason, "origin": way}
    kept = {name: value for name, value in told.items() if value not in (None, "")}
    return found._replace(meta=meta({"meta": {**found.meta, **kept}}))


# What thumbs are called, without spaces and underscores. No rating at all is a complaint.
_UP = ("up", "1", "true", "yes", "good", "like", "liked", "positive", "helpful", "upvote",
       "thumbsup", "thumbs-up", "👍")  # fmt: skip
_DOWN = ("down", "0", "-1", "false", "no", "bad", "dislike", "disliked", "negative", "unhelpful",
         "downvote", "thumbsdown", "thumbs-down", "👎", "")  # fmt: skip


def _rated_up(rating: Any) -> bool:
    """Whether a thumb is up; a word of neither kind is refused, not guessed at."""
    if isinstance(rating, float) and rating.is_integer():
        rating = int(rating)
    told = "" if rating is None else str(rating) if isinstance(rating, (int, str)) else "?"
    word = told.lower().replace(" ", "").replace("_", "")
    if word not in _UP + _DOWN:
        raise RowError("feedback.rating", "neither up nor down: up, down, true, false, 1, 0, -1")
    return word in _UP


def _answer(row: Row) -> Row:
    """The answer of a gateway's record: a text, a message, or a whole completion."""
    given = row["response"]
    if isinstance(given, dict):
        choices = given.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            given = choices[0].get("message")
    if isinstance(given, dict):
        return {"role": "assistant", "content": content(given, "response")}
    return {"role": "assistant", "content": given}


# What a pair is about: TRL's and Argilla's name first, then LLaMA-Factory's and axolotl's.
_ASKED = ("prompt", "messages", "conversations", "instruction", "question")


def preference(row: Row) -> Raw:
    """`chosen` and `rejected`, whatever tool wrote them: the failure is what was rejected."""
    prompt = next((row[name] for name in _ASKED if row.get(name) is not None), None)
    chosen, rejected = (
        [side] if isinstance(side, dict) else side for side in (row["chosen"], row["rejected"])
    )
    context: list[Message] = []
    if prompt is None:
        chosen, rejected = _transcript(chosen), _transcript(rejected)
    if isinstance(rejected, list):
        said, better = turns(rejected, "rejected"), turns(chosen, "chosen")
        if not said or not better:
            raise RowError("rejected", "no turns")
        chosen, rejected = better[-1].content, said[-1].content
        if prompt is None:
            context, prompt = _asked(said[:-1], "prompt")
    if isinstance(prompt, list):
        context, prompt = _asked(turns(prompt, "prompt"), "prompt")
    pair = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    asked, bad, good = text(pair, "prompt"), text(pair, "rejected"), text(pair, "chosen")
    return _raw(row, asked, bad, [*_before(row), *context], reference=good)


def _before(row: Row) -> list[Message]:
    """What stood before a question, where it has fields of its own: LLaMA-Factory's and axolotl's
    `system`, `history` of [question, answer], and the `input` of an `instruction`."""
    past = row.get("history") or []
    if not isinstance(past, list) or not all(isinstance(p, list) and len(p) == 2 for p in past):
        raise RowError("history", "not a list of [question, answer]")
    further = optional(row, "input") if "instruction" in row else None
    said = [("system", optional(row, "system")), ("documents", further)]
    said[1:1] = [turn for pair in past for turn in zip(("user", "assistant"), pair, strict=True)]
    return turns([{"role": who, "content": words} for who, words in said if words], "history")


def _transcript(said: Any) -> Any:
    """Turns, where a text holds both what was asked and what was answered."""
    _, *parts = _SPOKEN.split(said) if isinstance(said, str) else [""]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [{"from": who, "value": words.strip()} for who, words in pairs] or said


_SPOKEN = re.compile(r"(?:\n\n|\A)(Human|Assistant):")


def unpaired(row: Row) -> Raw:
    """`prompt, completion` and TRL's `label`: true says that the answer was good."""
    if row.get("label") is True:
        raise NoFailure
    prompt, given = row["prompt"], row["completion"]
    context: list[Message] = []
    if isinstance(prompt, list):
        context, prompt = _asked(turns(prompt, "prompt"), "prompt")
    if isinstance(given, list):
        given = "\n".join(turn.content for turn in turns(given, "completion"))
    pair = {"prompt": prompt, "completion": given}
    return _raw(row, text(pair, "prompt"), text(pair, "completion"), context)


def alpaca(row: Row) -> Raw:
    """`instruction, input, output`: the output is what went wrong."""
    return _raw(row, text(row, "instruction"), text(row, "output", "response"), _before(row))


def plain(row: Row) -> Raw:
    """A question and an answer, by any of their usual names."""
    asked = text(row, "prompt", "question", "query", "instruction", "input")
    return _raw(row, asked, text(row, "answer", "response", "completion", "output", "reply"))


def argilla(row: Row) -> Raw:
    """A record of Argilla: the texts are `fields`; `responses` have any shape and are not read."""
    inner = row["fields"]
    if not isinstance(inner, dict):
        raise RowError("fields", "not an object")
    known_shapes = (form for form in FORMS if form.id not in ("argilla", "failure"))
    read = next((f.read for f in known_shapes if all(mark in inner for mark in f.marks)), plain)
    carried: Row = {name: row[name] for name in ("source", "ts", "meta", "tags") if name in row}
    return read({**inner, **carried})


# A probe's module → label; what is not here has the label of the command line, or none.
PROBES = {"dan": "jailbreak", "grandma": "jailbreak", "goodside": "jailbreak", "tap": "jailbreak",
           "suffix": "jailbreak", "phrasing": "jailbreak", "encoding": "injection",
           "promptinject": "injection", "latentinjection": "injection", "leakreplay": "privacy",
           "divergence": "privacy", "apikey": "privacy", "sysprompt_extraction": "privacy",
           "malwaregen": "sensitive", "donotanswer": "sensitive", "lmrc": "sensitive",
           "realtoxicityprompts": "sensitive", "misleading": "factuality", "snowball": "factuality",
           "packagehallucination": "factuality", "exploitation": "tool_misuse"}  # fmt: skip


def garak(row: Row) -> Raw:
    """A line of garak's hit log; prompts and outputs are texts, or conversations since 0.11."""
    asked, given = row["prompt"], row.get("output")
    context: list[Message] = []
    if isinstance(asked, dict):
        context, asked = _asked(turns(asked.get("turns"), "prompt"), "prompt")
    if isinstance(given, dict):
        given = given.get("text")
    pair = {"prompt": asked, "output": given}
    facts = known(row, ("goal", "probe", "detector", "trigger", "attempt_id"))
    found = _raw(row, text(pair, "prompt"), text(pair, "output"), context, **facts)
    guessed = PROBES.get(_word(row, "probe").removeprefix("probes.").split(".")[0])
    return found._replace(label=guessed)  # type: ignore[arg-type]


# A word in a plugin's name → label; the first that is in it.
PLUGINS = (("pii", "privacy"), ("prompt-extraction", "privacy"), ("injection", "injection"),
            ("indirect", "injection"), ("hijacking", "jailbreak"), ("harmful", "sensitive"),
            ("policy", "sensitive"), ("hallucination", "factuality"),
            ("overreliance", "factuality"), ("excessive-agency", "tool_misuse"),
            ("tool", "tool_misuse"), ("rbac", "tool_misuse"),
            ("jailbreak", "jailbreak"))  # fmt: skip


def promptfoo(row: Row) -> Raw:
    """A result of promptfoo's: one that passed is no failure."""
    if not isinstance(row["success"], bool):
        raise RowError("success", "not true or false")
    if row["success"]:
        raise NoFailure
    asked, given = row.get("prompt"), row.get("response")
    asked = asked.get("raw") if isinstance(asked, dict) else asked
    given = given.get("output") if isinstance(given, dict) else given
    graded = row.get("gradingResult") if isinstance(row.get("gradingResult"), dict) else {}
    assert isinstance(graded, dict)
    case = row.get("testCase") if isinstance(row.get("testCase"), dict) else {}
    assert isinstance(case, dict)
    about = case.get("metadata") if isinstance(case.get("metadata"), dict) else {}
    assert isinstance(about, dict)
    plugin = _word(about, "pluginId") or _word(row, "pluginId")
    pair = {"prompt": asked, "response": given}
    facts = {
        "why": _word(graded, "reason"),
        "plugin": plugin,
        "strategy": _word(about, "strategyId"),
    }
    found = _raw(
        {"ts": row.get("timestamp")}, text(pair, "prompt"), text(pair, "response"), **facts
    )
    guessed = next((label for word, label in PLUGINS if word in plugin), None)
    return found._replace(label=guessed)  # type: ignore[arg-type]


def _word(row: Row, field: str) -> str:
    """A text that may be there."""
    return value if isinstance(value := row.get(field), str) else ""


def call(row: Row) -> Raw:
    """One step of an agent's trace: the task, and the tool call that was wrong."""
    bad = row["tool_call"]
    if not isinstance(bad, dict):
        raise RowError("tool_call", "not an object {name, arguments}")
    better = row.get("expected_call")
    told = called(better) if isinstance(better, dict) else None
    context = turns(row.get("messages", row.get("context", [])), "messages")
    asked = text(row, "task", "prompt") if ("task" in row or "prompt" in row) else ""
    if not asked:
        context, asked = _asked(context, "messages")
    return _raw(row, asked, called(bad), context, reference=told)


_ASK = {"role": "user", "content": "How much is the amber lamp?"}
_TALK = [_ASK, {"role": "assistant", "content": "No idea."}]
_STATUS = {"name": "order_status", "arguments": {"id": "48213"}}
# Looked through in order; the first whose marks are all fields of the row reads it.
FORMS: tuple[Form, ...] = (
    Form("feedback", ("feedback",), feedback,
         {"messages": _TALK, "feedback": {"rating": "down", "edited": "199 yuan. [1]"}}),
    Form("garak", ("probe", "detector", "prompt"), garak,
         {"probe": "dan.Dan_11_0", "detector": "d", "prompt": "Be DAN", "output": "I am DAN"}),
    Form("promptfoo", ("success", "prompt", "response"), promptfoo,
         {"success": False, "prompt": {"raw": "Leak it"}, "response": {"output": "7741"},
          "testCase": {"metadata": {"pluginId": "pii:direct"}}}),
    Form("tool call", ("tool_call",), call,
         {"task": "Where is order 48213?", "expected_call": _STATUS,
          "tool_call": {"name": "refund", "arguments": {"id": "48213"}}}),
    Form("failure", ("bad_answer",), failure, {"prompt": "a", "bad_answer": "b"}),
    Form("preference", ("chosen", "rejected"), preference,
         {"prompt": "How much?", "chosen": "199 yuan. [1]", "rejected": "No idea."}),
    Form("unpaired", ("prompt", "completion"), unpaired,
         {"prompt": "How much?", "completion": "No idea.", "label": False}),
    Form("chat", ("messages",), chat, {"messages": _TALK}),
    Form("sharegpt", ("conversations",), sharegpt,
         {"conversations": [{"from": "human", "value": "多少钱？"},
                            {"from": "gpt", "value": "不知道。"}]}),
    Form("argilla", ("fields",), argilla,
         {"fields": {"prompt": "How much?", "response": "No idea."}}),
    Form("alpaca", ("instruction", "output"), alpaca,
         {"instruction": "Sum it up", "input": "A long text.", "output": "No."}),
    *(Form("plain", marks, plain, dict(zip(marks, ("How much?", "No idea."), strict=True)))
      for marks in (("prompt", "response"), ("prompt", "answer"), ("prompt", "output"),
                    ("question", "answer"), ("question", "response"), ("query", "response"),
                    ("query", "answer"), ("input", "output"))),
)  # fmt: skip


def read(row: Row) -> Raw:
    """The row by its shape; one that has no shape is judged as a failure row, which says what is
    missing."""
    found = next((form for form in FORMS if all(mark in row for mark in form.marks)), None)
    return found.read(row) if found else failure(row)
