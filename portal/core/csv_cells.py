"""CSV cells that a spreadsheet shows and never executes.

Pure. Text that a spreadsheet would take for a formula gets an apostrophe in front; numbers are
written plainly, so that they stay numbers.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

Cell = str | int | Decimal | None
_DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula can begin with; the last four are full-width forms, which some locales read."""


def safe_cell(value: Cell) -> str:
    """Write one cell (OWASP, CSV injection).

    >>> safe_cell('=HYPERLINK("http://x")'), safe_cell("/v1/a"), safe_cell(-3), safe_cell(None)
    ('\\'=HYPERLINK("http://x")', '/v1/a', '-3', '')
    >>> safe_cell("\\uff1d1+1")
    "'\uff1d1+1"
    """
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, int):
        return str(value)
    return f"'{value}" if value.startswith(_DANGEROUS) else value


def build_csv(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Write a table as CSV (RFC 4180: CRLF, quotes where needed)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([safe_cell(name) for name in header])
    writer.writerows([safe_cell(cell) for cell in row] for row in rows)
    return out.getvalue()
