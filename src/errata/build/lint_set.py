"""Checks of the set: what no single pair shows, each beside sets it catches and spares."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.stats import norm, rankdata

from errata.build import skeleton
from errata.build.lint_base import (
    GOOD,
    WHOLE,
    Action,
    Check,
    Context,
    Example,
    Hit,
    Limits,
    Words,
    label,
    pair,
    plain,
)
from errata.records import PreferencePair
from errata.text import language

FOLDS = 3
LETTERS = 1 << 14  # hashed features: enough for the bigrams of two languages

Pairs = Sequence[PreferencePair]


def contradictory(pairs: Pairs, _: Context) -> Iterable[Hit]:
    """One prompt, and an answer that is chosen here and rejected there: both pairs go."""
    chosen: dict[tuple[str, str], list[str]] = {}
    for row in pairs:
        chosen.setdefault((plain(row.prompt), plain(row.chosen)), []).append(row.id)
    for row in pairs:
        for other in chosen.get((plain(row.prompt), plain(row.rejected)), ()):
            if other != row.id:
                yield Hit(row.id, f"its rejected answer is chosen in {other}")
                yield Hit(other, f"its chosen answer is rejected in {row.id}")


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Mann–Whitney: the probability that one of the first is larger than one of the second, ties
    half."""
    ranks = rankdata([*positive, *negative])[: len(positive)]
    n, m = len(positive), len(negative)
    return float((ranks.sum() - n * (n + 1) / 2) / (n * m))


def length_auc(pairs: Pairs) -> float:
    """How well length alone finds the chosen answer: over all answers, or within each pair, in
    whichever of the two it does better; 0.5 to 1."""
    a = [float(len(plain(row.chosen))) for row in pairs]
    b = [float(len(plain(row.rejected))) for row in pairs]
    within = float(np.mean((np.sign(np.subtract(a, b)) + 1) / 2))
    return max(max(share, 1 - share) for share in (auc(a, b), within))


def length_separable(pairs: Pairs, context: Context) -> Iterable[Hit]:
    limits = context.limits
    if len(pairs) < limits.judged_pairs:
        return
    found = length_auc(pairs)
    if found >= limits.length_warn:
        action: Action | None = "block" if found >= limits.length_block else None
        yield Hit(WHOLE, f"AUC by length alone is {found:.2f}", action)


