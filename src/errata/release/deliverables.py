"""What a release owes, each with its state and digest: the chapter's deliverables.

Training script, configuration, weights; curves of loss, memory and time. Preference data and the
evaluation; red-team results and the filter policy. The rollback plan and the model card.

`ok`: there, and as the run that wrote it left it. `absent`: not there. `stale`: changed since, or
older than what it is made of, or about another candidate. `fails`: there, and wrong. `elsewhere`:
weights that another machine has; the ledger here knows the run that made them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from errata import candidates, cli, jsonl
from errata.config import load
from errata.errors import BadInput
from errata.intake import human
from errata.language import say
from errata.records import Candidate
from errata.release import again, bom, card, evidence, gate, licences, manifest, said, trained
from errata.release.subject import Subject
from errata.safety.guard import document
from errata.safety.guard.filter import Guard
from errata.store import ledger
from errata.workspace import Workspace

State = Literal["ok", "absent", "stale", "fails", "elsewhere"]
CONFIGS = ("sft", "align/dpo", "align/ppo", "rm", "evaluate", "safety", "gate", "rollout")
PLAN = "policies/rollback.md"
_COMMAND = re.compile(r"`errata (\w+)")


class Line(NamedTuple):
    """One thing looked at: what, how it stands, where it lies, and what to do."""

    name: str
    state: State
    path: str = ""
    digest: str = ""
    said: str = ""


class Look(NamedTuple):
    """What is asked of the ledger again and again."""

    ws: Workspace
    written: dict[str, ledger.Written]
    subject: Subject | None

    @property
    def model(self) -> str:
        return self.subject.name if self.subject else "RUN"

    def file(self, name: str, path: str, step: str, by_run: bool = True) -> Line:
        """A file that must be there and, where a run wrote it, be as that left it."""
        full = self.ws.path(path)
        if not full.exists() or (full.is_file() and not full.stat().st_size):
            return Line(name, "absent", path, "", step)
        digest = jsonl.digest_file(full)
        run = self.written.get(path)
        if by_run and run is None:
            told = say(f"written by no run; {step}", f"不是任何运行写出的；{step}")
            return Line(name, "stale", path, digest, told)
        if by_run and run and evidence.now(self.ws, run.digest) != digest:
            told = say(f"changed since {run.run}; {step}", f"在 {run.run} 之后被改动；{step}")
            return Line(name, "stale", path, digest, told)
        return Line(name, "ok", path, digest)


def all_of(ws: Workspace, subject: Subject | None) -> list[Line]:
    """Every deliverable, in the chapter's order."""
    look = Look(ws, ledger.written(ws), subject)
    return [*_training(look), *_data(look), *_evidence(look), *_policies(look),
            *_card(look)]  # fmt: skip


def _training(look: Look) -> Iterator[Line]:
    yield _compiled(look, look.file("training script", "sft.py", "git checkout -- sft.py", False))
    for name in CONFIGS:
        path = f"configs/{name}.yaml"
        yield look.file(f"config {name}", path, f"git checkout -- {path}", False)
    run_id = _trained_by(look) if look.subject else None
    if look.subject is None or run_id is None:
        for name in ("weights", "curves"):
            yield Line(name, "absent", "", "", "errata sft; errata dpo")
        return
    yield _weights(look.ws, look.subject.candidate)
    stem, step = f"reports/posttrain/{run_id}", f"errata {run_id.split('-')[2]}"
    yield look.file("curves", f"{stem}.md", step, False)  # its page is written anew by later runs
    yield look.file("curves (picture)", f"{stem}.svg", step)


def _trained_by(look: Look) -> str | None:
    """The run that trained the candidate: of an export, the one that it was made of."""
    assert look.subject
    runs = trained.chain(look.ws, look.subject.candidate)
    return next((run for run in runs if run.split("-")[2] != "export"), None)


def _compiled(look: Look, line: Line) -> Line:
    if line.state == "ok":
        try:
            compile(look.ws.path(line.path).read_bytes(), line.path, "exec")
        except SyntaxError as error:
            return line._replace(state="fails", said=f"line {error.lineno}: {error.msg}")
    return line


def _weights(ws: Workspace, candidate: Candidate) -> Line:
    path, digest = candidate.adapter or candidate.base, candidate.adapter_digest
    digest = digest or candidate.base_digest
    if again.elsewhere(ws, candidate):
        told = say(f"on the machine of {candidate.run_id}", f"在 {candidate.run_id} 所在的机器上")
        return Line("weights", "elsewhere", path, digest, told)
    try:
        candidates.verify(ws, candidate)
    except BadInput as error:
        state: State = "fails" if ws.path(path).exists() else "absent"
        return Line("weights", state, path, digest, str(error))
    return Line("weights", "ok", path, digest)


