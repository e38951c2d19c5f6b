"""Runs: what each read, wrote and reached; curves side by side; a training started and stopped."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from errata import candidates, jsonl
from errata.errors import BadInput
from errata.language import say
from errata.release.evidence import Pair, collect, pairs
from errata.store import past
from errata.store.setting import flat
from errata.web import jobs
from errata.web import panel as knobs
from errata.web.desk import Desk
from errata.web.pages.went import Form, Went
from errata.web.view import hidden, page, whole_number

PAGE = 40
SHOWN = 12  # answers before and after
MOST = 4  # runs side by side
MEASURED = ("safety.attack_hit_rate", "evaluate.accuracy")  # whose cases are shown side by side
ROOMS = ("reports/evaluate", "reports/safety")


def listed(desk: Desk, request: Request) -> Response:
    """`/runs`: the newest first, by stage."""
    told = request.query_params
    every = past.list_runs(desk.ws)[::-1]
    stages = sorted({run["stage"] for run in every})
    stage = told.get("stage", "")
    fits = [run for run in every if stage in ("", run["stage"])]
    number = whole_number(told.get("page", ""), 1)
    pages = max(1, -(-len(fits) // PAGE))
    number = min(max(1, number), pages)
    return page(request, "runs.html", runs=fits[(number - 1) * PAGE : number * PAGE], stage=stage,
                stages=stages, page=number, pages=pages, total=len(fits),
                training=jobs.STAGES)  # fmt: skip


def one(desk: Desk, request: Request) -> Response:
    """`/runs/ID`."""
    run = past.get_run(desk.ws, request.path_params["id"])
    samples = hidden(desk.ws, [f"{row[1]}\n→ {row[2]}" for row in _samples(run)][:SHOWN])
    return page(request, "run.html", run=run, config=flat(run["config"]), facts=_facts(run),
                going=jobs.progress(desk.ws, run["id"]), samples=samples,
                compared="candidate_digest" in run["facts"], report=_report(desk, run),
                drawn=_drawn(desk, run))  # fmt: skip


def answers(desk: Desk, request: Request) -> Response:
    """`/runs/ID/answers`: what turned; asked for by its page, for it reads many cases."""
    run = past.get_run(desk.ws, request.path_params["id"])
    return page(request, "part_answers.html", answers=_answers(desk, run))


def live(desk: Desk, request: Request) -> Response:
    """`/runs/ID/live`: its curves and how far it is."""
    run = past.get_run(desk.ws, request.path_params["id"])
    return page(request, "part_live.html", run=run, going=jobs.progress(desk.ws, run["id"]))


def _samples(run: dict[str, Any]) -> list[list[Any]]:
    found = run["facts"].get("samples")
    return [row for row in found if isinstance(row, list) and len(row) > 2] if found else []


def _facts(run: dict[str, Any]) -> dict[str, Any]:
    """Single numbers and words that a run noted of itself."""
    told = flat({name: value for name, value in run["facts"].items()
                 if name not in ("pages", "samples")})  # fmt: skip
    return {name: value for name, value in told.items()
            if value is None or isinstance(value, (int, float, str, bool))}  # fmt: skip


def _drawn(desk: Desk, run: dict[str, Any]) -> str:
    """The picture that a training left, where it left no points to draw."""
    name = f"posttrain/{run['id']}.svg"
    points = (desk.ws.runs / run["id"] / jobs.PROGRESS).is_file()
    return name if not points and (desk.ws.reports / name).is_file() else ""


def _report(desk: Desk, run: dict[str, Any]) -> str:
    """The page that the run wrote about itself, if any."""
    names = [file["path"] for file in run["outputs"] if file["path"].endswith(".md")]
    training = f"reports/posttrain/{run['id']}.md"
    names += [training] if desk.ws.path(training).is_file() else []
    return next((name for name in names if run["id"] in name), "")


def _answers(desk: Desk, run: dict[str, Any]) -> list[tuple[str, list[tuple[Pair, str, str]]]]:
    """Held-out answers that turned, of the run's candidate and of what it started from."""
    mine, start = run["facts"].get("candidate_digest"), run["facts"].get("start")
    if not mine or not start:
        return []
    ws, out = desk.ws, []
    ours, theirs = collect(ws, mine, ROOMS), collect(ws, start, ROOMS)
    if not ours.metrics or not theirs.metrics:
        base = candidates.resolve(ws, "tiny").digest
        theirs = collect(ws, base, ROOMS)
    for metric in MEASURED:
        turned = [pair for pair in pairs(metric, ours, theirs) if pair.bad != pair.other_bad]
        some = turned[:SHOWN]
        texts = hidden(ws, [text for pair in some for text in (pair.other.answer,
                                                                pair.case.answer)])  # fmt: skip
        if some:
            out.append((f"{metric}: {len(turned)}",
                        list(zip(some, texts[::2], texts[1::2], strict=True))))  # fmt: skip
    return out


