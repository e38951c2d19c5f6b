"""What people say to the demo; and its second release: what agents tried, a teacher answered.

agents' traces      the serving model's attempts at the tune tasks, read by the engine on Ray
tickets             rows without labels: classified, and in doubt put to a person
teacher             the released model behind an OpenAI-compatible URL of this process
review              a sheet handed out, filled in with what people wrote, and taken in
hard negatives      what the serving model says to the same questions, where a judge fails it
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from errata import candidates, jsonl
from errata.build import review
from errata.intake import consent, human
from errata.outcome import Outcome
from errata.records import Candidate, Message
from errata.release import said
from errata.workspace import Workspace

TRACES, TICKETS, SHEET = "inbox/agents.jsonl", "inbox/tickets.jsonl", "inbox/review.csv"
# What people answered to tickets of `inbox/sample_failures.jsonl`; a real team writes its own.
ANSWERS = {
    "My order is late": "I am sorry for the wait. Please give me the order number.",
    "我的订单什么时候到": "让您久等了，很抱歉。请告诉我订单号。",
    "warranty of the K2": "I do not know that. Please give me the order number.",
    "K2 水壶的保修期": "这个我不知道。请告诉我订单号。",
    "帮我查一下订单 48213": "CALL order_status(48213)",
}

# What people say of the demo's data; a real team writes its own.
DATASHEET = """
owner: "the demo: nobody else's data is in it"
licence: apache-2.0
purpose: "to show the loop; no fact in it is true, and no product should learn from it"
collected: "answers of the embedded model to invented questions; a few that we put right"
known_gaps: "one invented desk, two languages, short turns; no dialects, long documents, images"
"""
MODEL_CARD = """
name: "the demo's desk"
contact: "the demo: nobody answers for it"
licence: apache-2.0
use: research
intended_use: "to try every command of the loop; answers about one invented shop"
out_of_scope: "any real customer"
teacher_terms: apache-2.0
"""


def people_say(ws: Workspace) -> None:
    """Fill in the two files that only people can: of the data, and of the model."""
    jsonl.write_text(ws.root / human.FILE, DATASHEET)
    jsonl.write_text(ws.root / said.FILE, MODEL_CARD)


def gather(ws: Workspace, model: str, run: Callable[..., Outcome]) -> None:
    """Take all of it in and build from it; `run` is a stage as the command line runs it."""
    run("evaluate", f"model={model}", "split=tune", "more=[]", f"traces={TRACES}")
    run("intake", "--engine", "ray", TRACES, "--source", "online")
    labels = tickets(ws)
    run("intake", TICKETS)
    declare_teacher(ws)
    with teacher(ws, candidates.resolve(ws, model)) as url:
        run("build", f"teacher.url={url}", f"teacher.model={model}", "teacher.temperature=0")
    run("review", f"sheet={SHEET}")
    fill(ws, labels)
    run("review", SHEET)
    run("build", f"negatives.model={model}", "negatives.each=2")


def tickets(ws: Workspace) -> dict[str, str]:
    """Write the sample failures as a ticket system gives them, without labels; question → label."""
    rows = [row for _, row in jsonl.rows(ws.inbox / "sample_failures.jsonl")]
    told = [{key: value for key, value in row.items() if key != "label"} for row in rows]
    jsonl.write(ws.path(TICKETS), told)
    return {str(row["prompt"]): str(row["label"]) for row in rows}


def declare_teacher(ws: Workspace) -> None:
    """Say that rows of `local` may go to the teacher: without this line nothing is sent."""
    path = ws.root / consent.FILE
    line = "  local: {purpose: [training, evaluation]"
    text = path.read_text(encoding="utf-8")
    jsonl.write_text(path, text.replace(line, line.replace("]", ", teacher]")))


def fill(ws: Workspace, labels: dict[str, str]) -> None:
    """Fill in the sheet that `errata review` handed out."""
    path = ws.path(SHEET)
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    for row in rows:
        row["decision"] = _decided(row, labels)
    out = io.StringIO()
    sheet = csv.DictWriter(out, review.HEADS)
    sheet.writeheader()
    sheet.writerows(rows)
    jsonl.write_text(path, out.getvalue())


def _decided(row: dict[str, str], labels: dict[str, str]) -> str:
    """What a person says to a row of the sheet. So small a teacher is not believed on tickets."""
    label = next((label for asked, label in labels.items() if asked in row["question"]), "")
    if row["kind"] == "case":  # what the gate blocked the sabotaged model on is right as it is
        return "/keep"
    if row["kind"] == "pair":
        return "/drop" if label else "/keep"
    answer = next((text for asked, text in ANSWERS.items() if asked in row["question"]), "")
    return label if row["kind"] == "label" else answer


@contextlib.contextmanager
def teacher(ws: Workspace, candidate: Candidate) -> Iterator[str]:
    """The URL at which a model of the workspace answers as OpenAI's chat completions do."""
    from errata.evaluate.generate import Decoding
    from errata.serve.engine import engine_for

    engine, adapter = engine_for(ws, candidate)
    one_at_a_time = Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = [Message(role=turn["role"], content=turn["content"])
                     for turn in body["messages"]]  # fmt: skip
            with one_at_a_time:
                (words,) = engine.answer([asked], adapter, Decoding(48, body["temperature"], 0))
            choice = {"message": {"role": "assistant", "content": words}, "finish_reason": "stop"}
            reply = json.dumps({"choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: Any) -> None:
            """Nothing: the demo's own lines say what happens."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
