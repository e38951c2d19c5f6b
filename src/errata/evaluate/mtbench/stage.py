"""Two-turn questions in MT-Bench's form, graded by a judge that is measured itself, or by checks.

    errata mtbench model=RUN baseline=tiny                    the desk's own set: no judge is needed
    errata mtbench model=RUN judge.url=https://host/v1 judge.model=NAME questions=FILE

The second turn is asked with the model's own first answer in the conversation. A judge is asked
about each pair in both orders; a win that changes with the order is a tie. A judge that cannot be
read, that prefers a place, or that agrees with labels no better than chance gives no number
(exit 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from errata import candidates, jsonl, report
from errata.errors import BadInput, NoDecision
from errata.evaluate import stage, targets
from errata.evaluate.answers import ask
from errata.evaluate.generate import Decoding
from errata.evaluate.mtbench import judge, page, questions, votes
from errata.evaluate.mtbench.judge import Judge
from errata.evaluate.mtbench.page import Limits, Turn
from errata.evaluate.mtbench.questions import Question
from errata.evaluate.weighted import withheld
from errata.outcome import Outcome
from errata.records import Candidate, Metric, MetricsFile
from errata.serve import chat
from errata.store.runs import Run
from errata.train.settings import Bound
from errata.workspace import Workspace


class Config(chat.Reach):
    """What is asked, who grades, and when a judge's word is none."""

    inputs: list[str] = Field([], description="files this stage needs; all must be there")
    outputs: list[str] = Field([], description="files this stage must leave; {run_id} is filled in")
    accept: dict[str, Bound] = Field({}, description="metric → {min, max}; a miss is exit 3")
    model: str = Field("", description="run, manifest, path, name, target; empty: what serves")
    baseline: str = Field("", description="model whose answers are the other side of the pairs")
    questions: str = Field(questions.FILE, description="JSON lines in FastChat's form")
    mode: Literal["single", "pairwise", "both"] = Field(
        "both", description="grade answers, pairs, or both; pairs need a baseline"
    )
    judge: Judge = Field(Judge(), description="who grades; without url= the questions' own checks")
    labels: str = Field("", description="pairs that people judged: the judge is held against them")
    max_tokens: int = Field(0, ge=0, description="of an answer; 0: as the candidate decodes")
    most_unscored: float = Field(0.1, ge=0, le=1, description="share the judge may leave unread")
    most_inconsistent: float = Field(
        0.2, ge=0, le=1, description="share of votes that may change with the order, if one-sidedly"
    )
    most_flips: float = Field(0.5, ge=0, le=1, description="share that may change at all")
    alpha: float = Field(0.05, gt=0, lt=1, description="p from which on it leans")

    @model_validator(mode="after")
    def _pairs_need_two(self) -> Config:
        if self.mode == "pairwise" and not self.baseline:
            raise ValueError("mode: pairwise needs baseline=, the other side of each pair")
        if self.labels and not self.judge.url:
            raise ValueError("labels: these measure a judge; name one with judge.url=")
        return self

    @property
    def limits(self) -> Limits:
        """As page.py takes them."""
        return Limits(
            self.most_unscored, self.most_inconsistent, self.most_flips, self.alpha
        )  # fmt: skip


class Found(NamedTuple):
    """Metrics, the reasons why one is withheld, and the parts of the page about the judge."""

    metrics: list[Metric]
    doubts: list[tuple[str, list[str]]]
    told: str


def main(ws: Workspace, config: Config) -> Outcome:
    """`errata mtbench`."""
    with Run(ws, "mtbench", config) as run:
        for path in config.inputs:
            run.input(path)
        asked = questions.read(run.input(config.questions, "questions"))
        _gradable(config, asked)
        candidate = targets.asked_by(run, stage.evaluated(ws, config.model), config)
        said = _answered(ws, candidate, asked, _decoding(config, candidate), "turns")
        other = None
        if config.baseline and config.mode != "single":
            other_one = candidates.resolve(ws, config.baseline)
            baseline = targets.asked_by(run, other_one, config, subject=False)
            decoding = _decoding(config, baseline)
            other = _answered(ws, baseline, asked, decoding, "baseline")
        graded = _by_judge if config.judge.url else _by_checks
        turns, found = graded(ws, config, run, asked, said, other)
        path = _publish(ws, run, candidate, asked, turns, found)
        doubts = [(name, why[0]) for name, why in found.doubts if why]
        if doubts:
            raise NoDecision(f"mtbench {run.id}: {withheld(doubts)}; see {path}")
        name = config.model or "tiny"
        return stage.close(ws, config, run, found.metrics, f"errata evaluate model={name}", path)


