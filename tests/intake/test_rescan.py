"""A changed policy looks at what was kept before, tells it, and changes nothing."""

from __future__ import annotations

import pytest

from errata import jsonl
from errata.build import stage as build
from errata.errors import BadInput
from errata.intake import redact_stage, stage
from errata.privacy import erase
from errata.store import ledger, versions
from errata.store.database import reading
from errata.workspace import Workspace

ROWS = [
    {"prompt": f"How do I close ticket TK-48291{n}?", "bad_answer": "No.", "label": "politeness",
     "meta": {"reference": f"Open it and press close, case {n}."}} for n in range(4)
] + [{"prompt": "怎么退货？", "bad_answer": "不行，滚。", "label": "politeness",
      "meta": {"reference": "可以的，七天内支持退货。"}}]  # fmt: skip
RULE = """rules:
  - id: ticket
    tag: TICKET
    pattern: 'TK-(?P<value>[0-9]{6})'
    catches: ["TK-⟦482913⟧"]
    spares: ["TK-12"]
"""
SUITE = {"id": "b-1", "category": "smalltalk", "language": "en", "family": "f", "cluster": "c",
         "split": "heldout", "messages": [{"role": "user", "content": "hello there my friend"}],
         "success": {"kind": "says", "value": "x"}, "reference": "Hello."}  # fmt: skip
SOURCES = "sources:\n  local: {purpose: [training], consent: made up for tests}\n"


@pytest.fixture
def kept(ws: Workspace) -> Workspace:
    """Five failures, taken in under a policy that knows no tickets and built into a version."""
    (ws.configs / "intake.yaml").write_text(SOURCES, encoding="utf-8")
    jsonl.write(ws.inbox / "rows.jsonl", ROWS)
    for name in ("attacks", "business"):
        jsonl.write(ws.suites / f"{name}.jsonl", [{**SUITE, "id": f"{name}-1"}])
    stage.main(ws, stage.Config(sources={}))
    accept = build.Accept(min_rows=1, min_pairs=1, max_dup_share=1.0, max_template_share=1.0)
    build.main(ws, build.Config(replay=0, lookalikes=0, retention=0, accept=accept))
    return ws


def test_nothing_is_found_under_the_policy_it_was_kept_with(kept: Workspace) -> None:
    done = redact_stage.main(kept, redact_stage.Config(rescan=True))
    assert done.code == 0
    assert done.data["rows_read"] >= 5
    assert (done.data["rows"], done.data["counts"]) == (0, {})


def test_a_new_rule_is_counted_by_rows_and_versions_and_recorded(kept: Workspace) -> None:
    before = (kept.data / "failures.jsonl").read_bytes()
    (kept.policies / "redaction.yaml").write_text(RULE, encoding="utf-8")
    done = redact_stage.main(kept, redact_stage.Config(rescan=True))
    ids = {
        row["id"] for _, row in jsonl.rows(kept.data / "failures.jsonl") if "TK-" in row["prompt"]
    }
    assert len(ids) == 4
    assert ids <= set(done.data["ids"])
    assert done.data["counts"]["ticket"] >= 4
    assert set(done.data["counts"]) == {"ticket"}
    (version,) = done.data["versions"]
    with reading(kept) as connection:
        assert versions.members(connection, version)
    assert "ticket" in done.text
    (event,) = ledger.events(kept, "rescan")
    assert event["data"]["counts"] == done.data["counts"]
    assert (kept.data / "failures.jsonl").read_bytes() == before


def test_a_broken_policy_is_refused_before_anything_is_read(kept: Workspace) -> None:
    (kept.policies / "redaction.yaml").write_text("off: [emial]\n", encoding="utf-8")
    with pytest.raises(BadInput, match="unknown rule"):
        redact_stage.main(kept, redact_stage.Config(rescan=True))


def test_a_file_named_for_a_person_is_found_and_its_name_kept_out_of_the_ledger(kept: Workspace):
    (kept.data / "13812345678.txt").write_text("nothing")
    done = redact_stage.main(kept, redact_stage.Config(rescan=True))
    assert done.data["files"] == {"data/13812345678.txt": {"cn-mobile": 1}}
    assert "13812345678" not in (kept.audit / "ledger.jsonl").read_text(encoding="utf-8")


def test_the_remedy_that_is_told_leaves_nothing_to_find(kept: Workspace) -> None:
    (kept.policies / "redaction.yaml").write_text(RULE, encoding="utf-8")
    done = redact_stage.main(kept, redact_stage.Config(rescan=True))
    assert "errata erase ID… why=policy" in done.text
    erase.main(kept, erase.Config(args=done.data["ids"], why="policy"))
    jsonl.write(kept.inbox / "rows.jsonl", ROWS)
    stage.main(kept, stage.Config(sources={}))
    again = redact_stage.main(kept, redact_stage.Config(rescan=True))
    assert (again.data["rows"], again.data["files"]) == (0, {})
