"""What `errata build` reads, writes and accepts, and its knobs."""

from __future__ import annotations

from pydantic import Field

from errata.build import card, reviews
from errata.build.heldout import FOREIGN
from errata.build.lint_base import Limits
from errata.build.negatives import Negatives
from errata.build.sample import Mix
from errata.build.teacher import Teacher
from errata.config import Section
from errata.evaluate.mtbench import questions
from errata.safety import canary


class Inputs(Section):
    """What build reads."""

    failures: str = Field(default="data/failures.jsonl", description="redacted failures")
    attacks: str = Field(default="suites/attacks.jsonl", description="attack cases")
    business: str = Field(default="suites/business.jsonl", description="business cases")
    more: list[str] = Field(
        default=[FOREIGN], description="suites whose dev and held-out cases no row may hold either"
    )
    mt_bench: str = Field(
        default=questions.FILE, description="two-turn questions: no row may hold any of these"
    )
    reviews: str = Field(default=reviews.FILE, description="answers and verdicts of people")


class Outputs(Section):
    """What build writes."""

    sft: str = Field(default="data/sft.jsonl", description="SFT rows for training")
    prefs: str = Field(default="data/prefs.jsonl", description="preference pairs for training")
    sft_valid: str = Field(default="data/sft.valid.jsonl", description="SFT rows for validation")
    prefs_valid: str = Field(default="data/prefs.valid.jsonl", description="pairs for validation")
    retention: str = Field(default="data/retention.jsonl", description="rows to be kept, untrained")
    canaries: str = Field(default=canary.FILE, description="their secrets, where there are any")
    version: str = Field(default="data/version.json", description="version id and digests")
    report: str = Field(default="reports/data-lint.md", description="what the checks found")
    datasheet: str = Field(default="reports/datasheet.md", description="the data, for people")
    card: str = Field(default=card.CARD, description="the dataset card in Hugging Face's form")


class Accept(Section):
    """Thresholds; a miss is exit 3, the files are written all the same."""

    min_rows: int = Field(default=8, description="SFT rows for training, at least")
    min_pairs: int = Field(default=8, description="preference pairs for training, at least")
    max_dup_share: float = Field(default=0.5, description="share of rows dropped as duplicates")
    max_template_share: float = Field(
        default=0.5, description="share of SFT rows whose answers are one template"
    )


class Config(Section):
    """Knobs of `errata build`."""

    seed: int = Field(default=0, description="decides draws and split")
    replay: int = Field(default=400, description="plain tune questions replayed as SFT rows")
    retention: int = Field(
        default=64, description="plain tune questions kept out of training: forgetting shows there"
    )
    lookalikes: int = Field(default=200, description="harmless look-alikes, as SFT rows and pairs")
    validation: float = Field(default=0.1, description="share of rows for validation, whole groups")
    near_duplicate: float = Field(
        default=0.8, description="Jaccard of 5-grams from which two requests are one group"
    )
    near_failures: float = Field(
        default=0.9, gt=0, le=1,
        description="the same of whole failures, from which only the earliest is built from",
    )  # fmt: skip
    sample: int = Field(
        default=0, ge=0, description="failures built from; 0: as many as the mix allows, else all"
    )
    mix: Mix = Field(default=Mix(), description="shares and caps of the failures")
    verbatim: int = Field(
        default=1, ge=0, description="SFT rows of failures that may teach one answer word by word"
    )
    templates: float = Field(
        default=0.3, ge=0, le=1, description="share of SFT rows whose answers may be templates"
    )
    pairs_each: int = Field(
        default=2, ge=0, description="pairs of failures that one question and its answer may have"
    )
    canaries: int = Field(
        default=0,
        ge=0,
        le=200,
        description="rows with an invented secret: what is learnt by heart?",
    )
    teacher: Teacher = Field(default=Teacher(), description="a larger model that writes answers")
    negatives: Negatives = Field(default=Negatives(), description="answers sampled, and rejected")
    lint: Limits = Field(default=Limits(), description="thresholds of the checks")
    inputs: Inputs = Inputs()
    outputs: Outputs = Outputs()
    accept: Accept = Accept()