def compared(desk: Desk, request: Request) -> Response:
    """`/runs/compare?id=A&id=B`: curves over each other, and what differs in config and inputs."""
    ids = list(dict.fromkeys(request.query_params.getlist("id")))[:MOST]
    found = [past.get_run(desk.ws, id) for id in ids]
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for run in found:
        for name, points in jobs.progress(desk.ws, run["id"]).curves.items():
            curves.setdefault(name, {})[run["id"]] = points
    configs = [flat(run["config"]) for run in found]
    inputs = [{file["path"]: file["digest"][7:19] for file in run["inputs"]} for run in found]
    metrics = [_metrics(run) for run in found]
    return page(request, "compare.html", runs=found, curves=curves, differs=_differs(configs),
                inputs=_differs(inputs), metrics=_differs(metrics, all_of=True))  # fmt: skip


def _metrics(run: dict[str, Any]) -> dict[str, Any]:
    told = run["facts"].get("metrics") or {}
    return {name: f"{value:.4g}" if isinstance(value, float) else value
            for name, value in told.items()}  # fmt: skip


def _differs(told: list[dict[str, Any]], all_of: bool = False) -> list[tuple[str, list[Any], bool]]:
    """Name, what each says, whether they differ; those that do alone, unless all are asked for."""
    names = sorted({name for one in told for name in one})
    rows = [(name, [one.get(name, "–") for one in told]) for name in names]
    marked = [(name, values, any(value != values[0] for value in values)) for name, values in rows]
    return [row for row in marked if row[2] or all_of]


def new(desk: Desk, request: Request) -> Response:
    """`/runs/new`: the SFT panel, and a training that is started."""
    stage = request.query_params.get("stage", "sft")
    stage = stage if stage in jobs.STAGES else "sft"
    trained = [run["id"] for name in ("sft", "dpo", "ppo")
               for run in past.list_runs(desk.ws, name) if run["status"] == "done"]  # fmt: skip
    return page(request, "new_run.html", stage=stage, stages=jobs.STAGES, models=trained[::-1],
                panel=[(name, value, knobs.meaning(name))
                       for name, value in knobs.current(desk.ws).items()],
                file=knobs.FILE, jobs=desk.jobs.all[:5])  # fmt: skip


def panel(desk: Desk, form: Form) -> Went:
    """Keep the SFT panel in its file."""
    knobs.save(desk.ws, knobs.typed(form))
    return Went("/runs/new", say(f"{knobs.FILE} is written", f"已写入 {knobs.FILE}"))


def start(desk: Desk, form: Form) -> Went:
    """Begin a training with what the form says, and the stage's own config for the rest."""
    stage = form.need("stage")
    told = knobs.typed(form) if stage == "sft" else {}
    words = [f"{name}={jsonl.canonical(value)}" for name, value in told.items()]
    model = form.get("model", "").strip()
    if model:
        candidates.resolve(desk.ws, model)  # BadInput now, not in a log that nobody reads
        words.append(f"model={model}")
    if steps := form.get("max_steps", "").strip():
        if not (steps.isascii() and steps.isdecimal() and len(steps) < 10):
            raise BadInput("max_steps: a whole number; 0: by epochs")
        words.append(f"max_steps={steps}")
    job = desk.jobs.start(stage, words)
    told_words = " ".join(["errata", *job.words])
    return Went("/", say(f"started: {told_words}", f"已启动：{told_words}"))


def stop(desk: Desk, form: Form) -> Went:
    """Ask a run to save and end."""
    id = form["id"]
    form.confirmed("stop")
    jobs.stop(desk.ws, id)
    return Went(f"/runs/{id}", say("it saves its state and ends; the same command goes on with it",
                                   "正在保存并结束；再次运行同一命令即可续跑"))  # fmt: skip
