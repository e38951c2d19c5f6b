"""Which models are meant: names of configs/models.yaml, what the configs name, what was passed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from errata import candidates
from errata.config import read_yaml
from errata.doctor import checkpoint
from errata.doctor.finding import Check, of_error
from errata.errors import ErrataError
from errata.language import say
from errata.workspace import Workspace

# Those whose `model` is trained, with the longest row that it is to read.
_TRAINED = ("sft.yaml", "rm.yaml", "align/dpo.yaml", "align/ppo.yaml")


def look(ws: Workspace, given: str = "") -> Iterator[Check]:
    """Where each name leads, and whether training can use what lies there; each folder once."""
    lengths = _lengths(ws)
    seen: set[Path] = set()
    table = _table(ws)
    if isinstance(table, Check):
        yield table
        table = {}
    passed = [given] if given else []
    for name in dict.fromkeys([*passed, *table, *lengths]):
        yield from _one(ws, name, table, lengths.get(name) or _longest(lengths), seen)


def _table(ws: Workspace) -> dict[str, Any] | Check:
    path = ws.configs / "models.yaml"
    try:
        return read_yaml(path) if path.is_file() else {}
    except ErrataError as error:
        return of_error("configs/models.yaml", error)


def _lengths(ws: Workspace) -> dict[str, dict[str, int]]:
    """Model that a training config names → that config and its `seq_len`."""
    found: dict[str, dict[str, int]] = {}
    for name in _TRAINED:
        path = ws.configs / name
        try:
            panel = read_yaml(path) if path.is_file() else {}
        except ErrataError:
            continue  # `configs` says it
        if isinstance(model := panel.get("model"), str) and model:
            length = panel.get("seq_len", 512)
            at = found.setdefault(model, {})
            at[f"configs/{name}"] = length if isinstance(length, int) else 512
    return found


def _longest(lengths: dict[str, dict[str, int]]) -> dict[str, int]:
    """For a model that no config names: it would be trained with these."""
    return {config: length for at in lengths.values() for config, length in at.items()}


def _one(
    ws: Workspace, name: str, table: dict[str, Any], lengths: dict[str, int], seen: set[Path]
) -> Iterator[Check]:
    where = f"model {name}"
    try:
        base = _base(ws, name)
    except ErrataError as error:
        yield _unresolved(where, name, table, error)
        return
    if base.alias and base.path == str(candidates.TINY):
        said = say("an alias of the embedded model, not the real one",
                   "只是内置小模型的别名，并非真实模型")  # fmt: skip
        step = say(f"give `{name}` a path in configs/models.yaml, if you have the weights",
                   f"有真实权重后，在 configs/models.yaml 中把 `{name}` 改为路径")  # fmt: skip
        yield Check("warn", where, said, step)
        return
    folder = Path(base.path)
    if not folder.is_dir():
        yield Check("ok", where, say(f"{base.path} (hub id; not looked up)",
                                     f"{base.path}（hub 名；未查验）"))  # fmt: skip
    elif folder not in seen:
        seen.add(folder)
        yield from checkpoint.look(where, folder, lengths)


def _base(ws: Workspace, name: str) -> candidates.Base:
    """A run's base is the checkpoint it started from."""
    if (ws.runs / name / "candidate.json").is_file():
        return candidates.resolve_base(ws, candidates.resolve(ws, name).base)
    return candidates.resolve_base(ws, name)


def _unresolved(where: str, name: str, table: dict[str, Any], error: ErrataError) -> Check:
    """The name leads nowhere; of one in the table, the line that is wrong is named."""
    found = of_error(where, error)
    if name not in table:
        return found
    told = f"configs/models.yaml: `{name}: {table[name]}`"
    if "names itself" in found.said:
        return found._replace(said=f"{told} names itself")
    if "config.json" in found.said:
        return found._replace(said=f"{told}: no config.json in it")
    step = say("correct the path in configs/models.yaml", "修正 configs/models.yaml 中的路径")
    return found._replace(said=f"{told}: no such folder", step=step)
