"""The admin port: which models are loaded, one more, one less. Never the port that users reach.

Whoever may load an adapter decides what users are told: a token is needed, of 16 characters at
least, and it is compared in the same time whether its first or its last character is wrong.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from errata.errors import BadInput, ErrataError
from errata.serve.limits import body_of
from errata.serve.refused import Refused
from errata.serve.server import handlers
from errata.serve.service import Service

TOKEN = "ERRATA_ADMIN_TOKEN"
SHORTEST = 16


def token() -> str:
    """The token that the environment names; BadInput without one that cannot be guessed."""
    found = os.environ.get(TOKEN, "")
    if len(found) < SHORTEST:
        told = f"has {len(found)} characters" if found else "is not set"
        raise BadInput(
            f"${TOKEN} {told}; the admin port needs one of at least {SHORTEST}: "
            "set it, or admin_port=0"
        )
    return found


def app(service: Service, secret: str) -> ASGIApp:
    """The admin routes, behind the token."""
    routes = [
        Route("/admin/models", _list),
        Route("/admin/models", _load, methods=["POST"]),
        Route("/admin/models/{name}", _unload, methods=["DELETE"]),
    ]
    made = Starlette(routes=routes, exception_handlers=handlers())
    made.state.service = service
    return _Guarded(made, secret)


class _Guarded:
    """Nothing of the app is reached without the token, not even what it says of unknown paths."""

    def __init__(self, inner: ASGIApp, secret: str) -> None:
        self.inner, self.wanted = inner, f"Bearer {secret}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self.wanted):
                told = Refused(401, "admin token missing or wrong", "invalid_api_key")
                await told.response()(scope, receive, send)
                return
        await self.inner(scope, receive, send)


async def _list(web: Request) -> Response:
    service: Service = web.app.state.service
    using = [row.ask.adapter or service.models.base_name for row in list(service.batcher.running)]
    data = [
        {**one, "running": using.count(one["id"]), "routed": one["id"] in service.models.routed}
        for one in service.models.listed()
    ]
    return JSONResponse({"object": "list", "data": data})


async def _load(web: Request) -> Response:
    service: Service = web.app.state.service
    try:
        told = json.loads(await body_of(web, 10_000, service.config.body_seconds))
        name = told["model"] if isinstance(told, dict) else None
    except (ValueError, KeyError, RecursionError):
        name = None
    if not isinstance(name, str):
        raise Refused(400, 'send {"model": NAME}', "invalid_json", "model")
    try:
        found = await asyncio.to_thread(service.models.named, name)
    except ErrataError as error:
        raise Refused(400, str(error), "cannot_load", "model") from None
    return JSONResponse(service.models.described(found), 201)


async def _unload(web: Request) -> Response:
    models, name = web.app.state.service.models, web.path_params["name"]
    if name not in models.known:
        raise Refused(404, "no such model is loaded", "model_not_found", "model")
    if name == models.base_name or name in models.routed:
        why = "it is the base" if name == models.base_name else "a release routes to it"
        raise Refused(409, f"{name} stays: {why}", "in_use", "model")
    models.unload(name)
    return JSONResponse({"id": name, "deleted": True})
