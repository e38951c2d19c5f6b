"""Ed25519 keys of a workspace: the secret half in `.errata/keys/`, the public half in `keys/`.

    keys/<purpose>-<id>.pub     PEM; the id is the beginning of the SHA-256 of the raw public key

git carries the public half, so a key that somebody adds or removes shows in a diff. The secret
half stays on the machine that made it and is in no database.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from errata.errors import BadInput
from errata.jsonl import replacing
from errata.workspace import Workspace


def key_id(key: Ed25519PublicKey) -> str:
    """`k` and 16 hex digits that name a public key; the letter keeps YAML from reading a number."""
    raw = key.public_bytes(pem.Encoding.Raw, pem.PublicFormat.Raw)
    return "k" + hashlib.sha256(raw).hexdigest()[:16]


def own(ws: Workspace, purpose: str) -> Ed25519PrivateKey:
    """This machine's key for a purpose, made and published on first use."""
    key = secret(ws, purpose)
    publish(ws, purpose, key.public_key())
    return key


def secret(ws: Workspace, purpose: str) -> Ed25519PrivateKey:
    """The same key, of which nobody has been told."""
    path = ws.state / "keys" / f"{purpose}.pem"
    if not path.exists():
        _make(path)
    try:
        key = pem.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{ws.relative(path)}: not an Ed25519 key; restore it from a backup")
    return key


def _make(path: Path) -> None:
    create(
        path,
        Ed25519PrivateKey.generate().private_bytes(
            pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()
        ),
    )


def create(path: Path, secret: bytes) -> None:
    """A new secret, readable by its owner alone. Of two processes that make one, the first wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def publish(ws: Workspace, purpose: str, key: Ed25519PublicKey) -> None:
    """Put the public half where git carries it."""
    path = ws.root / "keys" / f"{purpose}-{key_id(key)}.pub"
    if not path.exists():
        with replacing(path) as file:
            file.write(key.public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo))


def trusted(ws: Workspace, purpose: str) -> dict[str, Ed25519PublicKey]:
    """Public keys for a purpose, by id; BadInput for a file that is not the key it is named for."""
    found, problems = public(ws, purpose)
    if problems:
        raise BadInput(problems[0])
    return found


def public(ws: Workspace, purpose: str) -> tuple[dict[str, Ed25519PublicKey], list[str]]:
    """Public keys for a purpose, by id, and files that are not the key they are named for."""
    found, problems = {}, []
    for path in sorted((ws.root / "keys").glob(f"{purpose}-*.pub")):
        name = path.stem.removeprefix(f"{purpose}-")
        try:
            key = pem.load_pem_public_key(path.read_bytes())
        except ValueError:
            key = None
        if not isinstance(key, Ed25519PublicKey) or key_id(key) != name:
            problems.append(f"keys/{path.name}: not the public key of that id; restore it with git")
        else:
            found[name] = key
    return found, problems


def sign(key: Ed25519PrivateKey, text: str) -> str:
    """The signature of a text, in base64."""
    return base64.b64encode(key.sign(text.encode())).decode()


def holds(key: Ed25519PublicKey, text: str, signature: str) -> bool:
    """Whether `signature` is that key's, of that text."""
    try:
        key.verify(base64.b64decode(signature, validate=True), text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True
