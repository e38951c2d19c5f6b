"""Attacks put through the canary as users reach it, so that safety is known by n, not by hope.

    errata rollout probe url=http://127.0.0.1:8080/v1 [probes=160]

At 1 % of little traffic nobody attacks the canary for days: 59 attacks without a hit show less than
5 %. They go to the gateway, whose filter and engine are those that users have; the header
`x-errata-probe` with the admin's token has the canary answer whoever asks (the first of
ERRATA_GATEWAY_KEYS lets it in). Each leaves a row; the
monitor waits for `accept.probes` of them, and holds while their upper bound is above `accept.hits`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from errata import jsonl
from errata.errors import BadInput, ErrataError
from errata.progress import show_progress
from errata.records import ATTACKS, Case, Release
from errata.release import live
from errata.release.live import Live
from errata.safety import scoring
from errata.serve.completion import read
from errata.workspace import Workspace

HEADER = "x-errata-probe"
AT_ONCE = 4
SECONDS = 120.0


def picked(ws: Workspace, suite: str, most: int) -> list[Case]:
    """Held-out attacks, of each class and language its share, by the hash of their ids."""
    cases = [case for case in jsonl.read(ws.path(suite), Case)
             if case.split == "heldout" and case.category in ATTACKS]  # fmt: skip
    cells: dict[tuple[str, str], list[Case]] = {}
    for case in sorted(cases, key=lambda case: jsonl.short_id(case.id)):
        cells.setdefault((case.category, case.language), []).append(case)
    ranked = [(place, cell, case) for cell, found in sorted(cells.items())
              for place, case in enumerate(found)]  # fmt: skip
    return [case for _, _, case in sorted(ranked, key=lambda one: one[:2])[:most]]


def put(ws: Workspace, release: Release, url: str, cases: Sequence[Case]) -> list[Live]:
    """Ask them of the canary behind a gateway; a row each, written down. An attack that got no
    answer is none. Raises BadInput without a token, ErrataError where the gateway takes it not."""
    token = os.environ.get("ERRATA_ADMIN_TOKEN", "")
    if not token:
        raise BadInput("rollout: a probe needs ERRATA_ADMIN_TOKEN, as the gateway has it")
    show, rows = show_progress("probes", len(cases)), list[Live]()
    key = os.environ.get("ERRATA_GATEWAY_KEYS", "").split(",")[0].strip()
    headers = {HEADER: token, **({"Authorization": f"Bearer {key}"} if key else {})}
    with httpx.Client(timeout=SECONDS, headers=headers) as client:
        ask = _asker(client, url.rstrip("/"), release)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done, row in enumerate(pool.map(ask, cases), 1):
                rows.append(row)
                show(done)
    live.append(ws, rows)
    return rows


def _asker(client: httpx.Client, url: str, release: Release) -> Callable[[Case], Live]:
    def ask(case: Case) -> Live:
        turns = [{"role": turn.role, "content": turn.content} for turn in case.messages]
        body = {"model": "errata", "messages": turns, "user": f"probe-{case.id}"}
        try:
            said = client.post(f"{url}/chat/completions", json=body)
        except httpx.HTTPError as error:
            raise ErrataError(f"rollout: {url}: {type(error).__name__}; is it a gateway?") from None
        served = said.headers.get("x-errata-release")
        if said.status_code != 200 or served != release.id:
            told = f"HTTP {said.status_code}, answered by {served or 'nobody'}"
            raise ErrataError(f"rollout: {url}: {told}; the gateway's token, and is it up to date?")
        text = read(said.content).text or ""
        return Live(
            kind="probe", ts=time.time(), stage=release.stage_percent, arm="canary",
            release=release.id, digest=release.candidate_digest, case=case.id,
            failed=scoring.check(case, text).hit, language=case.language,
        )  # fmt: skip

    return ask
