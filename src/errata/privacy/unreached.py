"""Where an erasure cannot go by itself, with the command to run there."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import sqlalchemy as sa

from errata import git
from errata.language import say
from errata.privacy.scrub import GONE, Marks, strings
from errata.store import ledger
from errata.workspace import Workspace

_TOLD = ("data", "reports", "suites", "configs", "policies")  # what git tracks and rows may be in
# The ledger is a chain: its files stay as they are (git filter-repo 2.47 and later).
NOT_THE_AUDIT = (
    "return (filename, mode, blob_id if filename.startswith(b'audit/') else "
    "value.insert_file_with_contents(value.apply_replace_text("
    "value.get_contents_by_identifier(blob_id))))"
)
_CLEANED = (*_TOLD, "inbox", "runs", "audit", ".errata", ".git", ".venv")
_READ = 4 << 20  # bytes of a file that is looked into
_MANY = 200  # ids looked for in git's history in one go


class Step(NamedTuple):
    """A place, what is there, and what to do."""

    place: str
    what: str
    command: str


def steps(ws: Workspace, marks: Marks, candidates: list[str]) -> list[Step]:
    """Every place that may still hold something of the person."""
    return [
        *_git(ws, marks),
        *_ledger(ws, marks),
        *_elsewhere(ws, marks),
        *_exports(ws),
        *_server(),
        *_shared(),
        *_weights(ws, candidates),
        _backups(),
    ]


def _git(ws: Workspace, marks: Marks) -> list[Step]:
    commits = _commits(ws, marks)
    if not commits:
        return []
    what = say(f"{len(commits)} commits hold rows or words of theirs ({', '.join(commits[:3])} …), "
               "here and in every clone; commit first, then",
               f"{len(commits)} 个提交及各克隆仍含其内容；请先提交当前改动，再执行")  # fmt: skip
    whom = "--subject …" if marks.subjects else "ROWS…"
    command = (
        f"errata erase {whom} history=true > gone.txt && git filter-repo --force "
        f'--replace-text gone.txt --file-info-callback "{NOT_THE_AUDIT}" && rm gone.txt && '
        "git reflog expire --expire=now --all && git gc --prune=now"
    )
    return [Step("git history", what, command)]


def expressions(marks: Marks) -> str:
    """Replacements as `git filter-repo --replace-text` takes them: JSON lines that are one of the
    rows, or were made of one, as a whole; words where they stand. An event of the ledger lists ids
    and is no such line: it stays."""
    lines = []
    if marks.ids:
        ids = "|".join(re.escape(id) for id in sorted(marks.ids))
        own = rf'"(?:id|prompt_id)": ?"(?:{ids})"|"from": ?\[[^]]*"(?:{ids})"'
        lines.append(rf"regex:(?m)^\{{.*(?:{own}).*\}}\n?==>")
    lines += [f"literal:{word}==>{GONE}" for word in sorted(marks.words) if "\n" not in word]
    return "".join(f"{line}\n" for line in lines)


def _ledger(ws: Workspace, marks: Marks) -> list[Step]:
    """Events are never edited; they hold what people wrote into a reason."""
    told = [event["seq"] for event in ledger.events(ws)
            if any(marks.speak(text) for text in strings(event["data"]))]  # fmt: skip
    if not told:
        return []
    numbers = ", ".join(map(str, told[:5]))
    what = say(f"events {numbers} quote them, and a chain is not edited; to end it and begin "
               "a new one, keep only what you must, then",
               f"事件 {numbers} 引用了其内容，且账本不可编辑；"
               "如需另起新账本，请先留存必要内容，再执行")  # fmt: skip
    return [Step("audit/ledger.jsonl", what, "rm -r audit .errata/store.db* && errata intake")]


def _commits(ws: Workspace, marks: Marks) -> list[str]:
    """Commits that brought or took a row or a word of the person."""
    if git.head(ws.root) is None:
        return []
    names = sorted({*marks.ids, *marks.words} - {""})[:_MANY]
    if not names:
        return []
    pattern = "|".join(re.escape(name) for name in names)
    done = git.git(ws.root, "log", "--all", "--format=%h", "--pickaxe-regex", f"-S{pattern}",
                   "--", *_TOLD, check=False)  # fmt: skip
    return done.stdout.split()


def _elsewhere(ws: Workspace, marks: Marks) -> list[Step]:
    """Files that are the team's own: scripts, a Makefile, waivers. They are not rewritten."""
    found = []
    for path in sorted(ws.root.rglob("*")):
        inside = path.relative_to(ws.root).parts
        if inside[0] in _CLEANED or not path.is_file() or path.stat().st_size > _READ:
            continue
        if marks.speak(path.read_text(encoding="utf-8", errors="replace")):
            found.append(ws.relative(path))
    if not found:
        return []
    shown = ", ".join(found[:5])
    what = say(f"{len(found)} files of your own name them: {shown}",
               f"{len(found)} 个自有文件提到了该人：{shown}")  # fmt: skip
    return [Step("files", what, f"$EDITOR {' '.join(found[:5])}")]


