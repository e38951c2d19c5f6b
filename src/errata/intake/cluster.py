"""Ray in a process of its own.

    with apart(ws, drive, pieces, work) as found:       drive(ray, pieces, work) → (number, bytes)
        for number, part in found: …

Ray ends a process without a word when it loses one of its own (`_Exit` in its C++), and what is
left of a data set starts another Ray when it is collected: neither may befall a command. So a child
drives it and says what comes of it through a pipe. Of that child, its Ray and their files nothing
is left when this ends, also when it is cut short.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from errata.errors import BadInput, ErrataError
from errata.workspace import Workspace

_STORE = 512 << 20  # bytes of shared memory for what waits to be written
_SHORT = Path("/tmp")  # a socket's path has 107 bytes at most, of which Ray's own names take 64
_TALK = "talk.log"  # what Ray prints
_STOPPING = 30  # seconds that Ray may take to stop before it is killed
_NEEDED = "engine=ray needs Ray: pip install 'errata[scale]', or take engine=local"

Drive = Callable[..., Iterator[tuple[int, bytes]]]


@contextmanager
def apart(ws: Workspace, drive: Drive, *what: Any) -> Iterator[Iterator[tuple[int, bytes]]]:
    """What `drive` yields, driven in a child with Ray: the one that RAY_ADDRESS names, or one of
    this machine's cores. BadInput where Ray is not installed, ErrataError where it fails."""
    if find_spec("ray") is None:
        raise BadInput(_NEEDED)
    # Its sockets and logs need a short path; what it spills to disk stays in the workspace.
    home = tempfile.mkdtemp(prefix="errata-", dir=_SHORT if _SHORT.is_dir() else None)
    spill = ws.cache / Path(home).name
    spill.mkdir(parents=True, mode=0o700)
    context = multiprocessing.get_context("spawn")
    ear, mouth = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(mouth, home, str(spill), drive, what), daemon=True)
    try:
        child.start()
        mouth.close()
        yield _heard(ear, Path(home))
    finally:
        ear.close()
        _stop(child)
        for folder in (home, spill):
            shutil.rmtree(folder, ignore_errors=True)


def _heard(ear: Connection, home: Path) -> Iterator[tuple[int, bytes]]:
    while True:
        try:
            head = json.loads(ear.recv_bytes())
            if "number" not in head:
                break
            yield head["number"], ear.recv_bytes()
        except EOFError:
            head = {"failed": f"Ray ended: {_last_words(home / _TALK)}"}
            break
    if "wrong" in head:
        raise BadInput(head["wrong"])
    if "failed" in head:
        why = f"a worker of Ray failed ({head['failed']})"
        raise ErrataError(f"intake: {why}; run it again, or with engine=local, which says where")


def _last_words(talk: Path) -> str:
    lines = talk.read_text(errors="replace").split("\n") if talk.is_file() else []
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "without a word")


def _stop(child: Any) -> None:
    """End the child and all that it has started."""
    if child.pid is None:
        return
    if child.is_alive():
        child.terminate()
    child.join(_STOPPING)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)  # it leads a group of its own
    child.join()


def _child(mouth: Connection, home: str, spill: str, drive: Drive, what: Sequence[Any]) -> None:
    os.setsid()  # a Ctrl-C is for the parent, which ends this in order
    with (Path(home) / _TALK).open("wb") as talk:
        for stream in (1, 2):
            os.dup2(talk.fileno(), stream)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    said: dict[str, str] = {"end": ""}
    try:
        with _ray(home, spill) as ray:
            for number, part in drive(ray, *what):
                mouth.send_bytes(json.dumps({"number": number}).encode())
                mouth.send_bytes(part)
    except BadInput as error:
        said = {"wrong": str(error)}
    except BrokenPipeError:
        pass  # nobody listens any more
    except Exception as error:
        cause = getattr(error, "cause", None) or error
        name = type(cause).__name__
        said = {"wrong": str(cause)} if isinstance(cause, BadInput) else {"failed": name}
    finally:
        with suppress(OSError):
            mouth.send_bytes(json.dumps(said).encode())
        os._exit(0)  # nothing of Ray's is collected


@contextmanager
def _ray(home: str, spill: str) -> Iterator[Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray reads it when it is imported
    import ray
    import ray.data

    where: dict[str, Any] = {}
    if not os.environ.get("RAY_ADDRESS"):
        where = {"include_dashboard": False, "object_store_memory": _STORE,
                 "object_spilling_directory": spill, "_temp_dir": home}  # fmt: skip
    ray.init(logging_level=logging.ERROR, log_to_driver=False, **where)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    try:
        yield ray
    finally:
        ray.shutdown()
