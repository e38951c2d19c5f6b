"""A label for rows that have none: learnt from this workspace's own labelled failures, measured on
rows like none it learnt from, and silent where it is not sure.

Linear model of character 1–4-grams of question and answer, both as redacted. Five folds over groups
of near twins give out-of-fold probabilities; a label is given from the lowest probability at which
the lower 95 % bound of its precision there is what was asked for. Below that, and for labels that
never reach it, it abstains: the row waits for `errata review` and does not train. So it does on a
text of which it knows fewer grams than of nearly all (99 %) that were held out: it is another kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from errata import jsonl
from errata.build import near, reviews
from errata.records import Label, Language
from errata.report import markdown_table
from errata.stats import clopper_pearson
from errata.text import language

ABSTAINED = "abstained"
GUESSED = "classifier"
LEAST = 20  # rows a label needs to be learnt
MOST = 20_000  # rows learnt from
FOLDS = 5
LEVEL = 0.90  # two-sided: the lower end is a one-sided 95 % bound
Row = tuple[str, Label]


class Guess(NamedTuple):
    """A label, and how it came about: `classifier`, or `abstained` with the likeliest one."""

    label: Label
    by: str
    likeliest: Label | None = None


class Measured(NamedTuple):
    """Out-of-fold: truth → what was given (None: nothing), and in which language."""

    counts: Counter[tuple[Label, Label | None, Language]]
    from_: dict[Label, float]  # label → the probability from which it is given


class Labeller(NamedTuple):
    """A fitted model, and what was measured of it; `model` None: too few labelled rows."""

    model: Any
    measured: Measured
    known: npt.NDArray[np.bool_] | None = None  # grams that it has seen
    floor: float = 0.0  # the share of a text's grams that it must have seen

    def guesses(self, texts: Sequence[str]) -> list[Guess]:
        """A guess for each text."""
        if self.model is None or self.known is None or not texts:
            return [Guess("other", ABSTAINED)] * len(texts)
        grams = _grams(texts)
        table, familiar = self.model.predict_proba(grams), _familiar(grams, self.known)
        out = []
        for row, share in zip(table, familiar, strict=True):
            best = int(row.argmax())
            label: Label = str(self.model.classes_[best])  # type: ignore[assignment]
            sure = share >= self.floor and row[best] >= self.measured.from_.get(label, 2.0)
            out.append(Guess(label, GUESSED) if sure else Guess("other", ABSTAINED, label))
        return out


def said(prompt: str, answer: str) -> str:
    """What a row is judged by."""
    return f"{prompt}\n{answer}"


class Labels(NamedTuple):
    """Where a workspace's labels are learnt from; what travels to another process."""

    failures: Path
    reviews: Path
    precision: float

    def guesses(self, texts: Sequence[str]) -> list[Guess]:
        """A guess for each text."""
        return self.labeller().guesses(texts)

    def labeller(self) -> Labeller:
        """Fitted once a process, and again when a file has changed."""
        files = (self.failures, self.reviews)
        return _fitted(self, tuple(f.stat().st_mtime_ns if f.is_file() else 0 for f in files))


@lru_cache(maxsize=2)
def _fitted(labels: Labels, _stamps: tuple[int, ...]) -> Labeller:
    return fit(list(islice(_labelled(labels), MOST)), labels.precision)


def _labelled(labels: Labels) -> Iterator[Row]:
    """Failures whose label somebody gave; those of the classifier teach it nothing."""
    verdicts = reviews.read(labels.reviews).labels
    for _, row in jsonl.rows(labels.failures) if labels.failures.is_file() else ():
        given = verdicts.get(str(row.get("id")))
        if given is None and "label_by" not in (row.get("meta") or {}):
            given = row.get("label")
        if given and row.get("retention", "full") == "full":
            yield said(str(row.get("prompt")), str(row.get("bad_answer"))), given


def fit(rows: Sequence[Row], precision: float) -> Labeller:
    """Learn and measure. A label of fewer than 20 rows is none it can give."""
    counts = Counter(label for _, label in rows)
    rows = [row for row in rows if counts[row[1]] >= LEAST]
    labels = sorted({label for _, label in rows})
    if len(labels) < 2:
        return Labeller(None, Measured(Counter(), {}))
    texts, truth = [text for text, _ in rows], np.array([label for _, label in rows])
    groups = np.array(near.clusters(texts, 0.8))
    if any(len(set(groups[truth == label])) < FOLDS for label in labels):
        return Labeller(None, Measured(Counter(), {}))
    grams = _grams(texts)
    table, familiar = _out_of_fold(grams, truth, groups, labels)
    from_ = {label: edge for place, label in enumerate(labels)
             if (edge := _edge(table, truth, place, label, precision)) is not None}  # fmt: skip
    floor = float(np.quantile(familiar, 0.01))
    table[familiar < floor] = 0.0
    measured = Measured(_tally(texts, truth, table, labels, from_), from_)
    return Labeller(_model().fit(grams, truth), measured, _seen(grams), floor)


def _grams(texts: Sequence[str]) -> Any:
    """(texts, 2^18) sparse: their hashed character 1–4-grams."""
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(analyzer="char_wb", ngram_range=(1, 4), n_features=2**18,
                             alternate_sign=False).transform(texts)  # fmt: skip


