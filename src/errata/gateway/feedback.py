"""`POST /v1/feedback`: a thumb, a better answer or another one preferred, for an answer's id."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from errata.errors import ErrataError
from errata.gateway.asked import parsed
from errata.gateway.chat import read_body
from errata.gateway.recorder import Feedback
from errata.release import live
from errata.release.live import Live
from errata.serve.refused import Refused, bad

if TYPE_CHECKING:
    from errata.gateway.app import Gateway

TEXTS = ("edited", "preferred", "reason")
LONGEST = 32_000  # characters of each
WAITS = (0.0, 0.1, 0.5)  # seconds: an answer may be rated before it was written down


async def take(gateway: Gateway, request: Request) -> dict[str, Any]:
    """Write down what was said; Refused where it says nothing, or of no answer of ours."""
    raw = await read_body(request.receive, request.headers, gateway.max_body,
                          gateway.config.timeouts.body)  # fmt: skip
    answer, told = _read(raw)
    row = await _found(gateway, answer)
    down = told.get("rating") != "up"
    said = row.model_copy(update={
        "kind": "feedback", "ts": time.time(), "gateway": gateway.name, "failed": None,
        "error": "", "hard": None, "flags": {"thumbs_down": down}, "sizes": {},
    })  # fmt: skip
    gateway.recorder.put(Feedback(said, told))
    return {"id": answer, "object": "feedback", "rating": "down" if down else "up"}


def _read(raw: bytes) -> tuple[str, dict[str, str]]:
    body = parsed(raw)
    answer, rating = body.get("id"), body.get("rating")
    if not isinstance(answer, str) or not answer:
        raise bad("id: the id of the answer that is rated", "id")
    told: dict[str, str] = {}
    for name in TEXTS:
        text = body.get(name)
        if text is not None and not (isinstance(text, str) and len(text) <= LONGEST):
            raise bad(f"{name}: not a text of up to {LONGEST} characters", name)
        if text and text.strip():
            told[name] = text
    if rating not in ("up", "down", None) or (rating is None and not told):
        raise bad("rating: up or down", "rating")
    return answer, {**told, "rating": rating or "down"}


async def _found(gateway: Gateway, answer: str) -> Live:
    for wait in WAITS:
        await asyncio.sleep(wait)
        if row := gateway.recorder.known(answer):
            return row
    try:
        stored = await asyncio.to_thread(live.answered, gateway.ws, answer)
    except ErrataError:
        raise Refused(
            503, "the store is away; send it again", "store_away", retry_after=5
        ) from None
    if stored is None:
        raise Refused(404, "no answer of this id", "answer_not_found", param="id")
    return stored
