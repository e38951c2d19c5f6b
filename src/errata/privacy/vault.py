"""Values that redaction took out and that somebody may have to see again; off unless a policy says.

    policies/redaction.yaml: vault: [PHONE]      kept from now on
    errata reveal "<PHONE:7f3a12c4>" why="call back about ticket 812"

Each person has a key of their own in `.errata/keys/vault/`, outside the database; what no person is
named for has a key of its own. Dropping the key makes every copy of the values unreadable, in
backups of the database too.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import Field

from errata.config import Section
from errata.errors import BadInput
from errata.language import say
from errata.outcome import Outcome
from errata.store import database, keys, ledger, people
from errata.workspace import Workspace

_NONCE = 12  # bytes, as AES-GCM wants it


class Config(Section):
    """`errata reveal PSEUDONYM why=…`."""

    args: list[str] = Field(default=[], description="the pseudonym, as <PHONE:7f3a12c4>")
    why: str = Field(default="", description="what for; the ledger keeps it")


def _place(ws: Workspace, owner: str) -> Path:
    return ws.state / "keys" / "vault" / hashlib.sha256(owner.encode()).hexdigest()[:32]


def _cipher(ws: Workspace, owner: str, make: bool = False) -> AESGCM | None:
    """The owner's cipher; None where the key was dropped, or never made."""
    path = _place(ws, owner)
    if not path.exists():
        if not make:
            return None
        keys.create(path, AESGCM.generate_key(256))
    return AESGCM(path.read_bytes())


def keep(ws: Workspace, rows: Iterable[tuple[str, str, str]]) -> None:
    """Keep values: (owner, pseudonym, value)."""
    boxes = []
    for owner, token, value in sorted(set(rows)):
        cipher, nonce = _cipher(ws, owner, make=True), os.urandom(_NONCE)
        assert cipher is not None
        sealed = nonce + cipher.encrypt(nonce, value.encode(), token.encode())
        boxes.append({"token": token, "owner": owner, "box": base64.b64encode(sealed).decode()})
    if boxes:
        with database.writing(ws) as connection:
            database.insert_new(connection, database.vault, boxes)


def read(ws: Workspace, token: str) -> str | None:
    """The value behind a pseudonym; None where nobody's key opens it."""
    table = database.vault
    with database.reading(ws) as connection:
        found = connection.execute(
            sa.select(table.c.owner, table.c.box).where(table.c.token == token)
        )
        boxes = found.all()
    for owner, box in boxes:
        if cipher := _cipher(ws, owner):
            sealed = base64.b64decode(box)
            try:
                return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], token.encode()).decode()
            except InvalidTag:
                continue  # made anew after it was dropped
    return None


def drop(ws: Workspace, owners: Iterable[str], tokens: Iterable[str]) -> int:
    """Forget what is these owners', and these values whoever they were kept for; how many."""
    table, gone = database.vault, 0
    owners, tokens = set(owners), set(tokens)
    for owner in owners | tokens:  # a value that no person was named for is its own owner
        _place(ws, owner).unlink(missing_ok=True)
    with database.writing(ws) as connection:
        for column, names in ((table.c.owner, owners | tokens), (table.c.token, tokens)):
            ordered = sorted(names)
            for start in range(0, len(ordered), 500):
                part = column.in_(ordered[start : start + 500])
                gone += connection.execute(table.delete().where(part)).rowcount
    return gone


def main(ws: Workspace, config: Config) -> Outcome:
    """Show one value to whom that is a right of, and write down that they saw it."""
    if len(config.args) != 1 or not config.why.strip():
        raise BadInput('reveal: give a pseudonym and a reason: `errata reveal "<PHONE:…>" why="…"`')
    (token,) = config.args
    people.entitled(ws, "reveal")
    value = read(ws, token)
    if value is None:
        raise BadInput(f"{token}: not in the vault of this machine: never kept, erased, or kept "
                       "elsewhere; policies/redaction.yaml says what is kept")  # fmt: skip
    ledger.append(ws, "reveal", right="reveal", token=token, why=config.why)
    ledger.seal(ws)
    note = say("the ledger has it that you saw this", "账本已记录此次查看")
    return Outcome(0, f"{value}\n({note})", {"token": token, "value": value})
