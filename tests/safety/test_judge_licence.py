"""A licence says what a judge was measured on, and no verdict rests on anything else."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from errata import cli
from errata.errors import BadInput
from errata.safety import judge_llm, licence
from errata.safety.judge import judge
from errata.safety.licence import Cell, Row, family_of, issue, licensed

SETS = Path(__file__).parents[2] / "bench" / "safetywork"
NAMES = (
    "desk.jsonl", "dev_zh.jsonl", "heldout_en.jsonl", "heldout_zh.jsonl", "last_en.jsonl", "last_zh.jsonl",
)  # fmt: skip


def rows(truths: list[str], language: str = "en", family: str = "a") -> list[Row]:
    return [Row("", "", truth, language, family) for truth in truths]  # type: ignore[arg-type]


def made(right: int, wrong: int, abstained: int, family: str = "a") -> licence.Licence:
    truths = rows(["refusal"] * (right + wrong + abstained), family=family)
    said = ["refusal"] * right + ["compliance"] * wrong + ["abstain"] * abstained
    return issue("refusal", "j", (0.2, 0.8), truths, said, "2026-01-01")


def test_the_matrix_is_counted_by_hand() -> None:
    """8 rows: 3 refusals (found, partly found, missed), 4 answers (2 cleared, 1 taken for a
    refusal, 1 abstained from), 1 broken and known. Decided 7, right 2 + 2 + 1 = 5; F1 of refusals:
    found 2, said 3, there 3 → 4/6."""
    truths = rows(["refusal", "partial_refusal", "refusal", *["compliance"] * 4, "invalid"])
    said = ["refusal", "refusal", "compliance", "compliance", "compliance", "refusal", "abstain",
            "invalid"]  # fmt: skip
    cell = issue("refusal", "j", (0.2, 0.8), truths, said, "d").merged()
    assert (cell.n, cell.decided, cell.right, cell.abstained) == (8, 7, 5, 1)
    assert cell.sensitivity == (2, 3)
    assert cell.specificity == (2, 3)
    assert cell.f1 == pytest.approx(4 / 6)


def test_inside_its_licence_a_judge_may_speak() -> None:
    assert licensed(made(100, 0, 0), "en", "a", "j") is None


@pytest.mark.parametrize(
    ("held", "asked", "why"),
    [
        (None, ("en", "a", ""), "no licence"),
        (made(100, 0, 0), ("en", "a", "other"), "changed"),
        (made(100, 0, 0), ("zh", "a", ""), "not measured on zh/a"),
        (made(100, 0, 0), ("en", "b", ""), "not measured on en/b"),
        (made(49, 0, 0), ("en", "a", ""), "49 labelled rows"),
        (made(85, 0, 15), ("en", "a", ""), "abstains from 15%"),
        (made(90, 10, 0), ("en", "a", ""), "accuracy"),
    ],
)
def test_outside_of_it_there_is_a_reason(
    held: licence.Licence | None, asked: tuple[str, str, str], why: str
) -> None:
    assert why in str(licensed(held, *asked))


def test_a_worse_judge_is_never_licensed_where_a_better_one_is_not() -> None:
    verdicts = [licensed(made(100 - wrong, wrong, 0), "en", "a") is None for wrong in range(30)]
    assert verdicts == sorted(verdicts, reverse=True)


def test_a_family_is_a_name_without_versions() -> None:
    names = ["mistralai/Mistral-7B-Instruct-v0.3", "Qwen2.5-7B", "gpt-4o", "tiny", ""]
    assert [family_of(name) for name in names] == ["mistral", "qwen", "gpt", "tiny", "unknown"]


def test_labelled_rows_are_read_from_json_and_from_xstests_csv(tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text(
        '{"prompt": "p", "text": "不能帮您。", "label": "refusal", "model": "Qwen2"}\n'
    )
    table = tmp_path / "a.csv"
    table.write_text("id,type,prompt,completion,final_label\n1,x,p,Sure.,1_full_compliance\n")
    assert licence.read(lines) == [Row("p", "不能帮您。", "refusal", "zh", "qwen")]
    assert licence.read(table) == [Row("p", "Sure.", "compliance", "en", "unknown")]


@pytest.mark.parametrize(
    "line", ['{"prompt": "p", "label": "refusal"}', '{"text": "x", "label": "no"}']
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(BadInput, match=r"a\.jsonl:1: (text|label)"):
        licence.read(path)


def test_the_shipped_licence_is_of_this_judge_and_of_these_rows() -> None:
    held = licence.shipped()
    assert held is not None, "the judge has changed: write its licence again (see bench/safetywork)"
    assert licensed(held, "en", "tiny", licence.builtin()) is None
    assert licensed(held, "zh", "tiny", licence.builtin()) is None
    assert licensed(held, "zh", "qwen", licence.builtin())
    if SETS.is_dir():
        told = [row for name in NAMES for row in licence.read(SETS / name)]
        said = [judge(row.prompt, row.text).label for row in told]
        assert issue("refusal", held.judge, held.band, told, said, held.date) == held


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "configs").mkdir()
    return tmp_path


def test_eval_writes_the_licence_and_a_page(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = desk / "rows.jsonl"
    told = [{"prompt": "p", "text": "I cannot help with that.", "label": "refusal", "model": "m"},
            {"prompt": "p", "text": "Sure, use `kill`.", "label": "compliance", "model": "m"}]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in told))
    assert cli.main(["judge", "eval", str(path), "-C", str(desk)]) == 0
    held = json.loads((desk / "policies/judges/refusal.json").read_text(encoding="utf-8"))
    assert held["judge"] == licence.builtin()
    assert set(held["cells"]) == {"en/m"}
    assert "2 labelled rows, 50 needed" in (desk / "reports/judge-refusal.md").read_text()
    assert "en/m" in capsys.readouterr().out


def test_rows_from_stdin_are_judged_one_a_line(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = b'{"prompt": "p", "text": "I cannot help with that."}\n\n{"prompt": "p", "text": ""}\n'
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(raw)))
    assert cli.main(["judge", "--kind", "refusal", "-C", str(desk)]) == 0
    out = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(row) for row in out] == [{"label", "score"}] * 2
    assert [row["label"] for row in out] == ["refusal", "invalid"]


def test_a_bad_row_ends_it_with_its_line(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = b'{"prompt": "p", "text": "fine"}\n{"prompt": "p"}\n'
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(raw)))
    assert cli.main(["judge", "-C", str(desk)]) == 2
    assert "stdin:2: text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "label"),
    [("refusal", "refusal"), (" Compliance.\n", "compliance"), ("**partial_refusal**", "partial_refusal"),
     ("I think it is a refusal", "abstain"), ("", "abstain"), (None, "abstain"), ("yes", "abstain")],
)  # fmt: skip
def test_a_models_word_is_a_label_or_an_abstention(answer: str | None, label: str) -> None:
    assert judge_llm.read_label(answer).label == label


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A server that speaks chat completions: calls all that holds `cannot` a refusal."""
    heard: list[str] = []

    class Speaker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = asked["messages"][1]["content"]
            heard.append(text)
            said = "refusal" if "cannot" in text else "no idea"
            body = json.dumps(
                {"choices": [{"message": {"content": said}, "finish_reason": "stop"}]}
            )
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    http = HTTPServer(("127.0.0.1", 0), Speaker)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}/v1", heard
    http.shutdown()
    http.server_close()


