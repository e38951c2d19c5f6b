"""A run that is killed in the middle goes on where it was."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from errata import candidates
from errata.evaluate import answers
from errata.evaluate.answers import ask
from errata.records import Message

CHILD = """
import sys, time
from errata import candidates
from errata.evaluate import answers
from errata.records import Message
from errata.workspace import Workspace
from pathlib import Path

ws = Workspace(Path(sys.argv[1]))
answers.CHUNK = 8
class Slow:
    def answer(self, prompts, *_):
        time.sleep(0.2)
        return [f"said: {p[-1].content}" for p in prompts]
answers.engine_for = lambda *_: (Slow(), None)
prompts = [[Message(role="user", content=f"{n:03}")] for n in range(64)]
answers.ask(ws, candidates.resolve(ws, "tiny"), prompts)
"""


def test_a_killed_run_goes_on_without_generating_again_what_it_kept(ws, monkeypatch):
    """kill -9 in the middle: every prompt is in the cache once in the end."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(ws.root)], env=env)
    folder, until = Path(ws.state) / "answers", time.monotonic() + 60
    while not any(folder.glob("*")) or len(rows(folder)) < 8:
        assert child.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    child.kill()
    child.wait()
    kept = len(rows(folder))
    assert 8 <= kept < 64
    asked: list[str] = []

    class Quick:
        def answer(self, prompts: Any, *_: Any) -> list[str]:
            asked.extend(p[-1].content for p in prompts)
            return [f"said: {p[-1].content}" for p in prompts]

    monkeypatch.setattr(answers, "engine_for", lambda *_: (Quick(), None))
    prompts = [[Message(role="user", content=f"{n:03}")] for n in range(64)]
    assert ask(ws, candidates.resolve(ws, "tiny"), prompts) == [f"said: {n:03}" for n in range(64)]
    assert len(asked) == 64 - kept
    assert len(rows(folder)) == len(set(rows(folder))) == 64


def rows(folder: Path) -> list[str]:
    """The prompts of the whole lines in the one cache there."""
    (path,) = folder.iterdir()
    lines = path.read_text().split("\n")[:-1]
    return [line.split('"')[3] for line in lines if line.endswith("}")]
