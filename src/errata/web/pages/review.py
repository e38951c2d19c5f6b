"""What people decide, with the keyboard alone if they like: answers and labels that wait, blinded
pairs, redacted texts, samples for two raters. The last decision can be taken back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from errata.build import queue as waiting_queue
from errata.build import review as decisions
from errata.build import reviews, rubric
from errata.build.queue import Left, Waiting
from errata.errors import BadInput
from errata.evaluate.people import ratings, sample, sheet
from errata.evaluate.people.sample import Sample
from errata.intake import span_review
from errata.intake.redact import load_policy
from errata.intake.span_review import PLACEHOLDER, Miss
from errata.language import is_chinese, say
from errata.records import Failure, Language, Review
from errata.store import database, people
from errata.web.desk import Desk
from errata.web.pages.went import Form, Went
from errata.web.view import hidden, page, whole_number

KINDS = ("answer", "pair", "label", "case")
READ = 400  # failures from which the next to be read is drawn


# what waits --------------------------------------------------------------------------------------


def queue(desk: Desk, request: Request) -> Response:
    """`/review`: one question at a time; `kind` and `skip` choose which."""
    ws, told = desk.ws, request.query_params
    left = _left(desk)
    kind = told.get("kind", "")
    mine = [row for row in left.waiting if kind in ("", row.kind)]
    skip = whole_number(told.get("skip", ""), 0)
    row = mine[skip % len(mine)] if mine else None
    counts = {name: sum(one.kind == name for one in left.waiting) for name in KINDS}
    facts: dict[str, Any] = {"kind": kind, "skip": skip, "row": row, "counts": counts,
                             "waiting": len(mine), "decided": left.decided,
                             "last": _last(ws_reviews(desk), people.actor(ws).name)}  # fmt: skip
    if row:
        facts |= _shown(desk, row)
    return page(request, "review.html", **facts)


def _left(desk: Desk) -> Left:
    """What waits, without what was made of rows whose texts today's policy withholds: a build that
    ran under an older one may have left it. Cases that were written, and by no failure, stay."""
    left = waiting_queue.left(desk.ws, desk.index.in_doubt())
    short = load_policy(desk.ws).summarised
    gone = desk.index.made_of_withheld([row.id for row in left.waiting])
    return left._replace(waiting=[
        row for row in left.waiting
        if row.id not in gone and (row.kind == "case" or row.label not in short)
    ])  # fmt: skip


def ws_reviews(desk: Desk) -> list[Review]:
    """Every line that was ever decided, the newest last."""
    return reviews.written(desk.ws.path(reviews.FILE))


def _last(rows: Sequence[Review], who: str) -> Review | None:
    """What this person decided last and has not taken back."""
    undone = set[tuple[str, bool]]()
    for row in reversed(rows):
        key = row.id, reviews.about_label(row)
        if row.verdict == "undo":
            undone.add(key)
        elif row.by == who and row.origin == "human" and key not in undone:
            return row
    return None


def _shown(desk: Desk, row: Waiting) -> dict[str, Any]:
    question, said, proposal = hidden(desk.ws, [row.question, row.said, row.proposal])
    grade = rubric.load(desk.ws).labels[row.label]
    spoken: Language = "zh" if is_chinese() else "en"
    first, second = (said, proposal) if swapped(row.id) else (proposal, said)
    return {
        "question": question, "bad": said, "proposal": proposal, "first": first, "second": second,
        "good_is": grade.good.speak(spoken), "bad_is": grade.bad.speak(spoken),
    }  # fmt: skip


def swapped(id: str) -> bool:
    """Whether the side that would be chosen stands second: the same for everybody, and told by
    nothing that is shown."""
    return hashlib.sha256(f"blind/{id}".encode()).digest()[0] % 2 == 1


def decide(desk: Desk, form: Form) -> Went:
    """Write down what a person decided of what waits. A pair is decided blind: the side that they
    find better is kept as chosen where it is the one that the build had chosen, else it goes."""
    with desk.ws.alone("decide", seconds=60):  # of two who answer at once the second is told
        return _decide(desk, form)


def _decide(desk: Desk, form: Form) -> Went:
    id = form.need("id")
    row = next((one for one in _left(desk).waiting if one.id == id), None)
    where = f"/review?kind={form.get('kind', '')}&skip={form.get('skip', '0')}"
    if row is None:
        raise BadInput(say(f"{id} waits no more: somebody has decided it",
                           f"{id} 已不在待审：有人已处理"))  # fmt: skip
    said = form.get("said", "").strip()
    if row.kind == "pair" and said in ("first", "second"):
        chosen = "second" if swapped(row.id) else "first"
        said = "/keep" if said == chosen else "/drop"
    found = decisions.decision(row, said, people.actor(desk.ws).name)
    if found is None:
        raise BadInput(say("nothing was written; the question waits", "没有内容；问题仍待处理"))
    reviews.add(desk.ws, [found])
    return Went(where, say(f"{row.id}: {found.verdict}", f"{row.id}：{found.verdict}"))


def undo(desk: Desk, form: Form) -> Went:
    """Take back what this person decided last."""
    who = people.actor(desk.ws).name
    last = _last(ws_reviews(desk), who)
    if last is None:
        raise BadInput(say("nothing of yours to take back", "没有可撤销的决定"))
    about = "label" if reviews.about_label(last) else ""
    reviews.add(desk.ws, [Review(id=last.id, verdict="undo", text=about, by=who,
                                 ts=database.now())])  # fmt: skip
    told = say(f"{last.id} waits again", f"{last.id} 重新待审")
    return Went(f"/review?kind={form.get('kind', '')}", told)


# redacted texts ----------------------------------------------------------------------------------


def spans(desk: Desk, request: Request) -> Response:
    """`/review/spans`: a failure nobody has read, its placeholders marked; what was missed is
    marked by the person."""
    ws = desk.ws
    done = span_review.read(ws)
    row = _unread(desk, done)
    texts: list[str] = []
    if row:
        (record,) = desk.index.records([row])
        texts = hidden(ws, _texts(record))
    return page(
        request, "spans.html", row=row, texts=[PLACEHOLDER.split(text) for text in texts],
        marks=[PLACEHOLDER.findall(text) for text in texts], raw=texts, tags=span_review.TAGS,
        last=max([*done.values()][::-1], key=lambda one: one.ts, default=None),
        found=span_review.measured(ws),
        total=sum(count for _, count in desk.index.values("label")),
    )  # fmt: skip


def _texts(record: Failure) -> list[str]:
    texts = [*(turn.content for turn in record.context), record.prompt or "",
             record.bad_answer or ""]  # fmt: skip
    return [text for text in texts if text]


def _unread(desk: Desk, done: dict[str, Any]) -> dict[str, Any] | None:
    """The next in an order that has nothing to do with what a row says: a sample by its hash."""
    rows = desk.index.drawn(READ + len(done))
    return next((row for row in rows if row["id"] not in done), None)


def looked(desk: Desk, form: Form) -> Went:
    """What a person found in one failure; with nothing marked, that nothing was missed."""
    row = desk.index.row(form.need("id"))
    if row["retention"] != "full":
        raise BadInput(say(f"{row['id']}: its texts are not shown", f"{row['id']}：文本不予显示"))
    id = row["id"]
    misses = [Miss(form.get(f"tag{n}", ""), value) for n in range(20)
              if (value := form.get(f"value{n}", ""))]  # fmt: skip
    spared = [mark for mark in form.get("spared", "").split() if PLACEHOLDER.fullmatch(mark)]
    found = span_review.look(desk.ws, id, misses, spared)
    told = say(f"{id}: {len(found.missed)} missed, {len(spared)} mistaken",
               f"{id}：漏网 {len(found.missed)} 处，误判 {len(spared)} 处")  # fmt: skip
    if misses:
        told += say(". `errata build` makes the data anew; git has the old row: `errata erase`",
                    "。请运行 `errata build` 重建数据；git 中仍有旧行：`errata erase`")  # fmt: skip
    return Went("/review/spans", told)


def looked_undone(desk: Desk, form: Form) -> Went:
    """The failure read last waits to be read again."""
    span_review.undo(desk.ws, form.need("id"))
    return Went("/review/spans", say("it waits again", "重新待审"))


# samples -----------------------------------------------------------------------------------------


def samples(desk: Desk, request: Request) -> Response:
    """`/review/samples`: the next row of the newest sample for one rater, blinded."""
    ws, told = desk.ws, request.query_params
    found = sample.samples(ws)
    if not found:
        return page(request, "samples.html", whose=None, rater="", row=None, left={})
    whose = found[-1]
    done = ratings.read(ws, whose.id)
    rater = told.get("rater", "")
    rater = rater if rater in whose.raters else whose.raters[0]
    rows = ratings.waiting(whose, done, rater)
    row = rows[0] if rows else None
    facts: dict[str, Any] = {}
    if row:
        context, question, *answers = sheet.texts(ws, [row])[0]
        letters = ("a", "b") if whose.baseline else ("a",)
        facts = {"context": context, "question": question,
                 "answers": list(zip(letters, answers, strict=False))}  # fmt: skip
    left = {name: len(ratings.waiting(whose, done, name)) for name in whose.raters}
    mine = [one for one in done.values() if one.rater == rater]
    return page(request, "samples.html", whose=whose, rater=rater, row=row, left=left,
                questions=ratings.QUESTIONS, preference=ratings.PREFERENCE,
                last=max(mine[::-1], key=lambda one: one.ts, default=None), **facts)  # fmt: skip


def _of(desk: Desk, form: Form) -> tuple[Sample, str]:
    whose = sample.last(desk.ws)
    rater = form.need("rater")
    if rater not in whose.raters:
        raise BadInput(f"{rater}: no rater of {whose.id}; {', '.join(whose.raters)}")
    return whose, rater


def rate(desk: Desk, form: Form) -> Went:
    """What a rater says of one row; the whole row or nothing."""
    whose, rater = _of(desk, form)
    row = next((one for one in whose.rows if one.id == form.need("id")), None)
    if row is None or rater not in row.raters:
        raise BadInput(f"{form['id']}: not a row of {rater} in {whose.id}")
    said = ratings.said(form, whose)
    if said is None:
        raise BadInput(say("nothing was filled in", "尚未填写"))
    by = people.actor(desk.ws).name
    done = ratings.read(desk.ws, whose.id)
    for other in whose.raters:
        theirs = done.get((row.id, other))
        if theirs and other != rater and theirs.by == by:
            raise BadInput(say(
                f"{by} has rated this row as {other}; a second rater is somebody else: they set "
                "ERRATA_ACTOR to who they are and run `errata web`",
                f"{by} 已以 {other} 的身份评过此条；第二位评审须是另一人："
                "请其设置 ERRATA_ACTOR 后运行 `errata web`"))  # fmt: skip
    ratings.add(desk.ws, [ratings.rating(row, whose, rater, by, said)])
    return Went(f"/review/samples?rater={rater}", say("kept", "已保存"))


def unrate(desk: Desk, form: Form) -> Went:
    """Take back what this rater said last."""
    whose, rater = _of(desk, form)
    mine = [one for one in ratings.read(desk.ws, whose.id).values() if one.rater == rater]
    if not mine:
        raise BadInput(say("nothing of yours to take back", "没有可撤销的评分"))
    last = max(mine[::-1], key=lambda one: one.ts)
    ratings.add(desk.ws, [last.model_copy(update={"withdrawn": True, "ts": database.now()})])
    return Went(f"/review/samples?rater={rater}", say("it waits again", "重新待评"))