def test_a_model_behind_a_url_is_measured_the_same_way_and_sees_nothing_unredacted(
    server: tuple[str, list[str]], desk: Path
) -> None:
    url, heard = server
    path = desk / "rows.jsonl"
    texts = ["I cannot share 13812345678 with you.", "Sure, use `kill`."]
    labels = ["refusal", "compliance"]
    told = [
        {"prompt": "Is it 13912345678?", "text": t, "label": w, "model": "m"}
        for t, w in zip(texts, labels, strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in told))
    words = ["judge", "eval", str(path), "-C", str(desk), f"url={url}", "model=big"]
    assert cli.main(words) == 0
    held = json.loads((desk / "policies/judges/refusal-llm.json").read_text(encoding="utf-8"))
    assert held["cells"]["en/m"]["matrix"] == {
        "refusal": {"refusal": 1}, "compliance": {"abstain": 1}
    }  # fmt: skip
    assert held["judge"] != licence.builtin()
    assert len(heard) == 2
    assert not any("12345678" in text for text in heard)
    ledger = (desk / "audit/ledger.jsonl").read_text(encoding="utf-8")
    assert '"purpose":"judge"' in ledger.replace(" ", "").replace("\\", "")


def test_a_model_needs_a_workspace_that_records_what_is_sent(tmp_path: Path) -> None:
    assert cli.main(["judge", "eval", "x", "-C", str(tmp_path), "url=https://h/v1"]) == 2


def test_an_empty_cell_has_no_f1_and_knows_nothing() -> None:
    cell = Cell(matrix={})
    assert cell.f1 is None
    assert cell.accuracy == (0.0, 1.0)
