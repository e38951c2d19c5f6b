"""`make bench-web`: pages of the desk with 100,000 failures in the store.

    .venv/bin/python bench/web.py [--only NAME] [--repeats 3] [--keep]

Results are written to bench/results/web.{json,md}; a missed bar is exit 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dataset import report
from dataset.report import Claim
from webwork import pages

RESULTS = Path(__file__).parent / "results"
TITLE = "The desk against its bars"
NOTE = (
    "`errata web` as a process over a workspace of 100,000 failures, half of them in a dataset "
    "version with an edge of the lineage each; a client that asks one page after another. Of each "
    "page the median of fifteen requests after one that is not counted; the claim is the slowest "
    "page's."
)
BAR = 150  # milliseconds, of a page
CLAIMS = (
    Claim("pages", "slowest page, 100,000 failures", pages.slowest(pages.PAGES), "ms", most=BAR),
    Claim("search", "slowest search, 100,000 failures", pages.slowest(pages.SEARCHES), "ms",
          most=BAR),
    Claim("parts", "slowest part that is asked again every two seconds",
          pages.slowest(pages.PARTS), "ms", most=BAR),
)  # fmt: skip


def main() -> int:
    """Exit code: 0 when every bar holds, 1 when one is missed, 2 for a name that is none."""
    return report.run(CLAIMS, report.parser(TITLE).parse_args(), RESULTS, TITLE, "web", NOTE)


if __name__ == "__main__":
    sys.exit(main())
