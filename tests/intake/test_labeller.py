"""A label is given where it is measured to be right; else it is left to people."""

from __future__ import annotations

import json
import random

import pytest

from errata import jsonl
from errata.build import reviews, stage
from errata.errors import BadInput
from errata.intake import labeller
from errata.intake import stage as intake
from errata.intake.labeller import Labels, fit
from errata.records import Failure, Review
from errata.workspace import Workspace

RUDE = [
    "You fool, read it yourself.",
    "笨蛋，自己看。",
    "Only an idiot asks that.",
    "蠢货，别烦我。",
]
WRONG = ["It costs about fifty yuan.", "大概五十元。", "I think it is blue.", "应该是蓝色的。"]
THINGS = ["lamp", "kettle", "台灯", "水壶", "radio", "收音机", "tent", "帐篷", "clock", "时钟"]


def rows(count: int, seed: int = 0) -> list[labeller.Row]:
    """Rude answers and wrong ones to many questions, as unlike each other as the words allow."""
    rng = random.Random(seed)
    made: list[labeller.Row] = []
    for n in range(count):
        rude = n % 2 == 0
        said = rng.choice(RUDE if rude else WRONG)
        noise = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(60))
        asked = f"{noise} {rng.choice(THINGS)} {rng.randrange(10**6)}?"
        made.append((labeller.said(asked, said), "politeness" if rude else "factuality"))
    return made


def test_what_can_be_told_is_told_and_what_is_like_nothing_is_not():
    model = fit(rows(400), 0.9)
    texts = [text for text, _ in rows(100, seed=1)]
    truth = [label for _, label in rows(100, seed=1)]
    given = model.guesses(texts)
    sure = [(guess.label, true) for guess, true in zip(given, truth, strict=True)
            if guess.by == labeller.GUESSED]  # fmt: skip
    assert len(sure) >= 90
    assert sum(label == true for label, true in sure) / len(sure) >= 0.95


def test_labels_that_say_nothing_of_the_text_are_never_given():
    rng = random.Random(3)
    mixed = [(text, rng.choice(["politeness", "factuality"])) for text, _ in rows(300)]
    model = fit(mixed, 0.9)
    assert model.measured.from_ == {}
    assert {guess.by for guess in model.guesses([text for text, _ in mixed[:50]])} == {"abstained"}


@pytest.mark.parametrize("count", [0, 10, 38])
def test_too_few_rows_teach_nothing(count: int):
    model = fit(rows(count), 0.9)
    assert model.model is None
    (guess,) = model.guesses(["anything"])
    assert (guess.label, guess.by) == ("other", "abstained")
    assert "it gives none" in labeller.render(model, 0.9)


def test_the_edge_is_the_lowest_probability_at_which_the_bound_holds():
    import numpy as np

    # 60 right ones above one wrong: with it the lower bound of 60/61 is 0.924, of 60/60 0.951.
    table = np.array([[0.9, 0.1]] * 60 + [[0.6, 0.4]])
    truth = np.array(["other"] * 60 + ["privacy"])
    assert labeller._edge(table, truth, 0, "other", 0.92) == 0.6
    assert labeller._edge(table, truth, 0, "other", 0.94) == 0.9
    assert labeller._edge(table, truth, 0, "other", 0.96) is None


def test_twins_are_on_one_side_of_a_fold_so_that_nothing_is_learnt_by_heart():
    """The label hangs on a number that only a twin of the row could have told."""
    rng = random.Random(0)
    twins: list[labeller.Row] = []
    for _ in range(60):
        noise = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(80))
        label = rng.choice(["politeness", "factuality"])
        twins += [(f"{noise} {n}", label) for n in range(5)]  # type: ignore[misc]
    assert fit(twins, 0.9).measured.from_ == {}


@pytest.fixture
def desk(suited: Workspace) -> Workspace:
    made = rows(200)
    failures = [
        {"prompt": text.split("\n")[0], "bad_answer": text.split("\n")[1], "label": label}
        for text, label in made
    ]
    (suited.configs / "intake.yaml").write_text(
        "sources:\n  local: {purpose: [training], consent: made up for tests}\n"
    )
    _put(suited, "labelled.jsonl", failures)
    intake.main(suited, intake.Config(args=["inbox/labelled.jsonl"]))
    return suited


def _put(ws: Workspace, name: str, raw: list[dict[str, str]]) -> None:
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in raw)
    (ws.inbox / name).write_text(text, encoding="utf-8")


def _bare(count: int) -> list[dict[str, str]]:
    return [{"prompt": text.split("\n")[0], "bad_answer": text.split("\n")[1]}
            for text, _ in rows(count, seed=5)]  # fmt: skip


def test_rows_without_a_label_are_labelled_or_wait_and_do_not_train(desk: Workspace):
    odd = [{"prompt": "Zzz?", "bad_answer": "Ξενος ὦ ξεῖν’ ἀγγέλλειν ヴァレンタイン"}]
    _put(desk, "bare.jsonl", [*_bare(20), *odd])
    outcome = intake.main(desk, intake.Config(args=["inbox/bare.jsonl"]))
    guessed = outcome.data["guessed"]
    assert guessed["classifier"] + guessed["abstained"] == 21
    assert guessed["classifier"] >= 15
    assert "wait for `errata review`" in outcome.text
    page = (desk.reports / "labels.md").read_text(encoding="utf-8")
    assert "politeness" in page
    assert "混淆矩阵" in page
    failures = jsonl.read(desk.data / "failures.jsonl", Failure)
    open_ = [row for row in failures if row.meta.get("label_by") == labeller.ABSTAINED]
    assert {row.label for row in open_} == {"other"}
    answers = [Review(id=row.id, verdict="answer", text=f"Answer {n}, glad to help.", by="li",
                      ts="2026-01-01T00:00:00Z") for n, row in enumerate(failures)]  # fmt: skip
    reviews.add(desk, answers)
    config = stage.Config(accept=stage.Accept(min_rows=1, min_pairs=1), verbatim=0)
    assert stage.main(desk, config).data["undecided"] == len(open_)
    told = Review(id=open_[0].id, verdict="label", text="other", by="li", ts="2026-01-01T00:00:00Z")
    reviews.add(desk, [told])
    assert stage.main(desk, config).data["undecided"] == len(open_) - 1


def test_what_the_classifier_said_teaches_it_nothing(desk: Workspace):
    labels = Labels(desk.data / "failures.jsonl", desk.root / reviews.FILE, 0.9)
    before = list(labeller._labelled(labels))
    _put(desk, "bare.jsonl", _bare(20))
    intake.main(desk, intake.Config(args=["inbox/bare.jsonl"]))
    assert list(labeller._labelled(labels)) == before


def test_a_label_that_the_call_names_is_taken_instead(desk: Workspace):
    _put(desk, "bare.jsonl", _bare(4))
    outcome = intake.main(desk, intake.Config(args=["inbox/bare.jsonl"], label="factuality"))
    assert "guessed" not in outcome.data


def test_a_label_that_is_none_is_still_refused(desk: Workspace):
    _put(desk, "bad.jsonl", [{"prompt": "a", "bad_answer": "b", "label": "nonsense"}])
    with pytest.raises(BadInput, match="label: not one of"):
        intake.main(desk, intake.Config(args=["inbox/bad.jsonl"]))
