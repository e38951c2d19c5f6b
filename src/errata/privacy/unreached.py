"""Where an erasure cannot go by itself, with the command to run there."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from errata import git
from errata.language import say
from errata.privacy.scrub import Marks
from errata.store import ledger
from errata.workspace import Workspace

_TOLD = ("data", "reports", "suites")  # what git tracks and rows may be in
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
        *_exports(ws),
        *_server(),
        *_shared(),
        *_weights(candidates),
        _backups(),
    ]


def _git(ws: Workspace, marks: Marks) -> list[Step]:
    commits = _commits(ws, marks)
    if not commits:
        return []
    folders = " ".join(f"--path {name}" for name in _TOLD)
    what = say(f"{len(commits)} commits hold rows or words of theirs ({', '.join(commits[:3])} …), "
               "here and in every clone", f"{len(commits)} 个提交及各克隆仍含其内容")  # fmt: skip
    command = f"git filter-repo {folders} --invert-paths && git reflog expire --expire=now --all && git gc --prune=now"  # noqa: E501
    return [Step("git history", what, command)]


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


def _exports(ws: Workspace) -> list[Step]:
    places = sorted({event["data"]["to"] for event in ledger.events(ws, "export")})
    what = say("runs were sent there: settings, numbers and hashes of files",
               "曾发送 run 的配置、数值与文件哈希")  # fmt: skip
    return [Step(place, what, f"mlflow gc --backend-store-uri {place}") for place in places]


def _server() -> list[Step]:
    url = os.environ.get("ERRATA_DATABASE_URL", "")
    if not url or url.startswith("sqlite"):
        return []
    what = say("dead rows, the write-ahead log and its archives; and inbox/, runs/ and caches of "
               "every other machine of the team",
               "死元组、WAL 及归档；以及其他机器的 inbox/、runs/ 与缓存")  # fmt: skip
    return [Step("PostgreSQL", what, "psql -c 'VACUUM FULL'; errata erase … on the other machines")]


def _shared() -> list[Step]:
    if not os.environ.get("ERRATA_OBJECTS_URL"):
        return []
    what = say("deleted versions, where the bucket keeps them", "存储桶保留的历史版本")
    return [Step("ERRATA_OBJECTS_URL", what, "aws s3api list-object-versions …, then delete them")]


def _weights(candidates: list[str]) -> list[Step]:
    if not candidates:
        return []
    names = ", ".join(candidate[:19] for candidate in candidates[:4])
    what = say(f"weights of {len(candidates)} models: {names}",
               f"{len(candidates)} 个模型的权重：{names}")  # fmt: skip
    return [Step("runs/", what, "errata build && errata sft && errata dpo")]


def _backups() -> Step:
    what = say("copies of this folder or database made elsewhere, and files that rows came from",
               "在别处的备份，以及原始来源文件")  # fmt: skip
    return Step("backups", what, "delete them, or erase again after restoring one")
