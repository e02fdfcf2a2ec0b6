"""`fills` -> blocks of fills, each row in its account's journal partition.

Plain messages become rows in a kernel; every other one is read by itself, in its place, and that reading defines what a
fill means.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from schemas.dead_letters import Refused
from schemas.fields import legal_id, scaled, shown
from schemas.fills import Fill
from schemas.journal import FILL_KINDS
from streams.ingest.checks import AMOUNT_MAX, LOTS_MAX, Shards, answered, event_time, minor_units, price_ticks
from streams.ingest.fill_blocks import put_blocks
from streams.ingest.fill_rows import FIELDS, FillRows, plain_fills, rules
from streams.ingest.instrument_table import InstrumentTable
from streams.ingest.messages import Message, Messages
from streams.ingest.scan import Bytes, fields_of, scan
from streams.ingest.terms import InstrumentTerms, Terms, check_size
from streams.ingest.writers import Batch, Writer, Written, no_value

_KIND = {kind: code for code, kind in enumerate(FILL_KINDS)}
_MODE = {None: -1, "cross": 0, "isolated": 1}
_FIELDS = fields_of(FIELDS)


class FillRow(NamedTuple):
    """One fill, scaled to lots, ticks and minor units; codes as in the columns of a block of fills."""

    account: str
    fill_id: str
    instrument: str
    lots: int
    ticks: int
    fee: int
    time: int
    mode: int
    fill_kind: int
    liquidation: int


class FillWriter(Writer):
    """Scales fills to lots, ticks and minor units."""

    kind = "fills"
    record = Fill

    def __init__(self, shards: Shards) -> None:
        super().__init__(shards)
        self._table = InstrumentTable(Terms(0))

    def write(self, messages: Sequence[Message], batch: Batch) -> Written:
        if not self._table.is_of(batch.terms):
            self._table = InstrumentTable(batch.terms)
        columns = Messages.of(messages)
        spans = scan(columns.data, columns.value_start, columns.value_length, _FIELDS)
        spans.plain[columns.value_length > batch.bytes_max] = False
        rows = plain_fills(columns.data, spans, self._table.columns, rules(batch.latest_ms))
        read: dict[int, FillRow] = {}
        refused: list[tuple[Message, Refused]] = []
        for index in np.flatnonzero(~rows.accepted).tolist():
            message = messages[index]
            try:
                read[index] = self.read(message[2], batch)
            except Refused as reason:
                refused.append((message, reason))
        text = self._add(read, rows, columns.data)
        put_blocks(rows, columns.offset, text, self._table, batch.blocks)
        return Written(int(rows.time[rows.accepted].max(initial=0)), refused)

    def _add(self, read: Mapping[int, FillRow], rows: FillRows, text: Bytes) -> Bytes:
        """Put what was read by itself in its place among the rows; returns the text with its names."""
        if not read:
            return text
        names = [name.encode() for row in read.values() for name in (row.account, row.fill_id)]
        bounds = len(text) + np.cumsum([0, *map(len, names)])
        at = list(read)
        rows.accepted[at] = True
        rows.account_start[at], rows.account_end[at] = bounds[:-1:2], bounds[1::2]
        rows.id_start[at], rows.id_end[at] = bounds[1::2], bounds[2::2]
        rows.instrument[at] = [self._table.number[row.instrument] for row in read.values()]
        cells = np.array([row[3:] for row in read.values()], dtype=np.int64)
        for name, column in zip(FillRow._fields[3:], cells.T, strict=True):
            getattr(rows, name)[at] = column
        return np.frombuffer(text.tobytes() + b"".join(names), np.uint8)

    def read(self, value: bytes | None, batch: Batch) -> FillRow:
        """The fill in one message.

        Raises
        ------
        Refused
            what is wrong with it, the first fault by the order of `schemas.dead_letters.REASONS`.
        """
        if value is None:
            raise no_value()
        check_size(value, batch.bytes_max)
        fill: Fill = self.reader.read(value)
        legal_id(fill.fill_id, "fill_id")
        shard = self.shards.of(fill.account)
        time = event_time(fill.time, batch.latest_ms)
        instrument = batch.terms.find_instrument(fill.instrument)
        if instrument.closed and fill.kind == "opening":
            raise Refused("closed_instrument", f"instrument must be open, found {shown(instrument.id)} closed")
        lots, ticks, fee = _amounts(fill, instrument)
        mode, liquidation = _MODE[fill.margin_mode], -1
        if fill.liquidation_id is not None:
            mode, liquidation = _answer(fill, fill.liquidation_id, shard)
        return FillRow(
            account=fill.account,
            fill_id=fill.fill_id,
            instrument=instrument.id,
            lots=lots,
            ticks=ticks,
            fee=fee,
            time=time,
            mode=mode,
            fill_kind=_KIND[fill.kind],
            liquidation=liquidation,
        )


def _amounts(fill: Fill, instrument: InstrumentTerms) -> tuple[int, int, int]:
    """Lots, ticks and fee in minor units, each and together in range."""
    lots = scaled(fill.quantity, instrument.quantity_precision, "quantity")
    if lots == 0:
        raise Refused("zero_quantity", f"quantity must not be 0, found {shown(fill.quantity)}")
    if not -LOTS_MAX < lots < LOTS_MAX:
        raise Refused("over_range", f"quantity must be below 2**31 lots, found {shown(fill.quantity)}")
    ticks = price_ticks(fill.price, instrument, "price")
    fee = minor_units(fill.fee, instrument.asset, "fee")
    # The largest number a fill becomes: the cash of a linear one, the coin numerator of an inverse one.
    factor = max(ticks, instrument.unit) if instrument.inverse else ticks * instrument.unit
    if abs(lots) * factor >= AMOUNT_MAX:
        raise Refused(
            "product_over_range",
            f"quantity x price must be below 2**62 minor units of {shown(instrument.asset.id)}, "
            f"found {shown(fill.quantity)} x {shown(fill.price)}",
        )
    return lots, ticks, fee


def _answer(fill: Fill, identity: str, shard: int) -> tuple[int, int]:
    """Mode and journal offset of the liquidation that a fill answers: the bucket in its id gives the mode."""
    if fill.margin_mode is None:
        buckets: tuple[str, ...] = ("cross", fill.instrument)
    else:
        buckets = ("cross",) if fill.margin_mode == "cross" else (fill.instrument,)
    bucket, offset = answered(identity, shard=shard, account=fill.account, buckets=buckets)
    return _MODE["cross" if bucket == "cross" else "isolated"], offset