def _exports(ws: Workspace) -> list[Step]:
    sent: dict[str, list[str]] = {}
    for event in ledger.events(ws, "export"):
        sent.setdefault(str(event["data"]["to"]), []).extend(event["data"].get("runs", ()))
    found = []
    for place, runs in sorted(sent.items()):
        what = say(f"{len(runs)} runs were sent there: settings, numbers and hashes of files; "
                   "delete those tagged errata.run, then empty the bin on the server",
                   f"曾发送 {len(runs)} 个 run 的配置、数值与文件哈希；请先按 errata.run 标签删除，"
                   "再在服务器上清空回收站")  # fmt: skip
        command = f"MLFLOW_TRACKING_URI={place} mlflow runs delete --run-id … && mlflow gc"
        found.append(Step(place, what, command))
    return found


def _server() -> list[Step]:
    text = os.environ.get("ERRATA_DATABASE_URL", "")
    if not text or text.startswith("sqlite"):
        return []
    url = sa.make_url(text)
    what = say("dead rows, the write-ahead log and its archives; and inbox/, runs/ and caches of "
               "every other machine of the team",
               "死元组、WAL 及归档；以及其他机器的 inbox/、runs/ 与缓存")  # fmt: skip
    where = f"-h {url.host or 'localhost'} -p {url.port or 5432} -d {url.database}"
    command = f"psql {where} -c 'VACUUM FULL'; errata erase … on the other machines"
    return [Step("PostgreSQL", what, command)]


def _shared() -> list[Step]:
    if not os.environ.get("ERRATA_OBJECTS_URL"):
        return []
    what = say("deleted versions, where the bucket keeps them", "存储桶保留的历史版本")
    return [Step("ERRATA_OBJECTS_URL", what, "aws s3api list-object-versions …, then delete them")]


def _weights(ws: Workspace, candidates: list[str]) -> list[Step]:
    if not candidates:
        return []
    names = ", ".join(candidate[:19] for candidate in candidates[:4])
    folders = [
        ws.relative(path.parent)
        for path in sorted(ws.runs.glob("*/candidate.json"))
        if any(candidate in path.read_text(encoding="utf-8") for candidate in candidates)
    ]
    what = say(f"weights of {len(candidates)} models: {names}; train and release others, then "
               "delete these",
               f"{len(candidates)} 个模型的权重：{names}；请重新训练并发布后删除")  # fmt: skip
    return [Step("runs/", what, "errata build && errata sft && … && rm -r " + " ".join(folders))]


def _backups() -> Step:
    what = say("copies of this folder or database made elsewhere, and files that rows came from",
               "在别处的备份，以及原始来源文件")  # fmt: skip
    return Step("backups", what, "delete them, or erase again after restoring one")
