"""`make bench-cost`: estimates against published peaks and against our own steps.

    .venv/bin/python bench/cost.py [--only NAME] [--repeats 3] [--keep]

Results are written to bench/results/cost.{json,md}; a missed bar is exit 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

from costwork import own, points
from dataset import report
from dataset.report import Claim

RESULTS = Path(__file__).parent / "results"
TITLE = "Cost estimates against their bars"
NOTE = (
    "Published peaks are those of ../shared/data/memory_points_dev.jsonl, on which the formula was "
    "developed; `fields` reads the contract's fields alone, `with remarks` the note and the "
    "publisher too. `left_out`: each source's median error with the mean of the other sources, and "
    "what their interval covers of it. Our own steps: growth of one process's resident memory."
)
CLAIMS = (
    Claim("median", "published peaks, median error", points.measure("median"), "share", most=0.10),
    Claim("p90", "published peaks, 90th percentile of the error", points.measure("p90"), "share",
          most=0.22),
    Claim("covered", "published peaks below the upper end", points.measure("covered"), "share",
          least=0.90),
    Claim("fits", "`fits` wrong on the card nearest the peak", points.measure("wrong_fits"),
          "share", most=0.05),
    Claim("own", "SFT, DPO, RM, PPO: worst error of predicted memory", own.verified, "share",
          most=0.15),
    Claim("seconds", "`errata cost` without torch, CPU-seconds", own.seconds, "s", most=0.5),
)  # fmt: skip


def main() -> int:
    """Exit code: 0 when every bar holds, 1 when one is missed, 2 for a name that is none."""
    return report.run(CLAIMS, report.parser(TITLE).parse_args(), RESULTS, TITLE, "cost", NOTE)


if __name__ == "__main__":
    sys.exit(main())
