"""Sampled answers: held against their documents, logged redacted, read by the shadow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.gateway.conftest import Running, Upstream, until

from errata import jsonl
from errata.intake import stage as intake
from errata.records import Failure
from errata.release import quality
from errata.workspace import Workspace

Gate = Callable[..., Running]
DOCUMENTS = [{"role": "documents", "content": "[1] The jade kettle costs 42 yuan."},
             {"role": "user", "content": "How much is the jade kettle?"}]  # fmt: skip


def asked(running: Running, messages: list[dict[str, Any]]) -> None:
    said = running.client.chat.completions.create(
        model="errata",
        messages=messages,  # type: ignore[arg-type]
        user="li",
    )
    assert said.choices[0].message.content


@pytest.mark.parametrize(
    ("answer", "bad"),
    [("The jade kettle costs 42 yuan [1].", False), ("The jade kettle costs 77 yuan [1].", True)],
)
def test_a_claim_that_no_document_holds_is_judged_bad_and_comes_home(
    gate: Gate, upstream: Callable[..., Upstream], ws: Workspace, answer: str, bad: bool
):
    running = gate(upstream(lambda _: answer), log_share=1.0, name="g")
    asked(running, DOCUMENTS)
    (judged,) = [row for row in running.rows(2) if row.kind == "judged"]
    assert judged.flags == {"judged_bad": bad}
    assert judged.failed is None
    home = ws.inbox / "live-base-g.jsonl"
    if not bad:
        running.stop()
        assert not home.exists()
        return
    until(home.exists)
    intake.main(ws, intake.Config(args=[str(home)], source="live:base"))
    (failure,) = jsonl.read(ws.data / "failures.jsonl", Failure)
    assert failure.label == "factuality"
    assert failure.meta
    assert failure.meta["why"] == "claims what no document holds"


def test_without_documents_nothing_is_judged(gate: Gate):
    running = gate(log_share=1.0)
    running.ask()
    running.stop()
    assert [row.kind for row in running.rows(1)] == ["answer"]


def test_the_shadow_reads_what_the_gateway_logged(gate: Gate, ws: Workspace):
    running = gate(log_share=1.0)
    asked(running, [{"role": "user", "content": "Call me at 13812345678: is the lamp red?"}])
    running.stop()
    (sample,) = quality.log(ws)
    assert sample.release == "base"
    assert sample.prompt[-1].role == "user"
    assert "13812345678" not in sample.prompt[-1].content
    assert sample.answer == "It costs 42 yuan."