def _gradable(config: Config, asked: Sequence[Question]) -> None:
    if config.judge.url:
        chat.checked(config.judge, "judge")
        return
    if bare := next((question for question in asked if not question.check), None):
        raise BadInput(
            f"{config.questions}: question {bare.id} has no `check`, so that a judge must grade "
            "it; name one: judge.url=https://HOST/v1 judge.model=NAME (key in $ERRATA_JUDGE_KEY)"
        )


def _answered(
    ws: Workspace,
    candidate: Candidate,
    questions: Sequence[Question],
    decoding: Decoding | None,
    label: str,
) -> list[list[str]]:
    """What the candidate says to every turn of every question: all first turns, then all second."""
    said: list[list[str]] = [[] for _ in questions]
    for turn in range(max(len(question.turns) for question in questions)):
        places = [at for at, question in enumerate(questions) if turn < len(question.turns)]
        prompts = [questions[at].talk(said[at]) for at in places]
        told = ask(ws, candidate, prompts, decoding, f"{label}, {turn + 1}")
        for at, text in zip(places, told, strict=True):
            said[at].append(text)
    return said


def _decoding(config: Config, candidate: Candidate) -> Decoding | None:
    if not config.max_tokens:
        return None
    return Decoding(config.max_tokens, float(candidate.decoding.get("temperature", 0.0)))


Said = Sequence[Sequence[str]]
Placed = list[tuple[int, int]]  # (question, turn), from 0


def _places(asked: Sequence[Question]) -> Placed:
    return [(at, turn) for at, question in enumerate(asked) for turn in range(len(question.turns))]


def _turn(question: Question, turn: int, answer: str, score: float | None, why: str) -> Turn:
    return Turn(question.id, turn + 1, question.category, question.spoken, answer, score, why)


def _by_checks(
    _ws: Workspace, config: Config, _run: Run, asked: Sequence[Question], said: Said,
    other: Said | None,
) -> tuple[list[Turn], Found]:  # fmt: skip
    """Each turn by the checks of its question; of a pair the higher score wins."""

    def scored(answers: Said) -> list[Turn]:
        return [
            _turn(asked[at], turn, answers[at][turn],
                  *questions.graded(asked[at].check[turn], answers[at][turn],
                                    asked[at].talk(answers[at][:turn])))
            for at, turn in _places(asked)
        ]  # fmt: skip

    turns, found = scored(said), list[Metric]()
    if config.mode != "pairwise":
        found.append(page.scores(turns))
    if other is not None:
        pairs = zip(turns, scored(other), strict=True)
        points = [None if a.score is None or b.score is None else _point(a.score, b.score)
                  for a, b in pairs]  # fmt: skip
        found.append(page.summed("evaluate.mt_bench_win_rate", turns, points, 0.0, 1.0))
    doubts = [(m.name, page._unscored(m.unscored, m.n + m.unscored, config.limits)) for m in found]
    held = [page.withheld(m, why) for m, (_, why) in zip(found, doubts, strict=True)]
    told = page.judged("Mechanical checks, no judge / 机械判定，无评审", [], None, [])
    return turns, Found(held, doubts, told)


def _point(a: float, b: float) -> float:
    return 1.0 if a > b else 0.0 if a < b else 0.5


