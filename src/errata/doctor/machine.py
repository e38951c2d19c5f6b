"""Python, cores, memory, disk, packages, git. Torch is not imported: its version is enough."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from errata.doctor.finding import Check
from errata.language import say

# Room for a run of the embedded model with its checkpoints.
_FREE_GIB = 1.0


def look() -> Iterator[Check]:
    """What every command stands on."""
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        yield Check("ok", "python", version)
    else:
        step = say("install Python 3.11, 3.12 or 3.13 and set up again", "安装 Python 3.11–3.13")
        yield Check("bad", "python", f"{version}: need 3.11-3.13", step)
    gib = psutil.virtual_memory().total / 2**30
    yield Check("ok", "machine", f"{os.cpu_count()} cores, {gib:.0f} GiB, {platform.machine()}")
    yield _disk()
    for name in ("torch", "transformers", "peft"):
        yield _package(name)
    if shutil.which("git") is None:
        said = say("not installed; rollback of data/ and reports/ needs it", "未安装；回滚依赖它")
        yield Check("bad", "git", said, say("install git", "安装 git"))


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    said = say(f"{free:.1f} GiB free", f"剩余 {free:.1f} GiB")
    if free >= _FREE_GIB:
        return Check("ok", "disk", said)
    step = say(f"free {_FREE_GIB:.0f} GiB for checkpoints", f"为检查点腾出 {_FREE_GIB:.0f} GiB")
    return Check("warn", "disk", said, step)


def _package(name: str) -> Check:
    try:
        return Check("ok", name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        step = say("`make setup` in the clone, or `pip install errata`",
                   "在克隆中运行 `make setup`，或 `pip install errata`")  # fmt: skip
        return Check("bad", name, say("not installed", "未安装"), step)
