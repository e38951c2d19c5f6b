"""`errata export`: a candidate in the form that is served, as a candidate of its own.

The adapter is merged in float32 and the result re-checked against base + adapter on real prompts
before anything is kept; then it is quantised or written as GGUF. What survives of the fine-tune is
measured (retention.py), and the export has to earn its gates under its own digest.
"""

from __future__ import annotations

import gc
import shutil
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field, field_validator

from errata import candidates, jsonl
from errata.config import Section, hint
from errata.errors import BadInput, Blocked
from errata.evaluate.stage import evaluated
from errata.export import adapter as apart
from errata.export import artifact, exam, gguf, merge, pages, quantise, retention, size
from errata.language import say
from errata.outcome import Outcome
from errata.records import Candidate, CaseResult
from errata.release.trained import config_of
from errata.store import past
from errata.store.runs import Run
from errata.text import user_text
from errata.train.accept import ask, judge
from errata.train.model import load, with_adapter
from errata.train.packing import Encoded
from errata.train.settings import Bound
from errata.workspace import Workspace

KEPT = {"system_prompt", "filter_policy", "refusal_templates", "decoding", "tool_isolation"}


class Config(Section):
    """What is exported, how, and what must be reached."""

    inputs: list[str] = Field([], description="files this stage needs; all must be there")
    outputs: list[str] = Field([], description="files this stage must leave; {run_id} is filled in")
    accept: dict[str, Bound] = Field({}, description="measure → {min, max}; a miss is exit 3")
    model: str = Field(
        "", description="run id, manifest, path or name; empty: what serves, else tiny"
    )
    format: str = Field("bf16", description=f"one of {', '.join(size.BYTES)}")
    merge: bool = Field(True, description="write the adapter into the weights; else it stays apart")
    backend: Literal["auto", "bitsandbytes", "torchao"] = Field(
        "auto", description="who quantises int8 and nf4; auto: bitsandbytes"
    )
    suite: str = Field("suites/business.jsonl", description="dev cases that both are asked")
    cases: int = Field(128, ge=1, description="how many; fewer is quick and unsure")
    prompts: int = Field(16, ge=1, description="of these, whose answers are compared by logits")
    recheck: float = Field(
        0.01,
        gt=0,
        description="nats an answer token the merged weights may differ by; more: exit 3",
    )

    @field_validator("format")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in size.BYTES:
            known = ", ".join(size.BYTES)
            raise ValueError(f"no format `{value}`{hint(value, list(size.BYTES))}; known: {known}")
        return value


class Original(NamedTuple):
    """The source as it answers: base + adapter, in float32."""

    answers: list[CaseResult]
    rows: list[Encoded]
    f: torch.Tensor
    b: torch.Tensor | None  # without its adapter; None where it has none


class Subject(NamedTuple):
    """What is exported."""

    candidate: Candidate
    base: str
    adapter: Path | None
    about: exam.Exam


def subject(ws: Workspace, config: Config, run: Run) -> Subject:
    """What the config names, once it is known that it can be exported so. BadInput, or ErrataError
    for a disk that is too small; nothing is loaded yet."""
    name = config.model
    if name.startswith(candidates.TARGETS):
        raise BadInput(f"{name}: is asked elsewhere and has no weights here: nothing to export")
    found = evaluated(ws, name)
    base, adapter = candidates.verify(ws, found)
    merge.plain_base(base, found.base)
    quantise.backend_of(config.format, config.backend)
    if not config.merge:
        if adapter is None:
            raise BadInput(f"{found.base}: has no adapter to keep apart; leave out merge=false")
        if config.format not in apart.FORMATS:
            raise BadInput(
                f"format={config.format}: an adapter is not quantised, its base is; merge=true, or "
                f"one of {', '.join(apart.FORMATS)}"
            )
    if config.format.startswith("gguf"):
        gguf.ready(_config_of(base).model_type)
    size.check(size.shapes(Path(base) if config.merge else Path(str(adapter))), config.format,
               run.dir)  # fmt: skip
    about = exam.exam(run.input(config.suite, "suite"), found, config.cases)
    if not about.cases:
        raise BadInput(f"{config.suite}: no business case in dev or tune; see errata init")
    return Subject(found, base, adapter, about)


def _config_of(base: str) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(base)


def _loaded(base: str, adapter: Path | None, nf4: bool = False) -> tuple[Any, Any]:
    model, tokenizer = load(base, "float32", nf4=nf4)
    if torch.cuda.is_available() and not getattr(model, "is_quantized", False):
        model.to("cuda")  # bitsandbytes puts its own there by itself
    return (with_adapter(model, adapter, False) if adapter else model).eval(), tokenizer


def original(model: Any, tokenizer: Any, what: Subject, config: Config) -> Original:
    """Ask the source; its own answers are the text that is compared by logits."""
    texts = exam.said(model, tokenizer, what.about)
    rows = exam.scored_text(model, tokenizer, what.about, texts, config.prompts)
    f, b = retention.answer_logprobs(model, rows), None
    if what.adapter is not None:
        with model.disable_adapter():
            b = retention.answer_logprobs(model, rows)
    return Original(exam.results(what.about, texts), rows, f, b)


def compared(model: Any, tokenizer: Any, what: Subject, of: Original) -> dict[str, Any]:
    """The export against its source: distance, what is kept of the fine-tune, right answers."""
    e = retention.answer_logprobs(model, of.rows)
    far = retention.distance(of.f, e)
    kept = retention.kept(of.b, of.f, e) if of.b is not None else None
    ours = exam.results(what.about, exam.said(model, tokenizer, what.about))
    pair = exam.paired(ours, of.answers)
    return {
        "kl": far.mean if far else None,
        "kl_max": far.most if far else None,
        "top1": far.top1 if far else None,
        "retention": kept.retention if kept else None,
        "noise": kept.noise if kept else None,
        "accuracy": exam.accuracy(ours),
        "source_accuracy": exam.accuracy(of.answers),
        "accuracy_drop": pair.diff if pair else None,
        "paired": pair.model_dump() if pair else None,
        "positions": len(of.f),
    }


