"""YAML 1.2 in, a frozen typed section out; a key that nothing reads is an error with a hint.

PyYAML speaks YAML 1.1, in which `on` is True, `1e-5` a string, `010` is 8 and `2025-12-16` a date.
The loader here follows the core schema of YAML 1.2 instead, and refuses a key written twice.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from errata.errors import BadInput
from errata.jsonl import first_problem


class Section(BaseModel):
    """Base of every config: strict (an int may stand for a float), frozen, closed."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


C = TypeVar("C", bound=BaseModel)


class _Loader(yaml.SafeLoader):  # type: ignore[misc,unused-ignore]
    """SafeLoader with the scalars of YAML 1.2."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)"
        r"|\.(?:nan|NaN|NAN))$",
        list("-+0123456789."),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:], base) if base != 10 else int(text)


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            problem = "a key must be one word"
            raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        if key.value in seen:
            problem = f"key `{key.value}` is written twice"
            raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        seen.add(key.value)
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse(text: str, where: str) -> Any:
    """A YAML document as plain values; BadInput says where it cannot be read."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise BadInput(f"{where}{line}: not YAML: {problem}; correct the line") from None
    except (RecursionError, ValueError, LookupError, AttributeError):  # of PyYAML's constructors
        raise BadInput(f"{where}: nested too deep, a number too long, or no value of its tag; "
                       "write it plainly") from None  # fmt: skip


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file whose top is a mapping; an empty file is an empty one."""
    try:
        found = parse(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such config; check --config") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not UTF-8; save it as UTF-8") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadInput(f"{path}: the top is not `key: value`; see `errata <stage> --help`")
    return found


def hint(word: str, known: Sequence[str]) -> str:
    """`; did you mean …?` when something is close, else the list of what there is."""
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f"; known: {', '.join(sorted(known))}" if known else ""


def _put(data: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `a.b.0.c` in nested dicts and lists, making dicts on the way."""
    *parents, last = dotted.split(".")
    target: Any = data
    for part in parents:
        if isinstance(target, list) and part.isdigit() and int(part) < len(target):
            target = target[int(part)]
            continue
        if not isinstance(target, dict):
            break
        if not isinstance(target.get(part), (dict, list)):
            target[part] = {}
        target = target[part]
    if isinstance(target, dict):
        target[last] = value
    elif isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = value
    else:
        raise BadInput(f"command line: `{dotted}` names nothing that can be set; see --help")


def _override(text: str) -> tuple[str, str, Any]:
    """`key=value` → key, the text of the value, the value as YAML (else the text)."""
    key, equals, raw = text.partition("=")
    if not equals or not key:
        raise BadInput(f"command line: `{text}` is not key=value")
    try:
        return key, raw, parse(raw, "")
    except BadInput:
        return key, raw, raw


def _model_at(model: type[BaseModel], loc: Sequence[Any]) -> type[BaseModel] | None:
    """The section that a location of an error lies in, for the hint."""
    here: Any = model
    for part in loc:
        if isinstance(part, int):
            continue
        fields = getattr(here, "model_fields", {})
        if part not in fields:
            return None
        here = next(iter(_sections(fields[part].annotation)), None)
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _sections(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for arg in getattr(annotation, "__args__", ()) for found in _sections(arg)]


def _explain(
    error: ValidationError, model: type[BaseModel], where: str, names: Sequence[str]
) -> str:
    item = error.errors(include_url=False)[0]
    loc = item["loc"]
    if item["type"] == "extra_forbidden":
        section = _model_at(model, loc[:-1])
        known = list(section.model_fields) if section else []
        if len(loc) == 1:
            known += names
        return f"{where}: unknown key `{loc[-1]}`{hint(str(loc[-1]), known)}"
    problem = first_problem(error, show_text=True)
    return f"{where}: " + problem.replace("; correct the row", "; correct the value")


def _mend(data: dict[str, Any], error: ValidationError, typed: Mapping[str, str]) -> bool:
    """A word on the command line has no quotes: take it as the text or list the field wants."""
    mended = False
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"])
        if key in typed and item["type"] == "string_type":
            _put(data, key, typed[key])
            mended = True
        elif key in typed and item["type"] == "list_type":
            _put(data, key, typed[key].split(",") if typed[key] else [])
            mended = True
    return mended


def load(
    path: Path | None,
    model: type[C],
    overrides: Sequence[str] = (),
    *,
    aliases: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> C:
    """The config of a stage: defaults, then the file, then `a.b=value`, then `extra` as it is.

    `aliases` are other names of keys; `name` is how errors call the file.
    """
    aliases = aliases or {}
    where = name or (str(path) if path else "config")
    data: dict[str, Any] = {}
    for key, value in (read_yaml(path) if path else {}).items():
        if aliases.get(key, key) in data:
            raise BadInput(f"{where}: `{key}` is another name of a key that is there; keep one")
        data[aliases.get(key, key)] = value
    typed: dict[str, str] = {}
    for text in overrides:
        key, raw, value = _override(text)
        head, dot, rest = key.partition(".")
        key = aliases.get(head, head) + dot + rest
        typed[key] = raw
        _put(data, key, value)
    data.update(extra or {})
    for last_try in (False, False, True):
        try:
            # JSON mode: strict about types, yet a list may be a tuple and a text may be a date.
            return model.model_validate_json(json.dumps(data))
        except ValidationError as error:
            if last_try or not _mend(data, error, typed):
                loc = ".".join(str(part) for part in error.errors()[0]["loc"])
                of_override = any(f"{key}.".startswith(f"{loc}.") for key in typed)
                source = "command line" if of_override else where
                raise BadInput(_explain(error, model, source, list(aliases))) from None
        except (RecursionError, ValueError) as error:
            raise BadInput(f"{where}: a value cannot be written as JSON: {error}") from None
    raise AssertionError("unreachable")
