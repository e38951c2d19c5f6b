"""`make bench-release`: what the decision to ship costs, and how far its intervals can be believed.

    .venv/bin/python bench/release.py [--only NAME] [--repeats 3] [--keep]

Results are written to bench/results/release.{json,md}; a missed bar is exit 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dataset import report
from dataset.report import Claim
from releasework import asking, canary, gateway, intervals, serving, streams

RESULTS = Path(__file__).parent / "results"
TITLE = "Evaluation, gate, gateway and engine against their bars"
NOTE = (
    "`evaluate` is the whole command on 1,000 held-out cases, nothing cached: answers, predicates, "
    "grounding, style, page and ledger. The coverages are the least over sizes and rates, by lot. "
    "The gateway is a process on a core of its own, the stub server and who asks share the other; "
    "LiteLLM's proxy is that of ERRATA_LITELLM_PYTHON, and without one its claim reads 0."
)
CLAIMS = (
    Claim("evaluate", "1,000 cases of the embedded model evaluated", asking.seconds, "s", most=60),
    Claim("win-rate", "95 % interval of a win rate holds, least of sizes and rates",
          intervals.win_rate, "share", least=0.94),
    Claim("difference", "95 % interval of a paired difference holds, least of sizes and rates",
          intervals.difference, "share", least=0.94),
    Claim("canary-null", "canaries as good as stable rolled back, over 10,000 requests",
          canary.false_alarm, "share", most=0.05),
    Claim("canary-one", "2 → 6 % failures found, median canary requests, one metric",
          canary.found, "requests", most=150),
    Claim("canary-eight", "2 → 6 % failures found, median canary requests, one metric of eight",
          canary.found_of_eight, "requests", most=200),
    Claim("canary-doubled", "4 → 8 % failures found within 60,000 requests",
          canary.doubled, "share", least=0.99),
    Claim("gateway-p50", "gateway adds to an answer, filter off, 200 requests/s, P50",
          gateway.overhead_p50, "ms", most=2),
    Claim("gateway-p99", "the same at P99", gateway.overhead_p99, "ms", most=6),
    Claim("gateway-litellm", "requests a CPU-second, as a multiple of LiteLLM's proxy",
          gateway.times_litellm, "x", least=8),
    Claim("first-byte", "first byte of a stream delayed beyond the hold-back, filter on",
          streams.first_byte, "ms", most=6),
    Claim("engine", "tokens/s of 16 users, as a multiple of `generate` one by one",
          serving.speedup, "x", least=3),
    Claim("two-adapters", "a step of two adapters, as a share of a step of one",
          serving.two_adapters, "x", most=1.2),
    Claim("rollback", "from the decision to the canary's last piece, streams cut",
          streams.last_token, "s", most=1),
)  # fmt: skip


def main() -> int:
    """Exit code: 0 when every bar holds, 1 when one is missed, 2 for a name that is none."""
    return report.run(CLAIMS, report.parser(TITLE).parse_args(), RESULTS, TITLE, "release", NOTE)


if __name__ == "__main__":
    sys.exit(main())
