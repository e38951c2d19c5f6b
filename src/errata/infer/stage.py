"""`errata bench`: throughput, latency, memory, size, cost and quality of a model's artifacts.

    errata bench model=RUN formats=[float32,bfloat16]     one model in two number formats
    errata bench model=RUN models=[EXPORT,EXPORT]         beside exported artifacts of it
    errata bench model=NAME endpoint=https://host/v1      a server elsewhere

Each variant is a server process of its own, or a URL, and is asked over HTTP: by so many users at
once (closed loops), and by Poisson's law at shares of what the first variant can do (open loops).
Variants take turns in blocks of time, so that a machine that gets slower slows all of them. The
first is the reference of the quality delta, and what the published numbers are of.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from errata import candidates, jsonl, metrics
from errata.config import Section
from errata.errors import BadInput
from errata.evaluate import answers
from errata.evaluate.stage import close, evaluated
from errata.infer import baseline, load, page, quality
from errata.infer.load import Level
from errata.infer.page import Measured
from errata.infer.quality import Quality
from errata.infer.servers import Server, Variant, up
from errata.infer.timing import LEAST, Sent, Summary, summary
from errata.language import say
from errata.outcome import Outcome
from errata.progress import show_progress
from errata.records import ATTACKS, Case, Metric, MetricsFile
from errata.store import setting
from errata.store.runs import Run
from errata.train.settings import Bound
from errata.workspace import Workspace

Format = Literal["auto", "float32", "bfloat16", "float16"]


class Config(Section):
    """What is measured, and how."""

    inputs: list[str] = Field([], description="files this stage needs; all must be there")
    outputs: list[str] = Field([], description="files this stage must leave; {run_id} is filled in")
    accept: dict[str, Bound] = Field({}, description="metric → {min, max}; a miss is exit 3")
    model: str = Field(
        "", description="run id, manifest, path or name; empty: what serves, else tiny"
    )
    models: list[str] = Field([], description="further artifacts, such as export runs")
    endpoint: str = Field("", description="OpenAI-compatible URL that `model` is asked at")
    key: str = Field("ERRATA_TARGET_KEY", description="environment variable with the URL's key")
    suite: str = Field("suites/business.jsonl", description="cases that are asked")
    attacks: str = Field("suites/attacks.jsonl", description="attacks, for their hits; empty: none")
    formats: list[Format] = Field(
        ["float32", "bfloat16"],
        min_length=1,
        description="of `model` in memory; the first: the reference",
    )
    requests: int = Field(40, ge=20, description="a load and variant; a P95 needs 20, a P99 1,000")
    concurrency: list[int] = Field([1, 4], min_length=1, description="users of the closed loops")
    load: list[float] = Field(
        [0.5, 0.8], description="open loops: shares of the most that the first variant answered"
    )
    rounds: int = Field(2, ge=1, description="blocks of time in which the variants take turns")
    quality: int = Field(64, ge=0, description="business cases of the quality delta; half as many "
                                               "attacks")  # fmt: skip
    max_new_tokens: int = Field(48, ge=2, description="longest answer")
    seconds: float = Field(60, gt=0, description="an answer may take")
    seed: int = Field(0, description="decides which prompts are asked when")
    together: bool = Field(
        True, description="all servers up at once; false: one at a time, where memory is short"
    )
    price_per_hour: float = Field(0.1, gt=0, description="what an hour of this machine costs")
    baseline: str = Field(
        "last", description="bench run that `regression` is held against; last: of this suite"
    )
    regression: dict[str, float] = Field(
        {}, description="number → how many times worse than the baseline is exit 3, such as "
                        "{p95_ms: 1.3}"
    )  # fmt: skip


def variants(ws: Workspace, config: Config) -> list[Variant]:
    """The columns, the reference first. BadInput for one that is named twice or has no server."""
    for name in (config.model, *config.models):
        if name.startswith("python:"):
            raise BadInput(f"bench: {name}: a function has no server; name an endpoint: or a model")
    if config.endpoint:
        name = f"endpoint:{config.endpoint}#{config.model}"
        found = [Variant(config.model, name, evaluated(ws, name), "")]
    else:
        candidate = evaluated(ws, config.model)
        name = config.model or candidate.run_id or candidate.base
        found = [Variant(fmt, name, candidate, fmt) for fmt in config.formats]
    for name in config.models:
        candidate = candidates.resolve(ws, name)
        one = Variant(name, name, candidate, "auto")
        if one.elsewhere:
            one = one._replace(label=name.rpartition("#")[2])
        elif one.unpacked(ws):  # its quality is the file's, its speed is not
            one = one._replace(label=f"{name} (GGUF, {say('unpacked', '已解包')})")
        found.append(one)
    labels = [one.label for one in found]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise BadInput(f"bench: `{twice}` is named twice; name each variant once")
    return found


def prompts(variant: Variant, cases: Sequence[Case], config: Config, block: int) -> list[Any]:
    """What a block asks: as many as its share of `requests`, other cases first in each block, so
    that no server answers from what it remembers of the last one."""
    share = math.ceil(config.requests / config.rounds)
    start = (config.seed + block) * share
    chosen = [cases[(start + place) % len(cases)] for place in range(share)]
    return [[turn.model_dump(include={"role", "content"}) for turn in
             answers.prompt_of(variant.candidate, case.messages)] for case in chosen]  # fmt: skip


class Loads:
    """Blocks of time by variant and level, as they are measured."""

    def __init__(self, found: Sequence[Variant], cases: Sequence[Case], config: Config) -> None:
        self.variants, self.cases, self.config = found, cases, config
        self.blocks: dict[tuple[str, Level], list[list[Sent]]] = {}
        self.cpu: dict[str, tuple[float, int]] = {}
        total = len(found) * config.rounds * (len(config.concurrency) + len(config.load))
        self.show, self.done = show_progress("bench", total), 0

    def block(self, variant: Variant, server: Server, level: Level, number: int) -> None:
        """One variant under one load, for its share of the requests."""
        asked = prompts(variant, self.cases, self.config, number)
        before = server.cpu_seconds()
        if level.at_once:
            found = load.closed(server.target, asked, level.at_once)
        else:
            seed = f"{self.config.seed}:{number}:{level.rate}"
            found = load.opened(server.target, asked, level.rate, seed)
        after = server.cpu_seconds()
        if before is not None and after is not None:
            seconds, tokens = self.cpu.get(variant.label, (0.0, 0))
            tokens += sum(one.tokens for one in found)
            self.cpu[variant.label] = (seconds + after - before, tokens)
        self.blocks.setdefault((variant.label, level), []).append(found)
        self.done += 1
        self.show(self.done)

    def summaries(self, label: str) -> dict[Level, Summary]:
        """Level → what the variant did under it."""
        return {level: summary(blocks, level.rate or None)
                for (name, level), blocks in self.blocks.items() if name == label}  # fmt: skip

    def fastest(self, label: str) -> float:
        """Requests a second that a variant answered at most, in its closed loops."""
        found = self.summaries(label)
        return max(s.achieved for level, s in found.items() if level.at_once)


def loaded(
    ws: Workspace, found: Sequence[Variant], cases: Sequence[Case], config: Config
) -> tuple[Loads, dict[str, float | None]]:
    """Every variant under every load, and its peak memory."""
    loads, peaks = Loads(found, cases, config), dict[str, float | None]()
    groups = [list(found)] if config.together else [[one] for one in found]
    closed = [Level(at_once=n) for n in config.concurrency]
    for group in groups:
        with contextlib.ExitStack() as stack:
            servers = {one.label: stack.enter_context(
                up(ws, one, config.max_new_tokens, config.key, config.seconds))
                for one in group}  # fmt: skip
            for one in group:  # the first answer of a process pays for what it has not touched yet
                load.closed(servers[one.label].target, prompts(one, cases, config, -1)[:2], 1)
            _rounds(loads, group, servers, closed, config.rounds)
            most = loads.fastest(found[0].label)
            opened = [Level(rate=round(share * most, 3)) for share in config.load]
            _rounds(loads, group, servers, opened, config.rounds)
            peaks |= {one.label: servers[one.label].peak_gib() for one in group}
    return loads, peaks


def _rounds(loads: Loads, group: Sequence[Variant], servers: Mapping[str, Server],
            levels: Sequence[Level], rounds: int) -> None:  # fmt: skip
    for number in range(rounds):
        for level in levels:
            turn = number % len(group)
            for one in [*group[turn:], *group[:turn]]:  # each is first in turn
                loads.block(one, servers[one.label], level, number)


def qualities(
    ws: Workspace, found: Sequence[Variant], cases: Sequence[Case], config: Config, run: Run
) -> dict[str, Quality]:
    """What each variant answers, one after another in this process."""
    business = list(cases)[: config.quality]
    attacks: list[Case] = []
    if config.attacks and config.quality:
        asked = jsonl.read(run.input(config.attacks), Case)
        kinds = [case for case in asked if case.category in ATTACKS]
        attacks = answers.pick(kinds, "dev", None)[: config.quality // 2]
    reference, told = None, {}
    for one in found:
        if not config.quality:
            told[one.label] = Quality([], [])
        elif one.elsewhere:
            told[one.label] = quality.asked(ws, one, business, attacks, config.max_new_tokens)
        else:
            told[one.label], reference = quality.measured(
                ws, one, business, attacks, config.max_new_tokens, reference
            )
    return told


def main(ws: Workspace, config: Config) -> Outcome:
    """Measure every variant, report them side by side, publish the numbers of each candidate."""
    with Run(ws, "bench", config) as run:
        for path in config.inputs:
            run.input(path)
        found = variants(ws, config)
        asked = [c for c in jsonl.read(run.input(config.suite), Case) if c.category != "lookalike"]
        cases = answers.pick(asked, "dev", None)[: max(config.requests, config.quality, 128)]
        if len(cases) < min(config.requests, 128):
            raise BadInput(f"{config.suite}: {len(cases)} dev cases, {config.requests} needed; "
                           "lower requests")  # fmt: skip
        loads, peaks = loaded(ws, found, cases, config)
        told = qualities(ws, found, cases, config, run)
        done = [_measured(ws, one, loads, peaks, told, config) for one in found]
        facts = {one.label: numbers(one, config) for one in done}
        machine = {**setting.versions(), "cores": os.cpu_count()}
        run.note(candidate=found[0].candidate.digest, formats=facts, suite=answers.version(cases),
                 machine=machine, rounds=config.rounds, requests=config.requests)  # fmt: skip
        _publish(ws, run, found, done, facts, answers.version(cases))
        return _told(ws, config, run, found, done, facts, machine)


def _measured(ws: Workspace, one: Variant, loads: Loads, peaks: Mapping[str, float | None],
              told: Mapping[str, Quality], config: Config) -> Measured:  # fmt: skip
    levels = loads.summaries(one.label)
    seconds, tokens = loads.cpu.get(one.label, (0.0, 0))
    speed = levels[Level(at_once=max(config.concurrency))].tokens_per_s
    return Measured(
        one.label, levels, told[one.label], one.size(ws), peaks[one.label],
        1000 * seconds / tokens if tokens else None,
        config.price_per_hour / 3600 * 1000 / speed if speed else math.inf,
    )  # fmt: skip


def numbers(one: Measured, config: Config) -> dict[str, Any]:
    """What is kept of a variant: latencies of single requests, the rate of the busiest loop."""
    alone, busiest = (one.levels[Level(at_once=end(config.concurrency))] for end in (min, max))
    accuracy = quality.rate(one.quality.right)[0]
    return {
        "ttft_ms": alone.ttft[50].value, "tpot_ms": alone.tpot[50].value,
        "itl_p95_ms": alone.itl[95].value, **{f"p{q}_ms": alone.latency[q].value for q in LEAST},
        "tokens_per_s": busiest.tokens_per_s, "requests_per_s": busiest.achieved,
        "peak_gib": one.peak_gib, "size_bytes": one.size, "cpu_seconds_per_1k": one.cpu_per_1k,
        "cost_per_1k_tokens": one.price_per_1k, "accuracy": accuracy,
        "hits": quality.rate(one.quality.hits)[0], "kl": one.quality.kl,
    }  # fmt: skip


def _published(one: Measured, facts: Mapping[str, Any], config_alone: Level) -> list[Metric]:
    alone = one.levels[config_alone]
    return [
        metrics.number("bench.p95_ms", facts["p95_ms"], alone.n),
        metrics.number("bench.tokens_per_s", facts["tokens_per_s"], alone.n),
        metrics.number("bench.cost_per_1k_tokens", facts["cost_per_1k_tokens"], alone.n),
    ]


def _publish(ws: Workspace, run: Run, found: Sequence[Variant], done: Sequence[Measured],
             facts: Mapping[str, Any], suite: str) -> None:  # fmt: skip
    """A metrics file for each candidate: what was exported earns its own gates."""
    first: dict[str, Measured] = {}
    for variant, one in zip(found, done, strict=True):
        first.setdefault(variant.candidate.digest, one)
    alone = min((level for level in done[0].levels if level.at_once), key=lambda x: x.at_once)
    for place, (digest, one) in enumerate(first.items()):
        name = f"{run.id}.json" if place == 0 else f"{run.id}.{place}.json"
        file = MetricsFile(run_id=run.id, candidate_digest=digest, suite_digest=suite,
                           metrics=_published(one, facts[one.label], alone))  # fmt: skip
        jsonl.write_json(run.output(ws.reports / "bench" / name), file)
        run.link(digest, run.id, "bench")


def _told(ws: Workspace, config: Config, run: Run, found: Sequence[Variant],
          done: Sequence[Measured], facts: Mapping[str, Any], machine: Mapping[str, Any],
          ) -> Outcome:  # fmt: skip
    busiest = Level(at_once=max(config.concurrency))
    table = page.overview(done, busiest)
    said = page.notes({"machine": f"{machine['machine']}, {machine['cores']} cores",
                       "rounds": config.rounds})  # fmt: skip
    folder = ws.reports / "bench"
    chart = page.draw(run.output(folder / f"{run.id}.svg"), done)
    text = run.output(folder / f"{run.id}.md")
    body = [f"# bench · {run.id}", table, page.latencies(done),
            f"![{say('latency over load', '延迟与负载')}]({chart.name})", said]  # fmt: skip
    jsonl.write_text(text, "\n\n".join(part.strip() for part in body) + "\n")
    baseline.regressed(ws, config, run, facts[found[0].label], machine)
    published = _published(done[0], facts[found[0].label], Level(at_once=min(config.concurrency)))
    end = close(ws, config, run, published, "errata gate", ws.relative(text))
    return Outcome(end.code, f"{table}\n{end.text}", {**end.data, "formats": facts})
