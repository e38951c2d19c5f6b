"""Names and addresses that no rule announces: a spaCy pipeline, where the policy names one.

    ner: models/zh-names        # a folder, or the name of an installed pipeline

It is a rule like any other: what it finds is joined with what the rules find, and it never looks
across what was found already. It is slower than all rules together by two orders of magnitude.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from errata.errors import BadInput
from errata.intake.rules.rule import Rule

# What pipelines call them: OntoNotes, CoNLL and CLUENER; a city or a country is nobody's address.
LABELS = {
    "PERSON": frozenset({"PERSON", "PER", "NAME"}),
    "ADDRESS": frozenset({"ADDRESS", "STREET", "STREET_ADDRESS", "FAC"}),
}


@cache
def rules(name: str, where: str) -> tuple[Rule, ...]:
    """One rule a tag; BadInput where the pipeline cannot be loaded."""
    pipeline = _loaded(name, where)
    meta = pipeline.meta
    told = f"{meta.get('lang')}_{meta.get('name')} {meta.get('version')}"

    @lru_cache(maxsize=1024)
    def entities(text: str) -> tuple[tuple[str, int, int], ...]:
        found = pipeline(text).ents
        return tuple((span.label_.upper(), span.start_char, span.end_char) for span in found)

    def finder(tag: str) -> Rule:
        def spans(text: str) -> Iterator[tuple[int, int]]:
            for label, start, end in entities(text):
                if label in LABELS[tag]:
                    yield start, end

        described = re.compile(re.escape(told))  # what stands for a pattern in the policy's hash
        return Rule(f"ner-{tag.lower()}", tag, described, None, (), (), spans=spans)

    return tuple(finder(tag) for tag in LABELS)


def _loaded(name: str, where: str) -> Any:
    try:
        import spacy  # an optional dependency, and seconds to import
    except ImportError:
        raise BadInput(f"{where}: ner needs spaCy: pip install 'errata[ner]'") from None
    try:
        return spacy.load(Path(name) if Path(name).is_dir() else name)
    except (OSError, ValueError, ImportError) as error:
        told = str(error).splitlines()[0]
        raise BadInput(
            f"{where}: ner: `{name}` is no spaCy pipeline ({told}); name a folder or a package"
        ) from None
