"""What people's labels feed: failures for intake, pairs of answers, and rows that measure judges.

    inbox       an answer of the tune split that people rejected, with the reason and a label; and
                the worse of two answers with the better one beside it, in intake's feedback form
    judge       refusal or not, as `errata judge eval` reads it
    votes       which of two answers is better, as `errata mtbench labels=` reads it

Held-out cases measure: of them nothing goes to the inbox. Where raters differ nothing is fed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from errata import jsonl
from errata.evaluate.people.page import Done, told
from errata.evaluate.people.ratings import Rating
from errata.evaluate.people.sample import Row, Sample, Side
from errata.intake.redact import load_policy, redact_many, workspace_key
from errata.records import ATTACKS, Message
from errata.safety import predicates
from errata.store import database
from errata.workspace import Workspace

SOURCE = "human"
_LABELS = {"safety": "other", "factuality": "factuality", "politeness": "politeness"}
_REFUSAL = {"yes": "refusal", "partly": "partial_refusal", "no": "compliance"}
Line = dict[str, Any]


class Fed(NamedTuple):
    """Rows for the inbox, and how many rejected rows were held out."""

    rows: list[Line]
    held_out: int


def agreed(by_rater: Mapping[str, str]) -> str | None:
    """What all raters of a row say; None where they differ, or nobody said anything."""
    words = set(by_rater.values())
    return words.pop() if len(words) == 1 else None


def inbox(sample: Sample, done: Done) -> Fed:
    """Raw rows for intake, of the tune split alone."""
    out, held = [], 0
    for row in sample.rows:
        made = list(_of(sample, row, done))
        if row.split == "tune":
            out += made
        else:
            held += len(made)
    return Fed(out, held)


def _of(sample: Sample, row: Row, done: Done) -> Iterable[Line]:
    mine: Done = {key: rating for key, rating in done.items() if key[0] == row.id}
    if not mine:
        return
    bad = {side: _rejected(row, mine, side) for side in ("ours", "theirs")}
    prefers = agreed(told(mine, "preference", "ours").get(row.id, {}))
    better: Side | None = prefers if prefers in ("ours", "theirs") else None  # type: ignore[assignment]
    worse: Side | None = {"ours": "theirs", "theirs": "ours"}.get(better or "")  # type: ignore[assignment]
    if better and worse and not bad[better]:
        yield _line(sample, row, worse, mine.values(), bad[worse], row.answer(better))
    if bad["ours"] and worse != "ours":
        yield _line(sample, row, "ours", mine.values(), bad["ours"], None)


def _rejected(row: Row, mine: Done, side: Side) -> str:
    """The label of what all raters say no to; empty: nothing."""
    for question, label in _LABELS.items():
        if agreed(told(mine, question, side).get(row.id, {})) == "no":
            attack = question == "safety" and row.category in ATTACKS
            return row.category if attack else label
    return ""


def _line(
    sample: Sample, row: Row, side: Side, mine: Iterable[Rating], label: str, better: str | None
) -> Line:
    reasons = [rating.reason for rating in mine if rating.reason]
    why = "; ".join(reasons) or (f"people: {label}" if label else "people prefer the other answer")
    digest = sample.candidate if side == "ours" else sample.baseline
    meta = {"case": row.case, "why": why, "run": sample.id, "model": digest, "row": row.id}
    shared: Line = {"source": SOURCE, "ts": database.now(), "tags": [row.language, row.category]}
    if label:
        shared["label"] = label
    answer = row.answer(side).strip() or "(empty answer)"
    if better is None:
        context = [jsonl.plain(turn) for turn in row.messages[:-1]]
        return {"prompt": row.messages[-1].content, "bad_answer": answer, **shared,
                "context": context, "meta": meta}  # fmt: skip
    turns = [*row.messages, Message(role="assistant", content=answer)]
    return {
        "messages": [jsonl.plain(turn) for turn in turns],
        "feedback": {"rating": "down", "preferred": better, "reason": why},
        **shared,
        "meta": meta,
    }


def judge(sample: Sample, done: Done) -> list[Line]:
    """`{"prompt", "text", "label", "language", "model"}` of every answer whose raters agree."""
    texts = {row: rating for (row, _), rating in done.items()}
    out = []
    for side, model in sample.models.items():
        for id, by_rater in told(done, "refusal", side).items():  # type: ignore[arg-type]
            word, rating = agreed(by_rater), texts[id]
            if word is None:
                continue
            text = rating.answers[side]
            label = "invalid" if predicates.degenerate(text) else _REFUSAL[word]
            out.append({"prompt": rating.prompt, "text": text, "label": label,
                        "language": rating.language, "model": model})  # fmt: skip
    return out


def votes(ws: Workspace, sample: Sample, done: Done) -> list[Line]:
    """Pairs whose raters agree, redacted, in the fields of LMSYS's human judgements."""
    rows = {row.id: row for row in sample.rows}
    words = {id: agreed(by_rater) for id, by_rater in told(done, "preference", "ours").items()}
    pairs = [(rows[id], word) for id, word in sorted(words.items()) if word]
    winners = {"ours": "model_a", "theirs": "model_b", "tie": "tie"}
    return [
        {
            "question_id": row.case, "turn": sum(turn.role == "user" for turn in row.messages),
            "winner": winners[word], "model_a": sample.models["ours"],
            "model_b": sample.models.get("theirs", ""), "judge": SOURCE,
            "conversation_a": a, "conversation_b": b,
        }
        for (row, word), (a, b) in zip(pairs, _talks(ws, [row for row, _ in pairs]), strict=True)
    ]  # fmt: skip


def _talks(ws: Workspace, rows: Sequence[Row]) -> list[tuple[list[Line], list[Line]]]:
    """Both conversations of each row, redacted."""
    talks = [[*row.messages, Message(role="assistant", content=row.answer(side))]
             for row in rows for side in ("ours", "theirs")]  # fmt: skip
    texts = [turn.content for talk in talks for turn in talk]
    clean = iter(f.text for f in redact_many(texts, load_policy(ws).rules, workspace_key(ws)))
    plain = [[{"role": turn.role, "content": next(clean)} for turn in talk] for talk in talks]
    return list(zip(plain[::2], plain[1::2], strict=True))


def told_of(fed: Fed, path: str) -> str:
    """What went where, as the page says it."""
    kinds = Counter(
        "pairs / 成对" if "feedback" in row else "failures / 失败样本" for row in fed.rows
    )
    lines = (
        [f"- {count} {kind} → `{path}`" for kind, count in sorted(kinds.items())] if path else []
    )
    if fed.held_out:
        lines.append(
            f"- {fed.held_out} of held-out cases stay here: they measure and never train / "
            f"{fed.held_out} 条属于留出用例，只用于衡量，不进入训练"
        )
    return "\n".join(["", "## Feeds / 回流\n", *lines, ""]) if lines else ""
