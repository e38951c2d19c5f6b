"""Sheets that people fill in with a spreadsheet: CSV of which no cell is carried out, read back in
whatever encoding and with whatever marks the spreadsheet left it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from errata.errors import BadInput
from errata.intake import files
from errata.intake.pieces import LONGEST

_FORMULA = tuple("=+-@＝＋－＠\t\r")  # a spreadsheet would carry it out


def tame(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def written(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The sheet as text, every cell tamed."""
    out = io.StringIO()
    out.write("\ufeff")  # without it a spreadsheet reads Chinese as Latin
    table = csv.writer(out)
    table.writerow(heads)
    table.writerows([*map(tame, row)] for row in rows)
    return out.getvalue()


def read(path: Path, needed: Sequence[str], made_by: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The last line and the cells of each row; BadInput where it is no table with those columns."""
    csv.field_size_limit(LONGEST)
    try:
        raw = path.read_bytes()
        text = raw.decode(files.encoding(raw[: 1 << 16]))
        marks = max(",\t;", key=text.partition("\n")[0].count)
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=marks, strict=True)
        if lacking := [name for name in needed if name not in (rows.fieldnames or ())]:
            raise BadInput(f"{path}:1: no column {', '.join(lacking)}; see `{made_by}`")
        for cells in rows:
            told = {str(name): cell or "" for name, cell in cells.items() if isinstance(name, str)}
            yield rows.line_num, told
    except (OSError, UnicodeError, csv.Error) as error:
        raise BadInput(f"{path}: {error}; save the sheet as CSV in UTF-8") from None
