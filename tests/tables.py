"""Tables of worked cases: text rows for the eye, parameters for pytest.

A table is lines of cells separated by `|`. The first line names the columns; the first column is the name of the
case. A line that begins with `#` is the arithmetic of the row above it. An empty cell is None.
"""

from typing import Any

import pytest

Row = dict[str, str | None]


def rows(text: str) -> list[Any]:
    """The rows of a table as `pytest.param`s, each a dictionary by column.

    Examples
    --------
    >>> rows('''
    ... case    | price | value
    ... doubled | 2     | 4
    ... # 2 x 2
    ... ''')[0].values
    ({'case': 'doubled', 'price': '2', 'value': '4'},)
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("#")]
    names, *cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    found = []
    for row in cells:
        if len(row) != len(names):
            raise ValueError(f"a row must have {len(names)} cells ({', '.join(names)}), found {row}")
        values: Row = {name: cell or None for name, cell in zip(names, row, strict=True)}
        found.append(pytest.param(values, id=row[0]))
    return found
