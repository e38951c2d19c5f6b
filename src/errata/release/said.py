"""What only people can say of a model: policies/model-card.yaml. A card with a gap is not written.

`parts` are what the model was made with, each with its licence: the base's as people say it, or as
the README beside its weights does; the data's by source (configs/intake.yaml), else the
datasheet's; the teacher's where its answers are among the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from errata import candidates
from errata import config as configs
from errata.config import Section
from errata.errors import BadInput
from errata.intake import consent, human
from errata.records import Candidate
from errata.release import licences, trained
from errata.release.licences import Part, Ruling, Use
from errata.release.trained import File
from errata.workspace import Workspace

FILE = "policies/model-card.yaml"


class Said(Section):
    """The file; an empty field is one that nobody answers for."""

    name: str = Field(default="", description="the model's public name; empty: its run")
    contact: str = Field(default="", description="who answers for the model, and how to reach them")
    licence: str = Field(default="", description="of the model, such as apache-2.0 or proprietary")
    use: Use | None = Field(default=None, description="commercial, non-commercial or research")
    intended_use: str = Field(default="", description="what it is for, and for whom")
    out_of_scope: str = Field(default="", description="what it must not be used for")
    base_licence: str = Field(default="", description="of the base; empty: its README says it")
    teacher_terms: str = Field(
        default="", description="licence or terms of a teacher, if one wrote"
    )
    permissions: dict[str, str] = Field(
        default={}, description="part, such as `teacher openai` → why it is fine all the same"
    )

    def called(self, candidate: Candidate) -> str:
        """The public name, else the run's, else the base's."""
        return self.name.strip() or candidate.run_id or candidate.base


MEANS = {
    "name": "public name / 公开名称",
    "contact": "contact / 联系人",
    "licence": "licence / 许可",
    "use": "use / 用途类别",
    "intended_use": "intended use / 预期用途",
    "out_of_scope": "out of scope / 禁止用途",
    "base_licence": "licence of the base / 基座许可",
    "teacher_terms": "terms of the teacher / 教师模型条款",
}
_ALWAYS = ("contact", "licence", "use", "intended_use", "out_of_scope")


def load(ws: Workspace) -> Said:
    """The workspace's; all empty without the file. BadInput for a field that there is not."""
    path = ws.root / FILE
    return configs.load(path, Said, name=FILE) if path.is_file() else Said()


def missing(ws: Workspace, candidate: Candidate, files: Sequence[File]) -> list[str]:
    """Fields nobody filled in that this candidate's card needs, each as `file: field`."""
    told = load(ws)
    found = [f"{FILE}: {name}" for name in _ALWAYS if not str(getattr(told, name) or "").strip()]
    if not base_licence(ws, candidate, told):
        found.append(f"{FILE}: base_licence")
    taught = any(row.origin == "teacher" for row in trained.rows(files))
    if taught and not told.teacher_terms.strip():
        found.append(f"{FILE}: teacher_terms")
    if files:
        found += [f"{human.FILE}: {name}" for name in human.load(ws).missing]
    return found


def base_licence(ws: Workspace, candidate: Candidate, told: Said) -> str:
    """As people say it, else as the base's own card has it; "" where neither does."""
    return told.base_licence.strip() or _beside(ws, trained.first_base(ws, candidate))


def _beside(ws: Workspace, base: str) -> str:
    """What the card beside a base's weights says."""
    own = candidates.TINY.parent / "CARD.md"
    return _from_card(own if base == "tiny" else ws.path(base) / "README.md")


def front_matter(path: Path) -> dict[str, Any]:
    """The metadata at the head of a card in Hugging Face's form; {} where it cannot be read."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    head, _, rest = text.partition("---\n")
    try:
        told = {} if head.strip() else configs.parse(rest.partition("\n---")[0], path.name)
    except BadInput:
        return {}
    return told if isinstance(told, dict) else {}


def _from_card(path: Path) -> str:
    """`license` of the metadata at the head of a model card."""
    told = front_matter(path)
    found = told.get("license")
    return str((told.get("license_name") if found == "other" else found) or "")


def parts(ws: Workspace, candidate: Candidate, files: Sequence[File], told: Said) -> Iterator[Part]:
    """All that the model was made with."""
    base = trained.first_base(ws, candidate)
    said_of, beside = base_licence(ws, candidate, told), _beside(ws, base)
    yield Part("base", base, said_of)
    if beside and licences.plain(beside) != licences.plain(said_of):
        yield Part("base", base, beside)  # what people say does not hide what its own card says
    sources, of_data = consent.declared(ws), human.load(ws).licence
    rows = [(consent.kind(row.source), row.origin) for row in trained.rows(files)]
    for name in sorted({kind for kind, _ in rows}):
        source = sources.get(name)
        yield Part("data", name, (source.licence if source else "") or of_data)
    if any(origin == "teacher" for _, origin in rows):
        yield Part("teacher", licences.plain(told.teacher_terms), told.teacher_terms)


def rulings(ws: Workspace, candidate: Candidate, files: Sequence[File]) -> list[Ruling]:
    """What the licences of all parts make of this model's."""
    told = load(ws)
    made_with = parts(ws, candidate, files, told)
    use = told.use or "commercial"
    return licences.rulings(told.licence, use, told.called(candidate), made_with, told.permissions)
