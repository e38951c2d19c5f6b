"""A text as a decoder read it, and where in the input each of its characters came from.

Every view is folded: full-width, mathematical, circled and accented letters, Cyrillic and Greek
ones that look Latin, traditional Chinese and the invisible tag characters are the plain character;
what nobody sees is left out. Decoders then need to know one way of writing only.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from errata.intake.fold import SIMPLIFIED, TRADITIONAL

Places = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint32]
NOTHING = 0xFFFFFFFF
_SIZE = 0xE0200
# Blocks with characters that stand for one letter or digit (NFKD); Hangul and Chinese have none.
_COMPATIBLE = ((0x80, 0x2000), (0x2070, 0x3400), (0xA640, 0xAC00), (0xF900, 0x10000),
               (0x1D400, 0x1F200))  # fmt: skip
# Soft hyphen, combining marks, fillers, joiners, directions, selectors, keycaps, tags.
_INVISIBLE = ((0x00, 0x09), (0x0E, 0x20), (0x7F, 0xA0), (0xAD, 0xAE), (0x300, 0x370),
              (0x115F, 0x1161), (0x180B, 0x180F), (0x200B, 0x2010), (0x202A, 0x202F),
              (0x2060, 0x2070), (0x20D0, 0x20F1), (0x3164, 0x3165), (0xFE00, 0xFE10),
              (0xFEFF, 0xFF00), (0xFFA0, 0xFFA1), (0xE0000, 0xE0200))  # fmt: skip
_ALIKE = {
    **dict(zip("асеорхуіјѕһԁԛԝАВСЕНІЈКМОРЅТХУΑΒΕΖΗΙΚΜΝΟΡΤΥΧοѵνаɡɑкмтгпвнοиυαρτικεӏ",
               "aceopxyijshdqwABCEHIJKMOPSTXYABEZHIKMNOPTYXovvagakmtrnbhouuaptikel", strict=True)),
    **dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz", strict=True)),
    **dict.fromkeys("‐‑‒–−", "-"),
    **dict.fromkeys("·•∙", "·"),
    **dict(zip(TRADITIONAL, SIMPLIFIED, strict=True)),
}  # fmt: skip
_LETTERS = (0x1F150, 0x1F170, 0x1F1E6, 0x1F130)  # black circled, black squared, flags, squared


class View(NamedTuple):
    """`text` and, for each character of it, the span `starts[i]:ends[i]` of the input."""

    text: str
    starts: Places
    ends: Places
    path: tuple[str, ...] = ()

    def span(self, first: int, last: int) -> tuple[int, int]:
        """What part of the input the characters first…last (inclusive) came from."""
        return (
            int(self.starts[first : last + 1].min()),
            int(self.ends[first : last + 1].max()),
        )


@cache
def _table() -> Codes:
    table = np.arange(_SIZE, dtype=np.uint32)
    for low, high in _COMPATIBLE:
        for code in range(low, high):
            if not 0xD800 <= code < 0xE000:
                plain = unicodedata.normalize("NFKD", chr(code))
                seen = [c for c in plain if not unicodedata.combining(c)]
                if len(seen) > 1:  # ⒜ is (a), 🄀 is 0.
                    seen = [c for c in seen if c.isalnum()]
                if len(seen) == 1 and not 0x3040 <= code < 0x3100:  # が is no か
                    table[code] = ord(seen[0])
    for low, high in _INVISIBLE:
        table[low:high] = NOTHING
    for first in _LETTERS:
        if first + 26 <= _SIZE:
            table[first : first + 26] = np.arange(97, 123)
    for char, latin in _ALIKE.items():
        table[ord(char)] = ord(latin)
    table[0xE0020:0xE007F] = np.arange(0x20, 0x7F)
    return table


def codes(text: str) -> Codes:
    """Its code points, (n,)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def string(points: Codes) -> str:
    """The text of code points."""
    return points.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def root(text: str) -> View:
    """The input, folded."""
    places = np.arange(len(text), dtype=np.int64)
    return folded(View(text, places, places + 1))


def folded(view: View) -> View:
    """The view with one plain character for every way to write it."""
    if view.text.isascii() and view.text.isprintable():
        return view
    points = codes(view.text)
    plain = _table().take(points, mode="clip")
    plain = np.where(points < _SIZE, plain, points)
    seen = plain != NOTHING
    return View(string(plain[seen]), view.starts[seen], view.ends[seen], view.path)


def plain(text: str) -> str:
    """A text as it stands in a view."""
    return root(text).text


