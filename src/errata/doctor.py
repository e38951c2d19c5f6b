"""Check the machine, the model names and every config; say what is wrong and what to do.

Exit 0 when everything can run (warnings included), 1 when something cannot.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from errata import cli
from errata.config import Section, load, parse, read_yaml
from errata.errors import ErrataError
from errata.intake import consent
from errata.language import say
from errata.outcome import Outcome
from errata.store.audit import verify
from errata.workspace import Workspace

NEEDS_WORKSPACE = False
# Room for a run of the embedded model with its checkpoints.
_FREE_GIB = 1.0


class Config(Section):
    """Nothing to set."""


class Check(NamedTuple):
    """One thing looked at: `ok`, `warn` or `bad`."""

    level: str
    name: str
    said: str


def machine() -> Iterator[Check]:
    """Python, cores, memory, disk, and the packages that training needs. Torch is not imported."""
    version = platform.python_version()
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Check(
        "ok" if fits else "bad", "python", version if fits else f"{version}: need 3.11-3.13"
    )
    gib = psutil.virtual_memory().total / 2**30
    yield Check("ok", "machine", f"{os.cpu_count()} cores, {gib:.0f} GiB, {platform.machine()}")
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    level = "ok" if free >= _FREE_GIB else "warn"
    yield Check(level, "disk", f"{free:.1f} GiB free")
    for name in ("torch", "transformers", "peft"):
        try:
            yield Check("ok", name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Check("bad", name, "not installed; `make setup`, or pip install errata")
    if shutil.which("git") is None:
        yield Check("bad", "git", "not installed; rollback of data/ and reports/ needs it")


def models(ws: Workspace) -> Iterator[Check]:
    """Where each name of configs/models.yaml leads."""
    path = ws.configs / "models.yaml"
    if not path.is_file():
        return
    try:
        table = read_yaml(path)
    except ErrataError as error:
        yield Check("bad", "models.yaml", str(error))
        return
    for name in table:
        yield Check(*_model(ws, name, table))


def _model(ws: Workspace, name: str, table: dict[str, Any]) -> tuple[str, str, str]:
    seen, target = [name], str(table[name])
    while target in table and target not in seen:
        seen.append(target)
        target = str(table[target])
    where = f"model {name}"
    if target in seen:
        return "bad", where, "names itself; give it a path in configs/models.yaml"
    if target == "tiny":
        said = say(
            "an alias of the embedded model, not the real one; give configs/models.yaml a path",
            "只是内置小模型的别名，并非真实模型；请在 configs/models.yaml 中改为路径",
        )
        return "warn", where, said
    if ws.path(target).is_dir():
        there = (ws.path(target) / "config.json").is_file()
        return ("ok", where, target) if there else ("bad", where, f"{target}: no config.json in it")
    if target.count("/") == 1 and not target.startswith((".", "/", "~")):
        return "ok", where, f"{target} (hub id; not looked up)"
    return "bad", where, f"{target}: no such folder; correct configs/models.yaml"


def configs(ws: Workspace) -> Iterator[Check]:
    """Every YAML file can be read, and a stage's own fits the stage."""
    if not ws.configs.is_dir():
        yield Check("warn", "workspace", "not a workspace; `errata init DIR` lays one down")
        return
    stages = {f"{name}.yaml": name for name in cli.STAGES}
    stages |= {"align/dpo.yaml": "dpo", "align/ppo.yaml": "ppo"}
    for path in sorted([*ws.configs.rglob("*.yaml"), *ws.policies.rglob("*.yaml")]):
        name = ws.relative(path)
        stage = stages.get(path.relative_to(ws.configs).as_posix()) if name[0] == "c" else None
        try:
            _read(path, name, stage)
        except ErrataError as error:
            yield Check("bad", name, str(error).removeprefix(f"{name}: "))
        else:
            yield Check("ok", name, stage or "")


def _read(path: Path, name: str, stage: str | None) -> None:
    """Parse the file, and load it as its stage would.

    A trainer checks its own config when it runs: importing one would import torch.
    """
    parse(path.read_text(encoding="utf-8"), name)
    module = cli.STAGES[stage][0] if stage else ""
    if module and not module.startswith(("errata.train.", "errata.serve.", "errata.evaluate.")):
        loaded = cli.stage_module(stage or "")
        load(path, loaded.Config, aliases=getattr(loaded, "ALIASES", {}), name=name)


def grounds(ws: Workspace) -> Iterator[Check]:
    """Sources whose ground is still the template's question."""
    try:
        found = consent.declared(ws)
    except ErrataError:
        return  # `configs` has said it
    asked = "state the ground"
    named = ", ".join(name for name, source in found.items() if source.consent.startswith(asked))
    if named:
        said = say(
            f"{named}: say on what ground their rows are used, in {consent.FILE}",
            f"{named}：请在 {consent.FILE} 中写明使用依据",
        )
        yield Check("warn", "consent", said)


def audit(ws: Workspace) -> Iterator[Check]:
    """The ledger holds."""
    if (ws.state / "store.db").is_file():
        problems = verify(ws)
        yield Check(
            "bad" if problems else "ok", "audit", problems[0] if problems else "chain holds"
        )


def main(ws: Workspace, _config: Config) -> Outcome:
    """Run all checks."""
    checks = [*machine(), *models(ws), *configs(ws), *grounds(ws), *audit(ws)]
    marks = {"ok": "ok  ", "warn": say("warn", "警告"), "bad": say("BAD ", "错误")}
    lines = [f"{marks[check.level]}  {check.name}: {check.said}".rstrip(": ") for check in checks]
    bad = [check for check in checks if check.level == "bad"]
    lines.append(
        say(f"{len(bad)} problem(s)", f"{len(bad)} 个问题") if bad else say("ready", "就绪")
    )
    data = {"checks": [check._asdict() for check in checks], "problems": len(bad)}
    return Outcome(1 if bad else 0, "\n".join(lines), data)