def _data(look: Look) -> Iterator[Line]:
    for name, path in (("SFT data", "data/sft.jsonl"), ("preference data", "data/prefs.jsonl")):
        line = look.file(name, path, "errata build")
        if line.state == "ok" and not _built_from_now(look, line.path):
            told = say("data/failures.jsonl is newer; errata build",
                       "data/failures.jsonl 更新；errata build")  # fmt: skip
            line = line._replace(state="stale", said=told)
        yield line
    line = look.file("datasheet", "reports/datasheet.md", "errata intake; errata build")
    if line.state == "ok" and (missing := human.load(look.ws).missing):
        told = f"{human.FILE}: {', '.join(missing)}: " + say("fill them in", "请填写")
        line = line._replace(state="fails", said=told)
    yield line


def _built_from_now(look: Look, path: str) -> bool:
    """Whether the failures are those that the run read which wrote this file."""
    run = look.written[path].run
    failures = look.ws.path("data/failures.jsonl")
    for event in ledger.events(look.ws, "run"):
        if event["data"]["id"] == run:
            read = {item["path"]: item["digest"] for item in event["data"].get("inputs", [])}
            then = read.get("data/failures.jsonl")
            same = failures.is_file() and jsonl.digest_file(failures) == evidence.now(
                look.ws, then or ""
            )
            return then is None or same
    return False


def _evidence(look: Look) -> Iterator[Line]:
    for name, folder in (("evaluation report", "evaluate"), ("red-team results", "safety")):
        step = f"errata {folder} --model {look.model}"
        if look.subject is None:
            yield Line(name, "absent", f"reports/{folder}/", "", step)
            continue
        found = evidence.collect(look.ws, look.subject.candidate.digest, [f"reports/{folder}"])
        if not found.paths:
            others = list(look.ws.path(f"reports/{folder}").glob("*.json"))
            told = say(f"about other candidates only; {step}", f"仅涉及其他候选；{step}")
            yield Line(name, "stale" if others else "absent", f"reports/{folder}/", "",
                       told if others else step)  # fmt: skip
            continue
        page = look.ws.relative(found.paths[0].with_suffix(".md"))
        line = look.file(name, page, step)
        if line.state == "ok" and (
            wrong := evidence.problems(look.ws, found, gate_config(look.ws).max_age_days)
        ):
            line = line._replace(state="stale", said=f"{wrong[0]}; {step}")
        yield line


def _policies(look: Look) -> Iterator[Line]:
    yield look.file("filter policy", "policies/filter.yaml", "git checkout -- policies/", False)
    step = f"errata safety --model {look.model}"
    line = look.file("filter policy (document)", document.PAGE, step)
    in_force = Guard.of(look.ws).digest
    text = look.ws.path(document.PAGE).read_text(encoding="utf-8") if line.digest else ""
    if line.state == "ok" and in_force not in text:
        told = say(f"policies/filter.yaml was changed since; {step}",
                   f"policies/filter.yaml 此后有改动；{step}")  # fmt: skip
        line = line._replace(state="stale", said=told)
    yield line
    yield look.file(
        "system prompt", "policies/system-prompt.md", "git checkout -- policies/", False
    )
    line = look.file("rollback plan", PLAN, f"git checkout -- {PLAN}", False)
    if line.state == "ok":
        named = set(_COMMAND.findall(look.ws.path(PLAN).read_text(encoding="utf-8")))
        if "rollback" not in named:
            text = say("does not say `errata rollback`", "未写明 `errata rollback`")
            line = line._replace(state="fails", said=text)
        if wrong := sorted(named - set(cli.STAGES)):
            text = say(f"no command `errata {wrong[0]}`", f"没有命令 `errata {wrong[0]}`")
            line = line._replace(state="fails", said=text)
    yield line


def _card(look: Look) -> Iterator[Line]:
    line = look.file("model card", card.PAGE, "errata card")
    if line.state == "ok" and (why := card.outdated(look.ws, look.written[card.PAGE].seq,
                                                    look.subject)):  # fmt: skip
        line = line._replace(state="stale", said=f"{why}; errata card")
    yield line
    yield look.file("bill of materials", bom.PAGE, "errata card")
    yield _signed(look)
    if line.digest and look.subject:
        yield _licences(look.ws, look.subject.candidate)


def _signed(look: Look) -> Line:
    """Whether every byte that was signed with the card is as it was."""
    line = look.file("signed manifest", manifest.PAGE, "errata card")
    if line.state != "ok":
        return line
    try:
        candidate = look.subject.candidate if look.subject else None
        if candidate is not None and again.elsewhere(look.ws, candidate):
            return line._replace(state="elsewhere")
        wrong = next(manifest.problems(look.ws, candidate), "")
    except BadInput as error:
        wrong = str(error)
    return line._replace(state="fails", said=f"{wrong}; errata card verify") if wrong else line


def _licences(ws: Workspace, candidate: Candidate) -> Line:
    open_ = [one for one in said.rulings(ws, candidate, trained.files(ws, candidate))
             if one.level in licences.OPEN]  # fmt: skip
    if not open_:
        return Line("licences", "ok", said.FILE)
    first = open_[0]
    return Line("licences", "fails", said.FILE, "", f"{first.part.id}: {first.text}")


def gate_config(ws: Workspace) -> gate.Config:
    """configs/gate.yaml as the gate reads it."""
    path = ws.configs / "gate.yaml"
    return load(path if path.is_file() else None, gate.Config, name="configs/gate.yaml")
