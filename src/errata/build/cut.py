"""Answers as the trainer sees them: in its tokens, and no longer than it takes.

The trainer (train/tokens.py) keeps an answer whole and takes from the prompt's beginning; an
answer of `seq_len` tokens or more it refuses. Others cut at the end: of one public set 7 % of the
pairs are the same tokens then, with the loss ln 2 for ever. Both are seen here before the hours are
paid for.
Only `tokenizer.json` is read, by the library that transformers itself uses for it: no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from errata import jsonl
from errata.candidates import TINY, resolve_base
from errata.config import read_yaml
from errata.errors import BadInput
from errata.workspace import Workspace

AUTO = "auto"
DPO = "align/dpo.yaml"
SEQ_LEN = 512  # of the panel, where no config says another


class Cutter(NamedTuple):
    """A tokenizer and the length it cuts to."""

    path: Path
    seq_len: int

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, cut to `seq_len`; without the template's, which both sides share."""
        distinct = list(dict.fromkeys(texts))
        found = _tokenizer(self.path).encode_batch_fast(distinct, add_special_tokens=False)
        ids = {text: item.ids[: self.seq_len] for text, item in zip(distinct, found, strict=True)}
        return [ids[text] for text in texts]

    @property
    def digest(self) -> str:
        """Of the tokenizer's file."""
        return jsonl.digest_file(self.path)


def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        found = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path}: not a tokenizer.json: {reason}; name another") from None
    found.no_truncation()
    found.no_padding()
    return found


def embedded(seq_len: int = SEQ_LEN) -> Cutter:
    """By the tokenizer of the embedded model."""
    return Cutter(TINY / "tokenizer.json", seq_len)


def cutter(ws: Workspace, tokenizer: str, seq_len: int) -> Cutter | None:
    """As `lint.tokenizer` and `lint.seq_len` say; None where `auto` finds no tokenizer.json."""
    path = ws.configs / DPO
    panel = read_yaml(path) if path.is_file() else {}
    length = seq_len or panel.get("seq_len") or SEQ_LEN
    if tokenizer != AUTO:
        named = ws.path(tokenizer) if tokenizer != "tiny" else TINY
        file = named / "tokenizer.json" if named.is_dir() else named
        if not file.is_file():
            raise BadInput(f"lint.tokenizer: {tokenizer}: no such file; name a tokenizer.json")
        return Cutter(file, int(length))
    try:
        base = resolve_base(ws, str(panel.get("model", "tiny"))).path
    except BadInput:
        return None
    file = Path(base) / "tokenizer.json"
    return Cutter(file, int(length)) if file.is_file() else None
