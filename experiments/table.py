"""Tables on the terminal: plain text that reads the same in a log."""

import math
from collections.abc import Sequence

__all__ = ["format_table", "number"]

Cell = str | float | int | None


def number(value: Cell, digits: int = 3) -> str:
    """`value` in few characters; a missing one is a dash.

    Examples
    --------
    >>> [number(v) for v in (1234, 0.5, 3.07e-11, 12345.6, 0.0, None, "P1")]
    ['1234', '0.5', '3.07e-11', '1.23e+04', '0', '-', 'P1']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def format_table(headers: Sequence[str], rows: Sequence[Sequence[Cell]], title: str = "") -> str:
    """Columns under their headers: text to the left, numbers to the right.

    Examples
    --------
    >>> print(format_table(["problem", "error"], [["P1", 3.07e-11], ["P2", None]]))
    problem     error
    -----------------
    P1       3.07e-11
    P2              -
    """
    columns = [[header, *(number(row[i]) for row in rows)] for i, header in enumerate(headers)]
    lines = []
    widths = [max(map(len, column)) for column in columns]
    left = [any(isinstance(row[i], str) for row in rows) for i in range(len(headers))]
    for k in range(len(rows) + 1):
        cells = [
            column[k].ljust(width) if to_left else column[k].rjust(width)
            for column, width, to_left in zip(columns, widths, left, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join([f"\n{title}", *lines] if title else lines)
