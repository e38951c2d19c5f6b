"""Log-probabilities of the model a run started from, computed once and kept by content.

The key is everything that decides them: weights, adapter, tokenizer and its template (part of the
weights' digest), the pairs' tokens, length, dtype, autocast and quantisation. Another epoch, a
resumed run and the next run on the same pairs read them from `.errata/cache/reference/`.
"""

from __future__ import annotations

import json
from typing import Any

import torch

from errata import jsonl
from errata.records import Candidate
from errata.train.logprobs import Scorer
from errata.train.packing import Limits, Tree, in_parts
from errata.workspace import Workspace

Pair = tuple[float, ...]


def key(candidate: Candidate, settings: dict[str, Any], trees: list[Tree]) -> str:
    """Digest of what the log-probabilities depend on."""
    model = [candidate.base_digest, candidate.adapter_digest, settings]
    return jsonl.digest([*model, jsonl.digest(trees)]).removeprefix("sha256:")


@torch.no_grad()
def compute(scorer: Scorer, trees: list[Tree], limits: Limits) -> list[Pair]:
    """One tuple a tree: the sums over its branches. Longest first, so that length-sorted."""
    scorer.model.eval()
    found: list[Pair] = [()] * len(trees)

    def score(part: list[int]) -> None:
        sums = scorer.sequence_logps([trees[i] for i in part]).tolist()
        for index in part:
            size = len(trees[index].branches)
            found[index], sums = tuple(sums[:size]), sums[size:]

    in_parts(range(len(trees)), lambda i: trees[i].tokens, limits, score)
    return found


@torch.no_grad()
def mean_loss(scorer: Scorer, trees: list[Tree], limits: Limits) -> float:
    """Mean −log p of the trees' labelled tokens, in nats."""
    was_training = scorer.model.training
    total = sum(sum(sums) for sums in compute(scorer, trees, limits))
    scorer.model.train(was_training)
    return -total / sum(tree.learnt for tree in trees)


def cached(ws: Workspace, name: str, compute_now: Any) -> tuple[list[Pair], bool]:
    """What is kept under `name`, or what `compute_now()` gives; and whether it was kept."""
    path = ws.cache / "reference" / f"{name}.json"
    if path.is_file():
        try:
            return [tuple(pair) for pair in json.loads(path.read_text())], True
        except ValueError:
            path.unlink()  # damaged: compute it again
    found = compute_now()
    path.parent.mkdir(parents=True, exist_ok=True)
    jsonl.write_json(path, found)
    return found, False
