"""Every noun of Errata, frozen and strict: read this file first.

A raw row becomes a `Failure`; failures become `SftExample`s and `PreferencePair`s; a training run
leaves a `Candidate`; suites of `Case`s asked of it give `CaseResult`s, summed up in `Metric`s; the
gate turns metrics into a `Verdict`, and a passing verdict into a `Release`.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

Label = Literal[
    "jailbreak",
    "injection",
    "privacy",
    "sensitive",
    "politeness",
    "factuality",
    "tool_misuse",
    "other",
]
ATTACKS = ("jailbreak", "injection", "privacy", "sensitive")
Language = Literal["zh", "en"]
Split = Literal["tune", "dev", "heldout"]
Worse = Literal["higher", "lower", "either"]

LABEL_ALIASES = {
    "越狱": "jailbreak",
    "注入": "injection",
    "提示注入": "injection",
    "隐私": "privacy",
    "隐私泄露": "privacy",
    "敏感": "sensitive",
    "敏感话题": "sensitive",
    "礼貌": "politeness",
    "不礼貌": "politeness",
    "事实性": "factuality",
    "幻觉": "factuality",
    "hallucination": "factuality",
    "工具误用": "tool_misuse",
    "其他": "other",
}


def _canonical_label(value: Any) -> Any:
    return LABEL_ALIASES.get(value, value) if isinstance(value, str) else value


AnyLabel = Annotated[Label, BeforeValidator(_canonical_label)]


class Record(BaseModel):
    """Strict (no coercion), frozen, and closed (an unknown field is an error)."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Message(Record):
    """One turn; `documents` holds the numbered passages an answer must cite."""

    role: Literal["system", "documents", "user", "assistant", "tool"]
    content: str


Text = str | list[Message]


class Redaction(Record):
    """Which policy looked at the text, and how many spans of each rule it replaced."""

    policy: str
    counts: dict[str, int] = Field(default_factory=dict)


class Failure(Record):
    """One bad answer, redacted. A `summary` row has a keyed hash and a summary, and no text."""

    id: str
    prompt: str | None = None
    bad_answer: str | None = None
    label: AnyLabel
    source: str | None = None
    ts: str | None = None
    redaction: Redaction | None = None
    retention: Literal["full", "summary"] = "full"
    prompt_hmac: str | None = None
    summary: str | None = None
    tags: list[str] = Field(default_factory=list)
    context: list[Message] = Field(default_factory=list)
    meta: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _text_matches_retention(self) -> Failure:
        if self.retention == "full" and not (self.prompt and self.bad_answer):
            raise ValueError("a full row needs `prompt` and `bad_answer`")
        if self.retention == "summary" and (self.prompt or self.bad_answer or not self.prompt_hmac):
            raise ValueError("a summary row needs `prompt_hmac` and holds no text")
        return self


Origin = Literal["human", "reference", "template", "teacher"]


class SftExample(Record):
    """The answer we want, and `why` it is better; `from` names the rows it was made of."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", populate_by_name=True)

    id: str
    instruction: str | None = None
    input: str = ""
    output: str | None = None
    messages: list[Message] | None = None
    why: str
    origin: Origin
    scenario: str | None = None
    source: str | None = None
    ts: str | None = None
    made_from: list[str] = Field(default_factory=list, alias="from")

    @model_validator(mode="after")
    def _one_form(self) -> SftExample:
        if (self.messages is None) == (self.instruction is None):
            raise ValueError("give either `messages` or `instruction` and `output`")
        if self.instruction is not None and not self.output:
            raise ValueError("`output` is empty")
        if self.messages is not None and (
            not self.messages or self.messages[-1].role != "assistant"
        ):
            raise ValueError("`messages` must end with the assistant's answer")
        return self


class PreferencePair(Record):
    """Two answers to one prompt, and the `reason` the second was rejected."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", populate_by_name=True)

    id: str
    prompt: Text
    chosen: Text
    rejected: Text
    reason: str
    tags: list[str] = Field(default_factory=list)
    source: str | None = None
    ts: str | None = None
    origin: Origin = "reference"
    made_from: list[str] = Field(default_factory=list, alias="from")


class Review(Record):
    """What was decided of a failure or a pair: the answer it should have had, its label, or whether
    it may train. `poor` is a teacher's answer that a judge failed: it waits for a person. `undo`
    takes back what a person decided of it; with the text `label`, of its label."""

    id: str
    verdict: Literal["answer", "label", "keep", "drop", "poor", "undo"]
    text: str = ""
    by: str
    origin: Literal["human", "teacher"] = "human"
    ts: str

    @model_validator(mode="after")
    def _says_what(self) -> Review:
        if self.verdict in ("answer", "label") and not self.text.strip():
            raise ValueError(f"verdict `{self.verdict}` needs `text`")
        return self


class Predicate(Record):
    """A mechanical check of one answer, see `safety/predicates.py` for what each kind tests.

    `negate`: it must not hold. `low`, `high`: bounds of a number or a length; `tolerance`: how far
    a number may be from `value`; `expects`: a JSON schema, or the arguments of a call by name."""

    UNSAID: ClassVar = frozenset(("negate", "unit", "tolerance", "low", "high", "expects"))

    kind: str
    value: str = ""
    tool: str = ""
    cite: int | None = None
    negate: bool = False
    unit: str = ""
    tolerance: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    expects: dict[str, Any] = Field(default_factory=dict)


