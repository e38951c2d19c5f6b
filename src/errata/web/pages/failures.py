"""Failures: found, sorted, handed to somebody, followed, made cases of."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from errata.build import reviews
from errata.errors import BadInput
from errata.evaluate import promote
from errata.intake import triage
from errata.language import say
from errata.records import Failure
from errata.store import lineage
from errata.web.desk import Desk
from errata.web.index import FILTERS, Asked
from errata.web.pages.went import Form, Went
from errata.web.table import SEARCHED
from errata.web.view import hidden, page, whole_number

SHOWN = 200  # characters of a row's question in the list
BRANCHES = 12  # of one kind at one place of a journey
FIELDS = ("prompt", "bad_answer", "context")


def listed(desk: Desk, request: Request) -> Response:
    """`/failures`: one page of those that fit."""
    told = request.query_params
    only = {name: told.get(name, "") for name in FILTERS}
    number = told.get("page", "1")
    asked = Asked(told.get("q", "")[:200], only, told.get("order", "newest"),
                  whole_number(number, 1))  # fmt: skip
    found = desk.index.search(asked)
    records = desk.index.readable(found.rows)
    # Cut after it is redacted: half a value at the end is one that no rule finds.
    asked_for = [(one if isinstance(one, str) else one.prompt or one.summary or "")[:SEARCHED]
                 for one in records]  # fmt: skip
    texts = [text[:SHOWN] for text in hidden(desk.ws, asked_for)]
    choices = {name: desk.index.values(name) for name in FILTERS}
    # What is typed into the search box replaces the table alone.
    name = "part_failures.html" if request.headers.get("hx-request") else "failures.html"
    return page(request, name, asked=asked, found=found, choices=choices,
                broken=desk.index.table.broken,
                rows=list(zip(found.rows, texts, strict=True)))  # fmt: skip


def one(desk: Desk, request: Request) -> Response:
    """`/failures/ID`: its texts, where it stands, and what came of it."""
    id = request.path_params["id"]
    row = desk.index.row(id)
    (record,) = desk.index.records([row])
    said = reviews.read(desk.ws.path(reviews.FILE))
    answer = said.answers.get(id)
    told = [*_texts(record), record.summary or "", answer.text if answer else ""]
    texts = dict(zip((*FIELDS, "summary", "answer"), hidden(desk.ws, told), strict=True))
    try:
        root = lineage.trace(desk.ws, id)
    except BadInput:  # taken in by hand, or by an older store
        root = None
    return page(request, "failure.html", row=row, record=record, texts=texts, root=root,
                answer=answer, limit=BRANCHES)  # fmt: skip


def _texts(record: Failure) -> tuple[str, str, str]:
    context = "\n".join(f"[{turn.role}] {turn.content}" for turn in record.context)
    return record.prompt or "", record.bad_answer or "", context


def whole(desk: Desk, request: Request) -> Response:
    """`/failures/ID/FIELD.txt`: all of a long text, as nothing but text."""
    (record,) = desk.index.records([desk.index.row(request.path_params["id"])])
    told = dict(zip(FIELDS, _texts(record), strict=True))
    if (field := request.path_params["field"]) not in told:
        raise BadInput(f"{field}: no such text; {', '.join(FIELDS)}")
    (text,) = hidden(desk.ws, [told[field]])
    return PlainTextResponse(text.encode("utf-8", "backslashreplace"))


def triaged(desk: Desk, form: Form) -> Went:
    """Who looks after it, and how bad it is."""
    row, severe = desk.index.row(form["id"]), form.get("severity")
    if severe not in ("critical", "normal"):
        raise BadInput("severity: critical or normal")
    owner = form.get("owner", "")
    if len(owner) > 80 or "\n" in owner:
        raise BadInput("owner: a name of at most 80 characters")
    triage.add(desk.ws, row["id"], owner, severe)  # type: ignore[arg-type]
    return Went(f"/failures/{row['id']}", say("written down", "已记录"))


def promoted(desk: Desk, form: Form) -> Went:
    """A regression case of it, as `errata promote` makes one."""
    row = desk.index.row(form["id"])
    config = promote.Config(args=[row["id"]], success=form.get("success", "").strip(),
                            severity=row["severity"])  # fmt: skip
    outcome = promote.main(desk.ws, config)
    return Went(f"/failures/{row['id']}", outcome.text.splitlines()[-1])
