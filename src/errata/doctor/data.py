"""What lies in the workspace: rows that parse, what waits, what people still have to say, git."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from errata import git, jsonl
from errata.doctor.finding import Check, of_error
from errata.errors import BadInput, ErrataError
from errata.intake import human
from errata.intake import inbox as raw
from errata.language import say
from errata.records import Case, Failure, PreferencePair, Review, SftExample
from errata.store import ledger
from errata.store.audit import verify
from errata.workspace import Workspace

_ROWS: dict[str, type[BaseModel]] = {
    "data/failures.jsonl": Failure,
    "data/sft.jsonl": SftExample,
    "data/sft.valid.jsonl": SftExample,
    "data/prefs.jsonl": PreferencePair,
    "data/prefs.valid.jsonl": PreferencePair,
    "data/reviews.jsonl": Review,
}
_OTHER_SHAPE = {"mt_bench.jsonl"}  # FastChat's questions


def rows(ws: Workspace) -> Iterator[Check]:
    """Every file of records, with the line of its first bad row."""
    suites = sorted(ws.suites.glob("*.jsonl"))
    records = _ROWS | {ws.relative(p): Case for p in suites if p.name not in _OTHER_SHAPE}
    for name, model in records.items():
        if ws.path(name).is_file():
            yield _file(ws, name, model)


def _file(ws: Workspace, name: str, model: type[BaseModel]) -> Check:
    count, bad, first = 0, 0, None
    for number, line in jsonl.lines(ws.path(name)):
        count += 1
        try:
            jsonl.validate(line, model, f"{name}:{number}")
        except BadInput as error:
            bad, first = bad + 1, first or error
    if first is None:
        return Check("ok", name, say(f"{count} rows", f"{count} 行"))
    found = of_error(name, first)
    more = say(f" (and {bad - 1} rows more)", f"（另有 {bad - 1} 行）") if bad > 1 else ""
    tracked = say(f"{found.step}, or `git checkout -- {name}`",
                  f"{found.step}，或 `git checkout -- {name}`")  # fmt: skip
    return found._replace(said=found.said + more, step=tracked)


def inbox(ws: Workspace) -> Iterator[Check]:
    """Files that no intake has read as they are."""
    waiting = [path for path in raw.files(ws.inbox) if _is_new(path, _read_at(ws))]
    if waiting:
        names = ", ".join(ws.relative(path) for path in waiting[:3])
        more = say(f" and {len(waiting) - 3} more", f" 等 {len(waiting)} 个文件")
        said = names + (more if len(waiting) > 3 else "")
        yield Check("ok", "inbox", say(f"waits for `errata intake`: {said}",
                                       f"等待 `errata intake`：{said}"))  # fmt: skip
    elif not ws.path("data/failures.jsonl").is_file():
        said = say("empty, and there are no failures yet", "为空，且尚无失败样本")
        step = say("put a file of failures into inbox/, then `errata intake`",
                   "把失败样本文件放进 inbox/，再运行 `errata intake`")  # fmt: skip
        yield Check("warn", "inbox", said, step)


def _read_at(ws: Workspace) -> dict[str, str]:
    """File name → when it was last read; empty where the ledger cannot be."""
    try:
        events = ledger.events(ws, "intake")
    except (ErrataError, OSError):
        return {}
    return {Path(str(event["data"]["file"])).name: str(event["ts"]) for event in events}


def _is_new(path: Path, read: dict[str, str]) -> bool:
    changed = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
    return f"{changed:%Y-%m-%dT%H:%M:%SZ}" > read.get(path.name, "")


def people(ws: Workspace) -> Iterator[Check]:
    """The file that the gate asks for, and that no program can write."""
    try:
        missing = human.load(ws).missing
    except ErrataError:
        return  # `configs` has said it
    if missing and ws.policies.is_dir():
        said = say(f"{', '.join(missing)}: empty; the gate will have no decision",
                   f"{', '.join(missing)} 为空；门禁将无法裁决")  # fmt: skip
        yield Check("warn", "datasheet", said, say(f"fill in {human.FILE} before the gate",
                                                   f"裁决前填写 {human.FILE}"))  # fmt: skip


def repository(ws: Workspace) -> Iterator[Check]:
    """A commit to come back to, and the hook that keeps raw rows out of the next."""
    try:
        head, hooks = git.head(ws.root), git.git(ws.root, "config", "core.hooksPath", check=False)
    except ErrataError:
        return  # `machine` has said that there is no git
    if head is None:
        said = say("no commit yet: nothing to roll back to", "还没有提交：无从回滚")
        yield Check("bad", "git", said, "`git init && git add . && git commit -m start`")
        return
    changed = git.changed(ws.root, ["configs", "policies", "suites"])
    more = say(f", {len(changed)} files of configs, policies and suites not committed",
               f"，配置、策略与用例中有 {len(changed)} 个文件未提交")  # fmt: skip
    yield Check("ok", "git", head[:12] + (more if changed else ""))
    if (ws.root / ".githooks").is_dir() and not hooks.stdout.strip():
        said = say(
            "the hook that keeps raw data out of commits is off", "拦截原始数据的提交钩子未启用"
        )
        yield Check("warn", "git hook", said, "`git config core.hooksPath .githooks`")


def audit(ws: Workspace) -> Iterator[Check]:
    """The ledger holds."""
    if (ws.state / "store.db").is_file():
        if problems := verify(ws):
            yield Check("bad", "audit", problems[0], "`errata audit verify`")
        else:
            yield Check("ok", "audit", say("chain holds", "审计链完好"))
