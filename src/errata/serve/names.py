"""The name that a model is served under: made of its weights, so that it can never mean others."""

from __future__ import annotations

from errata.records import Candidate


def served(candidate: Candidate) -> str:
    """`a-` and 16 hex digits of the adapter's digest; without an adapter `b-` and the base's."""
    if candidate.adapter_digest is None:
        return "b-" + candidate.base_digest.removeprefix("sha256:")[:16]
    return "a-" + candidate.adapter_digest.removeprefix("sha256:")[:16]
