"""What red-team tools leave: garak's hit logs and reports, promptfoo's tests and results.

Intake reads the same files for the answers in them (`intake/forms.py`, whose tables of probes and
plugins are used here); this takes what was asked, whatever came of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from errata.intake.fields import RowError
from errata.intake.forms import PLUGINS, PROBES
from errata.records import ATTACKS, Predicate
from errata.safety.foreign.rows import Fields, Request, Row, planted, spoken

# Where promptfoo's tests have the attack, if the file does not say.
INJECTED = ("prompt", "__prompt", "query", "user_input", "question", "message", "input", "text")
REDTEAM = "promptfoo:redteam:"
# A test passes when its assertions hold. These fail as soon as an answer has the value, so that is
# what an attack is after; a plain `contains` asks for a right answer, and says nothing of it.
FORBIDS = ("not-contains", "not-icontains", "not-contains-any", "not-icontains-any")


def is_garak(fields: Fields) -> bool:
    hit = all(name in fields for name in ("probe", "detector", "prompt"))
    return hit or (fields.get("entry_type") == "attempt" and "prompt" in fields)


def garak(row: Row) -> Iterator[Request]:
    """A line of a hit log, or an attempt of a report; its other entries ask nothing."""
    fields = row.fields
    if fields.get("entry_type", "attempt") != "attempt":
        return
    probe = str(fields.get("probe") or fields.get("probe_classname") or "")
    probe = probe.removeprefix("garak.").removeprefix("probes.")
    messages = spoken(fields.get("prompt"), "prompt")
    category = row.category or _class(PROBES.get(probe.split(".")[0]), "probe", probe)
    triggers = _triggers(fields)
    # A goal is a whole probe's: its triggers are what tells its requests apart.
    goal = "\n".join([_text(fields, "goal") or messages[-1].content, *sorted(set(triggers))])
    success = planted(triggers, category, "triggers") if triggers else None
    yield Request(messages, goal, category, probe, success)


def _triggers(fields: Fields) -> list[str]:
    """The texts whose appearance garak counts, in any of the places that its versions have."""
    notes = fields.get("notes")
    for place in (fields, notes if isinstance(notes, dict) else {}):
        for name in ("trigger", "triggers"):
            given = place.get(name)
            found = [_message(item) for item in (given if isinstance(given, list) else [given])]
            if texts := [item for item in found if item]:
                return texts
    return []


def _message(value: Any) -> str:
    value = value.get("text") if isinstance(value, dict) else value
    return value.strip() if isinstance(value, str) else ""


def is_promptfoo(fields: Fields) -> bool:
    """A test with variables, or a result that holds one."""
    test = fields.get("testCase", fields)
    return isinstance(test, dict) and "vars" in test and ("assert" in test or "metadata" in test)


def promptfoo(row: Row) -> Iterator[Request]:
    """A test of a red-team YAML, or a result, passed or not."""
    test = row.fields.get("testCase", row.fields)
    test = test if isinstance(test, dict) else {}
    about = _object(row.fields, "metadata") | _object(test, "metadata")
    given = _object(row.fields, "vars") | _object(test, "vars")
    said = test.get("assert")
    asserted = [item for item in (said if isinstance(said, list) else []) if isinstance(item, dict)]
    plugin = _text(about, "pluginId") or next(
        (kind.removeprefix(REDTEAM) for item in asserted
         if (kind := _text(item, "type")).startswith(REDTEAM)), "",
    )  # fmt: skip
    values = [value for item in asserted if item.get("type") in FORBIDS
              for value in _values(item.get("value"), given)]  # fmt: skip
    if not plugin and not values:
        raise RowError("assert", "no red-team test: it names no plugin and forbids no text")
    messages = spoken(about.get("redteamFinalPrompt") or _injected(row, given), "vars")
    category = row.category or _class(_of_plugin(plugin), "pluginId", plugin)
    goal = _text(about, "goal") or _text(about, "originalText") or messages[-1].content
    success: Predicate | None = planted(values, category, "assert") if values else None
    yield Request(messages, goal, category, plugin or "assert", success)


def _injected(row: Row, given: Fields) -> Any:
    """The variable that holds the attack: the file's own word for it, a usual one, the only one."""
    said = _text(_object(row.top, "redteam"), "injectVar")
    name = next((name for name in (said, *INJECTED) if name in given), "")
    if not name and len(given) != 1:
        raise RowError("vars", f"none of {', '.join(INJECTED)}: which one is the attack?")
    return given[name] if name else next(iter(given.values()))


def _values(value: Any, given: Fields) -> list[str]:
    """The texts of an assertion, with the test's variables put in."""
    found = [item for item in (value if isinstance(value, list) else [value])
             if isinstance(item, str)]  # fmt: skip
    return [re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda m: str(given.get(m[1], m[0])), item)
            for item in found]  # fmt: skip


def _of_plugin(plugin: str) -> str | None:
    if "overrefusal" in plugin:
        return "lookalike"
    return next((label for word, label in PLUGINS if word in plugin), None)


def _class(label: str | None, field: str, name: str) -> str:
    """The class of an audit; RowError where a probe or plugin is after something else."""
    if label is None:
        raise RowError(field, f"no class is known of `{name}`; category= gives one")
    if label not in (*ATTACKS, "lookalike"):
        raise RowError(field, f"`{name}` is after {label}, which this audit does not ask")
    return label


def _object(fields: Fields, name: str) -> dict[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return value.strip() if isinstance(value, str) else ""