def picked(view: View, index: Places, name: str) -> View:
    """The characters at `index`, in that order."""
    text = string(codes(view.text)[index])
    return View(text, view.starts[index], view.ends[index], (*view.path, name))


def mapped(view: View, table: dict[int, int], name: str) -> View:
    """Each character for another one."""
    return view._replace(text=view.text.translate(table), path=(*view.path, name))


def lowered(text: str) -> str:
    """Lower case, each character in its place (`str.lower` makes two of some)."""
    low = text.lower()
    if len(low) == len(text):
        return low
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


class Edit(NamedTuple):
    """view.text[first:end] says `text`."""

    first: int
    end: int
    text: str


def edited(view: View, edits: Sequence[Edit], name: str) -> View:
    """The view with every edit made, folded; a written character has the span of its edit."""
    first = np.array([edit.first for edit in edits], dtype=np.int64)
    end = np.array([edit.end for edit in edits], dtype=np.int64)
    size = np.array([len(edit.text) for edit in edits], dtype=np.int64)
    # Kept and written pieces in turn: where each begins, ends, and how many characters it has.
    begins = np.empty(2 * len(edits) + 1, dtype=np.int64)
    stops, sizes = begins.copy(), begins.copy()
    begins[0::2], begins[1::2] = np.append(0, end), first
    stops[0::2], stops[1::2] = np.append(first, len(view.text)), end
    sizes[0::2], sizes[1::2] = stops[0::2] - begins[0::2], size
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = np.repeat(np.arange(len(sizes)) % 2 == 0, sizes)
    low = np.repeat(begins, sizes) + np.where(kept, within, 0)
    high = np.where(kept, low, np.repeat(stops, sizes) - 1)
    parts, at = [], 0
    for edit in edits:
        parts += [view.text[at : edit.first], edit.text]
        at = edit.end
    text = "".join([*parts, view.text[at:]])
    starts = np.minimum(view.starts[low], view.starts[high])
    ends = np.maximum(view.ends[low], view.ends[high])
    return folded(View(text, starts, ends, (*view.path, name)))


_NEAR = 4  # characters on either side of an edit that belong to it in a script without blanks


def around(view: View, edits: Sequence[Edit], name: str, dense: float = 0.0) -> View:
    """Only the edits and what hangs on to them without a blank: what may be decoded further.

    Of each such region the edits are at least the share `dense`.
    """
    size = len(view.text)
    spans = np.array([(edit.first, edit.end) for edit in edits if edit.first < edit.end])
    if not len(spans):
        return _empty(view, name)
    written = _covered(spans, size)
    near = np.stack([np.maximum(spans[:, 0] - _NEAR, 0), np.minimum(spans[:, 1] + _NEAR, size)], 1)
    points = codes(view.text)
    solid = (points > 32) & (points < 127) | written
    keep = _whole(solid, written) | _covered(near, size)
    regions = _stretches(keep)
    totals = np.append(0, np.cumsum(written))
    full = (totals[regions[:, 1]] - totals[regions[:, 0]]) >= dense * (regions @ [-1, 1])
    keep = _covered(regions[full & (regions @ [-1, 1] >= 6)], size)
    count = np.append(0, np.cumsum(keep))
    inside = [
        Edit(int(count[edit.first]), int(count[edit.end]), edit.text)
        for edit in edits
        if edit.first < edit.end and keep[edit.first]
    ]
    cut = picked(view, np.flatnonzero(keep), name)._replace(path=view.path)
    return edited(cut, inside, name) if inside else _empty(view, name)


def _stretches(mask: npt.NDArray[np.bool_]) -> Places:
    """First and end of each run of True, (k, 2)."""
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def _covered(spans: Places, size: int) -> npt.NDArray[np.bool_]:
    """Which of `size` places lie in one of the spans."""
    steps = np.zeros(size + 1, dtype=np.int64)
    np.add.at(steps, spans[:, 0], 1)
    np.add.at(steps, spans[:, 1], -1)
    return np.cumsum(steps[:-1]) > 0


def _whole(solid: npt.NDArray[np.bool_], written: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The runs of `solid` that hold something written."""
    runs = _stretches(solid)
    totals = np.append(0, np.cumsum(written))
    return _covered(runs[totals[runs[:, 1]] > totals[runs[:, 0]]], len(solid))


def _empty(view: View, name: str) -> View:
    return View("", view.starts[:0], view.ends[:0], (*view.path, name))