def _by_judge(
    ws: Workspace, config: Config, run: Run, asked: Sequence[Question], said: Said,
    other: Said | None,
) -> tuple[list[Turn], Found]:  # fmt: skip
    """Each turn by the judge's score, each pair by its word in both orders."""
    labels = votes.read(run.input(config.labels, "labels")) if config.labels else []
    metrics_, doubts, kinds, trusts = list[Metric](), [], [], []
    bias = None
    places = _places(asked)
    turns = [_turn(asked[at], turn, said[at][turn], None, "no score asked") for at, turn in places]
    if config.mode != "pairwise":
        talks = [(asked[at], said[at][: turn + 1]) for at, turn in places]
        scores = _scores(ws, config, run, talks, "scores")
        turns = [one._replace(score=s, why="the judge's score" if s else "the judge was unreadable")
                 for one, s in zip(turns, scores, strict=True)]  # fmt: skip
        trust = _trust_of_scores(ws, config, run, labels)
        trusts += [("scores / 评分", trust)] if trust else []
        doubts.append(("evaluate.mt_bench", page.of_scores(turns, config.limits, trust)))
        metrics_.append(page.withheld(page.scores(turns), doubts[-1][1]))
        kinds.append(("scores / 评分", len(scores), scores.count(None)))
    if other is not None:
        pairs = [(asked[at], said[at][: turn + 1], other[at][: turn + 1]) for at, turn in places]
        cast = _votes(ws, config, run, pairs, "pairs")
        trust = votes.trust(labels, [v.winner for v in _label_votes(ws, config, run, labels)]) \
            if labels else None  # fmt: skip
        trusts += [("pairs / 成对", trust)] if trust else []
        bias, unread = votes.bias(cast), sum(vote.winner is None for vote in cast)
        doubts.append(
            ("evaluate.mt_bench_win_rate", page.of_votes(bias, unread, config.limits, trust))
        )
        points = [{"a": 1.0, "tie": 0.5, "b": 0.0, None: None}[vote.winner] for vote in cast]
        won = page.summed("evaluate.mt_bench_win_rate", turns, points, 0.0, 1.0)
        metrics_.append(page.withheld(won, doubts[-1][1]))
        kinds.append(("pairs / 成对", len(cast), unread))
    run.note(judge={"url": config.judge.url, "model": config.judge.model},
             bias=bias._asdict() if bias else None)  # fmt: skip
    who = f"`{config.judge.model}` · {config.judge.url}"
    return turns, Found(metrics_, doubts, page.judged(who, kinds, bias, trusts))


def _scores(
    ws: Workspace, config: Config, run: Run, talks: Sequence[tuple[Question, Sequence[str]]],
    label: str,
) -> list[float | None]:  # fmt: skip
    items = [("single", question.spoken, judge.single(question, told)) for question, told in talks]
    posed = judge.posed(ws, items)  # type: ignore[arg-type]
    words = judge.verdicts(ws, run.id, config.judge, posed, label)
    return [None if word is None else float(word) for word in words]


def _votes(
    ws: Workspace, config: Config, run: Run,
    pairs: Sequence[tuple[Question, Sequence[str], Sequence[str]]], label: str,
) -> list[votes.Vote]:  # fmt: skip
    """Each pair in both orders."""
    items = [("pair", question.spoken, judge.pair(question, *sides))
             for question, a, b in pairs for sides in ((a, b), (b, a))]  # fmt: skip
    posed = judge.posed(ws, items)  # type: ignore[arg-type]
    words = judge.verdicts(ws, run.id, config.judge, posed, label)
    return [votes.Vote(*both) for both in zip(words[::2], words[1::2], strict=True)]


def _label_votes(
    ws: Workspace, config: Config, run: Run, labels: Sequence[votes.Label]
) -> list[votes.Vote]:
    pairs = [(label.question, label.said("a"), label.said("b")) for label in labels]
    return _votes(ws, config, run, pairs, "labelled pairs")


def _trust_of_scores(
    ws: Workspace, config: Config, run: Run, labels: Sequence[votes.Label]
) -> votes.Trust | None:
    """The side with the higher score, against the labels; equal scores are a tie."""
    if not labels:
        return None
    talks = [(label.question, label.said(side)) for label in labels for side in ("a", "b")]
    found = _scores(ws, config, run, talks, "labelled answers")
    words: list[votes.Winner | None] = [
        None if a is None or b is None else "a" if a > b else "b" if b > a else "tie"
        for a, b in zip(found[::2], found[1::2], strict=True)
    ]
    return votes.trust(labels, words)


def _publish(
    ws: Workspace, run: Run, candidate: Candidate, asked: Sequence[Question],
    turns: Sequence[Turn], found: Found,
) -> str:  # fmt: skip
    """`reports/mtbench/<run_id>.json`, `.md` and the cases; returns the page's path."""
    results = page.results(turns)
    file = MetricsFile(
        run_id=run.id, candidate_digest=candidate.digest, metrics=found.metrics,
        suite_digest=jsonl.digest([question.model_dump() for question in asked]),
        cases=f"reports/mtbench/{run.id}.cases.jsonl",
    )  # fmt: skip
    path = stage.publish(ws, run, file, results, "mtbench", f"mtbench · {run.id}")
    worst = [result for result in results if result.hit is False]
    text = report.render_metrics_md(file, f"mtbench · {run.id}") + page.verdict(found.doubts)
    text += found.told + "\n## Lowest scores / 低分回答\n\n" + report.failures_md(worst)
    if "target" in run.facts:
        text += targets.bound(str(run.facts["target"]))
    jsonl.write_text(ws.path(path), text)
    return path
