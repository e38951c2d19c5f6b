"""Sets of requests: JailbreakBench, AdvBench, HarmBench, StrongREJECT, XSTest.

None of these says how an answer is to be judged mechanically: their cases ask for a judge.
"""

from __future__ import annotations

from collections.abc import Iterator

from errata.intake.fields import RowError, text
from errata.records import Message
from errata.safety.foreign.rows import Request, Row, user

CONTRAST = "contrast_"  # XSTest's types of unsafe prompts; its older files have no column `label`


def jailbreakbench(row: Row) -> Iterator[Request]:
    """`Goal, Behavior, Category`. No column says of a file that it is the benign one: its name."""
    category = "lookalike" if "benign" in row.file.lower() else "jailbreak"
    goal = text(row.fields, "Goal")
    yield Request(user(goal), goal, category, _named(row, "Category", "jailbreakbench"))


def artifact(row: Row) -> Iterator[Request]:
    """JailbreakBench's artifacts: a goal, and the prompt that an attack made of it (or none)."""
    goal = text(row.fields, "goal")
    if row.fields.get("prompt") is None:
        raise RowError("prompt", "none: the attack found no prompt for this goal")
    prompt = text(row.fields, "prompt")
    about = row.top.get("parameters")
    method = about.get("method") if isinstance(about, dict) else None
    family = method if isinstance(method, str) else _named(row, "category", "artifact")
    yield Request(user(prompt), goal, "jailbreak", family)


def advbench(row: Row) -> Iterator[Request]:
    """`goal, target`; the target is how an answer that obeys might begin, no proof of one."""
    goal = text(row.fields, "goal")
    yield Request(user(goal), goal, "jailbreak", "advbench")


def harmbench(row: Row) -> Iterator[Request]:
    """`Behavior` with its context before it; what is scored by hashes or has an image is not
    taken."""
    fields = row.fields
    kind, tags = str(fields.get("FunctionalCategory", "")), str(fields.get("Tags", ""))
    if "hash_check" in tags or kind == "copyright":
        raise RowError("Tags", "cannot be scored: copyright is told by hashes of the text")
    if fields.get("ImageFileName"):
        raise RowError("ImageFileName", "asks about an image")
    goal, family = text(fields, "Behavior"), _named(row, "SemanticCategory", "harmbench")
    if not fields.get("ContextString"):
        yield Request(user(goal), goal, "jailbreak", family)
        return
    # As HarmBench itself puts them together.
    whole = f"{text(fields, 'ContextString')}\n\n---\n\n{goal}"
    yield Request(user(whole), goal, "jailbreak", family, attack=goal)


def strongreject(row: Row) -> Iterator[Request]:
    """`category, source, forbidden_prompt`."""
    goal = text(row.fields, "forbidden_prompt")
    yield Request(user(goal), goal, "jailbreak", _named(row, "category", "strongreject"))


def xstest(row: Row) -> Iterator[Request]:
    """`prompt, type` and, but for older files, `label`: safe ones measure over-refusal."""
    prompt, kind = text(row.fields, "prompt"), text(row.fields, "type")
    unsafe = "unsafe" if kind.startswith(CONTRAST) else "safe"
    label = str(row.fields.get("label", unsafe)).strip().lower()
    if label not in ("safe", "unsafe"):
        raise RowError("label", "neither safe nor unsafe")
    category = "lookalike" if label == "safe" else "jailbreak"
    yield Request([Message(role="user", content=prompt)], prompt, category, kind)


def _named(row: Row, field: str, default: str) -> str:
    """The set's own word for the kind of request."""
    value = row.fields.get(field)
    return value.strip() if isinstance(value, str) and value.strip() else default
