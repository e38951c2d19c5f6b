"""Every YAML file can be read, and what a stage reads fits the stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from errata import cli
from errata.config import load, parse
from errata.doctor.finding import Check, of_error
from errata.errors import ErrataError
from errata.intake import consent
from errata.language import say
from errata.workspace import Workspace

_HEAVY = tuple(f"errata.{room}." for room in ("train", "serve", "evaluate", "infer", "export"))
_ASKED = "state the ground"  # what the template says where a team has to say it


def look(ws: Workspace) -> Iterator[Check]:
    """Configs and policies, each by its name."""
    if not ws.configs.is_dir():
        said = say("there is none here", "此处没有工作区")
        step = say("`errata init desk && cd desk`", "`errata init desk && cd desk`")
        yield Check("warn", "workspace", said, step)
        return
    stages = {f"{name}.yaml": name for name in cli.STAGES}
    stages |= {"align/dpo.yaml": "dpo", "align/ppo.yaml": "ppo"}
    for path in sorted([*ws.configs.rglob("*.yaml"), *ws.policies.rglob("*.yaml")]):
        name = ws.relative(path)
        stage = stages.get(path.relative_to(ws.configs).as_posix()) if name[0] == "c" else None
        try:
            _read(path, name, stage)
        except ErrataError as error:
            yield of_error(name, error)
        else:
            yield Check("ok", name, stage or "")


def _read(path: Path, name: str, stage: str | None) -> None:
    """Parse the file, and load it as its stage would.

    What needs torch to be imported checks its own config when it runs.
    """
    parse(path.read_text(encoding="utf-8"), name)
    module = cli.STAGES[stage][0] if stage else ""
    if module and not module.startswith(_HEAVY):
        loaded = cli.stage_module(stage or "")
        load(path, loaded.Config, aliases=getattr(loaded, "ALIASES", {}), name=name)


def grounds(ws: Workspace) -> Iterator[Check]:
    """Sources whose ground is still the template's question."""
    try:
        found = consent.declared(ws)
    except ErrataError:
        return  # `look` has said it
    named = ", ".join(name for name, source in found.items() if source.consent.startswith(_ASKED))
    if named:
        said = say(f"{named}: nobody has said on what ground their rows are used",
                   f"{named}：尚未写明使用依据")  # fmt: skip
        step = say(f"write it in {consent.FILE}, `consent:`", f"在 {consent.FILE} 的 consent 写明")
        yield Check("warn", "consent", said, step)
