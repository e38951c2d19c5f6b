"""/admin, on a port of its own and with a token: the state, a rollback, a reload, the end."""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from errata import config as configs
from errata.errors import BadInput, ErrataError
from errata.gateway.app import HANDLERS, Gateway
from errata.gateway.asked import parsed
from errata.gateway.knobs import Config
from errata.release import rollback
from errata.serve.refused import Refused, bad

SHORTEST = 16  # characters of a token


def token() -> str:
    """ERRATA_ADMIN_TOKEN; empty: no admin. BadInput for one that can be guessed."""
    told = os.environ.get("ERRATA_ADMIN_TOKEN", "")
    if told and len(told) < SHORTEST:
        raise BadInput(f"ERRATA_ADMIN_TOKEN: at least {SHORTEST} characters; make a longer one")
    return told


Action = Callable[[Gateway, dict[str, Any]], Awaitable[dict[str, Any]]]


async def state(gateway: Gateway, _: dict[str, Any]) -> dict[str, Any]:
    """Where everything stands."""
    return _state(gateway)


async def back(gateway: Gateway, body: dict[str, Any]) -> dict[str, Any]:
    """Roll back, as `errata rollback` does."""
    why, to = body.get("why"), body.get("to")
    if not isinstance(why, str) or not why.strip():
        raise bad("why: the reason, for the ledger", "why")
    if to is not None and not isinstance(to, str):
        raise bad("to: the id of a release", "to")
    facts = await asyncio.to_thread(rollback.roll_back, gateway.ws, why, to)
    await asyncio.to_thread(gateway.watch.look)
    return facts


async def reload(gateway: Gateway, _: dict[str, Any]) -> dict[str, Any]:
    """Read policy, `names`, routing and what the upstreams offer anew."""
    path = gateway.ws.configs / "gateway.yaml"
    if path.is_file():
        gateway.watch.names = configs.load(path, Config).names
    await asyncio.to_thread(gateway.reload, True)
    await asyncio.to_thread(gateway.watch.look, True)
    await gateway.pool.refresh()
    return _state(gateway)


async def drain(gateway: Gateway, _: dict[str, Any]) -> dict[str, Any]:
    """Take no more, let what is under way end, and stop."""
    gateway.stop()
    return {"draining": True, "in_flight": len(gateway.in_flight)}


def admin(gateway: Gateway, secret: str) -> Starlette:
    """The application for those who run it."""

    def guarded(path: str, method: str, action: Action) -> Route:
        async def endpoint(request: Request) -> Response:
            told = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
            if not hmac.compare_digest(told.encode(), secret.encode()):
                raise Refused(401, "no valid admin token", "invalid_admin_token")
            raw = await request.body() if method == "POST" else b""
            try:
                return JSONResponse(await action(gateway, parsed(raw) if raw.strip() else {}))
            except ErrataError as error:
                status = 400 if isinstance(error, BadInput) else 503
                raise Refused(status, str(error), "refused") from None

        return Route(path, endpoint, methods=[method])

    return Starlette(
        routes=[
            guarded("/admin/state", "GET", state),
            guarded("/admin/rollback", "POST", back),
            guarded("/admin/reload", "POST", reload),
            guarded("/admin/drain", "POST", drain),
        ],
        exception_handlers=HANDLERS,
    )


def _state(gateway: Gateway) -> dict[str, Any]:
    view = gateway.watch.view
    now = view.routing
    return {
        "gateway": gateway.name,
        "health": gateway.health(),
        "routing": {
            "stable": now.stable.id if now.stable else None,
            "canary": now.canary.id if now.canary else None,
            "percent": now.canary.stage_percent if now.canary else None,
            "event": gateway.watch.seen,
            "trouble": gateway.watch.trouble,
        },
        "models": {target.release: target.model for target in (view.base, *view.targets.values())},
        "filter": {"digest": gateway.guard.digest, "trouble": gateway.policy_trouble},
        "in_flight": len(gateway.in_flight),
        "upstreams": [
            {"url": one.url, "well": one.well, "why": one.why, "in_flight": one.in_flight,
             "offers": sorted(one.offers)} for one in gateway.pool.servers
        ],
    }  # fmt: skip
