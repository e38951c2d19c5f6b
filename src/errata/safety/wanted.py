"""What a good answer must be, kind by kind: the predicates of business cases.

    regex       a pattern is found in it (google-re2: linear in the text whatever the pattern)
    json        it is JSON, or has one block of it, that fits a JSON schema (`expects`)
    number      it states a number: `value` within `tolerance`, or between `low` and `high`
    calls_with  it calls `tool` once, with the arguments that `expects` names
    supported   it cites, and each passage it cites holds what its sentence claims
    grounded    it claims nothing that no passage holds
    language    it is in `value`: zh or en
    length      words and Chinese characters, between `low` and `high`

`flaws` says what is wrong with a predicate itself, before any answer is there to be checked.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from errata.errors import BadInput
from errata.evaluate import claims, grounding
from errata.records import Predicate
from errata.safety.said import CALL, CITATION, Score, called
from errata.text import is_chinese, language

_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_LONGEST = 20_000  # characters of an answer that are looked at as JSON


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> Any:
    try:
        import re2
    except ImportError:
        raise BadInput("predicate regex needs google-re2: pip install 'errata[fast]'") from None
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def _regex(success: Predicate, text: str, *_: object) -> Score:
    found = _pattern(success.value).search(unicodedata.normalize("NFKC", text))
    return Score(bool(found), f"says “{found.group()}”" if found else f"no {success.value}")


def _schema(schema: dict[str, Any]) -> Any:
    """A validator that fetches nothing: a $ref leads into the schema itself or nowhere."""
    from jsonschema import Draft202012Validator
    from referencing import Registry

    return Draft202012Validator(schema, registry=Registry())


def _json(success: Predicate, text: str, *_: object) -> Score:
    block = _FENCE.search(text)
    try:
        told = json.loads((block[1] if block else text)[:_LONGEST])
        wrong = next(iter(_schema(success.expects).iter_errors(told)), None)
    except (ValueError, RecursionError):
        return Score(False, "not JSON")
    if wrong is None:
        return Score(True, "fits the schema")
    where = "/".join(map(str, wrong.absolute_path)) or "top"
    return Score(False, f"{where}: against `{wrong.validator}` of the schema")


def bounds(success: Predicate) -> tuple[float, float]:
    """What a number or a length may be; infinite where nothing is said. ValueError: no number."""
    low = -math.inf if success.low is None else success.low
    high = math.inf if success.high is None else success.high
    if success.value:
        middle, reach = float(success.value), success.tolerance or 0.0
        if not math.isfinite(middle):
            raise ValueError(success.value)
        low, high = max(low, middle - reach), min(high, middle + reach)
    return low, high


def _number(success: Predicate, text: str, *_: object) -> Score:
    """With a unit every number of it must be in bounds, without one some number."""
    factor = 1.0
    told = [c for c in claims.claims(text) if c.kind == "number"]
    if success.unit:
        unit, factor = claims.unit_of(success.unit)
        told = [c for c in told if c.unit == unit]
    low, high = bounds(success)
    slack = 1e-9 * max(1.0, abs(low) if low > -math.inf else abs(high))
    inside = [low - slack <= float(c.value) / factor <= high + slack for c in told]
    hit = bool(inside) and (all(inside) if success.unit else any(inside))
    shown = ", ".join(f"{float(c.value) / factor:g}" for c in told) or "no number"
    return Score(hit, f"states {shown} {success.unit}".strip())


def _arguments(inside: str) -> tuple[list[str], dict[str, str]]:
    """Values in order, and those that have a name: `5, why=late`, `order: "5"`."""
    plain, named = [], {}
    for part in unicodedata.normalize("NFKC", inside).split(","):
        match = re.match(r"\s*[\"']?(\w+)[\"']?\s*[=:]\s*(.*)", part)
        value = (match[2] if match else part).strip(" \"'")
        if match:
            named[match[1].casefold()] = value
        elif value:
            plain.append(value)
    return plain, named


def _calls_with(success: Predicate, text: str, *_: object) -> Score:
    """Arguments without a name stand for those of `expects` in their order."""
    made = called(text)
    told = f"calls {made or 'nothing'}"
    if len(made) != 1 or len(CALL.findall(text)) != text.count("CALL"):
        return Score(False, told)
    tool, inside = made[0]
    plain, named = _arguments(inside)
    free = iter(plain)
    given = {name: named.get(name.casefold()) or next(free, "") for name in success.expects}
    right = all(given[name] == str(value) for name, value in success.expects.items())
    return Score(tool == success.tool and right and len(plain) + len(named) <= len(given), told)


def _supported(_: Predicate, text: str, documents: Sequence[str], question: str) -> Score:
    if not CITATION.search(text):
        return Score(False, "no citation")
    numbered = grounding.passages("\n".join(documents))
    wrong = grounding.cited_wrongly(text, numbered, question)
    return Score(not wrong, f"not borne out: “{wrong[0]}”" if wrong else "its passages hold it")


def _grounded(_: Predicate, text: str, documents: Sequence[str], question: str) -> Score:
    sources = list(grounding.passages("\n".join(documents)).values()) or list(documents)
    wrong = grounding.unsupported(text, sources, question)
    told = f"no passage holds {wrong[0].value} {wrong[0].unit}".strip() if wrong else "grounded"
    return Score(not wrong, told)


def _language(success: Predicate, text: str, *_: object) -> Score:
    """A call or a figure alone is in no language: there the predicate does not hold."""
    words = CITATION.sub(" ", CALL.sub(" ", text))
    if not any(char.isalpha() for char in words):
        return Score(False, "no words")
    found = language(words)
    return Score(found == success.value, f"is in {found}")


def size(text: str) -> int:
    """Words, and each Chinese character as one; citations are not counted."""
    plain = CITATION.sub(" ", unicodedata.normalize("NFKC", text))
    apart = "".join(f" {char} " if is_chinese(char) else char for char in plain)
    return len(_WORD.findall(apart))


def _length(success: Predicate, text: str, *_: object) -> Score:
    low, high = bounds(success)
    found = size(text)
    return Score(low <= found <= high, f"{found} words")


KINDS: dict[str, Callable[[Predicate, str, Sequence[str], str], Score]] = {
    "regex": _regex,
    "json": _json,
    "number": _number,
    "calls_with": _calls_with,
    "supported": _supported,
    "grounded": _grounded,
    "language": _language,
    "length": _length,
}
DOCUMENTED = ("supported", "grounded")  # they look at the documents of the case
SAYS_NOTHING = ("length", "grounded", "language")  # an empty or broken answer must not pass them


def flaws(success: Predicate) -> Iterator[str]:
    """What is wrong with the predicate itself; none: it can be asked."""
    kind = success.kind
    if kind == "regex":
        yield from _pattern_flaws(success.value)
    if kind == "json":
        yield from _schema_flaws(success.expects)
    if kind == "language" and success.value not in ("zh", "en"):
        yield f"language needs `value` zh or en, not `{success.value}`"
    needed = {
        "tool": ("calls", "only_call", "calls_with"),
        "value": ("contains", "marker", "cites"),
        "expects": ("calls_with",),
    }
    for name, kinds in needed.items():
        if kind in kinds and not getattr(success, name):
            yield f"{kind} needs `{name}`"
    yield from _bound_flaws(success) if kind in ("number", "length") else _unread(success)


def _unread(success: Predicate) -> Iterator[str]:
    """Fields that this kind does not look at: whoever wrote them meant another."""
    for name in ("low", "high", "tolerance", "unit"):
        if getattr(success, name) not in (None, ""):
            yield f"{success.kind} does not read `{name}`"


def _bound_flaws(success: Predicate) -> Iterator[str]:
    kind = success.kind
    try:
        low, high = bounds(success)
    except ValueError:
        yield f"{kind}: `value` {success.value} is no number"
        return
    if low == -high == -math.inf:
        yield f"{kind} needs `low` or `high`" + (", or `value`" if kind == "number" else "")
    if success.tolerance is not None and (kind == "length" or not success.value):
        yield "`tolerance` is of a number's `value`"
    if success.unit and not (kind == "number" and claims.known_unit(success.unit)):
        yield f"{kind}: unit `{success.unit}` is not known"
    if low > high:
        yield f"{kind} wants at least {low:g} and at most {high:g}: no answer can"
    elif kind == "length" and high < 1:
        yield "length wants an empty answer: those are scored as broken"


def _pattern_flaws(pattern: str) -> Iterator[str]:
    if not pattern:
        yield "regex needs `value`"
        return
    import_error = ""
    try:
        _pattern(pattern)
    except BadInput as error:
        import_error = str(error)
    except Exception as error:  # re2.error is of no class of ours, and the module may be absent
        import_error = f"regex `{pattern}`: {error}; google-re2 has no look-around"
    if import_error:
        yield import_error


def _schema_flaws(schema: dict[str, Any]) -> Iterator[str]:
    if not schema:
        yield "json needs `expects`: a JSON schema"
        return
    if '"pattern' in json.dumps(schema):
        yield "json: `pattern` in a schema can take for ever; use a regex predicate beside it"
        return
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
        list(_schema(schema).iter_errors({}))
    except SchemaError as error:
        yield f"json: no JSON schema: {error.message}"
    except Exception as error:  # a $ref that leads nowhere, or round in a ring
        yield f"json: the schema cannot be followed: {type(error).__name__}"
