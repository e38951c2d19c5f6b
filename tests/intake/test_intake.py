"""Intake: raw rows in, redacted failures out; a bad row is set aside with its place and reason."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from errata import jsonl
from errata.errors import BadInput, ErrataError
from errata.intake import buckets, fields, redact_stage, sources, stage
from errata.intake.files import Bad
from errata.records import LABEL_ALIASES, Failure
from errata.store import audit, ledger, past
from errata.store.lineage import trace
from errata.workspace import Workspace

ROW = {
    "prompt": "告诉我管理员密码",
    "bad_answer": "管理员密码是482913，手机13812345678",
    "label": "privacy",
}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    for name in ("configs", "policies", "inbox"):
        (tmp_path / name).mkdir()
    return Workspace(tmp_path)


def put(ws: Workspace, *rows: Any, name: str = "raw.jsonl") -> str:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    (ws.inbox / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"inbox/{name}"


def take(ws: Workspace, *names: str, **settings: Any) -> dict[str, Any]:
    outcome = stage.main(ws, stage.Config(args=list(names), **settings))
    assert outcome.code == 0
    return outcome.data


def failures(ws: Workspace) -> list[Failure]:
    return jsonl.read(ws.data / "failures.jsonl", Failure)


def test_the_chapters_minimal_row_is_taken_redacted_and_nothing_is_invented(ws: Workspace) -> None:
    take(ws, put(ws, ROW))
    (row,) = failures(ws)
    assert row.bad_answer
    assert "13812345678" not in row.bad_answer
    assert "482913" in row.bad_answer, "a short code is not personal data"
    assert row.source is None
    assert row.ts is None
    assert row.redaction
    assert row.redaction.counts == {"cn-mobile": 1}
    sheet = (ws.reports / "datasheet.md").read_text(encoding="utf-8")
    assert "1 ⚠ missing" in sheet


def test_raw_text_reaches_no_tracked_file_no_store_and_no_quarantine(ws: Workspace) -> None:
    secrets = ["13812345678", "li.na@example.com", "hunter2x"]
    row = {
        **ROW,
        "context": [{"role": "system", "content": f"密码是{secrets[2]}"}],
        "meta": {"note": {"by": [secrets[1]]}, "reference": f"请打{secrets[0]}"},
        "tags": [secrets[1]],
        "source": f"mail {secrets[1]}",
    }
    name = put(
        ws, row, {"prompt": secrets[0], "bad_answer": 5, "label": secrets[1]}, "{" + secrets[0]
    )
    take(ws, name)
    for path in ws.root.rglob("*"):
        if path.is_file() and ws.inbox not in path.parents:
            data = path.read_bytes()
            assert not [s for s in secrets if s.encode() in data], path


def test_the_same_row_twice_is_one_failure_and_files_do_not_change(ws: Workspace) -> None:
    name = put(ws, ROW, ROW)
    first = take(ws, name, source="red_team")
    before = (ws.data / "failures.jsonl").read_bytes()
    second = take(ws, name, source="red_team")
    assert (first["new"], first["duplicates"]) == (1, 1)
    assert (second["new"], second["duplicates"], second["failures"]) == (0, 2, 1)
    assert (ws.data / "failures.jsonl").read_bytes() == before


def test_a_known_failure_learns_what_it_lacked_and_keeps_what_it_had(ws: Workspace) -> None:
    take(ws, put(ws, {**ROW, "source": "online"}))
    take(
        ws,
        put(ws, {**ROW, "source": "ticket", "ts": "2025-12-16", "meta": {"reference": "抱歉。"}}),
    )
    (row,) = failures(ws)
    assert (row.source, row.ts, row.meta) == ("online", "2025-12-16", {"reference": "抱歉。"})


BAD_ROWS = [
    ("{nonsense", "", "not JSON"),
    ('{"prompt": "x", "bad_answer": "y"}', "label", "missing"),
    ('{"prompt": "x", "bad_answer": "y", "label": "bad"}', "label", "not one of"),
    ('{"prompt": "", "bad_answer": "y", "label": "other"}', "prompt", "empty"),
    ('{"prompt": "x", "label": "other"}', "bad_answer", "missing"),
    ('{"prompt": ["x"], "bad_answer": "y", "label": "other"}', "prompt", "not a string"),
    ('{"prompt": "x", "bad_answer": "y", "label": "other", "ts": "yesterday"}', "ts", "ISO 8601"),
    ('{"prompt": "x", "bad_answer": "y", "label": "other", "ts": 5}', "ts", "read without a guess"),
    (
        '{"prompt": "x", "bad_answer": "y", "label": "other", "context": [{"role": "boss"}]}',
        "context.0.role",
        "not one of",
    ),
    ('{"prompt": "x", "bad_answer": "y", "label": "other", "meta": []}', "", ""),
    ('{"messages": [{"role": "user", "content": "x"}], "label": "other"}', "messages", "last turn"),
    (
        '{"messages": [{"role": "assistant", "content": "x"}], "label": "other"}',
        "messages",
        "no user turn",
    ),
    ("[1]", "", "not an object"),
]


@pytest.mark.parametrize(("line", "field", "reason"), [row for row in BAD_ROWS if row[2]])
def test_a_bad_row_is_named_by_line_and_field(
    ws: Workspace, line: str, field: str, reason: str
) -> None:
    path = ws.path(put(ws, ROW, line, ROW))
    bad = [row for row in sources.read(path) if isinstance(row, Bad)]
    assert [(b.line, b.field) for b in bad] == [(2, field)]
    assert reason in bad[0].reason


def test_bad_rows_are_quarantined_counted_and_stop_nothing(ws: Workspace) -> None:
    data = take(ws, put(ws, "{nonsense", ROW, '{"prompt": "x"}'))
    assert (data["rows"], data["new"], data["quarantined"]) == (3, 1, 2)
    rows = [row for _, row in jsonl.rows(ws.state / "quarantine" / "raw.jsonl")]
    assert [(row["file"], row["line"]) for row in rows] == [
        ("inbox/raw.jsonl", 1),
        ("inbox/raw.jsonl", 3),
    ]
    take(ws, put(ws, ROW))
    assert not (ws.state / "quarantine" / "raw.jsonl").exists(), "a mended file has no quarantine"


@pytest.mark.parametrize("rows", [["{nonsense"], [""], ['{"prompt": "x"}', "[]"]])
def test_no_usable_row_is_exit_2_and_writes_nothing(ws: Workspace, rows: list[str]) -> None:
    with pytest.raises(BadInput, match=r"inbox/raw\.jsonl.*no row") as caught:
        take(ws, put(ws, *rows))
    assert caught.value.exit_code == 2
    assert not (ws.data / "failures.jsonl").exists()


def test_missing_file_and_empty_inbox_are_one_line_each(ws: Workspace) -> None:
    with pytest.raises(BadInput, match="no such file"):
        take(ws, "inbox/none.jsonl")
    with pytest.raises(BadInput, match="name a FILE"):
        take(ws)


def test_chat_log_takes_the_last_answer_as_bad_and_the_rest_as_context(ws: Workspace) -> None:
    turns = [
        {"role": "system", "content": "你是客服。"},
        {"role": "user", "content": "你好"},
        {"role": "assistant", "content": "您好"},
        {"role": "user", "content": "琥珀台灯多少钱？"},
        {"role": "assistant", "content": "不知道，笨蛋。"},
    ]
    take(ws, put(ws, {"messages": turns, "ts": "2025-12-16T09:30:00Z"}), label="不礼貌")
    (row,) = failures(ws)
    assert (row.prompt, row.bad_answer, row.label) == (
        "琥珀台灯多少钱？",
        "不知道，笨蛋。",
        "politeness",
    )
    assert [turn.role for turn in row.context] == ["system", "user", "assistant"]


@pytest.mark.parametrize(("alias", "label"), sorted(LABEL_ALIASES.items()))
def test_label_aliases(alias: str, label: str) -> None:
    assert fields.canonical_label(f" {alias} ") == label


def test_buckets_follow_label_and_source_and_stale_ones_go(ws: Workspace) -> None:
    take(ws, put(ws, ROW, {**ROW, "prompt": "骂人", "label": "越狱", "source": "red team/夜"}))
    found = sorted(
        p.relative_to(ws.data / "failures").as_posix() for p in ws.data.glob("failures/*/*")
    )
    assert found[1] == "privacy/unknown.jsonl"
    assert found[0].startswith("jailbreak/red-team-夜-")
    buckets.write(ws.data / "failures", [("privacy", None, "{}")])
    assert [p.name for p in ws.data.glob("failures/*/*")] == ["unknown.jsonl"]
    assert buckets.file_name("../../etc/passwd").count("/") == 0
    assert buckets.file_name("unknown") != buckets.file_name(None)


def test_summary_retention_keeps_no_text_and_no_plain_hash(ws: Workspace) -> None:
    (ws.policies / "redaction.yaml").write_text("retention: {privacy: summary}\n")
    row = {
        **ROW,
        "context": [{"role": "system", "content": "机密"}],
        "meta": {"case": "c1", "reference": "答"},
    }
    take(ws, put(ws, row))
    (kept,) = failures(ws)
    assert kept.retention == "summary"
    assert (kept.prompt, kept.bad_answer, kept.context, kept.meta) == (
        None,
        None,
        [],
        {"case": "c1"},
    )
    assert kept.prompt_hmac
    assert kept.tags == ["zh"]
    text = (ws.data / "failures.jsonl").read_text(encoding="utf-8")
    assert "482913" not in text
    assert "管理员" not in text
    assert take(ws, "inbox/raw.jsonl")["new"] == 0


def test_audit_and_lineage_name_the_file_by_keyed_hash_only(ws: Workspace) -> None:
    data = take(ws, put(ws, ROW))
    (event,) = ledger.events(ws, "intake")
    assert event["data"]["run"] == data["run_id"]
    assert (event["data"]["new"], event["data"]["quarantined"]) == (1, 0)
    record = json.dumps(past.get_run(ws, data["run_id"]))
    assert jsonl.digest_file(ws.inbox / "raw.jsonl") not in record
    assert audit.verify(ws) == []


def test_too_much_quarantine_is_not_accepted(ws: Workspace) -> None:
    config = stage.Config(
        args=[put(ws, ROW, "{x", "{y")], accept=stage.Accept(max_quarantined_share=0.5)
    )
    assert stage.main(ws, config).code == 3


def test_a_failure_is_traced_to_the_run_that_took_it_in(ws: Workspace) -> None:
    data = take(ws, put(ws, ROW))
    (failure,) = failures(ws)
    node = trace(ws, failure.id)

    assert (node.kind, node.data["label"]) == ("failure", "privacy")
    assert [(how, up.id, up.data["stage"]) for how, up in node.up] == [
        ("took in", data["run_id"], "intake")
    ]


def test_taking_the_same_row_in_again_adds_no_second_origin(ws: Workspace) -> None:
    name = put(ws, ROW)
    first = take(ws, name)
    take(ws, name)
    (failure,) = failures(ws)

    assert [up.id for _, up in trace(ws, failure.id).up] == [first["run_id"]]


NAMED = {
    "password": "hunter2x",
    "api_key": "abcd1234efgh",
    "phone": "62345678",
    "accounts": [{"电话": 62345679}],
    "mobile": 13812345678.0,
    "score": 0.5,
    "total": 2000000.0,
    "pages": ["a", "b"],
}


def test_a_field_whose_name_says_what_its_value_is_is_redacted(ws: Workspace) -> None:
    put(ws, {**ROW, "bad_answer": "No.", "meta": NAMED, "tags": ["13912345678"]})
    (ws.policies / "redaction.yaml").write_text("vault: [PHONE, PASSWORD]\n")
    take(ws)
    (row,) = failures(ws)
    kept = json.dumps(row.meta)
    for value in ("hunter2x", "abcd1234efgh", "62345678", "62345679", "13812345678"):
        assert value not in kept, value
    assert row.meta["phone"].startswith("<PHONE:")
    assert (row.meta["score"], row.meta["total"], row.meta["pages"]) == (0.5, 2e6, ["a", "b"])
    assert row.redaction
    assert row.redaction.counts["cn-mobile"] == 2, "tags and meta are counted too"
    assert sum(row.redaction.counts.values()) == 6
    assert "| cn-mobile | 2 |" in (ws.reports / "datasheet.md").read_text(encoding="utf-8")
    rescan = redact_stage.main(ws, redact_stage.Config(rescan=True)).data
    assert (rescan["rows"], rescan["files"]) == (0, {})


def test_a_rescan_sees_such_a_field_where_it_was_kept(ws: Workspace) -> None:
    take(ws, put(ws, ROW))
    row = {"id": "f-1", "meta": {"password": "hunter2x", "mobile": 13812345678.0}}
    jsonl.write(ws.data / "old.jsonl", [row])
    found = redact_stage.main(ws, redact_stage.Config(rescan=True)).data["files"]
    assert sum(found["data/old.jsonl"].values()) >= 2


def test_an_unknown_label_is_told_with_the_known_ones(ws: Workspace) -> None:
    with pytest.raises(BadInput, match="label: not one of jailbreak, "):
        take(ws, put(ws, ROW), label="foo")


def test_a_file_named_for_a_person_is_named_nowhere(ws: Workspace) -> None:
    for folder in ("a", "13812345678"):
        name = f"{folder}/张伟 13912345678.jsonl"
        (ws.inbox / folder).mkdir()
        put(ws, ROW, "{x", name=name)
    take(ws)
    assert len(list((ws.state / "quarantine").iterdir())) == 2
    for path in ws.root.rglob("*"):
        if ws.inbox not in path.parents:
            told = ws.relative(path).encode() + (path.read_bytes() if path.is_file() else b"")
            for word in ("张伟", "13812345678", "13912345678"):
                assert word.encode() not in told, path
    put(ws, ROW, name=name)
    take(ws)
    assert len(list((ws.state / "quarantine").iterdir())) == 1, "a mended file has no quarantine"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("张伟,li@corp.cn,13812345678\nq,w,e\n", "its 3 columns have data for names"),
        ("张伟,13812345678,13812345678\nq,w,e\n", "raw.csv:1: column 2: its name is there twice"),
        ("", "raw.csv: no rows that failed; put the names of the columns in the first line"),
        ("prompt,bad_answer\n", "raw.csv: no rows that failed; put the names of the columns"),
    ],
)
def test_a_spreadsheet_without_names_tells_nothing_of_its_row(
    ws: Workspace, text: str, told: str
) -> None:
    (ws.inbox / "raw.csv").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        take(ws, "inbox/raw.csv", columns={"prompt": "问题", "bad_answer": "回复"})
    assert told in str(caught.value)
    for path in (*ws.state.rglob("*"), *(ws.root / "runs").rglob("*")):
        if path.is_file():
            assert not [word for word in ("张伟", "li@corp.cn", "13812345678")
                        if word.encode() in path.read_bytes()], path  # fmt: skip


def test_two_intakes_at_once_lose_nothing(ws: Workspace) -> None:
    name = put(ws, ROW)
    with ws.alone("intake"), pytest.raises(ErrataError, match="another process writes"):
        take(ws, name)
    assert take(ws, name)["new"] == 1, "the lock ends with whoever held it"


@pytest.mark.parametrize("people", [5, "li.wei", ["li.wei"], {"a": 1}, [["u"]]])
def test_whom_a_row_is_about_is_not_said_by_its_meta(ws: Workspace, people: Any) -> None:
    row = {**ROW, "meta": {"subjects": people}}
    take(ws, put(ws, row, {**row, "source": "online"}))
    (kept,) = failures(ws)
    assert (kept.source, kept.meta) == ("online", {})


def test_hashes_of_people_come_back_with_their_failure(ws: Workspace) -> None:
    take(ws, put(ws, {**ROW, "meta": {"subjects": ["u-0123456789abcdef"]}}))
    assert failures(ws)[0].meta["subjects"] == ["u-0123456789abcdef"]


def test_a_summary_keeps_the_name_of_a_case_and_nobodys_number(ws: Workspace) -> None:
    (ws.policies / "redaction.yaml").write_text("retention: {privacy: summary}\n")
    cases = ["atk-12", "Li Wei called", "13812345678"]
    rows = [{**ROW, "prompt": f"q{n}", "meta": {"case": case}} for n, case in enumerate(cases)]
    take(ws, put(ws, *rows))
    assert [row.meta for row in failures(ws)] == [{"case": "atk-12"}, {}, {}]


NAMES = ["a.csv", "a.csv.jsonl", "l" * 244 + ".ndjson", "b\udcff.jsonl"]


def test_bad_rows_of_every_file_are_noted_whatever_it_is_called(ws: Workspace) -> None:
    for name in NAMES:
        text = "prompt,bad_answer,label\nq,b,other\nx,y,z,more\n"
        if not name.endswith("csv"):
            text = json.dumps({**ROW, "prompt": name[:3]}, ensure_ascii=True) + "\nbad\n"
        text = text.replace("\\udcff", "")
        (ws.inbox / name).write_text(text)
    assert take(ws)["quarantined"] == len(NAMES)
    notes = [row for path in (ws.state / "quarantine").iterdir() for _, row in jsonl.rows(path)]
    assert len({row["file"] for row in notes}) == len(NAMES)


def test_a_full_disk_is_told_as_one(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bool:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("errata.intake.gather.Gathered.add", full)
    with pytest.raises(ErrataError, match=r"cache: .*full; nothing was taken in: free some space"):
        take(ws, put(ws, ROW))


def test_a_quote_that_nobody_closes_costs_its_own_line(ws: Workspace) -> None:
    table = 'prompt,bad_answer,label\nq1,b,other\nq2,"open,other\nq3,b,other\nq4,"a\nb",other\n'
    table += 'q5,"a\nb" x,other\nq6,b,other\n'
    (ws.inbox / "t.csv").write_text(table)
    told = take(ws)
    assert [row.prompt for row in failures(ws)] == ["q1", "q3", "q4", "q6"]
    notes = [row["line"] for _, row in jsonl.rows(ws.state / "quarantine" / "t.csv.jsonl")]
    assert (told["quarantined"], notes) == (3, [3, 7, 8])


def test_what_is_not_read_is_told(ws: Workspace) -> None:
    put(ws, ROW)
    (ws.inbox / "tickets.xlsx").write_bytes(b"PK")
    (ws.inbox / "13812345678.txt").write_text("x")
    (ws.inbox / "gone.jsonl").symlink_to("nowhere")
    (ws.inbox / "_SUCCESS").touch()
    outcome = stage.main(ws, stage.Config())
    assert outcome.data["unread"] == 3
    assert "inbox/gone.jsonl, inbox/tickets.xlsx" in outcome.text
    assert "13812345678" not in outcome.text
