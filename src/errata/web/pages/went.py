"""What a change is given, and where it leads."""

from __future__ import annotations

from typing import NamedTuple

from errata.errors import BadInput


class Form(dict[str, str]):
    """The fields of a form of ours, and the words of its address."""

    def need(self, name: str) -> str:
        """A field that must be filled in; BadInput where it is not."""
        if not (value := self.get(name, "").strip()):
            raise BadInput(f"{name}: empty; fill it in")
        return value

    def confirmed(self, word: str) -> None:
        """BadInput unless the person wrote this word, to say that they mean it."""
        if self.get("confirm", "").strip() != word:
            raise BadInput(f"write {word} to confirm; nothing was changed")


class Went(NamedTuple):
    """Where to go on, and what to tell there."""

    where: str
    text: str = ""
    bad: bool = False
