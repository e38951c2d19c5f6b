"""The graph of what a thing came from and what came of it, drawn and as lists."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from errata.errors import BadInput
from errata.store import lineage, past, status
from errata.store.lineage import Lineage, Step
from errata.web.desk import Desk
from errata.web.view import page, query, short
from errata.web.words import word

DRAWN = 90  # things in the picture; the lists have all
LISTED = 100  # of a kind in the lists
ALIKE = 6  # of one kind in one column; more are one box with their number
WIDE, HIGH, GAP_X, GAP_Y = 168, 38, 60, 12


class Box(NamedTuple):
    """A thing, or several of one kind, where it is drawn."""

    id: str
    kind: str
    name: str
    x: int
    y: int
    href: str
    root: bool


class Line(NamedTuple):
    """A step, from the right edge of one box to the left of another."""

    x1: int
    y1: int
    x2: int
    y2: int
    how: str


class Picture(NamedTuple):
    """All of it, and its size."""

    boxes: list[Box]
    lines: list[Line]
    width: int
    height: int


def graph(desk: Desk, request: Request) -> Response:
    """`/lineage?id=…`; without an id, that of what serves, if anything does."""
    ws, asked = desk.ws, request.query_params.get("id", "").strip()[:200]
    past.mark_died(ws)
    state = {"": "serving", "serving": "serving", "canary": "rolling"}.get(asked)
    release = status.release_in(ws, state) if state else None
    id = str(release["id"]) if release else asked
    if not id:
        return page(request, "lineage.html", asked="", found=None, picture=None, wrong="", lists=[])
    try:
        found = lineage.lineage(ws, id)
    except BadInput as error:
        return page(request, "lineage.html", status=404, asked=asked, found=None, picture=None,
                    wrong=str(error), lists=[])  # fmt: skip
    return page(request, "lineage.html", asked=asked or id, found=found, picture=drawn(found),
                LISTED=LISTED, wrong="", lists=lists(found))  # fmt: skip


def ranks(root: str, up: list[Step], down: list[Step]) -> dict[str, int]:
    """How many steps each thing is from the root: before it below zero, after it above."""
    found = {root: 0}
    for steps, sign in ((up, -1), (down, 1)):
        after: dict[str, list[str]] = defaultdict(list)
        for src, dst, _ in steps:
            near, far = (src, dst) if sign > 0 else (dst, src)
            after[near].append(far)
        frontier, rank = [root], 0
        while frontier:
            rank += sign
            fresh = [far for near in frontier for far in after[near] if far not in found]
            frontier = list(dict.fromkeys(fresh))
            found |= dict.fromkeys(frontier, rank)
    return found


def drawn(found: Lineage) -> Picture:
    """Columns by the number of steps from the root; many of one kind are one box."""
    columns: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for id, rank in ranks(found.root, found.up, found.down).items():
        columns[rank][found.things[id].kind].append(id)
    at: dict[str, Box] = {}
    boxes: list[Box] = []
    for place, rank in enumerate(sorted(columns)):
        x, y = place * (WIDE + GAP_X), 0
        for kind, ids in sorted(columns[rank].items()):
            for group in [[id] for id in ids] if len(ids) <= ALIKE else [ids]:
                if len(boxes) < DRAWN:
                    box = _box(found, group, kind, x, y)
                    boxes.append(box)
                    at |= dict.fromkeys(group, box)
                    y += HIGH + GAP_Y
    steps = {(at[src], at[dst], how) for src, dst, how in {*found.up, *found.down}
             if src in at and dst in at and at[src] != at[dst]}  # fmt: skip
    lines = [Line(a.x + WIDE, a.y + HIGH // 2, b.x, b.y + HIGH // 2, word(how))
             for a, b, how in sorted(steps)]  # fmt: skip
    width = max(box.x for box in boxes) + WIDE
    return Picture(boxes, lines, width, max(box.y for box in boxes) + HIGH)


def _box(found: Lineage, group: list[str], kind: str, x: int, y: int) -> Box:
    thing = found.things[group[0]]
    name = short(str(thing.data.get("path") or thing.id), 14)
    if len(group) > 1:
        return Box(group[0], kind, f"× {len(group)}", x, y, "#all", False)
    root = thing.id == found.root
    return Box(thing.id, kind, name, x, y, f"/lineage{query(id=thing.id)}", root)


def lists(found: Lineage) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """For both directions, each kind with its ids: the same as the picture, in words."""
    out = []
    for name, steps in (("up", found.up), ("down", found.down)):
        ids = {end for src, dst, _ in steps for end in (src, dst)} - {found.root}
        kinds: dict[str, list[str]] = defaultdict(list)
        for id in sorted(ids):
            kinds[found.things[id].kind].append(id)
        out.append((name, sorted(kinds.items())))
    return out
