"""The experiment log: every training run and what became of it, rendered from the store.

`reports/posttrain/experiment-log.md` has a line a run, the newest first; `<run_id>.md` is its page.
They are no outputs of a run but a view of the store, rendered again whenever a run ends or is found
dead and whenever a release moves. So a run that failed has its line and its page as well, and what
git or a hand takes away comes back: negative results stay. Both languages stand side by side, for
the same store is to give the same bytes whoever renders it.

What a training run tells of itself (curves, the panel in effect) it notes as `pages`. A run that
the ledger alone knows (a clone begins with an empty store) has a line; its page is left as it is.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from errata.jsonl import write_text
from errata.language import both
from errata.metrics import CATALOGUE
from errata.report import bounds, markdown_table, shown
from errata.store import database, tree
from errata.store.setting import flat, hidden
from errata.workspace import Workspace

TRAINING = ("sft", "dpo", "rm", "ppo")
MEASURING = ("evaluate", "safety")
LOG = "experiment-log.md"
# What the log's line tells of a candidate; its page has all that was measured.
_EFFECTS = ("evaluate.accuracy", "safety.attack_hit_rate", "safety.over_refusal_rate")
# Errors whose words name places and settings and quote no row; of others the log has the name.
_PLAIN = ("BadInput", "Blocked", "NoDecision", "ErrataError", "Interrupted", "KeyboardInterrupt",
          "OSError", "FileNotFoundError", "PermissionError", "MemoryError", "OutOfMemoryError",
          "Died")  # fmt: skip
_DIED = "Died: its process was gone before it ended / 进程在结束前已消失"
_COLUMNS = ("run / 运行", "status / 状态", "why / 原因", "model / 模型", "data / 数据",
            "steps / 步数", "numbers / 数值", "measured / 评测", "verdict / 裁决",
            "release / 发布")  # fmt: skip
_INTRO = (
    "Newest first, a line a training run, failures included; `<run>.md` beside it is its page. "
    "Rendered from the store: what is written here by hand is replaced.\n\n"
    "最新在前，每次训练一行，失败也在内；同目录的 `<run>.md` 是其页面。"
    "由存储生成，手工修改会被覆盖。"
)
Record = dict[str, Any]
# A record that lacks something is shown without it: one odd run does not cost the log.
_NOTHING: Record = {"config": {}, "facts": {}, "inputs": [], "outputs": [], "policies": {},
                    "started": "–", "seconds": 0.0}  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """One training run, and what is known of its candidate; each list newest first."""

    record: Record
    version: str | None = None
    inputs: list[Record] = field(default_factory=list)
    measured: list[Record] = field(default_factory=list)
    verdicts: list[Record] = field(default_factory=list)
    releases: list[Record] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.record["id"])

    @property
    def facts(self) -> Record:
        return dict(self.record["facts"])

    @property
    def why(self) -> str:
        """The reason that it did not end well, without what may be text of a row."""
        error = str(self.facts.get("error", _DIED if self.record["status"] == "died" else ""))
        kind, _, said = error.partition(": ")
        if kind in _PLAIN or not kind:
            return str(hidden(said or kind))
        return f"{kind}: runs/{self.id}/run.json"


def render(ws: Workspace) -> None:
    """Bring the log and the pages up to date; a file that is as it should be is left alone."""
    with database.writing(ws) as connection:
        database.alone(connection)  # who writes last has read last
        found, elsewhere = read(connection)
        if found or elsewhere:
            texts = {f"{one.id}.md": page(one) for one in found}
            for name, text in {**texts, LOG: log(found, elsewhere)}.items():
                _keep(ws.reports / "posttrain" / name, text)


def _keep(path: Path, text: str) -> None:
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


# what the store knows ----------------------------------------------------------------------------


def read(connection: sa.Connection) -> tuple[list[Experiment], list[Record]]:
    """Training runs of the store, and events of those that the ledger alone knows."""
    table = database.run
    query = sa.select(table.c.record, table.c.id, table.c.stage, table.c.status)
    query = query.where(table.c.stage.in_((*TRAINING, *MEASURING, "build")))
    query = query.order_by(table.c.began.desc(), table.c.id.desc())
    records = [
        {**_NOTHING, **json.loads(text), "id": id, "stage": stage, "status": status}
        for text, id, stage, status in connection.execute(query)
    ]
    verdicts = _events(connection, "verdict")
    nodes = sa.select(database.node.c.data).where(database.node.c.kind == "release")
    releases = [json.loads(text) for text in connection.execute(nodes).scalars()]
    releases.sort(key=lambda release: str(release.get("ts")), reverse=True)
    found: list[Experiment] = []
    brought: dict[str, str] = {}  # digest of a file → the dataset version that brought it last
    for record in reversed(records):
        if version := record["facts"].get("version"):
            brought |= {file["digest"]: version for file in record["outputs"]}
        if record["stage"] not in TRAINING:
            continue
        inputs = _inputs(connection, record)
        digest = record["facts"].get("candidate_digest", "")
        found.append(
            Experiment(
                record,
                brought.get(_dataset(record, inputs).get("digest", "")),
                inputs,
                [r for r in records if digest and r["facts"].get("candidate") == digest],
                [event for event in verdicts if event["candidate_digest"] == digest],
                [release for release in releases if release.get("candidate_digest") == digest],
            )
        )
    return found[::-1], _elsewhere(connection, {one.id for one in found})


_NEEDED = {"run": {"id", "status"},
           "verdict": {"id", "decision", "candidate_digest", "baseline_digest"}}  # fmt: skip


def _events(connection: sa.Connection, kind: str) -> list[Record]:
    event = database.event
    query = sa.select(event.c.data).where(event.c.kind == kind).order_by(event.c.seq.desc())
    found = []
    for text in connection.execute(query).scalars():
        with contextlib.suppress(ValueError):  # changed by hand: `errata audit verify` says so
            found.append(json.loads(text))
    needed = _NEEDED[kind]
    return [data for data in found if isinstance(data, dict) and needed <= data.keys()]


def _elsewhere(connection: sa.Connection, known: set[str]) -> list[Record]:
    """The last event of each training run that has no record in this store."""
    found: dict[str, Record] = {}
    for event in _events(connection, "run"):
        stage = event["id"].split("-")[2:3]  # the end of one that died does not repeat it
        if stage and stage[0] in TRAINING and event["id"] not in known:
            found.setdefault(event["id"], event)
    return list(found.values())


def _inputs(connection: sa.Connection, record: Record) -> list[Record]:
    """What a run read; of one that died, what its config names, as it lay there at the start."""
    if record["inputs"] or record["status"] != "died":
        return list(record["inputs"])
    named = {value for value in flat(record["config"]).values() if isinstance(value, str)}
    lay = tree.of_run(connection, record["id"])
    return [{"path": path, "digest": lay[path].digest} for path in sorted(named & lay.keys())]


def _dataset(record: Record, inputs: Sequence[Record]) -> Record:
    path = record["config"].get("dataset")
    return next((i for i in inputs if i.get("name") == "dataset" or i["path"] == path), {})


# the log -----------------------------------------------------------------------------------------


def log(found: Sequence[Experiment], elsewhere: Sequence[Record] = ()) -> str:
    """All runs, newest first. Pure."""
    # The store goes on from where the ledger it took over had ended: its own runs are the newer.
    rows = [*map(_line, found), *map(_distant_line, elsewhere)]
    return f"# Experiment log · 实验日志\n\n{_INTRO}\n\n{markdown_table(_COLUMNS, rows)}"


def _line(one: Experiment) -> list[str]:
    record, facts = one.record, one.facts
    data = _dataset(record, one.inputs).get("digest", "")[7:19]
    named = [record["config"].get("dataset"), one.version, data and f"({data})"]
    numbers = [f"{name}={value:.3g}" for name, value in facts.get("metrics", {}).items()
               if value is not None and f"train.{name}" in CATALOGUE]  # fmt: skip
    verdict = [f"{both(v['decision'])} ({v['id']})" for v in one.verdicts[:1]]
    return [
        one.id,
        both(record["status"]),
        one.why[:300],
        str(record["config"].get("model", "–")),
        " ".join(filter(None, named)),
        str(facts.get("steps", "–")),
        " ".join(numbers) or "–",
        _effects(one) or "–",
        *(verdict or ["–"]),
        ", ".join(_state(release) for release in one.releases) or "–",
    ]


def _distant_line(event: Record) -> list[str]:
    data = next((f"{i['path']} ({i['digest'][7:19]})" for i in event.get("inputs", ())
                 if i.get("name") == "dataset"), "–")  # fmt: skip
    return [event["id"], both(event["status"]), "", "–", data, *["–"] * 5]


def _state(release: Record) -> str:
    return f"{release['id']} {both(release['state'])} {release['stage_percent']} %"


def _effects(one: Experiment) -> str:
    """The newest held-out number of each effect."""
    newest: dict[str, float | None] = {}
    for record in one.measured:
        if record["facts"].get("split") in (None, "heldout"):
            for name, value in record["facts"].get("metrics", {}).items():
                newest.setdefault(name, value)
    told = [(name.split(".")[1], newest[name]) for name in _EFFECTS if name in newest]
    return ", ".join(f"{name} {shown(value, 'rate')}" for name, value in told)


# a page ------------------------------------------------------------------------------------------


def page(one: Experiment) -> str:
    """All that is known of a run: how it ended, what it tells itself, what came of it. Pure."""
    itself = one.facts.get("pages") or list(_config(one))
    parts = [
        f"# {one.record['stage']} · {one.id}",
        markdown_table(("fact / 项目", "value / 值"), _facts(one)),
        *itself,
        *_files(one),
        *_measured(one),
        *_judged(one),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _facts(one: Experiment) -> Iterator[list[str]]:
    record, facts = one.record, one.facts
    data = _dataset(record, one.inputs)
    yield ["status / 状态", both(record["status"])]
    if one.why:
        yield ["why / 原因", one.why]
    started = facts.get("start", "")[7:19]
    yield ["model / 模型", f"{record['config'].get('model', '–')} ({started or '–'})"]
    yield ["data / 数据", f"{data.get('path') or record['config'].get('dataset', '–')} "
                        f"({data.get('digest', '')[7:19] or '–'})"]  # fmt: skip
    yield ["dataset version / 数据版本", one.version or "–"]
    yield ["candidate / 候选", facts.get("candidate_digest", "–")]
    yield ["started / 开始", record["started"]]
    yield ["seconds / 秒", f"{record['seconds']:.0f}" if record["status"] != "died" else "–"]
    yield ["seed / 随机种子", str(record.get("seed"))]
    diff = f" + code.diff {record['git_diff'][7:19]}" if record.get("git_diff") else ""
    yield ["git", f"{record.get('git_commit') or '–'}{diff}"]
    yield ["by / 执行者", str(record.get("actor", "–"))]
    for name, digest in sorted(record["policies"].items()):
        yield [f"policy / 策略: {name}", digest or "–"]


def _config(one: Experiment) -> Iterator[str]:
    """What was asked, of a run that did not come to tell what was in effect."""
    rows = [[name, str(value)] for name, value in flat(one.record["config"]).items()]
    yield "## Config / 配置\n\n" + markdown_table(("knob / 参数", "value / 值"), rows)


def _files(one: Experiment) -> Iterator[str]:
    if one.inputs:
        rows = [[i["path"], i.get("name", ""), i.get("rows", "–"), i["digest"]] for i in one.inputs]
        head = ("file / 文件", "as / 用途", "rows / 行数", "digest / 摘要")
        yield "## Inputs / 输入\n\n" + markdown_table(head, rows)


def _measured(one: Experiment) -> Iterator[str]:
    head = ("metric / 指标", "value / 值", "95 % bounds / 界", "n")
    for record in one.measured:
        facts, rows = record["facts"], []
        for name, value in facts.get("metrics", {}).items():
            unit, reach = CATALOGUE[name].unit, facts.get("bounds", {}).get(name, {})
            ends = bounds(reach.get("low"), reach.get("high"), unit)
            rows.append([name, shown(value, unit), ends, reach.get("n", "–")])
        split = facts.get("split")
        title = f"{record['id']}: {both(record['status'])}" + (f", {split}" if split else "")
        yield f"## {both(record['stage'])} · {title}\n\n{markdown_table(head, rows)}"


def _judged(one: Experiment) -> Iterator[str]:
    if one.verdicts:
        rows = [[v["id"], both(v["decision"]), v["baseline_digest"]] for v in one.verdicts]
        head = ("verdict / 裁决", "decision / 结论", "baseline / 基线")
        yield "## Verdict / 裁决\n\n" + markdown_table(head, rows)
    if one.releases:
        rows = [[r["id"], both(r["state"]), f"{r['stage_percent']} %", r["verdict_id"], r["ts"]]
                for r in one.releases]  # fmt: skip
        names = ("release / 发布", "state / 状态", "users / 用户", "verdict / 裁决", "since / 开始")
        yield "## Release / 发布\n\n" + markdown_table(names, rows)
