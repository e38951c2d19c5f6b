"""A raw row becomes a failure: every text redacted, then what the retention of its label allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from errata import jsonl
from errata.intake import sources
from errata.intake.redact import Policy, Redacted, keyed_hash, pseudonyms
from errata.intake.sources import Raw
from errata.records import Failure, Message, Redaction
from errata.text import language

KEPT_IDS = ("case", "release")  # of a summary row's meta: ids, no text
Box = tuple[str, str, str]  # owner, pseudonym, value


@dataclass(frozen=True)
class Cleaner:
    """Turns a raw row into a failure under one policy and key."""

    policy: Policy
    key: bytes
    redact: Callable[[str], Redacted]
    boxes: list[Box] = field(default_factory=list)  # what the vault is to keep

    def subject(self, name: str | None) -> str | None:
        """How a person is known in the store: by a keyed hash."""
        return f"u-{keyed_hash(self.key, 'subject', name)[:16]}" if name else None

    def failure(self, raw: Raw, source: str | None) -> Failure:
        """Redact every text of the row, then keep what the retention of its label allows."""
        counts: Counter[str] = Counter()
        subject = self.subject(raw.subject)

        def clean(value: Any) -> Any:
            if isinstance(value, str):
                found = self.redact(value)
                counts.update(item.rule for item in found.findings)
                if self.policy.vault:
                    self._box(subject, value, found)
                return found.text
            if isinstance(value, dict):
                return {clean(name): clean(item) for name, item in value.items()
                        if name not in sources.SUBJECTS}  # fmt: skip
            return [clean(item) for item in value] if isinstance(value, list) else value

        turns = [Message(role=turn.role, content=clean(turn.content)) for turn in raw.context]
        content = {
            "prompt": clean(raw.prompt),
            "bad_answer": clean(raw.bad_answer),
            "label": raw.label,
            "context": turns,
        }
        source = raw.source or source
        shared: dict[str, Any] = {
            "label": raw.label,
            "source": clean(source) if source else None,
            "ts": raw.ts,
            "redaction": Redaction(policy=self.policy.hash, counts=dict(sorted(counts.items()))),
        }
        about = {"subjects": [subject]} if subject else {}
        if raw.label and self.policy.retention.get(raw.label) == "summary":
            return self._summary(raw, content, shared, about)
        return Failure(
            id="f-" + jsonl.digest(content)[7:23],
            **shared,
            prompt=content["prompt"],
            bad_answer=content["bad_answer"],
            context=turns,
            tags=clean(raw.tags),
            meta={**clean(raw.meta), **about},
        )

    def _box(self, subject: str | None, text: str, found: Redacted) -> None:
        """What may be revealed: under the key of the person it is about, or else its own."""
        for token, value in pseudonyms(text, found):
            if token[1:].partition(":")[0] in self.policy.vault:
                self.boxes.append((subject or token, token, value))

    def _summary(
        self, raw: Raw, content: dict[str, Any], shared: dict[str, Any], about: dict[str, Any]
    ) -> Failure:
        """No text at all, and no plain hash of it either: a short one could be guessed."""
        spoken = language(raw.prompt)
        return Failure(
            id="f-" + keyed_hash(self.key, "row", jsonl.canonical(content))[:16],
            **shared,
            retention="summary",
            prompt_hmac=keyed_hash(self.key, "prompt", raw.prompt),
            summary=f"{raw.label}, {spoken}: prompt of {len(raw.prompt)} characters, "
            f"answer of {len(raw.bad_answer)}, {sum(shared['redaction'].counts.values())} redacted",
            tags=[spoken],
            meta={k: v for k in KEPT_IDS if isinstance(v := raw.meta.get(k), str)} | about,
        )
