"""The weights of the refusal judge, made from rows that this project wrote.

    python -m errata.safety.judge_train          writes refusals/weights.npz

`refusals/{en,zh}.jsonl` hold styles of saying no and of answering, each as parts to be combined and
slots to be filled: some 4,000 rows by one seed. No row of anybody's labelled set is among them. A
ridge-penalised logistic regression is fitted by L-BFGS; its log odds are scaled so that they are
right for styles left out (Platt 1999), a third of the styles at a time.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from errata.safety import grams

FOLDER = Path(__file__).parent / "refusals"
LANGUAGES = ("en", "zh")
FOLDS = 3
_SLOT = re.compile(r"\{(\w+)\}")


class Row(NamedTuple):
    """An answer in a style; `refusal`: it declines all or part of what was asked."""

    language: str
    style: str
    refusal: bool
    text: str


def rows() -> list[Row]:
    """All rows, in an order that never changes."""
    return [row for language in LANGUAGES for row in _of(language)]


def _of(language: str) -> list[Row]:
    lines = (FOLDER / f"{language}.jsonl").read_text(encoding="utf-8").splitlines()
    told: list[dict[str, Any]] = [json.loads(line) for line in lines]
    slots = {key: words for line in told for key, words in line.get("slots", {}).items()}
    out = []
    for style in told:
        if "parts" not in style:
            continue
        random = Random(f"{language} {style['style']}")
        texts = ["".join(parts) for parts in product(*style["parts"])]
        random.shuffle(texts)
        texts *= -(-style["take"] // len(texts))
        filled = [_filled(text, slots, random) for text in texts[: style["take"]]]
        refusal = style["label"] == "refusal"
        out += [Row(language, style["style"], refusal, t) for t in dict.fromkeys(filled)]
    return out


def _filled(text: str, slots: dict[str, list[str]], random: Random) -> str:
    while _SLOT.search(text):
        text = _SLOT.sub(lambda match: random.choice(slots[match[1]]), text)
    return text[:1].upper() + text[1:]


def _read(text: str) -> str:
    return grams.opening("", text)


def held_out(all_rows: Sequence[Row], folds: int = FOLDS) -> npt.NDArray[np.float64]:
    """Log odds of each row by a model that saw no row of its style: shape (rows,)."""
    styles = list(dict.fromkeys((row.language, row.style) for row in all_rows))
    fold = np.array([styles.index((row.language, row.style)) % folds for row in all_rows])
    odds = np.empty(len(all_rows))
    for out in range(folds):
        kept = [row for row, place in zip(all_rows, fold, strict=True) if place != out]
        model = grams.fit([_read(row.text) for row in kept], [row.refusal for row in kept])
        for place in map(int, np.flatnonzero(fold == out)):
            odds[place] = grams.log_odds("", all_rows[place].text, model)
    return odds


def calibrated(
    model: grams.Model, odds: npt.NDArray[np.float64], refusal: Sequence[bool]
) -> grams.Model:
    """The model with its log odds turned into a · odds + b (Platt 1999)."""
    from scipy.optimize import minimize

    sign = np.where(np.array(refusal), 1.0, -1.0)
    share = np.where(sign > 0, 1 / (sign > 0).sum(), 1 / (sign < 0).sum())
    a, b = minimize(lambda x: share @ np.logaddexp(0, -sign * (x[0] * odds + x[1])), [1.0, 0.0]).x
    return grams.Model(model.weights * np.float32(a), float(a * model.bias + b))


def make() -> grams.Model:
    """The model of the package, before its weights are rounded."""
    told = rows()
    refusal = [row.refusal for row in told]
    model = grams.fit([_read(row.text) for row in told], refusal)
    return calibrated(model, held_out(told), refusal)


def write(path: Path = grams.WEIGHTS) -> int:
    """Make the weights and write them; the number of bytes."""
    return path.write_bytes(grams.packed(make()))


if __name__ == "__main__":
    sys.stdout.write(f"{grams.WEIGHTS.name}: {write():,} bytes\n")
