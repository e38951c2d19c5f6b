"""What a row has said so far, as text that may be shown: no half characters, no stop string, and no
blanks around it, so that the pieces together are the answer that evaluation would have read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BROKEN = "\ufffd"  # what bytes decode to that are no character, or not yet


def overlap(text: str, words: Sequence[str]) -> int:
    """How many characters at the end of `text` may be the beginning of one of the words."""
    longest = min(len(text), max(map(len, words), default=1) - 1)
    sizes = range(longest, 0, -1)
    return next((n for n in sizes if any(word.startswith(text[-n:]) for word in words)), 0)


def first(text: str, words: Sequence[str]) -> int | None:
    """Where the first of the words stands in it."""
    return min((at for word in words if (at := text.find(word)) >= 0), default=None)


class Detokenizer:
    """Ids → text, id by id. A token's text may depend on the one before (blanks), so each is
    decoded together with the last ones that were whole."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.ids: list[int] = []
        self.start = self.read = self.shown = 0

    def feed(self, token: int) -> str:
        """What this id adds; the bytes of half a character wait for the other half."""
        self.ids.append(token)
        text = self._text(len(self.ids))
        whole = text.rstrip(BROKEN)
        piece = whole[self.shown :]
        if len(whole) < len(text):
            self.shown = max(self.shown, len(whole))
            return piece
        self.start, self.read = self.read, len(self.ids)
        self.shown = len(self._text(self.read))
        return piece

    def rest(self) -> str:
        """Broken bytes that nothing has mended."""
        return self._text(len(self.ids))[self.shown :]

    def _text(self, end: int) -> str:
        said: str = self.tokenizer.decode(self.ids[self.start : end], skip_special_tokens=True)
        return said


class Saying:
    """An answer as it grows: `feed` ids, show what comes back; `stopped` once a stop string was
    said, which is not shown itself."""

    def __init__(self, tokenizer: Any, stops: Sequence[str] = ()) -> None:
        self.detokenizer = Detokenizer(tokenizer)
        self.stops = stops
        self.held = ""
        self.stopped = self.begun = False

    def feed(self, token: int) -> str:
        """What may be shown now that the model has said this token too."""
        self.held += self.detokenizer.feed(token)
        at = first(self.held, self.stops)
        if at is not None:
            self.held, self.stopped = self.held[:at], True
            return self._show(len(self.held.rstrip()))
        safe = self.held[: len(self.held) - overlap(self.held, self.stops)]
        return self._show(len(safe.rstrip()))

    def end(self, cut: bool) -> str:
        """The rest; an answer that was `cut` off amid a character leaves that half out."""
        if not self.stopped and not cut:
            self.held += self.detokenizer.rest()
        return self._show(len(self.held.rstrip()))

    def _show(self, size: int) -> str:
        piece, self.held = self.held[:size], self.held[size:]
        if not self.begun:
            piece = piece.lstrip()
            self.begun = bool(piece)
        return piece
