"""`make bench-data`: redaction, near twins and lint against their bars and their peers.

    .venv/bin/python bench/data.py [--only NAME] [--repeats 3] [--keep] [--mib 64 256 1024]

Needs the [bench] extra (Presidio, spaCy, Faker, datasketch). All texts are made from one seed by
dataset/, which shares no code with the rules, and by datawork/. Results are written to
bench/results/data.{json,md}; a missed bar is exit 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dataset import bulk, claims, report
from dataset.claims import timed
from dataset.report import Claim
from datawork import lint, near

RESULTS = Path(__file__).parent / "results"
TITLE = "Data against its bars"

CLAIMS = (
    Claim("english", "English rows, a value in each, times Presidio", claims.english, "x",
          least=100),
    Claim("chinese", "Chinese rows, a value in each, times Presidio", claims.chinese, "x",
          least=50),
    Claim("chats", "chat logs, 1 % of rows hold a value, two processes", claims.chats, "MB/s",
          least=20),
    Claim("recall", "Chinese values fully gone, least of five types", timed(claims.recall), "share",
          least=0.99),
    Claim("leaks", "values with a checksum left in full", timed(claims.leaks), "values", most=0),
    Claim("precision", "precision amid near misses, least of all tags", timed(claims.precision),
          "share", least=0.95),
    Claim("passwords", "passwords told in prose, lesser of two languages", timed(claims.passwords),
          "share", least=0.9),
    Claim("identical", "texts whose spans need google-re2", timed(claims.identical), "texts",
          most=0),
    Claim("idempotent", "of 100,000 texts, changed by a second pass", timed(claims.idempotent),
          "texts", most=0),
    Claim("near", "near twins of 5,000 texts, times datasketch's fastest form", near.versus, "x",
          least=10),
    Claim("near-recall", "of near twins at likeness 0.8 and more, found", near.recall, "share",
          least=0.99),
    Claim("lint", "lint of 50,000 pairs, one core", lint.seconds, "s", most=60),
    Claim("memory", "intake of 10 GB of distinct rows, peak memory", bulk.memory, "MiB", most=1024),
    Claim("ray", "intake with Ray on this machine, times one process", bulk.ray, "x", least=1),
)  # fmt: skip


def main() -> int:
    """Exit code: 0 when every bar holds, 1 when one is missed, 2 for a name that is none."""
    parser = report.parser(TITLE)
    parser.add_argument("--mib", type=int, nargs="+", default=bulk.SIZES, metavar="MIB",
                        help="sizes of the input of `memory`; 10240 takes it whole")  # fmt: skip
    told = parser.parse_args()
    bulk.SIZES[:] = told.mib
    return report.run(CLAIMS, told, RESULTS, TITLE)


if __name__ == "__main__":
    sys.exit(main())
