"""The HTTP side of `errata serve`: what OpenAI's clients ask, health and numbers.

Every refusal has OpenAI's shape, those of the framework with them; a client that goes away while
its answer is being written cancels it.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from errata.serve import reply, request
from errata.serve.limits import body_of
from errata.serve.refused import Refused
from errata.serve.service import Answer, Service


def app(service: Service) -> Starlette:
    """The public routes."""
    routes = [
        Route("/v1/chat/completions", _complete, methods=["POST"]),
        Route("/v1/models", _models),
        Route("/v1/models/{name}", _model),
        Route("/healthz", _health),
        Route("/metrics", _metrics),
    ]
    made = Starlette(routes=routes, exception_handlers=handlers())
    made.state.service = service
    return made


class Streamed(StreamingResponse):
    """Server-sent events of one answer, which is closed whatever becomes of the connection."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(
            reply.events(answer), media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )  # fmt: skip
        self.answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.answer.close()


async def _complete(web: Request) -> Response:
    service: Service = web.app.state.service
    config = service.config
    try:
        asked = request.read(await body_of(web, config.max_body_bytes, config.body_seconds))
        ids = await service.ids(asked)
        answer = service.start(asked, ids)
    except Refused as refused:
        service.requests.add(status=str(refused.status))
        raise
    service.requests.add(status="200")
    if asked.stream:
        return Streamed(answer)
    try:
        return JSONResponse(await _unless_gone(web, answer))
    finally:
        answer.close()


async def _unless_gone(web: Request, answer: Answer) -> dict[str, Any]:
    """The whole answer. Cancelled when the client goes away, who is told nothing any more."""
    work = asyncio.create_task(reply.whole(answer))
    gone = asyncio.create_task(_gone(web))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise Refused(499, "the client closed the connection", "client_closed")
    finally:
        work.cancel()
        gone.cancel()


async def _gone(web: Request) -> None:
    while (await web.receive())["type"] != "http.disconnect":
        pass


async def _models(web: Request) -> Response:
    return JSONResponse({"object": "list", "data": web.app.state.service.models.listed()})


async def _model(web: Request) -> Response:
    models, name = web.app.state.service.models, web.path_params["name"]
    if found := models.described(name):
        return JSONResponse(found)
    raise Refused(404, "no such model; GET /v1/models lists them", "model_not_found", "model")


async def _health(web: Request) -> Response:
    service: Service = web.app.state.service
    alive = service.batcher.thread.is_alive()
    state = "draining" if service.draining else "ok" if alive else "dead"
    told = {
        "status": state,
        "models": list(service.models.known),
        "running": len(service.batcher.running),
        "waiting": len(service.batcher.waiting),
    }
    return JSONResponse(told, 200 if state == "ok" else 503)


async def _metrics(web: Request) -> Response:
    kind = "text/plain; version=0.0.4"
    return PlainTextResponse(web.app.state.service.metrics(), media_type=kind)


def handlers() -> dict[Any, Any]:
    """Whatever goes wrong, in OpenAI's shape."""
    return {Refused: _refused, HTTPException: _http, Exception: _bug}


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response()


async def _http(web: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = f"{web.method} {web.url.path}: {error.detail.lower()}"
    found = Refused(error.status_code, told, "unknown_url").response()
    found.headers.update(error.headers or {})
    return found


async def _bug(_: Request, error: Exception) -> Response:
    traceback.print_exception(error, file=sys.stderr)
    return Refused(500, "the server failed; its log says why", "internal_error").response()
