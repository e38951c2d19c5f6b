"""Which model is meant: a name, a path, a run or a manifest, resolved to one `Candidate`.

    tiny                      the embedded model
    llama-7b                  a name in configs/models.yaml (a path, a hub id, or another name)
    path/to/checkpoint        a folder that transformers loads
    20251216-101500-dpo-1a2b  a run: its candidate.json
    runs/…/candidate.json     a manifest
    endpoint:https://host/v1#MODEL      what a server answers (evaluate/targets.py)
    python:path/to/file.py:function     what a function answers

A candidate's digest covers what decides an answer: weights, adapter, system prompt, filter policy,
refusal templates, decoding, tool isolation; not where the files lie or what the run was called.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from errata import jsonl
from errata.config import hint, read_yaml
from errata.errors import BadInput
from errata.records import Candidate
from errata.workspace import Workspace

TINY = Path(__file__).parent / "tiny" / "weights"
WEIGHT_FILES = ("*.safetensors", "*.bin", "config.json", "tokenizer*", "*.model", "vocab*",
                "merges*", "chat_template*", "generation_config.json", "*.gguf")  # fmt: skip
TARGETS = ("endpoint:", "python:")  # asked, never loaded
UNBOUND = {"base", "adapter", "run_id", "digest"}


class Base(NamedTuple):
    """A checkpoint folder or hub id, and the name it was an alias of the embedded model under."""

    path: str
    alias: str | None


def resolve_base(ws: Workspace, name: str, seen: tuple[str, ...] = ()) -> Base:
    """Follow names in configs/models.yaml to a folder or a hub id; BadInput on an unknown name."""
    if name.startswith(TARGETS):
        told = "it is asked elsewhere and has no weights here; name a model of this workspace"
        raise BadInput(f"{name}: {told}")
    if name == "tiny":
        return Base(str(TINY), next(iter(seen), None))
    if name in seen:
        raise BadInput(f"configs/models.yaml: `{name}` names itself; give it a path")
    table = read_yaml(ws.configs / "models.yaml") if (ws.configs / "models.yaml").exists() else {}
    if name in table:
        return resolve_base(ws, str(table[name]), (*seen, name))
    for folder in (ws.path(name), Path(name).expanduser()):
        if (folder / "config.json").is_file():
            return Base(str(folder.resolve()), None)
        if folder.is_dir():
            raise BadInput(
                f"{name}: no config.json in it; give a folder that from_pretrained loads"
            )
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return Base(name, None)
    near = hint(name, ["tiny", *table])
    raise BadInput(
        f"model `{name}`: no such path or name{near}; or add to configs/models.yaml: `{name}: PATH`"
    )


@lru_cache(maxsize=64)
def _weights_digest(path: str, stamp: tuple[tuple[str, int, int], ...]) -> str:
    return jsonl.digest([[name, jsonl.digest_file(Path(path) / name)] for name, _, _ in stamp])


def weights_digest(path: str) -> str:
    """Digest of the files that decide what a checkpoint answers; a hub id stands for itself."""
    folder = Path(path)
    if not folder.is_dir():
        return jsonl.digest({"hub": path})
    files = sorted({file for pattern in WEIGHT_FILES for file in folder.glob(pattern)})
    stats = tuple((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files)
    return _weights_digest(path, stats)


def adapter_digest(folder: Path) -> str:
    """Digest of a LoRA adapter: its weights and its configuration."""
    if not (folder / "adapter_config.json").is_file():
        raise BadInput(f"{folder}: no adapter_config.json; the run that made it did not finish")
    names = sorted(f.name for f in folder.iterdir() if f.name.startswith("adapter_"))
    return jsonl.digest([[name, jsonl.digest_file(folder / name)] for name in names])


def digest_of(fields: dict[str, Any]) -> str:
    """The digest that evidence and releases are bound to."""
    return jsonl.digest({key: value for key, value in fields.items() if key not in UNBOUND})


def make(ws: Workspace, base: str, adapter: Path | None = None, **settings: Any) -> Candidate:
    """A candidate of a checkpoint and, if given, an adapter on it."""
    fields: dict[str, Any] = {
        "base": ws.relative(base) if Path(base).is_dir() and Path(base) != TINY else _named(base),
        "base_digest": weights_digest(base),
        "adapter": None if adapter is None else ws.relative(adapter),
        "adapter_digest": None if adapter is None else adapter_digest(adapter),
        "system_prompt": None,
        "filter_policy": None,
        "refusal_templates": None,
        "decoding": {"temperature": 0.0},
        "tool_isolation": False,
        **settings,
    }
    return Candidate(**fields, digest=digest_of(fields))


def _named(base: str) -> str:
    return "tiny" if Path(base) == TINY else base


def read(ws: Workspace, path: Path) -> Candidate:
    """A manifest; one whose digest does not fit its fields was changed by hand and is refused."""
    try:
        candidate = Candidate.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{ws.relative(path)}: not a candidate: {str(error).splitlines()[0]}"
        ) from None
    if candidate.digest != digest_of(candidate.model_dump()):
        raise BadInput(
            f"{ws.relative(path)}: digest does not fit the manifest; make it again from its run"
        )
    return candidate


def resolve(ws: Workspace, name: str) -> Candidate:
    """The candidate that a run id, a manifest, a path or a name stands for."""
    if name.startswith(TARGETS):
        from errata.evaluate import targets  # its HTTP client costs 0.1 s that others need not pay

        return targets.candidate(ws, name)
    manifest = ws.runs / name / "candidate.json"
    if manifest.is_file():
        return read(ws, manifest)
    if (ws.runs / name).is_dir() and "/" not in name and name:
        raise BadInput(
            f"{name}: this run left no candidate; only a finished sft, dpo, ppo or export run does"
        )
    if name.endswith(".json"):
        path = ws.path(name)
        if not path.is_file():
            raise BadInput(f"{name}: no such manifest; check the path")
        return read(ws, path)
    return make(ws, resolve_base(ws, name).path)


def verify(ws: Workspace, candidate: Candidate) -> tuple[str, Path | None]:
    """Base path and adapter folder, once both are found to have the manifest's digests."""
    base = resolve_base(ws, candidate.base).path
    if weights_digest(base) != candidate.base_digest:
        raise BadInput(
            f"{candidate.base}: weights differ from the manifest's; evaluate the new ones"
        )
    if candidate.adapter is None:
        return base, None
    adapter = ws.path(candidate.adapter)
    if adapter_digest(adapter) != candidate.adapter_digest:
        raise BadInput(
            f"{candidate.adapter}: adapter differs from the manifest's; train or restore it"
        )
    return base, adapter