def _model() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    # One label against the rest, each by liblinear: fifty times faster than all at once by lbfgs.
    one = LogisticRegression(C=30.0, solver="liblinear", class_weight="balanced", random_state=0)
    return OneVsRestClassifier(one)


def _seen(grams: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(grams.getnnz(axis=0) > 0)


def _familiar(grams: Any, known: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """(texts,): the share of each text's grams that are known."""
    counts = (grams > 0).astype(np.float64) @ known.astype(np.float64)
    return np.asarray(counts / np.maximum(grams.getnnz(axis=1), 1), np.float64)


def _out_of_fold(
    grams: Any, truth: npt.NDArray[Any], groups: npt.NDArray[Any], labels: list[Label]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(rows, labels) probabilities, and (rows,) shares of known grams, by models that learnt from
    no near twin of the row."""
    from sklearn.model_selection import StratifiedGroupKFold

    table, familiar = np.zeros((len(truth), len(labels))), np.zeros(len(truth))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for learn, held in folds.split(grams, truth, groups):
        model = _model().fit(grams[learn], truth[learn])
        places = [labels.index(name) for name in model.classes_]
        table[np.ix_(held, places)] = model.predict_proba(grams[held])
        familiar[held] = _familiar(grams[held], _seen(grams[learn]))
    return table, familiar


def _edge(
    table: npt.NDArray[np.float64], truth: npt.NDArray[Any], place: int, label: Label, least: float
) -> float | None:
    """The lowest probability from which the label's precision is surely `least`; None: nowhere."""
    mine = table.argmax(1) == place
    order = np.argsort(-table[mine, place], kind="stable")
    sure, right = table[mine, place][order], (truth[mine] == label)[order].cumsum()
    count = np.arange(1, len(sure) + 1)
    # The lower end of Clopper–Pearson's interval, of every first part at once.
    low = np.where(right > 0, beta.ppf((1 - LEVEL) / 2, right, count - right + 1), 0.0)
    last = np.append(sure[1:] != sure[:-1], True)[: len(sure)]  # equal ones are given together
    found = np.flatnonzero((low >= least) & last)
    return float(sure[found[-1]]) if len(found) else None


def _tally(
    texts: Sequence[str], truth: npt.NDArray[Any], table: npt.NDArray[np.float64],
    labels: list[Label], from_: dict[Label, float],
) -> Counter[tuple[Label, Label | None, Language]]:  # fmt: skip
    counts: Counter[tuple[Label, Label | None, Language]] = Counter()
    for text, true, row in zip(texts, truth, table, strict=True):
        best = labels[int(row.argmax())]
        given = best if row.max() >= from_.get(best, 2.0) else None
        counts[str(true), given, language(text)] += 1  # type: ignore[index]
    return counts


def render(found: Labeller, precision: float) -> str:
    """`reports/labels.md`: the confusion matrix and what each label's word is worth."""
    counts = found.measured.counts
    labels = [name for name in get_args(Label) if any(true == name for true, _, _ in counts)]
    head = (
        "# Labels given by the classifier · 分类器标签\n\n"
        "Measured on rows like none it learnt from (five folds over near-twin groups). A label is "
        f"given where the lower 95 % bound of its precision is {precision:.0%} or more; else the "
        "row waits for `errata review`.\n\n"
        "在与训练行不相似的行上测得（按近似重复分组的五折）。"
        f"仅当精度的 95% 下界不低于 {precision:.0%} 时才给出标签，否则等待 `errata review`。"
    )
    if found.model is None:
        return f"{head}\n\nToo few labelled rows: it gives none. · 已标注的行太少：全部弃权。\n"
    matrix = [[true, *(_sum(counts, true, given) for given in [*labels, None])] for true in labels]
    worth = []
    for name in labels:
        given, right = _sum(counts, None, name, any_true=True), _sum(counts, name, name)
        low = clopper_pearson(right, given, LEVEL)[0] if given else None
        edge = found.measured.from_.get(name)
        worth.append([name, "never / 从不" if edge is None else f"{edge:.2f}", given,
                      "–" if low is None else f"{right / given:.1%} (≥ {low:.1%})"])  # fmt: skip
    tongues = []
    for spoken in get_args(Language):
        rows = {key: n for key, n in counts.items() if key[2] == spoken}
        all_, given = sum(rows.values()), sum(n for key, n in rows.items() if key[1])
        right = sum(n for key, n in rows.items() if key[0] == key[1])
        tongues.append([spoken, all_, f"{given / all_:.1%}" if all_ else "–",
                        f"{right / given:.1%}" if given else "–"])  # fmt: skip
    parts = [
        head,
        markdown_table(
            ["label / 标签", "given from / 阈值", "given / 给出", "right / 正确"], worth
        ),
        "## What was given for what · 混淆矩阵",
        markdown_table(["truth / 真实", *labels, "abstained / 弃权"], matrix),
        "## Languages · 语言",
        markdown_table(["language / 语言", "rows / 行数", "given / 给出", "right / 正确"], tongues),
    ]
    return "\n\n".join(parts) + "\n"


def _sum(
    counts: Counter[tuple[Label, Label | None, Language]], true: Label | None, given: Label | None,
    any_true: bool = False,
) -> int:  # fmt: skip
    return sum(n for (t, g, _), n in counts.items() if g == given and (any_true or t == true))
