"""`GET /metrics`: counters and histograms in Prometheus' text form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from errata.serve.prometheus import Counter, Histogram, Labels, gauge

if TYPE_CHECKING:
    from errata.gateway.answer import Answer
    from errata.release.live import Live

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
HELP = {
    "requests_total": "Answers by arm, release and status",
    "refused_total": "Requests that nobody was asked, by status",
    "latency_seconds": "From the request to the last byte of its answer",
    "first_byte_seconds": "From the request to the first byte of its answer",
    "tokens_total": "Tokens by arm and direction",
    "cost_total": "Cost by arm, at the prices of the config",
    "filter_total": "Answers by arm and level of the output filter",
    "refusals_total": "Answers that decline, by arm",
    "feedback_total": "Feedback by arm and rating",
    "dropped_total": "What was not written down for want of room, by kind",
    "retries_total": "Requests put to an upstream again",
    "in_flight": "Answers under way",
    "routing_age_seconds": "Since the store last told the routing",
    "store_ok": "1 while the store answers",
    "upstream_ok": "1 while an upstream is well",
    "upstream_in_flight": "Requests at an upstream",
}
TIMES = ("latency_seconds", "first_byte_seconds")


class Meters:
    """All that is counted."""

    def __init__(self) -> None:
        counted = [name for name in HELP if name.endswith("_total") and name != "retries_total"]
        self._counts = {name: Counter(f"errata_{name}", HELP[name]) for name in counted}
        self._times = {name: Histogram(f"errata_{name}", HELP[name], SECONDS) for name in TIMES}

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        self._counts[name].add(value, **labels)

    def refused(self, status: int) -> None:
        self.add("refused_total", status=str(status))

    def answered(self, answer: Answer) -> None:
        """One answer that came to an end, good or bad."""
        arm = answer.choice.arm
        self.add("requests_total", arm=arm, release=answer.release, status=str(answer.status))
        self._times["latency_seconds"].add(answer.ms / 1000, arm=arm)
        if answer.first_ms is not None:
            self._times["first_byte_seconds"].add(answer.first_ms / 1000, arm=arm)

    def measured(self, row: Live) -> None:
        """What was found in it afterwards."""
        if row.kind == "feedback":
            down = row.flags.get("thumbs_down")
            self.add("feedback_total", arm=row.arm, rating="down" if down else "up")
            return
        for name, way in (("tokens_in", "in"), ("tokens_out", "out")):
            if name in row.sizes:
                self.add("tokens_total", row.sizes[name], arm=row.arm, direction=way)
        if "cost" in row.sizes:
            self.add("cost_total", row.sizes["cost"], arm=row.arm)
        if "level" in row.sizes:
            self.add("filter_total", arm=row.arm, level=str(int(row.sizes["level"])))
        if row.flags.get("refusal"):
            self.add("refusals_total", arm=row.arm)

    def text(self, gauges: Mapping[str, Mapping[Labels, float]]) -> str:
        """Everything, with the numbers of this moment."""
        out = [line for count in self._counts.values() for line in count.lines()]
        out += [line for times in self._times.values() for line in times.lines()]
        for name, values in gauges.items():
            out += gauge(f"errata_{name}", HELP[name], values)
        return "".join(out)
