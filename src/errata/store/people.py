"""Who acts, in which roles, and what only some roles may do: `policies/roles.yaml`.

    team: several               # solo: one person holds every role
    people:
      k3f2a9c01d4e5b6a7: {name: li@example.com, roles: [model]}      # key id → who it is
      k81c07e55aa90b2f4: {name: wang@example.com, roles: [safety, privacy]}
    rights: {promote: [model, product]}                             # else as in RIGHTS

The actor is `ERRATA_ACTOR`, else git's user.email: a name that is claimed, not proved. What must be
proved is signed with the key whose id stands in the file.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from pydantic import Field

from errata import config as configs
from errata import git
from errata.config import Section
from errata.errors import BadInput, Blocked
from errata.workspace import Workspace

Role = Literal["model", "safety", "product", "privacy"]
Right = Literal["promote", "sign", "erase", "reveal"]
ROLES: tuple[Role, ...] = get_args(Role)
FILE = "policies/roles.yaml"
RIGHTS: dict[Right, list[Role]] = {
    "promote": ["model", "product"],
    "sign": ["safety", "product"],
    "erase": ["privacy"],
    "reveal": ["privacy"],
}


class Person(Section):
    """Who a key belongs to."""

    name: str = Field(description="as in ERRATA_ACTOR or git's user.email")
    roles: list[Role] = Field(description="model, safety, product, privacy")


class Roles(Section):
    """The file."""

    team: Literal["solo", "several"] = Field(default="solo", description="solo: all roles are one")
    people: dict[str, Person] = Field(default_factory=dict, description="key id → name, roles")
    rights: dict[Right, list[Role]] = Field(default_factory=dict, description="right → roles")


class Actor(NamedTuple):
    """Who acts, in which roles."""

    name: str
    roles: tuple[Role, ...]


def roles(ws: Workspace) -> Roles:
    """The workspace's file; without one, one person is all."""
    path = ws.root / FILE
    try:
        stat = path.stat()
    except FileNotFoundError:
        return Roles()
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=16)
def _read(path: Path, _mtime: int, _size: int) -> Roles:
    found = configs.load(path, Roles, name=FILE)
    names = [person.name for person in found.people.values()]
    if found.team == "several" and not names:
        raise BadInput(f"{FILE}: `team: several` and no `people`; add `KEY: {{name, roles}}`")
    return found


@lru_cache(maxsize=16)
def _email(root: Path) -> str:
    return git.git(root, "config", "user.email", check=False).stdout.strip() or "unknown"


def actor(ws: Workspace) -> Actor:
    """Who this process acts for, with all roles that the file gives them."""
    name = os.environ.get("ERRATA_ACTOR", "").strip() or _email(ws.root)
    known = roles(ws)
    if known.team == "solo":
        return Actor(name, ROLES)
    held = {
        role for person in known.people.values() if person.name == name for role in person.roles
    }
    return Actor(name, tuple(role for role in ROLES if role in held))


def entitled(ws: Workspace, right: Right) -> Actor:
    """The actor in the roles that give them the right; Blocked where none does."""
    found = actor(ws)
    needed = roles(ws).rights.get(right, RIGHTS[right])
    held = tuple(role for role in found.roles if role in needed)
    if not held:
        have = f"is {', '.join(found.roles)}" if found.roles else "has no role"
        raise Blocked(
            f"{found.name} {have}; to {right} is a right of {' or '.join(needed)} ({FILE}); "
            "ask one of them, or set ERRATA_ACTOR to who you are"
        )
    return Actor(found.name, held)
