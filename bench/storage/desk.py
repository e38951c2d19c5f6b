"""A desk with a past: what its runs write into the store, at the size that is measured.

Every line is written by a real `Run`, in the words of the stages (intake, build, sft, evaluate,
safety, gate) and of a rollout; what the rows say is left out, because no trace reads it.
"""

from __future__ import annotations

from errata import jsonl
from errata.records import Message, SftExample
from errata.store import database, ledger, versions
from errata.store.runs import Run
from errata.workspace import Workspace

LASTING, RENEWED = 0.1, 0.2  # of a version's rows: kept for ever; of the others: new in the next


def example(number: int) -> SftExample:
    """A row as `errata build` makes them: documents, a question, an answer that cites."""
    said = [
        ("system", "You are the desk's assistant. Answer from the documents and cite them."),
        ("documents", f"[1] Item {number} costs {number} yuan. " + "It ships in two days. " * 6),
        ("user", f"编号 {number} 的商品多少钱？"),
        ("assistant", f"它的价格是 {number} 元。[1]"),
    ]
    return SftExample(
        id=f"s-{number:016x}",
        messages=[Message(role=role, content=text) for role, text in said],
        why="It says what the document says and names it",
        origin="reference",
        scenario="hallucination",
        source="online",
        ts="2026-01-01T00:00:00Z",
        made_from=[failure_id(number)],
    )


def failure_id(number: int) -> str:
    """The failure that row was made of."""
    return f"f-{number:016x}"


def rows_of(version: int, rows: int) -> list[int]:
    """Numbers of a version's rows: some stay in all, of the others a share is new each time."""
    lasting = int(rows * LASTING)
    others = rows - lasting
    first = lasting + int(others * RENEWED) * version
    return [*range(lasting), *range(first, first + others)]


def history(ws: Workspace, versions_: int, rows: int) -> list[int]:
    """Release after release, each taught by a version of its own; the rows of the last."""
    known: set[int] = set()
    numbers: list[int] = []
    for version in range(versions_):
        numbers = rows_of(version, rows)
        _intake(ws, version, [n for n in numbers if n not in known])
        known.update(numbers)
        _build(ws, version, numbers)
        _release(ws, version, *_train(ws, version, numbers))
    return numbers


def _intake(ws: Workspace, version: int, fresh: list[int]) -> None:
    raw = ws.inbox / f"{version}.jsonl"
    jsonl.write(raw, [{"batch": version}])
    with Run(ws, "intake", {}) as run:
        run.input(raw)
        jsonl.write(run.output("data/failures.jsonl"), [{"batch": version}])
        run.links((run.id, failure_id(n), "took in") for n in fresh)
        for number in fresh:
            run.node(failure_id(number), "failure", label="hallucination", source="online")


def _build(ws: Workspace, version: int, numbers: list[int]) -> None:
    with Run(ws, "build", {}) as run:
        run.input("data/failures.jsonl")
        jsonl.write(run.output("data/sft.jsonl"), [{"version": version}])
        ids = [f"s-{n:016x}" for n in numbers]
        leaves = [f"sha256:{n:064x}" for n in numbers]
        name = versions.root([*leaves, str(version)])
        for number, id in zip(numbers, ids, strict=True):
            run.node(id, "sft", origin="reference", part="train")
            run.link(failure_id(number), id, "became")
        told = [(id, at, "hallucination", "online") for id, at in zip(ids, leaves, strict=True)]
        run.members(name, "data/sft.jsonl", told)
        run.link(name, "data/sft.jsonl", "is")
        run.node(name, "version", rows={"data/sft.jsonl": len(numbers)})


def _train(ws: Workspace, version: int, numbers: list[int]) -> tuple[str, str]:
    """A candidate: its digest, and the path of its manifest."""
    with Run(ws, "sft", {"version": version}) as run:
        data = run.input("data/sft.jsonl")
        run.links((f"s-{n:016x}", run.id, "trained") for n in numbers)
        run.link(jsonl.digest_file(data), run.id, "trained")
        manifest = run.output(run.dir / "candidate.json")
        jsonl.write_json(manifest, {"run": run.id})
        candidate = jsonl.digest([run.id, "candidate"])
        run.node(candidate, "candidate", run=run.id)
        run.link(run.id, candidate, "made")
    return candidate, ws.relative(manifest)


def _release(ws: Workspace, version: int, candidate: str, manifest: str) -> None:
    """Measured in two rooms, judged, and let out."""
    reports = []
    for room in ("evaluate", "safety"):
        with Run(ws, room, {}) as run:
            run.input(manifest)
            reports.append(run.output(f"reports/{room}/{run.id}.json"))
            jsonl.write_json(reports[-1], {"run": run.id})
            run.node(candidate, "candidate")
            run.link(candidate, run.id, room)
    with Run(ws, "gate", {}) as run:
        for path in (manifest, *reports):
            run.input(path)
        jsonl.write_json(run.output(f"reports/gate/{run.id}.json"), {"run": run.id})
        ledger.append(ws, "verdict", id=run.id, candidate_digest=candidate, decision="pass")
        run.link(candidate, run.id, "judged by")
    release = f"r{version + 1}-{run.id[-4:]}"
    with database.writing(ws) as connection:
        facts = jsonl.canonical({"state": "superseded", "ts": database.now()})
        node = {"id": release, "kind": "release", "data": facts}
        edge = {"src": run.id, "dst": release, "kind": "released as", "run_id": run.id}
        database.insert_new(connection, database.node, [node])
        database.insert_new(connection, database.edge, [edge])
    ledger.append(ws, "rollout", action="start", release=release)
    ledger.seal(ws)
