"""What a server has loaded: one base, and adapters on it, each under the name of its weights.

The names that releases route to come and go with the workspace's routing; what was asked for by
hand stays until it is unloaded by hand.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from errata import candidates
from errata.errors import BadInput, ErrataError
from errata.records import Candidate, Release
from errata.release import routing
from errata.serve.batching import Batcher
from errata.serve.names import served
from errata.workspace import Workspace


class Loaded(NamedTuple):
    """A model by its name: the candidate it was first loaded for, when, and whether by hand."""

    candidate: Candidate
    since: int
    by_hand: bool


class Models:
    """The names that may be asked for."""

    def __init__(self, ws: Workspace, base: Candidate, batcher: Batcher) -> None:
        self.ws, self.batcher = ws, batcher
        self.base = base.model_copy(update={"adapter": None, "adapter_digest": None})
        self.base_name = served(self.base)
        self.known = {self.base_name: Loaded(self.base, int(time.time()), True)}
        self.routed: set[str] = set()
        self._told: set[str] = set()
        self._alone = threading.RLock()  # a look at the routing, and an order of the admin's

    def named(self, name: str) -> str:
        """Load by hand what a run id, manifest, path or name stands for; its name here."""
        return self.load(resolved(self.ws, name))

    def load(self, candidate: Candidate, by_hand: bool = True) -> str:
        """Its name, once it can be asked for. BadInput when it is on another base, when its files
        are not what its manifest says, or when its shapes do not fit."""
        with self._alone:
            return self._load(candidate, by_hand)

    def _load(self, candidate: Candidate, by_hand: bool) -> str:
        name = served(candidate)
        if candidate.base_digest != self.base.base_digest:
            raise BadInput(
                f"{candidate.base}: another base than {self.base.base}, which this server has; "
                "start a second `errata serve` for it"
            )
        if name not in self.known:
            _, adapter = candidates.verify(self.ws, candidate)
            assert adapter is not None  # without one it is the base, which is always known
            _same_base(adapter, self.base.base_digest)
            self.batcher.load(name, adapter).result()
            self.known[name] = Loaded(candidate, int(time.time()), by_hand)
        elif by_hand and not self.known[name].by_hand:
            self.known[name] = self.known[name]._replace(by_hand=True)
        return name

    def unload(self, name: str) -> None:
        """It cannot be asked for from now on; rows that have it end first."""
        with self._alone:
            if self.known.pop(name, None):
                self.batcher.unload(name)

    def follow(self) -> None:
        """Load what releases route to, unload what they no longer do. What cannot be loaded is told
        once, and the others are served."""
        routed = set()
        for release in _routed(routing.current(self.ws)):
            try:
                candidate = resolved(self.ws, release.candidate_path)
                if candidate.digest != release.candidate_digest:
                    told = f"{release.candidate_path} is not the candidate that passed"
                    raise BadInput(f"{told}; restore it, or roll back")
                routed.add(self.load(candidate, by_hand=False))
            except ErrataError as error:
                self.tell(f"{release.id} is not served: {error}")
        self.routed = routed
        for name, one in self.known.copy().items():
            if not one.by_hand and name not in routed:
                self.unload(name)

    def tell(self, line: str) -> None:
        """A line on standard error, once."""
        if line not in self._told:
            self._told.add(line)
            sys.stderr.write(f"errata serve: {line}\n")

    def listed(self) -> list[dict[str, Any]]:
        """As `GET /v1/models` tells it."""
        return [self._described(name, one) for name, one in self.known.copy().items()]

    def described(self, name: str) -> dict[str, Any] | None:
        """One of them."""
        one = self.known.get(name)
        return self._described(name, one) if one else None

    def _described(self, name: str, one: Loaded) -> dict[str, Any]:
        """`parent` is the base of an adapter, `root` where the weights come from."""
        adapter = one.candidate.adapter
        return {
            "id": name, "object": "model", "created": one.since, "owned_by": "errata",
            "root": adapter or one.candidate.base,
            "parent": None if adapter is None else self.base_name,
        }  # fmt: skip


def _routed(now: routing.Routing) -> Iterable[Release]:
    """Releases that a user may be sent to, now or by a rollback: those on their way, the one that
    serves, and the last one before it."""
    found = [r for r in now.releases.values() if r.state in ("rolling", "serving")]
    before = [r for r in now.releases.values() if r.state == "superseded"]
    return [*found, *before[-1:]]


def first(ws: Workspace, names: Iterable[str]) -> Candidate:
    """Whose base the server has: the first model named, else what serves, else `tiny`."""
    named = next(iter(names), None)
    now = routing.current(ws)
    release = now.stable or now.canary
    return resolved(ws, named or (release.candidate_path if release else "tiny"))


def resolved(ws: Workspace, name: str) -> Candidate:
    """The candidate of a name; BadInput for one that has no weights here."""
    if name.startswith(candidates.TARGETS):
        raise BadInput(f"{name}: it is asked elsewhere; name a model of this workspace")
    return candidates.resolve(ws, name)


def _same_base(adapter: Path, base_digest: str) -> None:
    """BadInput when the adapter says it was trained on a checkpoint that is here and another one;
    what is not here, or has moved, is left to the shapes."""
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    told = str(config.get("base_model_name_or_path") or "")
    if (Path(told) / "config.json").is_file() and candidates.weights_digest(told) != base_digest:
        raise BadInput(f"adapter {adapter}: made on another base, {told}; serve it on that one")