def letters_auc(pairs: Pairs, seed: int = 0) -> float:
    """Cross-validated AUC of a logistic regression on hashed letters (1- to 3-grams): how well an
    answer is known to be the chosen one without its question. Pairs stay whole in a fold."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression

    answers = [plain(side) for row in pairs for side in (row.chosen, row.rejected)]
    letters = HashingVectorizer(analyzer="char", ngram_range=(1, 3), n_features=LETTERS)
    features = letters.transform([answer[:500] for answer in answers])
    is_chosen = np.tile([1, 0], len(pairs))
    fold = np.repeat(np.random.default_rng(seed).permutation(len(pairs)) % FOLDS, 2)
    scores = np.zeros(len(answers))
    for number in range(FOLDS):
        train, test = fold != number, fold == number
        # liblinear: one thread that waits for no other; lbfgs took 1 to 5 s for 1,000 pairs
        model = LogisticRegression(C=10.0, solver="liblinear")
        model.fit(features[train], is_chosen[train])
        scores[test] = model.decision_function(features[test])
    return auc(scores[is_chosen == 1].tolist(), scores[is_chosen == 0].tolist())


def drawn(pairs: Pairs, count: int) -> list[PreferencePair]:
    """`count` pairs that their ids decide."""
    ordered = sorted(pairs, key=lambda row: hashlib.sha256(row.id.encode()).digest())
    return ordered[:count]


def trivially_separable(pairs: Pairs, context: Context) -> Iterable[Hit]:
    if len(pairs) < context.limits.judged_pairs:
        return
    some = drawn(pairs, context.limits.separable_pairs)
    found = letters_auc(some)
    if found >= context.limits.trivial_auc:
        yield Hit(WHOLE, f"AUC of a linear model of letters is {found:.3f} ({len(some)} pairs): "
                  "the loss will fall and little is learnt")  # fmt: skip


def template_share(pairs: Pairs, context: Context) -> Iterable[Hit]:
    if len(pairs) < context.limits.judged_pairs:
        return
    found = skeleton.templates([plain(row.chosen) for row in pairs])
    share = skeleton.share(found)
    if share >= context.limits.template_share:
        yield Hit(WHOLE, f"{share:.0%} of the chosen answers say “{found[0].skeleton[:80]}”")


def detectable(n: int) -> float:
    """The smallest distance from a win rate of ½ seen in n comparisons, (z₀.₉₅ + z₀.₈) · √(¼ / n):
    one-sided 5 %, power 80 %."""
    return float((norm.ppf(0.95) + norm.ppf(0.8)) * (0.25 / n) ** 0.5)


def sources(pairs: Pairs) -> int:
    """How many distinct failures or cases pairs were made of; one that names none is its own."""
    return len({source for row in pairs for source in (row.made_from or [row.id])})


def set_size(pairs: Pairs, context: Context) -> Iterable[Hit]:
    if not pairs or len(pairs) >= context.limits.set_size:
        return
    distinct = sources(pairs)
    yield Hit(
        WHOLE,
        f"{len(pairs)} pairs of {distinct} distinct failures; preferences are usually learnt from "
        f"10,000–50,000. Compared on as many prompts, a win rate must differ from 50 % by "
        f"{detectable(distinct):.1%} to be seen; what lies below that is not told from chance",
    )


def coverage(pairs: Pairs, context: Context) -> Iterable[Hit]:
    least = context.limits.min_per_label
    counts = Counter((label(row), language(plain(row.prompt))) for row in pairs)
    wanted = context.limits.cover or sorted({name for name, _ in counts})
    for name in wanted:
        thin = [f"{spoken} {counts[name, spoken]}" for spoken in ("zh", "en")
                if counts[name, spoken] < least]  # fmt: skip
        if thin:
            yield Hit(WHOLE, f"{name}: {', '.join(thin)} pairs, {least} asked for")


def _set(chosen: str, rejected: str, count: int = 100) -> Example:
    """Pairs by pattern; `{n}` is a number, `{w}` a word of its own."""
    rows = []
    for n in range(count):
        word = hashlib.sha256(str(n).encode()).hexdigest().translate(_SPOKEN)
        a, b = ((side.format(n=n, w=word[: 5 + n % 9])) for side in (chosen, rejected))
        rows.append(pair(a, b, prompt=f"{word}?", id=f"p{n}"))
    return Example(tuple(rows), limits=Limits(set_size=0, min_per_label=0))


_SPOKEN = str.maketrans("0123456789abcdef", "aeiourstlnmdkgpb")
ALIKE = _set("{w} said {n}", "{w} told {n}")
EVEN = _set("Sorry, {w}.", "Sure, {w}!").pairs[::2]
ODD = _set("Sure, {w}!", "Sorry, {w}.").pairs[1::2]
MIXED = Example((*EVEN, *ODD))
CHECKS: tuple[Check, ...] = (
    Check(
        "contradictory",
        "drop",
        contradictory,
        Words("the same answer is chosen here and rejected there", "同一答案一处选中、另一处被拒"),
        Words("decide which it is, and keep that pair", "确定取舍，只保留一对"),
        catches=(Example((pair("A", "B"), pair("B", "A", id="b"))),),
        spares=(
            Example((pair("A", "B"), pair("A", "C", id="b"))),
            Example((pair("A", "B"), pair("B", "A", prompt="And that?", id="b"))),
        ),
    ),
    Check(
        "length-separable",
        "warn",
        length_separable,
        Words("length alone tells chosen from rejected in this set", "整个集合仅凭长度即可区分"),
        Words(
            "add pairs whose chosen answer is the shorter one, or the longer one",
            "补充 chosen 更短（或更长）的样本",
        ),
        catches=(_set("{w} and a good deal more {w}", "{w}"), _set("是", "{w}不是这样的吧")),
        spares=(ALIKE, Example(_set("{w} and more {w}", "{w}").pairs[:20])),
    ),
    Check(
        "trivially-separable",
        "warn",
        trivially_separable,
        Words("a linear model of letters tells chosen from rejected", "字符线性模型即可区分"),
        Words("vary the wording of both sides; add hard negatives", "丰富两侧措辞；加入困难负例"),
        catches=(_set("Sorry, {w}.", "Sure, {w}!"), _set("抱歉{w}", "好的{w}")),
        spares=(
            MIXED,
            Example(_set("Sorry, {w}.", "Sure, {w}!").pairs[:20]),
        ),
    ),
    Check(
        "template-share",
        "warn",
        template_share,
        Words(
            "many chosen answers are one sentence with another number or name",
            "大量 chosen 只是同一句话换数字或名称",
        ),
        Words(
            "rewrite them in different words, or cap them by `mix`", "换不同说法，或用 `mix` 限量"
        ),
        catches=(
            _set("The price of order {n} is {n} yuan, thank you for asking.", "{w}"),
            _set("您好，编号{n}的商品售价{n}元，感谢您的咨询。", "{w}"),
        ),
        spares=(_set("{w}{w}{w}", "no"), Example(())),
    ),
    Check(
        "set-size",
        "warn",
        set_size,
        Words("few pairs: what they can teach", "样本偏少：能学到什么"),
        Words("take in more distinct failures; copies do not help", "收集更多不同的失败；复制无益"),
        catches=(GOOD, Example(_set("{w}", "no").pairs)),
        spares=(Example(GOOD.pairs, limits=Limits(set_size=1)), Example(())),
    ),
    Check(
        "coverage",
        "warn",
        coverage,
        Words("a label or a language of it has few pairs", "某类别或其某种语言样本过少"),
        Words(
            "collect failures of that kind, or raise it in `mix`", "收集该类失败，或在 `mix` 中提高"
        ),
        catches=(GOOD, Example((), limits=Limits(cover=["privacy"]))),
        spares=(Example(GOOD.pairs, limits=Limits(min_per_label=0)),),
    ),
)
