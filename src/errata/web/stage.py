"""`errata web`: the desk, a local web app over this workspace.

    errata web                    http://127.0.0.1:8765, and the address that may change things
    errata web port=0             any free port
    errata web host=0.0.0.0 hosts=[desk.example]    behind your own TLS; ERRATA_WEB_TOKEN is needed

What stands where, failures, review, runs with their curves, verdicts, the rollout, lineage, cost,
reports. Pages are read without a password on the loopback address alone; whoever changes something
has opened the address with the token once. It acts as ERRATA_ACTOR, else git's user.email.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading

import uvicorn
from pydantic import Field

from errata.config import Section
from errata.errors import BadInput, ErrataError
from errata.language import say
from errata.outcome import Outcome
from errata.serve.sockets import listen
from errata.web import app
from errata.web.desk import Desk
from errata.web.guard import LOOPBACK, TOKEN
from errata.workspace import Workspace

SHORTEST = 16  # characters of a token


class Config(Section):
    """Where the desk listens."""

    host: str = Field("127.0.0.1", description="address to listen on; loopback: this machine alone")
    port: int = Field(8765, ge=0, le=65535, description="0: any free one")
    hosts: list[str] = Field([], description="further names that browsers may call it by")


def main(ws: Workspace, config: Config) -> Outcome:
    """Listen, say where, and go on until SIGTERM or Ctrl-C."""
    local = config.host in LOOPBACK
    desk = Desk(ws, token(local))
    listening = listen(config.host, config.port)
    host, port = listening.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    names = [*LOOPBACK, *(name.lower() for name in (config.host, *config.hosts))]
    application = app.application(desk, names, local)
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning", access_log=False,
                                           server_header=False))  # fmt: skip
    sys.stdout.write(
        say(f"the desk: {address}\nto change things, open once: {address}/enter?token="
            f"{desk.keys.token}\nCtrl-C ends it\n",
            f"工作台：{address}\n如需修改，请先打开一次：{address}/enter?token="
            f"{desk.keys.token}\nCtrl-C 结束\n")
    )  # fmt: skip
    sys.stdout.flush()
    threading.Thread(target=_warm, args=(desk,), daemon=True).start()
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()
    return Outcome(0, say("the desk is closed", "工作台已关闭"), {"url": address})


def token(local: bool) -> str:
    """ERRATA_WEB_TOKEN, else one of this process. BadInput for one that can be guessed, and for
    none where other machines can ask."""
    told = os.environ.get(TOKEN, "")
    if told and len(told) < SHORTEST:
        raise BadInput(f"{TOKEN}: at least {SHORTEST} characters; make a longer one")
    if not told and not local:
        raise BadInput(f"web: host= is no loopback address; set {TOKEN} to a secret of at least "
                       f"{SHORTEST} characters, and put TLS before it")  # fmt: skip
    return told or secrets.token_urlsafe(24)


def _warm(desk: Desk) -> None:
    """Read the failures before the first page asks for them; what is wrong the page will say."""
    try:
        desk.index.values("label")
    except ErrataError:
        return
