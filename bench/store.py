"""`make bench-store`: the store's numbers, on SQLite and on PostgreSQL, each against its bar.

    .venv/bin/python bench/store.py [--only NAME] [--database SQLite] [--repeats 3] [--keep]

PostgreSQL is measured where ERRATA_TEST_POSTGRES_URL names a server (schemas are made and dropped
there). Results are written to bench/results/store.{json,md}; a missed bar is exit 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from storage import floor, measures, places, report
from storage.claim import Claim, judge
from storage.places import SQLITE

RESULTS = Path(__file__).parent / "results"
TITLE = "The store against its bars"

CLAIMS = (
    Claim("trace", "trace of one failure, 1,000,000 membership rows", measures.traced("usual"),
          "ms", most=5),
    Claim("trace-lasting", "the same, its row in all 20 versions", measures.traced("lasting"),
          "ms", most=5, judged=(SQLITE,)),
    Claim("append-batched", "events appended, 1,000 in a transaction", measures.batched,
          "events/s", least=10_000),
    Claim("append", "events appended, one in a transaction", measures.one_by_one, "events/s",
          least=2_000, judged=(SQLITE,)),
    Claim("append-floor", "the same statements by a bare driver", floor.floor, "events/s",
          least=2_000, judged=()),
    Claim("verify", "events verified: both copies, 100 checkpoints", measures.verified, "events/s",
          least=100_000),
    Claim("version", "a version of 50,000 rows written", measures.version, "s", most=5),
    Claim("writers", "10,000 events by 8 processes at once", measures.writers, "lost or twice",
          most=0),
    Claim("kills", "kill -9 of 200 processes amid their runs", measures.kills, "missing or wrong",
          most=0),
)  # fmt: skip


def main() -> int:
    """Exit code: 0 when every bar holds, 1 when one is missed, 2 for a name that is none."""
    parser = argparse.ArgumentParser(description=TITLE)
    parser.add_argument("--only", metavar="NAME", action="append", help="this claim (repeatable)")
    parser.add_argument("--database", metavar="KIND", action="append", help="SQLite or PostgreSQL")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each; medians count")
    parser.add_argument("--keep", action="store_true", help="keep the other results")
    told = parser.parse_args()
    names = [claim.name for claim in CLAIMS]
    if unknown := set(told.only or []) - {*names}:
        print(f"bench: no claim {sorted(unknown)}; there are {', '.join(names)}")
        return 2
    stamp = report.machine()
    known = {(r["claim"], r["database"]): r for r in report.read(RESULTS, stamp) if told.keep}
    for claim in CLAIMS:
        for kind in told.database or places.kinds():
            if claim.name in (told.only or names):
                done = judge(claim, kind, claim.measure(kind, told.repeats))
                known[claim.name, kind] = done
                print("  ".join(report.row(done)), flush=True)
    results = sorted(known.values(), key=lambda r: names.index(r["claim"]))
    report.write(RESULTS, TITLE, stamp, results)
    print(f"\n{report.table(report.HEAD, [report.row(r) for r in results])}")
    return int(any(r["verdict"] == "MISSED" for r in results))


if __name__ == "__main__":
    sys.exit(main())
