"""Columns of a CSV file as numbers, the same way at prediction as at the fit.

Numbers stay numbers. Text becomes one column of zeros and ones for each value seen at the fit
(one-hot). A blank cell of numbers is the median of its column; a blank cell of text is a value of
its own.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError

__all__ = ["Column", "Encoding", "read_csv"]

Cells = dict[str, list[str]]
_BLANK = ("", "na", "nan", "null", "none", "?")
# One column for each of more values would leave few rows to each.
_MOST_VALUES = 50


def read_csv(path: str | Path) -> Cells:
    """The cells of each column by its name in the first line, blanks around them stripped.

    Raises
    ------
    ArgumentError
        If there is no header, a name is missing or stands twice, or a line has more or fewer
        cells than it.
    """
    path = Path(path)
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [
            (i, [cell.strip() for cell in cells])
            for i, cells in enumerate(csv.reader(file), start=1)
            if any(map(str.strip, cells))
        ]
    if len(lines) < 2:
        given = f"{len(lines)} lines with anything in them"
        raise ArgumentError(str(path), given, "give a header and one line for each row")
    (_, names), *rows = lines
    for i, name in enumerate(names):
        if not name or name in names[:i]:
            given = f"a header whose column {i + 1} is called {name!r}"
            raise ArgumentError(str(path), given, "name every column in the first line, once")
        if _number(name) is not None:
            given = f"a first line with the number {name}"
            raise ArgumentError(str(path), given, "name the columns in the first line")
    for line, cells in rows:
        if len(cells) != len(names):
            given = f"{len(cells)} cells in line {line} under {len(names)} names"
            raise ArgumentError(str(path), given, "separate cells by commas, quote text with them")
    return {name: [cells[i] for _, cells in rows] for i, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class Column:
    """How one column becomes numbers.

    Attributes
    ----------
    values : tuple of str, or None for numbers
        What was seen at the fit, sorted; blank included.
    median
        Of the numbers, which takes the place of a blank.
    """

    name: str
    values: tuple[str, ...] | None
    median: float

    @classmethod
    def learn(cls, name: str, cells: Sequence[str]) -> "Column":
        """From the cells of the training rows."""
        numbers = [_number(cell) for cell in cells if not _is_blank(cell)]
        if not numbers:
            raise ArgumentError(name, "a column of blanks", "leave it out of the file")
        if all(number is not None for number in numbers):
            found = np.array(numbers, dtype=np.float64)
            if not np.isfinite(found).all():
                raise ArgumentError(name, "an infinite number", "give finite numbers")
            return cls(name, None, float(np.median(found)))
        values = tuple(sorted({_plain(cell) for cell in cells}))
        if len(values) > _MOST_VALUES:
            given = f"text with {len(values)} different values"
            remedy = f"give numbers, or text of at most {_MOST_VALUES} values"
            raise ArgumentError(name, given, remedy)
        return cls(name, values, 0.0)

    def blanks(self, cells: Sequence[str]) -> int:
        """How many cells the median stands in for."""
        return 0 if self.values is not None else sum(map(_is_blank, cells))

    def encode(self, cells: Sequence[str]) -> NDArray[np.float64]:
        """Shape (n, 1), or (n, values) for text."""
        if self.values is not None:
            place = {value: i for i, value in enumerate(self.values)}
            found = np.zeros((len(cells), len(self.values)))
            for row, cell in enumerate(cells):
                if _plain(cell) not in place:
                    known = ", ".join(repr(value) for value in self.values)
                    raise ArgumentError(self.name, repr(cell), f"give one of {known}")
                found[row, place[_plain(cell)]] = 1.0
            return found
        numbers = [self.median if _is_blank(cell) else _number(cell) for cell in cells]
        for number, cell in zip(numbers, cells, strict=True):
            if number is None or not np.isfinite(number):
                raise ArgumentError(self.name, repr(cell), "give finite numbers, as at the fit")
        return np.array(numbers, dtype=np.float64)[:, None]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a file becomes a matrix, and what its target is called."""

    columns: tuple[Column, ...]
    target: str

    @classmethod
    def learn(cls, cells: Cells, target: str) -> "Encoding":
        """From the training file.

        Raises
        ------
        ArgumentError
            If it has no column `target`, or none besides.
        """
        if target not in cells:
            raise ArgumentError("target", repr(target), f"name one of {', '.join(cells)}")
        if len(cells) == 1:
            raise ArgumentError("target", f"the only column, {target!r}", "give inputs besides")
        found = [Column.learn(name, column) for name, column in cells.items() if name != target]
        return cls(tuple(found), target)

    def encode(self, cells: Cells) -> NDArray[np.float64]:
        """The inputs, shape (n, d); columns by name, in any order, others are left alone."""
        missing = [column.name for column in self.columns if column.name not in cells]
        if missing:
            given = f"a file without the columns {', '.join(missing)}"
            raise ArgumentError("data", given, "give the columns of the fit")
        return np.hstack([column.encode(cells[column.name]) for column in self.columns])

    def numbers(self, cells: Cells) -> NDArray[np.float64]:
        """The targets as numbers, shape (n,); NaN where blank."""
        found = [np.nan if _is_blank(cell) else _number(cell) for cell in cells[self.target]]
        for number, cell in zip(found, cells[self.target], strict=True):
            if number is None:
                remedy = "give numbers, or --estimator GPClassifier for classes"
                raise ArgumentError("target", repr(cell), remedy)
        return np.array(found, dtype=np.float64)

    def labels(self, cells: Cells) -> NDArray[np.str_]:
        """The targets as classes, shape (n,)."""
        if any(map(_is_blank, cells[self.target])):
            raise ArgumentError("target", "a blank cell", "give every row its class")
        return np.array(cells[self.target])


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _is_blank(cell: str) -> bool:
    return cell.lower() in _BLANK


def _plain(cell: str) -> str:
    return "" if _is_blank(cell) else cell
