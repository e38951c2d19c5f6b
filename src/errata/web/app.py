"""The application: a table of addresses, each a plain function of the desk and the request.

A page is `(desk, request) -> Response`. A change is `(desk, form) -> Went`: where to go on, and
what to tell there; it is called only for a form of ours. What it refuses is told on the same page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from errata.errors import BadInput, ErrataError
from errata.language import reader, say
from errata.web import guard
from errata.web.desk import Desk
from errata.web.pages import (
    cost,
    failures,
    lineage,
    loop,
    reports,
    review,
    rollout,
    runs,
    verdict,
)
from errata.web.pages.went import Form, Went
from errata.web.view import page

LANGUAGE = "errata_language"
BODY, FIELDS = 4 * 2**20, 200  # bytes and fields of a form

Page = Callable[[Desk, Request], Response]
Change = Callable[[Desk, Form], Went]

PAGES: Mapping[str, Page] = {
    "/": loop.standing,
    "/running": loop.running,
    "/failures": failures.listed,
    "/failures/{id}": failures.one,
    "/failures/{id}/{field}.txt": failures.whole,
    "/review": review.queue,
    "/review/spans": review.spans,
    "/review/samples": review.samples,
    "/runs": runs.listed,
    "/runs/new": runs.new,
    "/runs/compare": runs.compared,
    "/runs/{id}": runs.one,
    "/runs/{id}/live": runs.live,
    "/runs/{id}/answers": runs.answers,
    "/verdicts": verdict.listed,
    "/verdicts/{id}": verdict.one,
    "/rollout": rollout.standing,
    "/lineage": lineage.graph,
    "/cost": cost.calculated,
    "/reports": reports.listed,
    "/reports/{path:path}": reports.one,
}
CHANGES: Mapping[str, Change] = {
    "/failures/{id}/triage": failures.triaged,
    "/failures/{id}/promote": failures.promoted,
    "/review/decide": review.decide,
    "/review/undo": review.undo,
    "/review/spans": review.looked,
    "/review/spans/undo": review.looked_undone,
    "/review/samples": review.rate,
    "/review/samples/undo": review.unrate,
    "/runs/start": runs.start,
    "/runs/panel": runs.panel,
    "/runs/{id}/stop": runs.stop,
    "/waivers": verdict.waive,
    "/waivers/{id}/{what}": verdict.waiver_changed,
    "/rollout/{what}": rollout.moved,
    "/alerts/{id}/{what}": rollout.alert_changed,
}


class Language:
    """The language of one request: the cookie, else what the browser prefers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with reader(preferred(Request(scope))):
            await self.app(scope, receive, send)


def preferred(request: Request) -> str:
    """`zh` or `en`; empty where nobody said: the terminal's then."""
    told = request.cookies.get(LANGUAGE, "")
    if told in ("zh", "en"):
        return told
    for part in request.headers.get("accept-language", "").split(","):
        for known in ("zh", "en"):
            if part.strip().lower().startswith(known):
                return known
    return ""


def _page(made: Page) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(made, request.app.state.desk, request)

    return endpoint


def _change(made: Change) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        desk: Desk = request.app.state.desk
        fields = await _fields(request)
        if fields is None:
            return PlainTextResponse("larger than a form of this desk\n", 413)
        if not desk.keys.ours(fields.pop("csrf", "")):
            return PlainTextResponse("not a form of this desk; load the page again\n", 403)
        form = Form({**fields, **request.path_params})
        try:
            went = await run_in_threadpool(made, desk, form)
        except ErrataError as error:
            went = Went(_back(request), str(error), bad=True)
        return _redirect(desk, went)

    return endpoint


async def _fields(request: Request) -> dict[str, str] | None:
    """The fields of an ordinary form; None where there is more than anybody would write."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY:
            return None
    try:
        told = parse_qsl(body.decode("utf-8", "replace"), True, max_num_fields=FIELDS)
    except ValueError:
        return None
    return dict(told)


def _back(request: Request) -> str:
    """The page that a form stood on; a path of ours, whatever the header says."""
    found = urlsplit(request.headers.get("referer", ""))
    if found.netloc != request.headers.get("host"):
        return "/"
    path = found.path or "/"
    kept = [part for part in found.query.split("&") if part and not part.startswith("said=")]
    return f"{path}?{'&'.join(kept)}" if kept else path


def _redirect(desk: Desk, went: Went) -> Response:
    where = "/" + went.where.lstrip("/")  # a path here: two slashes would name another host
    if went.text:
        mark = "&" if "?" in where else "?"
        where += f"{mark}{urlencode({'said': desk.said.keep(went.text, went.bad)})}"
    return RedirectResponse(where, 303)


async def enter(request: Request) -> Response:
    """Give the token, in the address that `errata web` prints or in the form, for the cookie."""
    desk: Desk = request.app.state.desk
    told = request.query_params.get("token", "")
    if request.method == "POST":
        told = (await _fields(request) or {}).get("token", "")
    if desk.keys.enters(told):
        reply = RedirectResponse("/", 303)
        reply.set_cookie(desk.keys.cookie, desk.keys.session, httponly=True, samesite="strict",
                         secure=request.url.scheme == "https")  # fmt: skip
        return reply
    wrong = say("That is not the token that `errata web` printed.",
                "这不是 `errata web` 打印的令牌。") if told else ""  # fmt: skip
    return page(request, "enter.html", 403 if told else 200, wrong=wrong)


async def language(request: Request) -> Response:
    """Read on in another language."""
    to = request.query_params.get("to", "")
    reply = _redirect(request.app.state.desk, Went(_back(request)))
    if to in ("zh", "en"):
        reply.set_cookie(LANGUAGE, to, samesite="strict", max_age=365 * 86400)
    return reply


class Wrong(NamedTuple):
    """An error page's number and words."""

    status: int
    text: str


async def _error(request: Request, error: Exception) -> Response:
    """A page that was asked for something says that it is not there; one that was asked for nothing
    cannot be shown until a file is mended."""
    asked = request.path_params or request.query_params
    status = 500
    if isinstance(error, BadInput):
        status = 404 if asked else 503
    return page(request, "wrong.html", status, wrong=Wrong(status, str(error)))


async def _broken(request: Request, error: Exception) -> Response:
    """What nobody thought of: the terminal has all of it, the page what it is."""
    told = say(f"{type(error).__name__}: the terminal of `errata web` says more",
               f"{type(error).__name__}：详见运行 `errata web` 的终端")  # fmt: skip
    return page(request, "wrong.html", 500, wrong=Wrong(500, told))


async def _missing(request: Request, _: Exception) -> Response:
    return page(request, "wrong.html", 404, wrong=Wrong(404, request.url.path))


def application(desk: Desk, hosts: list[str], open_to_read: bool) -> Starlette:
    """The desk's ASGI application; `open_to_read`: pages are shown without the token."""
    static = StaticFiles(directory=str(files("errata.web") / "static"))
    routes: list[Any] = [Route(path, _page(made), methods=["GET"]) for path, made in PAGES.items()]
    routes += [Route(path, _change(made), methods=["POST"]) for path, made in CHANGES.items()]
    routes += [Route("/enter", enter, methods=["GET", "POST"]), Route("/language", language)]
    app = Starlette(
        routes=[*routes, Mount("/static", static)],
        middleware=[
            Middleware(guard.Guard, keys=desk.keys, hosts=hosts, open_to_read=open_to_read),
            Middleware(Language),
        ],
        exception_handlers={ErrataError: _error, 404: _missing, Exception: _broken},
    )
    app.state.desk = desk
    return app
