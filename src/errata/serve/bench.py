"""`errata bench`: how fast a model answers, and what a number format costs in quality.

TTFT is the time to the first token, TPOT the time of each later one, both of single requests as a
user would see them; throughput is that of a batch. Every format answers the same cases, so the
quality delta is paired. Greedy decoding; one warm-up request that is not counted.
"""

from __future__ import annotations

import statistics
import time
from typing import Literal

from pydantic import Field

from errata import candidates, jsonl, metrics, report
from errata.config import Section
from errata.errors import BadInput
from errata.evaluate.answers import pick, prompt_of
from errata.evaluate.generate import Decoding
from errata.evaluate.stage import close, evaluated
from errata.language import say
from errata.outcome import Outcome
from errata.records import Case, Metric, MetricsFile
from errata.safety import predicates
from errata.serve.engine import Engine
from errata.store.runs import Run
from errata.train.settings import Bound
from errata.workspace import Workspace

Format = Literal["float32", "bfloat16", "float16"]


class Config(Section):
    """What is measured."""

    inputs: list[str] = Field([], description="files this stage needs; all must be there")
    outputs: list[str] = Field([], description="files this stage must leave; {run_id} is filled in")
    accept: dict[str, Bound] = Field({}, description="metric → {min, max}; a miss is exit 3")
    model: str = Field(
        "", description="run id, manifest, path or name; empty: what serves, else tiny"
    )
    suite: str = Field("suites/business.jsonl", description="cases that are asked")
    formats: list[Format] = Field(["float32", "bfloat16"], description="first one: the reference")
    requests: int = Field(40, ge=20, description="single requests timed; a P95 needs at least 20")
    batch: int = Field(32, ge=1, description="rows of the throughput measurement")
    max_new_tokens: int = Field(48, ge=2, description="longest answer")
    price_per_hour: float = Field(0.1, gt=0, description="what an hour of this machine costs")


def measure(
    ws: Workspace, name: str, fmt: Format, cases: list[Case], config: Config
) -> dict[str, float]:
    """One format: milliseconds, tokens a second, and the share of right answers."""
    candidate = evaluated(ws, name)
    base, adapter = candidates.verify(ws, candidate)
    engine = Engine(base, fmt)
    named = None if adapter is None else engine.add(adapter)
    prompts = [prompt_of(candidate, case.messages) for case in cases]
    first, whole = Decoding(max_new_tokens=1), Decoding(max_new_tokens=config.max_new_tokens)
    engine.answer(prompts[:1], named, whole)
    ttft, total, per_token = [], [], []
    for prompt in prompts[: config.requests]:
        began = time.perf_counter()
        engine.answer([prompt], named, first)
        middle = time.perf_counter()
        said = engine.answer([prompt], named, whole)[0]
        ended = time.perf_counter()
        ttft.append(1000 * (middle - began))
        total.append(1000 * (ended - middle))
        count = len(engine.tokenizer(said, add_special_tokens=False)["input_ids"]) + 1
        per_token.append(max(0.0, total[-1] - ttft[-1]) / max(1, count - 1))
    began = time.perf_counter()
    answers = engine.answer(prompts, named, whole)
    seconds = time.perf_counter() - began
    tokens = sum(
        len(engine.tokenizer(a, add_special_tokens=False)["input_ids"]) + 1 for a in answers
    )
    hits = [bool(predicates.check(c, a).hit) for c, a in zip(cases, answers, strict=True)]
    spread = statistics.quantiles(total, n=20)
    return {
        "ttft_ms": statistics.median(ttft),
        "tpot_ms": statistics.median(per_token),
        "p50_ms": statistics.median(total),
        "p95_ms": spread[18],
        "tokens_per_s": tokens / seconds,
        "accuracy": sum(hits) / len(hits),
    }


def main(ws: Workspace, config: Config) -> Outcome:
    """Measure every format, report them side by side, publish the first one's numbers."""
    with Run(ws, "bench", config) as run:
        for path in config.inputs:
            run.input(path)
        candidate = evaluated(ws, config.model)
        asked = [c for c in jsonl.read(run.input(config.suite), Case) if c.category != "lookalike"]
        cases = pick(asked, "dev", None)[: max(config.requests, 128)]
        if len(cases) < config.requests:
            raise BadInput(
                f"{config.suite}: {len(cases)} dev cases, {config.requests} needed; lower requests"
            )
        found = {fmt: measure(ws, config.model, fmt, cases, config) for fmt in config.formats}
        reference = found[config.formats[0]]
        price = config.price_per_hour / 3600 * 1000 / reference["tokens_per_s"]
        published: list[Metric] = [
            metrics.number("bench.p95_ms", reference["p95_ms"], config.requests),
            metrics.number("bench.tokens_per_s", reference["tokens_per_s"], len(cases)),
            metrics.number("bench.cost_per_1k_tokens", price, len(cases)),
        ]
        keys = list(reference)
        rows = [
            [
                fmt,
                *(f"{one[key]:.3g}" for key in keys),
                f"{one['accuracy'] - reference['accuracy']:+.1%}",
            ]
            for fmt, one in found.items()
        ]
        table = report.markdown_table(
            [say("format", "格式"), *keys, say("quality delta", "质量差")], rows
        )
        file = MetricsFile(
            run_id=run.id,
            candidate_digest=candidate.digest,
            suite_digest=jsonl.digest([case.id for case in cases]),
            metrics=published,
        )
        folder = ws.reports / "bench"
        jsonl.write_json(run.output(folder / f"{run.id}.json"), file)
        page = run.output(folder / f"{run.id}.md")
        jsonl.write_text(page, f"# bench · {run.id}\n\n{table}\n")
        run.note(formats=found)
        done = close(ws, config, run, published, "errata gate", ws.relative(page))
        return Outcome(done.code, f"{table}\n{done.text}", {**done.data, "formats": found})
