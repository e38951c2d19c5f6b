"""A raw row becomes a failure: every text redacted, then what the retention of its label allows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from errata import jsonl
from errata.intake.fields import SUBJECTS, Raw
from errata.intake.labeller import Labels, said
from errata.intake.redact import Policy, Redacted, beside, keyed_hash, pseudonyms, redact_many
from errata.privacy import scrub
from errata.records import Failure, Message, Redaction
from errata.text import language

KEPT_IDS = ("case", "release")  # of a summary row's meta: ids, no text
Box = tuple[str, str, str]  # owner, pseudonym, value


def texts(raw: Raw) -> Iterator[str]:
    """What a row says, but for what is nested deeper: that is redacted where it is met."""
    yield raw.prompt
    yield raw.bad_answer
    if raw.source:
        yield raw.source
    yield from (turn.content for turn in raw.context)
    yield from raw.tags
    for name, value in raw.meta.items():
        yield name
        if isinstance(value, str):
            yield value


def within(name: str, value: str, found: Redacted) -> Redacted:
    """What was found in the value when it stood behind its name."""
    at = len(name) + 2
    inner = [item._replace(start=max(item.start - at, 0), end=item.end - at)
             for item in found.findings if item.end > at]  # fmt: skip
    if not inner:
        return Redacted(value, [])
    tokens = [token for token, _ in pseudonyms(beside(name, value), found)][-len(inner) :]
    parts, last = list[str](), 0
    for item, token in zip(inner, tokens, strict=True):
        parts += [value[last : item.start], token]
        last = item.end
    return Redacted("".join([*parts, value[last:]]), inner)


@dataclass(frozen=True)
class Cleaner:
    """Turns a raw row into a failure under one policy and key."""

    policy: Policy
    key: bytes
    redact: Callable[[str], Redacted]
    labels: Labels | None = None  # for rows that have none

    def subject(self, name: str | None) -> str | None:
        """How a person is known in the store: by a keyed hash."""
        return f"u-{keyed_hash(self.key, 'subject', name)[:16]}" if name else None

    def failures(self, rows: Sequence[Raw], source: str | None) -> list[tuple[Failure, list[Box]]]:
        """Each row as a failure, and what the vault keeps of it; all texts are redacted at once."""
        given = [source] if source else []
        said = list(dict.fromkeys([*given, *(text for raw in rows for text in texts(raw))]))
        rules = self.policy.rules
        known = dict(zip(said, redact_many(said, rules, self.key), strict=True))
        pairs = (beside(known[name].text, known[value].text) for raw in rows
                 for name, value in raw.meta.items() if isinstance(value, str))  # fmt: skip
        if named := list(dict.fromkeys(filter(None, pairs))):
            known |= zip(named, redact_many(named, rules, self.key), strict=True)

        def look(text: str) -> Redacted:
            return known.get(text) or self.redact(text)

        batch = replace(self, redact=look)
        return [batch.failure(raw, source) for raw in self._labelled(rows, look)]

    def _labelled(self, rows: Sequence[Raw], look: Callable[[str], Redacted]) -> Iterator[Raw]:
        """The rows with a label each; who is not sure says so."""
        bare = [raw for raw in rows if raw.label is None]
        texts = [said(look(raw.prompt).text, look(raw.bad_answer).text) for raw in bare]
        guesses = iter(self.labels.guesses(texts) if self.labels else ())
        for raw in rows:
            if raw.label is not None:
                yield raw
                continue
            guess = next(guesses)
            told = {"label_by": guess.by, "likeliest": guess.likeliest}
            kept = {name: value for name, value in told.items() if value}
            yield raw._replace(label=guess.label, meta={**raw.meta, **kept})

    def failure(self, raw: Raw, source: str | None) -> tuple[Failure, list[Box]]:
        """Redact every text of the row, then keep what the retention of its label allows."""
        counts: Counter[str] = Counter()
        subject, boxes = self.subject(raw.subject), list[Box]()

        def note(value: str, found: Redacted) -> str:
            counts.update(item.rule for item in found.findings)
            boxes.extend(self._boxed(subject, value, found))
            return found.text

        def clean(value: Any, name: str = "") -> Any:
            if number := scrub.long_number(value):
                told = clean(number, name)
                return value if told == number else told
            if isinstance(value, str):
                value = value.replace("\0", "")  # no database keeps it
                value = note(value, self.redact(value))
                pair = beside(name, value)
                return note(value, within(name, value, self.redact(pair))) if pair else value
            if isinstance(value, dict):
                told = {clean(name): item for name, item in value.items() if name not in SUBJECTS}
                return {name: clean(item, name) for name, item in told.items()}
            return [clean(item, name) for item in value] if isinstance(value, list) else value

        turns = [Message(role=turn.role, content=clean(turn.content)) for turn in raw.context]
        content = {
            "prompt": clean(raw.prompt),
            "bad_answer": clean(raw.bad_answer),
            "label": raw.label,
            "context": turns,
        }
        source = raw.source or source
        short = raw.label in self.policy.summarised
        tags, meta = ([], {}) if short else (clean(raw.tags), clean(raw.meta))
        shared: dict[str, Any] = {
            "label": raw.label,
            "source": clean(source) if source else None,
            "ts": raw.ts,
            # Counted last: of all that was cleaned.
            "redaction": Redaction(policy=self.policy.hash, counts=dict(sorted(counts.items()))),
        }
        about = {"subjects": [subject]} if subject else {}
        if short:
            failure = self._summary(raw, content, shared, about)
        else:
            failure = self._full(content, shared, tags, {**meta, **about})
        return failure, boxes

    def _full(
        self,
        content: dict[str, Any],
        shared: dict[str, Any],
        tags: list[str],
        meta: dict[str, Any],
    ) -> Failure:
        return Failure(
            id="f-" + jsonl.short_id(content),
            **shared,
            prompt=content["prompt"],
            bad_answer=content["bad_answer"],
            context=content["context"],
            tags=tags,
            meta=meta,
        )

    def _boxed(self, subject: str | None, text: str, found: Redacted) -> Iterator[Box]:
        """What may be revealed: under the key of the person it is about, or else its own."""
        for token, value in pseudonyms(text, found) if self.policy.vault else ():
            if token[1:].partition(":")[0] in self.policy.vault:
                yield subject or token, token, value

    def _id(self, value: Any) -> bool:
        """Whether this is the name of a thing, and nothing that says more."""
        named = isinstance(value, str) and re.fullmatch(r"[\w.:-]{1,64}", value)
        return bool(named) and not self.redact(value).findings

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
            meta={k: v for k in KEPT_IDS if self._id(v := raw.meta.get(k))} | about,
        )
