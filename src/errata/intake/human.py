"""What only people can say of the data: policies/datasheet.yaml. The gate asks for all of it."""

from __future__ import annotations

from pydantic import Field

from errata import config as configs
from errata.config import Section
from errata.workspace import Workspace

FILE = "policies/datasheet.yaml"


class Human(Section):
    """The file; an empty field is one that nobody answers for."""

    owner: str = Field(default="", description="who answers for this data, and how to reach them")
    licence: str = Field(default="", description="of the data, such as apache-2.0 or proprietary")
    purpose: str = Field(default="", description="what it may be used for, and what not")
    collected: str = Field(default="", description="how, and what people were told")
    known_gaps: str = Field(default="", description="who and what is missing or wrong in it")

    @property
    def missing(self) -> list[str]:
        """Fields that are empty."""
        return [name for name, value in self if not str(value).strip()]


MEANS = {
    "owner": "who answers for it / 负责人",
    "licence": "licence / 许可",
    "purpose": "purpose / 用途",
    "collected": "how it was collected / 收集方式",
    "known_gaps": "known gaps / 已知缺口",
}


def load(ws: Workspace) -> Human:
    """The workspace's; all empty without the file. BadInput for a field that there is not."""
    path = ws.root / FILE
    return configs.load(path, Human, name=FILE) if path.is_file() else Human()