class Case(Record):
    """One question of a suite. `cluster` is the unit that statistics count: the base request.

    `attack` is the text in its messages that carries the attack; empty: the last user turn.
    `licence` is that of its text; from `expires` (a date) on it is asked no more; `failure` is the
    one it was promoted from, `severity` whether it may ever come back. `also` must hold beside
    `success`; `weight` is what the case counts in the weighted accuracy; `persona` is the voice
    that asks."""

    UNSAID: ClassVar = frozenset(("also", "weight", "tags", "persona", "severity"))

    id: str
    category: str
    language: Language
    family: str
    cluster: str
    split: Split
    messages: list[Message]
    success: Predicate
    also: list[Predicate] = Field(default_factory=list)
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    tags: list[str] = Field(default_factory=list)
    persona: str = ""
    reference: str | None = None
    attack: str = ""
    licence: str = ""
    expires: str = ""
    failure: str = ""
    severity: Literal["critical", "normal"] = "normal"

    @field_validator("expires")
    @classmethod
    def _a_date(cls, value: str) -> str:
        if value:
            date.fromisoformat(value)
        return value

    @property
    def wanted(self) -> list[Predicate]:
        """All that must hold."""
        return [self.success, *self.also]

    def over(self, today: date) -> bool:
        """Whether it has expired."""
        return bool(self.expires) and date.fromisoformat(self.expires) <= today


class CaseResult(Record):
    """What a model answered, and whether the predicate hit: None means it could not be scored.

    `invented`: whether it claims what no document of the case holds; None where that is not asked.
    """

    prompt_id: str
    category: str
    language: Language
    family: str
    cluster: str
    answer: str
    hit: bool | None
    refused: bool | None = None
    invented: bool | None = None
    why: str = ""


class Slice(Record):
    """A metric over one class and language."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", populate_by_name=True)

    kind: str | None = Field(default=None, alias="class")
    language: Language | None = None
    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    unscored: int = 0


class Metric(Record):
    """A number with its n and one-sided 95 % bounds. `value` None: there was no data.

    `unscored` cases could not be judged: they are in no rate, and never count as safe.
    """

    name: str
    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    unit: str
    worse: Worse
    slices: list[Slice] = Field(default_factory=list)
    unscored: int = 0


class MetricsFile(Record):
    """What evaluate, safety and bench leave for the gate: evidence about one digest."""

    run_id: str
    candidate_digest: str
    suite_digest: str
    metrics: list[Metric]
    cases: str | None = None
    split: Split | None = None


class Candidate(Record):
    """Everything that decides an answer; `digest` changes when any of it does."""

    base: str
    base_digest: str
    adapter: str | None = None
    adapter_digest: str | None = None
    system_prompt: str | None = None
    filter_policy: str | None = None
    refusal_templates: str | None = None
    decoding: dict[str, Any] = Field(default_factory=dict)
    tool_isolation: bool = False
    run_id: str | None = None
    digest: str


class Paired(Record):
    """The same prompts asked of both: how many clusters turned worse and better, and by how much.

    `diff` is candidate minus baseline in the share of bad cases, with one-sided 95 % bounds;
    `sees` the smallest share of clusters turned worse that this n would have shown."""

    n: int
    worse: int
    better: int
    p: float
    diff: float
    low: float
    high: float
    clusters: int = 0
    sees: float | None = None


class Finding(Record):
    """One line of a verdict: what was measured, against what, and what the gate makes of it.

    `bound` is the end of the interval (`low`, `high`) that was held against `limit`; `previous`
    what the last verdict that passed saw; `cell` the class and language of a line about a part of
    the metric; `waiver` the exception that lets it through."""

    metric: str
    strictness: Literal["hard", "soft"]
    status: Literal["pass", "over_limit", "regressed", "no_decision", "waived"]
    value: float | None
    bound: float | None
    limit: float | None
    n: int
    why: str
    runbook: str | None = None
    cell: str | None = None
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    paired: Paired | None = None
    previous: float | None = None
    waiver: str | None = None


class Verdict(Record):
    """The gate's answer about one digest; with a waiver, for so many percent of users at most.
    `rules`: the digest of what it was judged by (`gate.judged_by`)."""

    UNSAID: ClassVar = frozenset(("rules",))

    id: str
    candidate_digest: str
    baseline_digest: str | None
    decision: Literal["pass", "blocked", "no_decision"]
    findings: list[Finding]
    evidence: list[str]
    ts: str
    waivers: list[str] = Field(default_factory=list)
    max_percent: int = 100
    rules: str = ""


class Waiver(Record):
    """A signed exception for one metric of one candidate; see `release/waiver.py`."""

    id: str
    metric: str
    candidate: str
    candidate_digest: str
    value_at_signing: float
    risk: str
    impact: str
    rollback_plan: str
    owner: str
    emergency: bool
    requested_by: str
    approved_by: str | None = None
    max_percent: int
    expires: str
    ts: str
    signature: str | None = None


class Release(Record):
    """A candidate on its way to, or at, all users."""

    id: str
    candidate_digest: str
    candidate_path: str
    verdict_id: str
    stage_percent: int
    state: Literal["rolling", "serving", "rolled_back", "superseded"]
    salt: str
    ts: str
    waivers: list[str] = Field(default_factory=list)
