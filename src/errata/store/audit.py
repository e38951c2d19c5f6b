"""`errata audit verify`: find tampering with the ledger, and locate it.

Exit 0 when the chain holds, 1 when it does not. Four witnesses are heard: the store, the tracked
copy, the signed checkpoints, and git's last commit.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

import sqlalchemy as sa
from pydantic import Field

from errata import git
from errata.config import Section
from errata.errors import BadInput
from errata.language import say
from errata.outcome import Outcome
from errata.store import database, ledger, lines, past
from errata.store import seal as seals
from errata.store.chain import breaks, span, to_line, unsealed
from errata.workspace import Workspace

_COPY = "audit/ledger.jsonl"
_WITNESSED = (_COPY, "audit/checkpoints", "keys")


class Config(Section):
    """`errata audit verify`."""

    args: list[str] = Field(default=["verify"], description="what to do: verify")
    since: str = Field(
        default="HEAD",
        description="the commit that audit/ and the ledger's keys must go on from: in a pull "
        "request, the branch it goes into",
    )


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """While 100,000 events are made the garbage collector looks at them again and again, in vain:
    a quarter of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@_uncollected()
def verify(ws: Workspace, since: str = "HEAD") -> list[str]:
    """Every problem, located; an empty list means that the chain holds, that the tracked copy is
    the same as far as it goes, that both reach the last signed checkpoint, and that nothing which
    git's last commit (or another, `since`) has is gone."""
    # In this order: whoever writes meanwhile signs what is filed, and files what is stored.
    seen = seals.remembered(ws)
    points, odd = seals.check(ws)
    written = lines.read(ledger.file_of(ws))
    with database.reading(ws) as connection:
        stored = list(ledger.select(connection))
        fresh = not stored and not _used(connection)  # a clone has the tracked copy alone
    if [to_line(event).encode() for event in stored] == written:  # equal: read and walked once
        filed, problems = stored, list[str]()
    else:
        filed, problems = ledger.parsed(written)
    wrong = breaks(stored)
    problems += odd + [f"store: {problem}" for problem in wrong]
    wrong = wrong if filed is stored else breaks(filed)
    problems += [f"{_COPY}: {problem}" for problem in wrong]
    for one, other in zip(stored, filed, strict=False):
        if one != other and not problems:
            problems.append(f"event {one.seq}: the store and {_COPY} disagree")
    for name, chain in (("store", stored), (_COPY, filed)):
        if name != "store" or not fresh:
            heads = [event.hash for event in chain]
            # What this machine has signed its store has, also where git took audit/ back.
            own = [seen] if seen and name == "store" and seen not in points else []
            held = unsealed(sorted([*points, *own]), heads)
            problems += [f"{name}: {problem}" for problem in held]
    if len(stored) < len(filed) and not fresh:
        problems.append(f"store: {span(len(stored) + 1, len(filed))} missing, which {_COPY} has")
    ended = [event.kind for event in stored].count("run")
    if ended > 1 and not points:  # a first run may have been killed before it could sign
        problems.append("audit/checkpoints: none is left; each run of this store has signed")
    return problems + _against_git(ws, since)


def _used(connection: sa.Connection) -> bool:
    """Whether a run has ever ended in this store: then it had events too."""
    ended = sa.select(database.run.c.id).where(database.run.c.status != "running")
    made = sa.select(database.edge.c.run_id)
    asked = (connection.execute(query.limit(1)).first() for query in (ended, made))
    return any(row is not None for row in asked)


def _against_git(ws: Workspace, since: str) -> list[str]:
    """What a commit holds against audit/ and the ledger's keys: they grow, and nothing in them
    changes or goes."""
    commit = "the last commit" if since == "HEAD" else since
    listed = git.git(
        ws.root, "ls-tree", "-r", "-z", "--name-only", since, "--", *_WITNESSED, check=False
    )
    problems = []
    for name in filter(None, listed.stdout.split("\0")):
        if name.startswith("keys/") and not name.startswith("keys/ledger-"):
            continue
        if not ws.path(name).is_file():
            problems.append(f"{name}: deleted; {commit} has it")
            continue
        committed = git.git(ws.root, "show", f"{since}:{name}", check=False).stdout.encode()
        now = ws.path(name).read_bytes()
        if now.startswith(committed):
            continue
        what = "cut off" if committed.startswith(now) else "rewritten"
        problems.append(f"{name}: is not what {commit} has, gone on; {what} since")
    return problems


def main(ws: Workspace, config: Config) -> Outcome:
    """Check the chain and say how long it is."""
    if config.args != ["verify"]:
        raise BadInput("audit: say what to do: `errata audit verify`")
    if config.since != "HEAD" and git.resolve(ws.root, config.since) is None:
        raise BadInput(f"audit: since={config.since}: no such commit; fetch it first")
    past.mark_died(ws)
    problems = verify(ws, config.since)
    points, _ = seals.check(ws)
    count = max(len(ledger.events(ws)), len(ledger.filed(ws)[0]))
    sealed = max((point.size for point in points), default=0)
    data = {"events": count, "sealed": sealed, "problems": problems}
    if problems:
        head = say("the audit ledger does not hold:", "审计账本不成立：")
        return Outcome(1, "\n".join([head, *problems]), data)
    text = say(f"{count} events, the chain holds; signed up to event {sealed}",
               f"共 {count} 条事件，哈希链完整；已签名至第 {sealed} 条")  # fmt: skip
    return Outcome(0, text, data)