def trained(ws: Workspace, what: Subject, of: Original) -> retention.Distance | None:
    """From the model that a QLoRA run trained (4-bit base + adapter) to base + adapter, which every
    evaluation asked; None for an adapter that was trained on whole weights."""
    method = config_of(ws, what.candidate.run_id).get("method")
    if method != "qlora" or what.adapter is None:
        return None
    model, _ = _loaded(what.base, what.adapter, nf4=True)
    for part in model.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):
            part.support_avx512bf16_for_cpu = False  # evaluation's kernel; training has another
    return retention.distance(retention.answer_logprobs(model, of.rows), of.f)


def merged(model: Any, what: Subject, of: Original, config: Config) -> tuple[Any, dict[str, Any]]:
    """One model of the format's type, and how far it is from base + adapter. Blocked when that is
    more than `recheck`: nothing is written then."""
    dtype = merge.carrier(config.format, merge.stored_dtype(what.base))
    model = merge.merged(model)
    merge.rounded(model, dtype)
    far = retention.distance(of.f, retention.answer_logprobs(model, of.rows))
    if far is None or not far.mean <= config.recheck:
        told = "no answer to compare by" if far is None else f"{far.mean:.3g} nats a token"
        raise Blocked(
            f"export: merged weights are {told} from base + adapter, {config.recheck:g} allowed; "
            "nothing was written; try format=fp32, or look at the adapter"
        )
    found = {"recheck_kl": far.mean, "recheck_kl_max": far.most, "recheck_top1": far.top1}
    return model.to(dtype), found


def make(
    ws: Workspace, what: Subject, config: Config, part: Path
) -> tuple[dict[str, Any], list[str]]:
    """Write the artifact to `part`; what was measured of it, and what has to be told."""
    backend = quantise.backend_of(config.format, config.backend)
    model, tokenizer = _loaded(what.base, what.adapter)
    of = original(model, tokenizer, what, config)
    found: dict[str, Any] = {}
    if (far := trained(ws, what, of)) is not None:
        found |= {"trained_kl": far.mean, "trained_kl_max": far.most, "trained_top1": far.top1}
    if config.merge:
        model, more = merged(model, what, of, config)
        found |= more
        texts = [user_text(case.messages) for case in what.about.cases]
        notes = artifact.write(part, model.cpu(), tokenizer, config.format, backend, texts)
    else:
        assert what.adapter is not None
        shape = _config_of(what.base)
        notes = apart.write(what.adapter, part, config.format, what.candidate, shape)
    del model
    gc.collect()
    model, tokenizer = _loaded(*((str(part), None) if config.merge else (what.base, part)))
    found |= compared(model, tokenizer, what, of)
    found["bytes"] = size.on_disk(part.iterdir())
    return found, notes


def register(ws: Workspace, run: Run, what: Subject, config: Config, whole: Path) -> Candidate:
    """The manifest of the export, and how it came of its source."""
    kept = what.candidate.model_dump(include=KEPT)
    base, adapter = (str(whole), None) if config.merge else (what.base, whole)
    made = candidates.make(ws, base, adapter, run_id=run.id, **kept)
    jsonl.write_json(run.output(run.dir / "candidate.json"), made)
    run.node(made.digest, "candidate", run=run.id, format=config.format)
    # `started`: the erasure of a row finds what was made of a model, and a trace walks on.
    run.links([(run.id, made.digest, "made"), (what.candidate.digest, run.id, "started")])
    weights = what.candidate.adapter_digest or what.candidate.base_digest
    unfit = [reason for record in past.list_runs(ws) for reason in record["facts"].get("unfit", [])
             if record["facts"].get("weights") == weights]  # fmt: skip
    run.note(
        source=what.candidate.digest,
        candidate_digest=made.digest,
        weights=made.adapter_digest or made.base_digest,
        unfit=unfit,  # what training held against the source's weights blocks the export too
    )
    return made


def main(ws: Workspace, config: Config) -> Outcome:
    """Check, merge, re-check, write, measure; then move it to its place and register it."""
    ask(config.accept, dict.fromkeys(pages.MEASURES, ""))
    with Run(ws, "export", config) as run:
        for path in config.inputs:
            run.input(path)
        artifact.sweep(ws)
        what = subject(ws, config, run)
        part, whole = run.dir / artifact.PART, run.output(run.dir / "artifact", "artifact")
        try:
            found, notes = make(ws, what, config, part)
            part.rename(whole)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        made = register(ws, run, what, config, whole)
        run.note(measures=found, notes=notes, format=config.format)
        page = pages.write(run, what.candidate, made, config.format, found, notes)
        for name in config.outputs:
            if not ws.path(name.format(run_id=run.id)).exists():
                raise BadInput(f"configs: outputs names {name}, which export did not write")
        measured = {name: found.get(name) for name in pages.MEASURES}
        if missed := judge(config.accept, measured):
            raise Blocked(f"export {run.id}: {'; '.join(missed)}; see {ws.relative(page)}")
        text = pages.summary(run.id, config.format, found, notes)
        step = say("next: ", "下一步：") + f"`errata evaluate --model {run.id}`"
        data: dict[str, Any] = {
            "run_id": run.id,
            "candidate_digest": made.digest,
            "format": config.format,
        }
        data |= {"artifact": ws.relative(whole), **found, "notes": notes}
        return Outcome(0, f"{text}\n{ws.relative(page)}\n{step}", data)
