"""Who is measured: a candidate in a number format, as a server process of its own, or a URL.

A process a variant keeps their memory and CPU time apart, and is what users would reach: `errata
serve`. All are up at once while there is memory, so that they can be asked in turn.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import psutil

from errata import candidates
from errata.errors import BadInput, ErrataError
from errata.evaluate import targets
from errata.infer.load import Target
from errata.records import Candidate
from errata.serve.names import served
from errata.workspace import Workspace

READY = 600.0  # seconds that a server may take to load


class Variant(NamedTuple):
    """One column of the table. `dtype`: of the weights in memory; "" for a URL. `name`: as commands
    take it."""

    label: str
    name: str
    candidate: Candidate
    dtype: str

    @property
    def elsewhere(self) -> bool:
        """Whether a server that we did not start answers."""
        return self.candidate.base.startswith("endpoint:")

    def unpacked(self, ws: Workspace) -> bool:
        """Whether the weights are a GGUF file, which is read back into full numbers here."""
        return not self.elsewhere and any(ws.path(self.candidate.base).glob("*.gguf"))

    def size(self, ws: Workspace) -> int | None:
        """Bytes of weights on disk, adapter included; None where nobody here knows them."""
        if self.elsewhere:
            return None
        base, adapter = candidates.verify(ws, self.candidate)
        folders = [Path(base), *([adapter] if adapter else [])]
        if not all(folder.is_dir() for folder in folders):
            return None
        return sum(file.stat().st_size for folder in folders for file in folder.iterdir()
                   if file.suffix in (".safetensors", ".bin", ".gguf"))  # fmt: skip


class Server:
    """A running one: where it is asked, and what it has used."""

    def __init__(self, target: Target, process: subprocess.Popen[str] | None = None) -> None:
        self.target, self.process = target, process
        self._peak = 0

    def cpu_seconds(self) -> float | None:
        """Of the process, so far; None of a URL."""
        if self.process is None:
            return None
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def peak_gib(self) -> float | None:
        """Highest resident memory of the process so far (Linux: VmHWM; else as seen); None of a
        URL."""
        if self.process is None:
            return None
        status = Path(f"/proc/{self.process.pid}/status")
        if status.is_file():
            for line in status.read_text(encoding="utf-8").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 2**20
        self._peak = max(self._peak, psutil.Process(self.process.pid).memory_info().rss)
        return self._peak / 2**30


@contextlib.contextmanager
def up(ws: Workspace, variant: Variant, tokens: int, key: str, seconds: float) -> Iterator[Server]:
    """The variant's server, ready, for as long as the block runs."""
    if variant.elsewhere:
        name = targets.parsed(variant.candidate.base)
        yield Server(Target(name.where, name.what, tokens, key, seconds))
        return
    words = [sys.executable, "-m", "errata", "serve", "-C", str(ws.root), "--json",
             f"model=[{json.dumps(variant.name)}]", "port=0", f"dtype={variant.dtype}",
             "max_waiting=100000", f"max_tokens={tokens}"]  # fmt: skip
    # Files, not pipes: a pipe stops the server when it is full.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(words, stdout=out, stderr=err, text=True,
                                   env=os.environ | {"PYTHONUNBUFFERED": "1"})  # fmt: skip
        try:
            url = _ready(process, variant, out, err)
            yield Server(Target(url, served(variant.candidate), tokens, "", seconds), process)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def _ready(process: subprocess.Popen[str], variant: Variant, out: IO[str], err: IO[str]) -> str:
    """The URL that it says once it listens. What it says when it ends instead is what is told."""
    until = time.monotonic() + READY
    while time.monotonic() < until:
        ended = process.poll() is not None
        for line in _lines(out):
            if line.startswith("{"):
                with contextlib.suppress(ValueError, KeyError):
                    return str(json.loads(line)["url"])
        if ended:
            why = _lines(err)
            told = why[-1].removeprefix("errata: ") if why else f"exit {process.returncode}"
            raise BadInput(f"bench: {variant.label}: cannot be served: {told}")
        time.sleep(0.05)
    raise ErrataError(f"bench: {variant.label}: its server was not ready after {READY:.0f} s")


def _lines(file: IO[str]) -> list[str]:
    """All that another process has written so far."""
    return os.pread(file.fileno(), 1 << 20, 0).decode("utf-8", "replace").strip().splitlines()
