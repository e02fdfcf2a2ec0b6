"""Shadow numbers: in the summaries of accounts that ask for it, what the model not in force would require."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import orjson

from streams.engine.book_view import MarginModel
from streams.engine.judge import view_of
from streams.engine.report import number_text, numbers_by
from streams.margin.parameters import I64
from streams.rows import Rows

if TYPE_CHECKING:
    from streams.engine.shard import Shard

#: The field of a record that the shadow numbers follow, the cross book's own, which comes after those of others.
_BEFORE = b',"margin_ratio":'


def with_other_model(shard: Shard, accounts: I64, rows: Rows) -> Rows:
    """The summaries of `accounts`, with shadow numbers where they are asked for and a risk unit is published."""
    if not shard.shadows or shard.portfolio.model is None:
        return rows
    asked = [row for row, account in enumerate(accounts.tolist()) if account in shard.shadows]
    values, ends, last = [], rows.value_end.copy(), 0
    for row in asked:
        place = _place(rows, row)
        told = np.frombuffer(b',"other_model":' + _other_model(shard, int(accounts[row])), dtype=np.uint8)
        values += [rows.value_bytes[last:place], told]
        ends[row:] += len(told)
        last = place
    return Rows(rows.key_bytes, rows.key_end, np.concatenate([*values, rows.value_bytes[last:]]), ends)


def _place(rows: Rows, row: int) -> int:
    """Where in all values the numbers of this record go."""
    start = int(rows.value_end[row - 1]) if row else 0
    record = rows.value_bytes[start : rows.value_end[row]].tobytes()
    return start + record.index(b',"', record.rindex(_BEFORE) + len(_BEFORE))


def _other_model(shard: Shard, account: int) -> bytes:
    view = replace(view_of(shard, int(shard.ledger.cross_book[account])), risk=shard.portfolio.view(shard))
    other: MarginModel = "standard" if view.margin_model == "portfolio" else "portfolio"
    initial, maintenance = (number_text(number) for number in numbers_by(view, other)[3:])
    return orjson.dumps({"initial_margin": initial, "maintenance_margin": maintenance})
