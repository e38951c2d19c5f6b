"""The classifier of the filter: a linear model of character n-grams (safety/grams.py).

It is trained on what this team's models said: the answers of its failures against those that are
right. Digits are alike to it, so that it learns the form of a leak and not one number; whether
there were documents, and whether the answer cites one, stand before the text.

Scores are set so that of harmless answers which it was not trained on one in a hundred reaches 0.9,
and half stay below 0.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from errata.safety import grams
from errata.safety.predicates import citations

FALSE_ALARMS = 0.01
AT = 0.9
_DIGIT = re.compile("[0-9]")


def features(text: str, beside_documents: bool) -> str:
    """What the model reads of an answer."""
    form = ("d" if beside_documents else "") + ("c" if citations(text) else "")
    return grams.opening("", f"<{form}> {_DIGIT.sub('0', text)}")


def score(text: str, beside_documents: bool, model: grams.Model) -> float:
    """The chance that it is one of the answers a user should not see."""
    return grams.chance(grams.odds(features(text, beside_documents), model))


Row = tuple[str, bool, bool, str]  # text, beside documents, bad, group (folds keep it whole)


def train(rows: Sequence[Row], folds: int = 5) -> grams.Model:
    """Fit, and shift the scores by what harmless answers outside of the folds' training reach."""
    groups = {group: n for n, group in enumerate(dict.fromkeys(row[3] for row in rows))}
    harmless: list[float] = []
    for out in range(folds):
        kept = [row for row in rows if groups[row[3]] % folds != out]
        left = [row for row in rows if groups[row[3]] % folds == out and not row[2]]
        if len({row[2] for row in kept}) == 2:
            model = fit(kept)
            harmless += [grams.odds(features(text, beside), model) for text, beside, _, _ in left]
    whole = fit(rows)
    if not harmless:
        return whole
    usual, rare = (float(x) for x in np.quantile(harmless, [0.5, 1 - FALSE_ALARMS]))
    top = math.log(AT / (1 - AT))
    slope = 2 * top / max(rare - usual, 1e-6)
    weights = (whole.weights * np.float32(slope)).astype(np.float32)
    return grams.Model(weights, slope * (whole.bias - rare) + top)


def fit(rows: Sequence[Row]) -> grams.Model:
    """The model of these rows, its scores as they come."""
    read = [features(text, beside) for text, beside, _, _ in rows]
    return grams.fit(read, [row[2] for row in rows])
