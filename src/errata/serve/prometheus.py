"""Numbers in Prometheus' text format: counters, gauges and histograms with labels.

seen = Histogram("errata_seconds", "time to the whole answer", (0.1, 1, 10))
seen.add(0.3, model="a-1f")
text = "".join(seen.lines())
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence

Labels = tuple[tuple[str, str], ...]


class Counter:
    """What only grows, by label values; keys never hold users' text."""

    def __init__(self, name: str, meaning: str) -> None:
        self.name, self.meaning = name, meaning
        self.values: dict[Labels, float] = {}

    @classmethod
    def of(cls, name: str, meaning: str, value: float) -> Counter:
        """One that is counted elsewhere, as it is now."""
        made = cls(name, meaning)
        made.add(value)
        return made

    def add(self, value: float = 1, **labels: str) -> None:
        """So much more, under these labels."""
        key = tuple(sorted(labels.items()))
        self.values[key] = self.values.get(key, 0) + value

    def lines(self) -> Iterator[str]:
        """As it is scraped."""
        yield from _head(self.name, self.meaning, "counter")
        for labels, value in list(self.values.items()):
            yield f"{self.name}{_braced(labels)} {value:.15g}\n"


class Histogram:
    """How many fell at or below each bound, and their sum."""

    def __init__(self, name: str, meaning: str, bounds: Sequence[float]) -> None:
        self.name, self.meaning, self.bounds = name, meaning, sorted(bounds)
        self.counts: dict[Labels, list[int]] = {}
        self.sums: dict[Labels, float] = {}

    def add(self, value: float, **labels: str) -> None:
        """One more value."""
        key = tuple(sorted(labels.items()))
        counts = self.counts.setdefault(key, [0] * (len(self.bounds) + 1))
        counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sums[key] = self.sums.get(key, 0.0) + value

    def lines(self) -> Iterator[str]:
        """As it is scraped: buckets add up."""
        yield from _head(self.name, self.meaning, "histogram")
        for labels, counts in list(self.counts.items()):
            total = 0
            for bound, count in zip((*self.bounds, float("inf")), counts, strict=True):
                total += count
                edge = "+Inf" if bound == float("inf") else f"{bound:g}"
                yield f"{self.name}_bucket{_braced((*labels, ('le', edge)))} {total}\n"
            yield f"{self.name}_sum{_braced(labels)} {self.sums[labels]:g}\n"
            yield f"{self.name}_count{_braced(labels)} {total}\n"


def gauge(name: str, meaning: str, value: float | Mapping[Labels, float]) -> Iterable[str]:
    """A number that goes up and down, as it is now; or several, by label values."""
    values = value if isinstance(value, Mapping) else {(): value}
    lines = (f"{name}{_braced(labels)} {number:.15g}\n" for labels, number in values.items())
    return (*_head(name, meaning, "gauge"), *lines)


def _head(name: str, meaning: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {meaning}\n", f"# TYPE {name} {kind}\n"


def _braced(labels: Labels) -> str:
    told = (f'{name}="{_escaped(value)}"' for name, value in labels)
    return "{" + ",".join(told) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
