"""Every file of a released model with its SHA-256, signed: any byte changed later is noticed.

    reports/model-card.sig.json    a DSSE envelope (Ed25519) around an in-toto statement, version 1

What is signed is DSSE's pre-authentication encoding, so that neither the payload nor its type can
be swapped: "DSSEv1" SP len(type) SP type SP len(body) SP body. The public key is
keys/card-<id>.pub.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from errata import candidates, jsonl
from errata.errors import BadInput
from errata.language import say
from errata.records import Candidate
from errata.store import keys
from errata.workspace import Workspace

PAGE = "reports/model-card.sig.json"
PURPOSE = "card"
TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:errata:model-manifest:1"
EMBEDDED = "embedded:"  # before a file of the embedded model, which lies in the package


def weight_files(ws: Workspace, candidate: Candidate) -> dict[str, Path]:
    """Name → path of every file that the candidate's weights are made of; of a base on the hub,
    or on another machine, none."""
    found: dict[str, Path] = {}
    for where in filter(None, (candidate.base, candidate.adapter)):
        embedded = where == "tiny"
        folder = candidates.TINY if embedded else ws.path(where)
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.is_file():
                name = f"{EMBEDDED}{path.name}" if embedded else ws.relative(path)
                found[name] = path
    return found


def _place(ws: Workspace, name: str) -> Path:
    embedded = name.startswith(EMBEDDED)
    return candidates.TINY / name.removeprefix(EMBEDDED) if embedded else ws.path(name)


def digests(files: Mapping[str, Path]) -> dict[str, str]:
    """Name → SHA-256 in hex."""
    return {name: jsonl.digest_file(path).removeprefix("sha256:") for name, path in files.items()}


def encoded(kind: str, body: str) -> str:
    """DSSE's pre-authentication encoding; lengths are of bytes."""
    return f"DSSEv1 {len(kind.encode())} {kind} {len(body.encode())} {body}"


def envelope(ws: Workspace, files: Mapping[str, str], about: Mapping[str, Any]) -> dict[str, Any]:
    """Signed by this machine's key for cards. files: name → SHA-256 in hex."""
    subject = [{"name": name, "digest": {"sha256": each}} for name, each in sorted(files.items())]
    statement = {"_type": STATEMENT, "subject": subject, "predicateType": PREDICATE,
                 "predicate": dict(about)}  # fmt: skip
    body = jsonl.canonical(statement)
    key = keys.own(ws, PURPOSE)
    signature = {"keyid": keys.key_id(key.public_key()),
                 "sig": keys.sign(key, encoded(TYPE, body))}  # fmt: skip
    payload = base64.b64encode(body.encode()).decode()
    return {"payloadType": TYPE, "payload": payload, "signatures": [signature]}


def statement(ws: Workspace) -> dict[str, Any]:
    """What was signed. BadInput when there is none, or when no trusted key has signed it."""
    path = ws.path(PAGE)
    if not path.is_file():
        raise BadInput(f"{PAGE}: no such file; `errata card` writes it")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        body = base64.b64decode(told["payload"], validate=True).decode()
        kind, signatures = str(told["payloadType"]), list(told["signatures"])
        found: dict[str, Any] = json.loads(body)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadInput(f"{PAGE}: not a DSSE envelope; `errata card` writes it anew") from None
    trusted = keys.trusted(ws, PURPOSE)
    text = encoded(kind, body)
    if not any(_holds(trusted, each, text) for each in signatures):
        raise BadInput(f"{PAGE}: no key in keys/ has signed this; it was changed, or its key is "
                       "gone: restore both with git")  # fmt: skip
    if kind != TYPE or found.get("_type") != STATEMENT or found.get("predicateType") != PREDICATE:
        raise BadInput(f"{PAGE}: signed, but not a manifest of a model; `errata card` writes one")
    return found


def _holds(trusted: Mapping[str, Any], told: Any, text: str) -> bool:
    if not isinstance(told, dict):
        return False
    key = trusted.get(str(told.get("keyid")))
    return key is not None and keys.holds(key, text, str(told.get("sig")))


def problems(ws: Workspace, candidate: Candidate | None = None) -> Iterator[str]:
    """What is not as it was signed: changed, missing, new beside the weights, another candidate's.
    BadInput as `statement`."""
    found = statement(ws)
    about = found["predicate"].get("candidate_digest")
    if candidate is not None and about != candidate.digest:
        yield say(
            f"about {str(about)[:19]}, another candidate", f"写的是另一个候选 {str(about)[:19]}"
        )
    signed = {str(each["name"]): str(each["digest"]["sha256"]) for each in found["subject"]}
    for name, digest in signed.items():
        path = _place(ws, name)
        if not path.is_file():
            yield say(f"{name}: is gone", f"{name}：文件不存在")
        elif jsonl.digest_file(path).removeprefix("sha256:") != digest:
            yield say(f"{name}: was changed", f"{name}：已被改动")
    if candidate is not None and about == candidate.digest:
        for name in sorted(set(weight_files(ws, candidate)) - set(signed)):
            yield say(f"{name}: came later", f"{name}：签名之后新增")
