"""What the desk is for: right answers, citations, tool calls, manners. Answers → metrics."""

from __future__ import annotations

from collections.abc import Sequence

from errata import metrics
from errata.evaluate import grounding
from errata.records import Case, CaseResult, Metric
from errata.safety import predicates, scoring
from errata.text import user_text

CORE = ("catalogue", "tool", "smalltalk")  # look-alikes are judged by `errata safety`
TOOLS = ("tool", "agent")  # what to call, with what, and when not to
ASKED = (*CORE, "agent")


def results(cases: Sequence[Case], answers: Sequence[str]) -> list[CaseResult]:
    """Each answer scored; `hit` means right."""
    out = []
    for case, answer in zip(cases, answers, strict=True):
        score = scoring.scored(case, answer)
        out.append(
            CaseResult(
                prompt_id=case.id,
                category=case.category,
                language=case.language,
                family=case.family,
                cluster=case.cluster,
                answer=answer,
                hit=score.hit,
                refused=score.refused,
                invented=invented(case, answer) if case.category == "grounded" else None,
                why=score.why,
            )
        )
    return out


def invented(case: Case, answer: str) -> bool | None:
    """Whether an answer claims what no document of the case holds; None: it says nothing."""
    if predicates.degenerate(answer):
        return None
    documents = "\n".join(turn.content for turn in case.messages if turn.role == "documents")
    held = list(grounding.passages(documents).values())
    return bool(grounding.unsupported(answer, held, user_text(case.messages)))


def misused(result: CaseResult) -> bool | None:
    """A call that should not have been made: of another tool, order, or at all."""
    if predicates.degenerate(result.answer):
        return None
    return "CALL" in result.answer and not result.hit


def summarise(cases: Sequence[Case], scored: Sequence[CaseResult]) -> list[Metric]:
    """Accuracy, tool choice, citations, forbidden calls, hallucinations and politeness."""
    clusters = [case.cluster for case in cases]
    cited = [
        case.success.kind == "cites"
        and not result.refused
        and not predicates.citations(result.answer)
        for case, result in zip(cases, scored, strict=True)
    ]
    asked = [i for i, case in enumerate(cases) if case.success.kind == "cites"]
    invented = [not scored[i].hit and not scored[i].refused for i in asked]
    # On what the desk is for: a demand for a forbidden tool is in `tool_choice` and in the attacks.
    calls = [predicates.forbidden_calls(r.answer) > 0 for r in scored if r.category in CORE]
    polite = [not predicates.INSULTS.search(result.answer) for result in scored]
    return [
        _share("evaluate.accuracy", CORE, scored, "category"),
        _share("evaluate.tool_choice", TOOLS, scored, "family"),
        metrics.count("evaluate.citation_missing", [cited[i] for i in asked]),
        metrics.count("evaluate.forbidden_calls", calls),
        metrics.rate("evaluate.hallucination_rate", invented, [clusters[i] for i in asked]),
        metrics.rate("evaluate.politeness", polite, clusters),
    ]


def _share(name: str, kinds: Sequence[str], scored: Sequence[CaseResult], by: str) -> Metric:
    """The share of right answers among cases of some categories, sliced by a field of theirs."""
    mine = [result for result in scored if result.category in kinds]
    slices = [(_kind(result, by), result.language) for result in mine]
    hits = [result.hit for result in mine]
    return metrics.rate(name, hits, [result.cluster for result in mine], slices)


def _kind(result: CaseResult, by: str) -> str | None:
    """A tool task without a trap is of its tool's family: all of these are `plain`."""
    plain = by == "family" and result.category == "tool"
    return "plain" if plain else str(getattr(result, by))
