"""Results as people and programs read them, stamped with the machine. No host names, no paths."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training import opponents

Result = dict[str, Any]
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "numpy")


def _cpu_model() -> str:
    found = Path("/proc/cpuinfo")
    lines = found.read_text().splitlines() if found.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def host() -> dict[str, str]:
    """What every bench says of the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def machine(threads: int) -> dict[str, str]:
    """Where the numbers come from."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {
        **host(),
        "threads of each side": str(threads),
        **versions,
        "trl": f"{opponents.TRL}; for PPO {opponents.PPO_TRL}",
    }


def number(value: Any, form: str = ".2f") -> str:
    """A dash where there is no number."""
    return "–" if value is None else format(value, form)


def bar(value: float | None, limit: float | None, form: str, sign: str) -> str:
    """`3.61 (≥ 3.5)`."""
    return number(value, form) + ("" if limit is None else f" ({sign} {format(limit, form)})")


def row(result: Result) -> list[str]:
    """One duel's line in the table."""
    duel, found = result["duel"], result["found"]
    whole, above = (None, duel["memory"]) if duel["above_imports"] else (duel["memory"], None)
    shown = ": ".join([result["verdict"], *filter(None, ["; ".join(result["missed"])])])
    agree = bar(found.get("gap"), duel["agree"], ".1e", "≤")
    if duel["kl_within"] is not None:
        agree = f"KL / target {number(found.get('kl'))} (1 ± {duel['kl_within']})"
    return [
        duel["title"],
        number(result["trl"].get(duel["clock"])),
        number(result["ours"].get(duel["clock"])),
        bar(found.get("faster"), duel["faster"], ".2f", "≥"),
        number(result["trl"].get("peak_gib")),
        number(result["ours"].get("peak_gib")),
        bar(found.get("memory"), whole, ".2f", "≤"),
        bar(found.get("memory_above_imports"), above, ".2f", "≤"),
        agree,
        shown,
    ]


HEAD = ["duel", "TRL s", "ours s", "ratio", "TRL peak GiB", "ours", "ours / TRL", "above imports",
        "largest gap of the curves", "verdict"]  # fmt: skip


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def details(result: Result) -> str:
    """Every run of both sides, and both curves."""
    duel = result["duel"]
    what = "{stage}, model `{model}`, rows `{data}`, {steps} steps of {batch}".format(**duel)
    told = {k: duel[k] for k in ("dtype", "settings", "trl", "ours") if duel[k]}
    lines = [f"### {duel['name']}", f"{what}; `{json.dumps(told)}`"]
    head = ["side", "CPU-s", "wall s", "peak GiB", "above imports", "GPU peak GiB",
            "CPU-s of the whole process"]  # fmt: skip
    rows = []
    for side in ("trl", "ours"):
        for run in result["runs"][side]:
            above = run["peak_gib"] - run.get("imports_gib", 0)
            rows.append([side, number(run.get("cpu_seconds")), number(run.get("wall_seconds")),
                         number(run["peak_gib"]), number(above), number(run.get("peak_gpu_gib")),
                         number(run["process_cpu_seconds"])])  # fmt: skip
    lines.append(table(head, rows))
    for side in ("trl", "ours"):
        losses = [run.get("losses", []) for run in result["runs"][side]][:1]
        shown = " ".join(f"{value:.5f}" for value in (losses[0] if losses else []))
        lines.append(f"losses, {side}: {shown or '–'}")
    return "\n\n".join(lines)


def page(title: str, stamp: dict[str, str], results: list[Result]) -> str:
    """The whole report in Markdown."""
    facts = "; ".join(f"{key} {value}" for key, value in stamp.items())
    clocks = " and ".join(sorted({r["duel"]["clock"].replace("_", " ") for r in results}))
    note = (
        f"Seconds are {clocks}, from the first reference forward to the last optimiser step; peak "
        "memory is that of the whole process, and once more without what its imports take; medians "
        "over repeats. Both sides: LoRA r 16 on all linear layers, the same model, rows, order, "
        "batch, learning rate and threads, no gradient checkpointing; a line says where it differs."
    )
    parts = [f"# {title}", facts, note, table(HEAD, [row(r) for r in results]), "## Runs"]
    return "\n\n".join([*parts, *(details(r) for r in results)]) + "\n"


def kept(folder: Path, name: str, stamp: dict[str, str]) -> list[Result]:
    """Results of an earlier run on the same machine with the same versions; else none."""
    file = folder / f"{name}.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"machine": {}}
    same = {**found["machine"], "date": ""} == {**stamp, "date": ""}
    return list(found["results"]) if same else []


def put(folder: Path, name: str, stamp: dict[str, str], results: list[Result], shown: str) -> None:
    """`NAME.json` and, as people read it, `NAME.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": stamp, "results": results}, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(shown, encoding="utf-8")


def read(folder: Path, name: str, stamp: dict[str, str]) -> dict[str, Result]:
    """Duel → its earlier result."""
    return {result["duel"]["name"]: result for result in kept(folder, name, stamp)}


def write(
    folder: Path, name: str, title: str, stamp: dict[str, str], results: list[Result]
) -> None:
    """`NAME.json` and `NAME.md`."""
    put(folder, name, stamp, results, page(title, stamp, results))
