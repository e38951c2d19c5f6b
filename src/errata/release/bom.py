"""The model's bill of materials: CycloneDX 1.6 with a model card, as JSON.

https://cyclonedx.org/docs/1.6/json/. Written by hand, for the reference library has no model cards,
and held against the standard's schema before it is written. The model is `metadata.component`; its
base, its data, its files and the libraries that trained it are `components`, joined by
`dependencies`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from errata import jsonl
from errata.errors import ErrataError
from errata.records import Metric, Slice
from errata.release import licences, said, trained
from errata.release.card_parts import Parts, limits

PAGE = "reports/model-card.cdx.json"
# The Hub's identifiers as SPDX writes them; others go by name.
SPDX = {
    "apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause", "cc0-1.0": "CC0-1.0", "cc-by-4.0": "CC-BY-4.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0", "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0", "cc-by-nd-4.0": "CC-BY-ND-4.0",
    "cc-by-nc-nd-4.0": "CC-BY-NC-ND-4.0", "odc-by": "ODC-By-1.0", "odbl": "ODbL-1.0",
    "cdla-permissive-2.0": "CDLA-Permissive-2.0", "cdla-sharing-1.0": "CDLA-Sharing-1.0",
    "gpl-3.0": "GPL-3.0-only", "agpl-3.0": "AGPL-3.0-only", "unlicense": "Unlicense",
}  # fmt: skip
LIBRARIES = ("torch", "transformers", "peft", "accelerate")
Json = dict[str, Any]


def document(part: Parts, files: Mapping[str, str], now: str) -> Json:
    """The whole of it. files: name → SHA-256 in hex, of the weights; now: an RFC 3339 time."""
    model = _model(part)
    base = _base(part)
    data = [_data(part, file) for file in part.files]
    parts = [base, *data, *_files(files), *_libraries(part)]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, jsonl.digest([part.subject.candidate.digest, now]))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": now,
            "tools": {"components": [{"type": "application", "name": "errata"}]},
            "component": model,
        },
        "components": parts,
        "dependencies": [{"ref": model["bom-ref"],
                          "dependsOn": sorted({each["bom-ref"] for each in parts})}],
    }  # fmt: skip


def check(found: Json) -> None:
    """ErrataError where the standard's own schema does not let it pass: ours is then wrong."""
    from cyclonedx.schema import SchemaVersion  # a second, which no other command has to wait
    from cyclonedx.validation.json import JsonStrictValidator

    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(jsonl.canonical(found))
    if wrong is not None:
        told = getattr(wrong.data, "message", str(wrong.data))
        raise ErrataError(f"{PAGE}: not CycloneDX 1.6: {told}; please report this")


def licence(name: str) -> list[Json]:
    """As `licenses` wants it; nothing for nothing."""
    plain = licences.plain(name)
    if not plain:
        return []
    return [{"license": {"id": SPDX[plain]} if plain in SPDX else {"name": name.strip()}}]


def _model(part: Parts) -> Json:
    candidate, told = part.subject.candidate, part.told
    release = part.subject.release
    return {
        "type": "machine-learning-model",
        "bom-ref": candidate.digest,
        "name": told.called(candidate),
        "version": release.id if release else candidate.digest.removeprefix("sha256:")[:12],
        "description": told.intended_use,
        "licenses": licence(told.licence),
        "externalReferences": [
            {"type": "documentation", "url": "model-card.md"},
            {"type": "attestation", "url": "model-card.sig.json"},
        ],
        "pedigree": {"ancestors": [{"type": "machine-learning-model", "name": candidate.base}]},
        "modelCard": _card(part),
        "properties": [
            _property("candidate_digest", candidate.digest),
            _property("base_digest", candidate.base_digest),
            _property("adapter_digest", candidate.adapter_digest or "none"),
            _property("lineage_digest", part.lineage),
        ],
    }


def _property(name: str, value: object) -> Json:
    return {"name": f"errata:{name}", "value": str(value)}


def _card(part: Parts) -> Json:
    told = part.told
    metrics = [row for m in part.evidence.metrics.values() for row in _metric(m)]
    waived = [f"waiver {one.id}: {one.metric} at {one.value_at_signing:g}, {one.risk}"
              for one, why in part.waivers if not why]  # fmt: skip
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "text-generation",
            "architectureFamily": "transformer",
            "datasets": [{"ref": _ref(file)} for file in part.files],
            "inputs": [{"format": "text"}],
            "outputs": [{"format": "text"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": metrics},
        "considerations": {
            "useCases": [told.intended_use],
            "technicalLimitations": [f"out of scope: {told.out_of_scope}", *limits(part)],
            "performanceTradeoffs": waived,
        },
    }


def _metric(metric: Metric) -> Iterator[Json]:
    """The number with its bounds, and each cell of it; what has no data is no number."""
    cells: list[tuple[str, Metric | Slice]] = [("", metric)]
    cells += [(" ".join(filter(None, (c.kind, c.language))), c) for c in metric.slices]
    for name, one in cells:
        if one.value is not None:
            row = {"type": metric.name, "value": f"{one.value:.6g}"}
            row |= {"slice": name} if name else {}
            if one.low is not None and one.high is not None:
                row["confidenceInterval"] = {  # type: ignore[assignment]
                    "lowerBound": f"{one.low:.6g}", "upperBound": f"{one.high:.6g}"}  # fmt: skip
            yield row


def _base(part: Parts) -> Json:
    candidate = part.subject.candidate
    said_of = said.base_licence(part.ws, candidate, part.told)
    return {
        "type": "machine-learning-model",
        "bom-ref": f"base:{candidate.base_digest}",
        "name": trained.first_base(part.ws, candidate),
        "licenses": licence(said_of),
        "properties": [_property("base_digest", candidate.base_digest)],
    }


def _ref(file: trained.File) -> str:
    return f"data:{file.run}:{file.path}"


def _data(part: Parts, file: trained.File) -> Json:
    people = part.people
    version = part.versions.get(file.digest, "unknown version")
    owner = {"organization": {"name": people.owner or "not stated"}}
    return {
        "type": "data",
        "bom-ref": _ref(file),
        "name": file.path,
        "version": version,
        "description": f"{people.purpose} {people.known_gaps}".strip(),
        "hashes": [{"alg": "SHA-256", "content": file.digest.removeprefix("sha256:")}],
        "licenses": licence(people.licence),
        "data": [{"type": "dataset", "name": file.path, "governance": {"owners": [owner]},
                  "sensitiveData": ["redacted by policies/redaction.yaml before it was stored"]}],
    }  # fmt: skip


def _files(files: Mapping[str, str]) -> Iterator[Json]:
    for name, digest in files.items():
        yield {"type": "file", "bom-ref": f"file:{name}", "name": name,
               "hashes": [{"alg": "SHA-256", "content": digest}]}  # fmt: skip


def _libraries(part: Parts) -> Iterator[Json]:
    """What the newest run in the chain ran on, where its record is here."""
    record = trained.record(part.ws, part.subject.candidate.run_id)
    env = record.env if record else {}
    for name in LIBRARIES:
        if version := env.get(name):
            purl = f"pkg:pypi/{name}@{quote(str(version))}"
            yield {"type": "library", "bom-ref": purl, "name": name, "version": str(version),
                   "purl": purl}  # fmt: skip
