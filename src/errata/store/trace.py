"""`errata trace`: lineage of an id as a tree, as JSON or as DOT; of all of them as one document.

    errata trace f-0001                      what became of a failure, and what it came from
    errata trace f-0001 led_to=release       which releases have learnt from it, an id a line
    errata trace serving came_from=failure   which failures taught the model that serves now
    errata trace r2-1a2b format=dot | dot -Tsvg > r2.svg
    errata trace format=json > lineage.json  the whole store: nodes and steps

An id is a failure, row, pair, version, run, digest, verdict, waiver, repair or release; the
beginning of one is enough. `serving` and `canary` are the releases in these states."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Literal

from pydantic import Field

from errata.config import Section, hint
from errata.errors import BadInput
from errata.jsonl import plain
from errata.language import say, word
from errata.outcome import Outcome
from errata.store import lineage, mlflow, past, status
from errata.store.lineage import Lineage, Node, Step
from errata.workspace import Workspace


class Config(Section):
    """`errata trace ID`."""

    args: list[str] = Field(default=[], description="the id to trace; none: all of the store")
    limit: int = Field(default=12, description="branches of one kind drawn at one place")
    came_from: str = Field(default="", description="only ids above of this kind, one a line")
    led_to: str = Field(default="", description="only ids below of this kind, one a line")
    format: Literal["tree", "json", "dot", "mlflow"] = Field(
        default="tree", description="tree, json (nodes and steps), dot (Graphviz), mlflow (sent)"
    )
    uri: str = Field(default="", description="MLflow's tracking server; default: its own setting")


# What the tree tells of a thing; --json has all.
_FACTS: dict[str, tuple[str, ...]] = {
    "release": ("state", "stage_percent", "ts"), "candidate": ("adapter",), "version": (),
}  # fmt: skip


def _line(node: Node) -> str:
    facts = " ".join(
        f"{key}={word(value) if key == 'status' else value}"
        for key, value in node.data.items()
        if value is not None
        and not isinstance(value, (dict, list))
        and key in _FACTS.get(node.kind, (key,))
    )
    name = node.id if len(node.id) < 60 else node.id[:19] + "…"
    return f"{word(node.kind)} {name}" + (f"  {facts}" if facts else "")


def _draw(branches: list[tuple[str, Node]], down: bool, limit: int, indent: str) -> list[str]:
    lines: list[str] = []
    drawn: Counter[tuple[str, str]] = Counter()
    mark = "↳" if down else "↰"
    ends = [item for item in branches if _is_end(item[1], down)]
    if len(ends) > 2:  # files that nothing more is known of: one line for all
        branches = [item for item in branches if not _is_end(item[1], down)]
    for how, node in branches:
        drawn[how, node.kind] += 1
        if drawn[how, node.kind] <= limit:
            lines.append(f"{indent}{mark} {word(how)}: {_line(node)}")
            lines += _draw(node.down if down else node.up, down, limit, indent + "  ")
    for (how, kind), count in drawn.items():
        if count > limit:
            more = say(f"… and {count - limit} more", f"…… 另有 {count - limit} 个")
            lines.append(f"{indent}{more} ({word(how)}: {word(kind)})")
    if len(ends) > 2:
        hows = ", ".join(dict.fromkeys(word(how) for how, _ in ends))
        names = sorted(str(node.data.get("path", node.id)) for _, node in ends)
        cut = "" if len(names) <= 3 else say(f" and {len(names) - 3} more", f" 等 {len(names)} 个")
        lines.append(f"{indent}{mark} {hows}: {', '.join(names[:3])}{cut}")
    return lines


def _is_end(node: Node, down: bool) -> bool:
    return node.kind == "file" and not (node.down if down else node.up)


def render(root: Node, limit: int = 12) -> str:
    """The tree as text: what it came from, then what came of it."""
    lines = [_line(root)]
    for title, branches, down in (
        (say("came from", "来源"), root.up, False),
        (say("led to", "去向"), root.down, True),
    ):
        lines.append(f"{title}:" + ("" if branches else say(" nothing recorded", " 无记录")))
        lines += _draw(branches, down, limit, "  ")
    return "\n".join(lines)


def counts(found: Lineage) -> dict[str, dict[str, int]]:
    """How many things of each kind lie above and below."""
    out = {}
    for name, steps in (("up", found.up), ("down", found.down)):
        ids = {end for src, dst, _ in steps for end in (src, dst)} - {found.root}
        out[name] = dict(sorted(Counter(found.things[id].kind for id in ids).items()))
    return out


def document(found: Lineage) -> dict[str, Any]:
    """Nodes and steps, each once: for programs."""
    steps = sorted({*found.up, *found.down})
    return {
        "root": found.root or None,
        "nodes": [{"id": id, "kind": node.kind, "data": plain(node.data)}
                  for id, node in sorted(found.things.items())],
        "steps": [{"from": src, "to": dst, "how": how} for src, dst, how in steps],
    }  # fmt: skip


KINDS = ("failure", "sft", "pair", "version", "run", "file", "candidate", "release", "repair",
         "waiver")  # fmt: skip
_SHAPES = {"failure": "note", "run": "box", "file": "folder", "version": "cylinder",
           "candidate": "hexagon", "release": "doubleoctagon", "repair": "component"}  # fmt: skip


def dot(found: Lineage) -> str:
    """The graph for Graphviz; ids and labels are quoted, whatever they hold."""
    lines = ["digraph lineage {", "  rankdir=LR;", '  node [fontname="sans-serif"];']
    for id, node in sorted(found.things.items()):
        name = str(node.data.get("path") or (id if len(id) < 40 else id[:19] + "…"))
        label = _quoted(f"{word(node.kind)}\n{name}")
        bold = ", penwidth=3" if id == found.root else ""
        shape = _SHAPES.get(node.kind, "ellipse")
        lines.append(f"  {_quoted(id)} [shape={shape}, label={label}{bold}];")
    for src, dst, how in sorted({*found.up, *found.down}):
        lines.append(f"  {_quoted(src)} -> {_quoted(dst)} [label={_quoted(word(how))}];")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _id(ws: Workspace, name: str) -> str:
    """`serving` and `canary` as the releases they are."""
    states = {"serving": "serving", "canary": "rolling"}
    if name not in states:
        return name
    release = status.release_in(ws, states[name])
    if release is None:
        raise BadInput(f"trace: no release is {states[name]}; see `errata rollout status`")
    return str(release["id"])


def _of_kind(found: Lineage, steps: list[Step], kind: str) -> Outcome:
    """The ids of one kind, one a line."""
    ids = {end for src, dst, _ in steps for end in (src, dst)} - {found.root}
    kinds = sorted({found.things[id].kind for id in ids})
    if kind not in kinds and kind not in KINDS:
        raise BadInput(f"trace: no kind `{kind}`{hint(kind, sorted({*KINDS, *kinds}))}")
    chosen = sorted(id for id in ids if found.things[id].kind == kind)
    return Outcome(0, "\n".join(chosen), {"kind": kind, "ids": chosen, "kinds": kinds})


def main(ws: Workspace, config: Config) -> Outcome:
    """Trace one id both ways, or tell all there is."""
    if len(config.args) > 1 or (not config.args and config.format not in ("json", "dot", "mlflow")):
        raise BadInput("trace: give one id (a failure, a run, a release): `errata trace ID`; "
                       "or format=json for all of the store")  # fmt: skip
    past.mark_died(ws)
    if config.format == "mlflow":
        return mlflow.send(ws, config.uri)
    if not config.args:
        found = lineage.everything(ws)
    else:
        found = lineage.lineage(ws, _id(ws, config.args[0]))
    for kind, steps in ((config.came_from, found.up), (config.led_to, found.down)):
        if kind:
            return _of_kind(found, steps, kind)
    if config.format == "dot":
        return Outcome(0, dot(found), document(found))
    if config.format == "json":
        data = document(found)
        return Outcome(0, json.dumps(data, ensure_ascii=False, indent=1), data)
    root = lineage.tree(found)
    text = f"{render(root, config.limit)}\n{_summary(counts(found))}"
    return Outcome(0, text, {**plain(root.as_dict()), "counts": counts(found)})


def _summary(found: dict[str, dict[str, int]]) -> str:
    def told(of: dict[str, int]) -> str:
        return ", ".join(f"{count} {word(kind)}" for kind, count in of.items()) or say("none", "无")

    return say(f"in all: came from {told(found['up'])}; led to {told(found['down'])}",
               f"合计：来源 {told(found['up'])}；去向 {told(found['down'])}")  # fmt: skip
