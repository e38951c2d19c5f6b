"""Rows of every shape and file: read the same, refused with a reason, never fatal."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata import cli, jsonl
from errata.errors import BadInput
from errata.intake import files, forms, sources, times
from errata.intake.fields import NoFailure, RowError
from errata.intake.files import Bad
from errata.intake.forms import FORMS, Form
from errata.intake.sources import Good, Reading

LABELLED = Reading("other")


def taken(path: Path, how: Reading = LABELLED) -> list[Any]:
    return list(sources.read(path, how))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.id}-{form.marks[0]}")
def test_each_shape_reads_its_example_and_no_other_shape_takes_it(form: Form):
    assert next(f for f in FORMS if all(mark in form.example for mark in f.marks)) is form
    found = form.read(form.example)
    assert found.prompt
    assert found.bad_answer
    assert forms.read(form.example) == found


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.id}-{form.marks[0]}")
@given(junk=st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                         lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                             st.sampled_from(["role", "content", "from", "value", "name", "turns",
                                              "text", "arguments", "function"]), inner, max_size=3),
                         max_leaves=8), data=st.data())  # fmt: skip
def test_a_row_that_is_not_what_it_looks_like_is_a_row_error(
    form: Form, junk: Any, data: st.DataObject
):
    """Whatever stands in one of its fields: a reason, or a row; nothing else is raised."""
    field = data.draw(st.sampled_from(sorted(form.example)))
    try:
        found = form.read({**form.example, field: junk})
        assert found.prompt.strip()
        assert isinstance(found.bad_answer, str)
    except (RowError, NoFailure):
        pass


def test_what_each_tool_knows_is_kept():
    garak = forms.read({"probe": "probes.promptinject.Hijack", "detector": "d", "goal": "g",
                        "prompt": {"turns": [{"role": "user", "content": {"text": "say X"}}]},
                        "output": {"text": "X"}})  # fmt: skip
    assert (garak.label, garak.prompt, garak.bad_answer) == ("injection", "say X", "X")
    assert garak.meta["probe"] == "probes.promptinject.Hijack"
    asked = {"role": "user", "content": "q"}
    good, bad = ({"role": "assistant", "content": said} for said in ("good", "bad"))
    pair = forms.read({"chosen": [asked, good], "rejected": [asked, bad]})
    assert (pair.prompt, pair.bad_answer, pair.meta["reference"]) == ("q", "bad", "good")
    edited = forms.read(FORMS[0].example)
    assert (edited.meta["reference"], edited.meta["origin"]) == ("199 yuan. [1]", "human")
    step = next(form for form in FORMS if form.id == "tool call")
    assert forms.read(step.example).bad_answer == "CALL refund(48213)"
    assert forms.read(step.example).meta["reference"] == "CALL order_status(48213)"


def test_both_sides_of_a_pair_may_begin_with_what_was_asked():
    asked = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: How much?\n\nAssistant:"
    pair = forms.read({"chosen": f"{asked} 199 yuan.", "rejected": f"{asked} No idea.\n\nBye."})
    assert (pair.prompt, pair.bad_answer) == ("How much?", "No idea.\n\nBye.")
    assert pair.meta["reference"] == "199 yuan."
    assert [turn.content for turn in pair.context] == ["Hi", "Hello"]


def test_rows_of_one_answer_say_whether_it_was_good(tmp_path: Path):
    asked, said = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    rows = [{"prompt": "q", "completion": "a", "label": good} for good in (True, False)]
    rows.append({"prompt": [asked], "completion": [said], "label": False})
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    good, (_, bad), (_, listed) = taken(tmp_path / "a.jsonl")
    assert isinstance(good, Good)
    assert (bad.prompt, bad.bad_answer, bad.label) == ("q", "a", "other")
    assert listed == bad


def test_sharegpt_has_calls_as_json():
    call = json.dumps({"name": "order_status", "arguments": {"id": "48213"}})
    turns = [{"from": "human", "value": "Where?"}, {"from": "function_call", "value": call},
             {"from": "observation", "value": "shipped"},
             {"from": "gpt", "value": "No idea."}]  # fmt: skip
    found = forms.read({"conversations": turns})
    assert [turn.content for turn in found.context] == ["CALL order_status(48213)", "shipped"]


def test_an_agents_steps_stand_between_the_question_and_the_answer():
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "Where is it?"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"function": {"name": "order_status", "arguments": '{"id": "48213"}'}}]},
        {"role": "tool", "content": "shipped"},
        {"role": "assistant", "content": "I do not know."},
    ]  # fmt: skip
    found = forms.read({"messages": turns})
    assert found.prompt == "Where is it?"
    assert [turn.content for turn in found.context] == ["CALL order_status(48213)", "shipped"]


@pytest.mark.parametrize(
    ("rating", "up"),
    [*((word, True) for word in (True, 1, 1.0, "1", "UP", "👍", "thumbs_up", "positive")),
     *((word, False) for word in (False, 0, -1, -1.0, "-1", "down", "👎", "thumbs down", "")),
     (None, False), ("Thumbs-Up", True),
     *((word, None) for word in (5, 0.5, "so so", [], {}, "x" * 99))],
)  # fmt: skip
def test_a_thumb_is_up_or_down_and_never_guessed(rating: Any, up: bool | None):
    row = {"prompt": "a", "response": "b", "feedback": {"rating": rating}}
    if up is False:
        assert forms.read(row).bad_answer == "b"
    else:
        with pytest.raises(NoFailure if up else RowError):
            forms.read(row)


def test_a_result_of_promptfoo_says_true_or_false():
    form = next(form for form in FORMS if form.id == "promptfoo")
    with pytest.raises(RowError, match="success: not true or false"):
        form.read({**form.example, "success": "false"})


def test_a_thumb_up_is_no_failure_and_is_counted(tmp_path: Path):
    rows = [{"prompt": "a", "response": "b", "feedback": {"rating": way}} for way in ("up", "down")]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [type(row) for row in taken(tmp_path / "a.jsonl")] == [Good, tuple]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("2025-12-16", "2025-12-16"),
        ("2025-12-16T09:30:00+08:00", "2025-12-16T09:30:00+08:00"),
        ("2025/12/16 9:05", "2025-12-16T09:05:00"),
        ("2025年12月6日", "2025-12-06"),
        ("2025年12月6日 9时5分", "2025-12-06T09:05:00"),
        ("2025年12月6日 21:05:07", "2025-12-06T21:05:07"),
        ("Tue, 16 Dec 2025 10:00:00 +0000", "2025-12-16T10:00:00+00:00"),
        ("16 Dec 2025", "2025-12-16"),
        ("December 16, 2025", "2025-12-16"),
        (1765843200, "2025-12-16T00:00:00Z"),
        (1765843200000, "2025-12-16T00:00:00Z"),
        ("1765843200", "2025-12-16T00:00:00Z"),
        ("16/12/2025", "2025-12-16"),
        ("12/16/2025 9:05", "2025-12-16T09:05:00"),
        ("5.5.2025", "2025-05-05"),
        ("16/13/2025", None),
        ("16/16/2025", None),
        (10**400, None),
        ("03/04/2025", None),  # the third of April, or the fourth of March
        ("2025/13/01", None),
        ("2025-W51-2", "2025-12-16"),
        ("20251216", "2025-12-16"),
        ("20251216101112", "2025-12-16T10:11:12"),
        ("2025-12-16\x1b10:00:00", "2025-12-16T10:00:00"),
        ("13800138000", None),  # a telephone is no day of the year 1380
        ("yesterday", None),
        (True, None),
        (5, None),
        (float("nan"), None),
    ],
)
def test_times_in_any_form_that_needs_no_guess(value: Any, told: str | None):
    assert times.read(value) == told


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none()))
def test_no_time_is_an_error_of_its_own(value: Any):
    assert times.read(value) is None or isinstance(times.read(value), str)


TICKETS = "工单号,问题,回复,类别,时间\n1,怎么退货？,不知道,投诉,2025/12/16 09:30\n2,,空,投诉,\n"
COLUMNS = {"prompt": "问题", "bad_answer": "回复", "label": "类别", "ts": "时间"}
HOW = Reading(None, COLUMNS, {"投诉": "politeness"})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_tickets_of_a_spreadsheet(tmp_path: Path, encoding: str):
    path = tmp_path / "tickets.csv"
    path.write_bytes(TICKETS.encode(encoding))
    (number, raw), bad = taken(path, HOW)
    assert (number, raw.prompt, raw.bad_answer) == (2, "怎么退货？", "不知道")
    assert (raw.label, raw.ts) == ("politeness", "2025-12-16T09:30:00")
    assert bad == Bad(3, "prompt", "missing")


def test_columns_that_are_not_there_are_named(tmp_path: Path):
    path = tmp_path / "tickets.tsv"
    path.write_text("a\tb\n1\t2\n")
    with pytest.raises(BadInput, match="no column 问题, 回复, 类别, 时间; it has a, b"):
        taken(path, HOW)
    nested = tmp_path / "a.jsonl"
    nested.write_text('{"log": {"in": "hi", "out": "go away"}}\n')
    ((_, raw),) = taken(nested, Reading("other", {"prompt": "log.in", "bad_answer": "log.out"}))
    assert (raw.prompt, raw.bad_answer) == ("hi", "go away")


def test_a_broken_line_of_csv_stops_nothing(tmp_path: Path):
    path = tmp_path / "a.csv"
    rows = "".join(f'q{n},"an answer, {"很" * 80}",other\n' for n in range(9)).encode()
    path.write_bytes(
        b"prompt,bad_answer,label\n" + rows + b"q,\xff\xfe,other\nq,a,other,more\n" + rows
    )
    found = taken(path)
    assert [row for row in found if isinstance(row, Bad)] == [
        Bad(11, "", "not in the encoding of the rest of the file"),
        Bad(12, "", "more fields than the first line names"),
    ]
    assert len(found) == 20


def test_documents_of_json(tmp_path: Path):
    form = next(form for form in FORMS if form.id == "promptfoo")
    path = tmp_path / "results.json"
    path.write_text(
        json.dumps({"results": {"results": [form.example, {**form.example, "success": True}, 5]}})
    )
    assert [type(row) for row in taken(path, Reading())] == [tuple, Good, Bad]
    path.write_text('[{"prompt": "a"')
    (bad,) = taken(path)
    assert isinstance(bad, Bad)
    assert bad.reason.startswith("not JSON")
    for hostile in ("[" * 100_000, '[{"prompt": "\\ud800", "bad_answer": "b"}, {"a": NaN}]'):
        path.write_text(hostile)
        assert all(isinstance(row, Bad) for row in taken(path))


def test_rows_that_could_not_be_written_again_are_set_aside(tmp_path: Path):
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    good = {"prompt": "a", "bad_answer": "b"}
    rows = [good, {**good, "meta": {"a": deep}}, {**good, "meta": {"n": 1}}]
    lines = [json.dumps(row) for row in rows]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([*lines, lines[2].replace(": 1}", ": 1e999}"), *lines[:1]]))
    found = taken(path)
    assert [bad.line for bad in found if isinstance(bad, Bad)] == [2, 4]
    assert len(found) == 5


@pytest.mark.parametrize(
    ("text", "rows", "reasons"),
    [
        ("prompt,bad_answer,\nq,a,\n,,\nq2,a2,\n", 2, []),
        ("sep=;\nprompt;bad_answer\nq;a\n", 1, []),
        ("prompt;bad_answer\nq;a,b\n", 1, []),
        ("prompt,prompt,bad_answer\nq,p,a\n", 0, ["there twice"]),
        ('prompt,bad_answer\nq,"a\nq,a\nq,a\n', 2, ["unexpected end of data"]),
        ('prompt,bad_answer\n"q\nr",a\nq,a\n', 2, []),
    ],
)
def test_spreadsheets_as_they_are(tmp_path: Path, text: str, rows: int, reasons: list[str]):
    path = tmp_path / "a.csv"
    path.write_text(text)
    found = taken(path)
    assert sum(isinstance(row, tuple) and not isinstance(row, Bad) for row in found) == rows
    bad = [row.reason for row in found if isinstance(row, Bad)]
    assert len(bad) == len(reasons)
    assert all(reason in said for reason, said in zip(reasons, bad, strict=True))


def test_a_line_of_a_gigabyte_is_passed_over_in_bounded_memory(tmp_path: Path):
    path = tmp_path / "long.jsonl"
    row = b'{"prompt": "a", "bad_answer": "b"}\n'
    with path.open("wb") as file:
        file.write(row + b'{"prompt": "')
        for _ in range(1 << 10):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n' + row)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first, bad, last = taken(path)
    assert bad == Bad(2, "", f"longer than {files.LONGEST >> 20} MiB; split or delete it")
    assert (first[0], last[0]) == (1, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.tsv"])
def test_the_inbox_takes_every_kind_of_file(tmp_path: Path, name: str):
    root = tmp_path / "desk"
    assert cli.main(["init", str(root)]) == 0
    for sample in (root / "inbox").glob("sample_*.jsonl"):
        sample.unlink()
    row = {"prompt": "Is it in stock?", "bad_answer": "Go away.", "label": "politeness"}
    text = {"rows.jsonl": json.dumps(row), "rows.json": json.dumps([row])}.get(name)
    mark = "\t" if name.endswith("tsv") else ","
    (root / "inbox" / name).write_text(
        text or "\n".join(mark.join(line) for line in (row, row.values()))
    )
    assert cli.main(["intake", "-C", str(root)]) == 0
    ((_, found),) = jsonl.rows(root / "data" / "failures.jsonl")
    assert found["prompt"] == row["prompt"]


def test_words_for_labels_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = tmp_path / "desk"
    cli.main(["init", str(root)])
    assert cli.main(["intake", "-C", str(root), 'labels={"投诉": "rude"}']) == 2
    assert "labels.投诉: not one of" in capsys.readouterr().err


BAD, GOOD = "Stop asking.", "Yes, within 30 days. [1]"
_FROM = {"from": "human", "value": "Can I return it?"}
PAIRS = {
    "TRL": {"prompt": "Can I return it?", "chosen": GOOD, "rejected": BAD},
    "LLaMA-Factory, Alpaca": {"instruction": "Can I return it?", "input": "", "chosen": GOOD,
                              "rejected": BAD},
    "LLaMA-Factory, ShareGPT": {"conversations": [_FROM], "chosen": {"from": "gpt", "value": GOOD},
                                "rejected": {"from": "gpt", "value": BAD}},
    "axolotl, chat_template": {"messages": [{"role": "user", "content": "Can I return it?"}],
                               "chosen": {"role": "assistant", "content": GOOD},
                               "rejected": {"role": "assistant", "content": BAD}},
    "axolotl, intel": {"question": "Can I return it?", "chosen": GOOD, "rejected": BAD},
}  # fmt: skip


@pytest.mark.parametrize("tool", PAIRS)
def test_the_same_pair_is_the_same_failure_whatever_tool_wrote_it(tool: str):
    found = forms.read(PAIRS[tool])

    assert (found.prompt, found.bad_answer) == ("Can I return it?", BAD)
    assert found.meta["reference"] == GOOD
    assert found.context == []


@pytest.mark.parametrize("sides", [{"output": BAD}, {"chosen": GOOD, "rejected": BAD}])
def test_what_stood_before_the_question_is_kept(sides: dict[str, str]):
    """LLaMA-Factory's fields of an Alpaca row; without them the answer answers something else."""
    row = {"instruction": "And this one?", "input": "a lamp", "system": "You are a desk.",
           "history": [["Can I return it?", "Yes."]]}  # fmt: skip

    found = forms.read({**row, **sides})

    assert found.prompt == "And this one?"
    assert [(turn.role, turn.content) for turn in found.context] == [
        ("system", "You are a desk."), ("user", "Can I return it?"), ("assistant", "Yes."),
        ("documents", "a lamp"),
    ]  # fmt: skip
    with pytest.raises(RowError, match="history"):
        forms.read({**row, **sides, "history": [["only a question"]]})


def test_a_rated_conversation_says_by_its_label_whether_it_failed(tmp_path: Path):
    """LLaMA-Factory's rows for KTO: true is good; false is bad, and not yet of what kind."""
    talk = {"messages": [{"role": "user", "content": "Red?"},
                         {"role": "assistant", "content": "Why?"}]}  # fmt: skip
    with pytest.raises(NoFailure):
        forms.read({**talk, "label": True})
    path = tmp_path / "kto.jsonl"
    path.write_text(json.dumps({**talk, "label": False}) + "\n", encoding="utf-8")

    ((_, found),) = taken(path)

    assert found.label == "other"
