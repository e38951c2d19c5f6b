"""Rules of a team's own: held to their examples, linear in time, walled like ours, in the hash."""

from __future__ import annotations

import builtins
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.errors import BadInput
from errata.intake.redact import Policy, load_policy, redact
from errata.workspace import Workspace

KEY = b"k" * 32
TICKET = {
    "id": "ticket",
    "tag": "TICKET",
    "pattern": "TK-(?P<value>[0-9]{6})",
    "catches": ["ticket TK-⟦482913⟧", "工单TK-⟦482913⟧已关闭", "TK-123456"],
    "spares": ["TK-12", "TK-ABCDEF"],
}


def policy(**more: Any) -> dict[str, Any]:
    return {"rules": [{**TICKET, **more}]}


def test_a_rule_of_the_policy_replaces_its_value() -> None:
    done = redact("工单TK-482913，电话13812345678。TK-482913", policy(), key=KEY)
    names = [found.rule for found in done.findings]
    assert names == ["ticket", "cn-mobile", "ticket"]
    assert done.text.count("TK-<TICKET:") == 2
    assert "482913" not in done.text


def test_it_is_in_the_hash_of_the_policy_and_can_be_switched_off() -> None:
    hashes = {Policy().hash, *(Policy.model_validate(policy(**more)).hash for more in (
        {}, {"pattern": "TK-(?P<value>[0-9]{6,7})"}, {"tag": "CASE"}))}  # fmt: skip
    assert len(hashes) == 4
    assert redact("TK-482913", {**policy(), "off": ["ticket"]}, key=KEY).findings == []


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"catches": ["TK-⟦12⟧"]}, r"rule `ticket`: must catch \['12'\] in `TK-12`, finds \[\]"),
        ({"catches": ["⟦TK-482913⟧"]}, "must catch"),
        ({"spares": ["TK-482913"]}, "must spare `TK-482913`, finds"),
        ({"pattern": "TK-(?=[0-9])"}, "no look-around"),
        ({"pattern": "("}, "pattern"),
        ({"tag": "ticket"}, "write capitals"),
        ({"id": "email"}, "there is one of this id"),
    ],
)
def test_a_rule_that_does_not_hold_is_refused_in_one_line(more: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told) as refused:
        redact("x", policy(**more), key=KEY)
    assert "\n" not in str(refused.value)


def test_the_workspace_refuses_it_when_the_policy_is_read(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "redaction.yaml").write_text(
        "rules:\n  - id: a\n    tag: CASE\n    pattern: 'C[0-9]+'\n    catches: [D1]\n    spares: [C]\n"
    )
    with pytest.raises(BadInput, match=r"policies/redaction.yaml: rule `a`: must catch something"):
        load_policy(Workspace(tmp_path))


def test_without_re2_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name == "re2":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadInput, match=r"pip install 'errata\[fast\]'"):
        redact("x", policy(pattern="TK-(?P<value>[0-9]{6}) ?"), key=KEY)


@pytest.mark.parametrize("bomb", [r"(a+)+$", r"(a|aa)+$", r"(a*)*b", r"(?:a?){50}a{50}$"])
def test_a_regex_bomb_does_not_hang(bomb: str) -> None:
    given_ = policy(pattern=bomb, catches=["x" + "a" * 60 + "b" if bomb[-1] == "b" else "a" * 60],
                    spares=["ccc"])  # fmt: skip
    began = time.process_time()
    redact("a" * 50_000 + "!", given_, key=KEY)
    assert time.process_time() - began < 5


WIDE = Policy.model_validate(
    {
        "rules": [
            {"id": "any", "tag": "ANY", "pattern": "[xyz].*", "catches": ["x1"], "spares": ["a"]},
            {"id": "end", "tag": "END", "pattern": "^q+$", "catches": ["qq"], "spares": ["a"]},
        ]
    }
)
TEXTS = st.lists(
    st.one_of(st.sampled_from(["x", "q", "13812345678", "foo@b.io", "\n", "密码是abc123", "\u200b", " "]),
              st.text(max_size=3)), max_size=8)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(TEXTS.map("".join))
def test_greedy_rules_of_a_team_are_idempotent_too(text: str) -> None:
    once = redact(text, WIDE, key=KEY)
    assert redact(once.text, WIDE, key=KEY) == (once.text, [])


def test_our_own_rules_give_the_same_without_re2() -> None:
    """A process in which google-re2 cannot be imported finds the same spans."""
    code = (
        "import sys; {}; from errata.intake.redact import apply; from errata.intake.rules import "
        "RULES; print([[tuple(f) for f in apply(e, RULES, b'k').findings] "
        "for r in RULES for e in (*r.catches, *r.spares)])"
    )
    outs = [
        subprocess.run(
            [sys.executable, "-c", code.format(how)], capture_output=True, check=True
        ).stdout
        for how in ("import re2", "sys.modules['re2'] = None")
    ]
    assert outs[0] == outs[1]
    assert outs[0].count(b"(") > 100
