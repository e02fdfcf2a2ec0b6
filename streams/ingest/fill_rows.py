"""Plain fills as columns of integers, by one kernel over the spans of their values.

It accepts only what needs no second look: ids of visible ASCII, known instruments, decimals that are exact and in
range. Of everything else it says no more than that it is not plain. It must agree with `fills.FillWriter.read`.
This file stands alone: compiled code is kept by the file it comes from.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from schemas.fields import ID_CHARS_MAX, NUMBER_CHARS_MAX
from schemas.journal import FILL_KINDS
from streams.compiled import inner, kernel
from streams.ingest.checks import AMOUNT_MAX, LOTS_MAX
from streams.ingest.instrument_table import InstrumentColumns
from streams.ingest.scan import I64, Bytes, Flags, Spans

#: The fields of a fill, in the order in which `scan` is to give them: that of most producers.
FIELDS = (
    "fill_id",
    "account",
    "instrument",
    "quantity",
    "price",
    "fee",
    "time",
    "liquidation_id",
    "margin_mode",
    "kind",
)
_FILL_ID, _ACCOUNT, _INSTRUMENT, _QUANTITY, _PRICE, _FEE, _TIME, _LIQUIDATION, _MODE, _KIND = range(10)
#: What a field holds, by the codes of `scan`; literal, or compiled code would keep those of that file as they were.
ABSENT, STRING, NUMBER = 0, 1, 2
_DIGITS_MAX = 18


class Rules(NamedTuple):
    """What is in range. Not constants: compiled code would keep those of other files as they were.

    Parameters
    ----------
    latest_ms : the latest time of a fill
    id_bytes_max, number_bytes_max : length of an id and of a number
    lots_end, amount_end : magnitudes of lots, and of amounts and products, are below
    kinds, modes : the words, each a row of bytes with zeros after it; their places are their codes
    opening : code of the kind that closed instruments refuse
    """

    latest_ms: int
    id_bytes_max: int
    number_bytes_max: int
    lots_end: int
    amount_end: int
    kinds: Bytes
    modes: Bytes
    opening: int


def _padded(words: Sequence[str]) -> Bytes:
    """The words as rows of bytes, each with a zero after it."""
    return np.array([list(word.encode().ljust(max(map(len, words)) + 1, b"\0")) for word in words], np.uint8)


def rules(latest_ms: int) -> Rules:
    """The rules of the contract, with the latest time that a fill may have now."""
    return _RULES._replace(latest_ms=latest_ms)


_RULES = Rules(
    latest_ms=0,
    id_bytes_max=ID_CHARS_MAX,
    number_bytes_max=NUMBER_CHARS_MAX,
    lots_end=LOTS_MAX,
    amount_end=AMOUNT_MAX,
    kinds=_padded(FILL_KINDS),
    modes=_padded(("cross", "isolated")),
    opening=FILL_KINDS.index("opening"),
)


class FillRows(NamedTuple):
    """One row a message, in order; what a row says holds where it is accepted.

    Parameters
    ----------
    accepted : whether the message is a fill
    account_start, account_end, id_start, id_end : where account and fill id stand in the text
    instrument : place in the table
    lots, ticks, fee, time, mode, fill_kind, liquidation : as in the columns of a block of fills
    """

    accepted: Flags
    account_start: I64
    account_end: I64
    id_start: I64
    id_end: I64
    instrument: I64
    lots: I64
    ticks: I64
    fee: I64
    time: I64
    mode: I64
    fill_kind: I64
    liquidation: I64


def plain_fills(data: Bytes, spans: Spans, instruments: InstrumentColumns, rules: Rules) -> FillRows:
    """The rows of plain fills, of the messages whose values are at `spans`; the others are not accepted."""
    count = len(spans.plain)
    rows = FillRows(np.zeros(count, np.bool_), *(np.empty(count, np.int64) for _ in FillRows._fields[1:]))
    _plain_fills(data, *spans, instruments, _slots(instruments), rules, rows)
    return rows


@kernel
def _plain_fills(
    data: Bytes,
    plain: Flags,
    kind: Bytes,
    start: I64,
    end: I64,
    instruments: InstrumentColumns,
    slots: I64,
    rules: Rules,
    rows: FillRows,
) -> None:
    amount_end = rules.amount_end
    for row in range(len(plain)):
        if not plain[row] or kind[row, _LIQUIDATION] == STRING or kind[row, _LIQUIDATION] == NUMBER:
            continue
        # An absent field has an empty span, which is no id, no number and no word.
        if kind[row, _FILL_ID] != STRING or not _is_id(data, start[row, _FILL_ID], end[row, _FILL_ID], rules):
            continue
        if kind[row, _ACCOUNT] != STRING or not _is_id(data, start[row, _ACCOUNT], end[row, _ACCOUNT], rules):
            continue
        if data[start[row, _ACCOUNT]] == 126 or kind[row, _INSTRUMENT] != STRING:  # ~
            continue
        instrument = _find(
            data, start[row, _INSTRUMENT], end[row, _INSTRUMENT], instruments.text, instruments.bound, slots
        )
        if instrument < 0:
            continue

        lots = _decimal(
            data, start[row, _QUANTITY], end[row, _QUANTITY], instruments.quantity_precision[instrument], rules
        )
        ticks = _decimal(data, start[row, _PRICE], end[row, _PRICE], instruments.price_precision[instrument], rules)
        fee = 0
        if kind[row, _FEE] != ABSENT:
            fee = _decimal(data, start[row, _FEE], end[row, _FEE], instruments.fee_precision[instrument], rules)
        # Whole quotients keep products in 64 bits: a x b < m just where a <= (m - 1) // b.
        unit = instruments.unit[instrument]
        is_inverse = instruments.inverse[instrument]
        if lots == 0 or abs(lots) >= rules.lots_end or ticks <= 0 or ticks > instruments.ticks_max[instrument]:
            continue
        if abs(fee) >= amount_end or (not is_inverse and ticks > (amount_end - 1) // unit):
            continue
        if abs(lots) > (amount_end - 1) // (max(ticks, unit) if is_inverse else ticks * unit):
            continue

        time = _time(data, start[row, _TIME], end[row, _TIME], rules) if kind[row, _TIME] == NUMBER else -1
        mode, fill_kind = -1, 0
        if kind[row, _MODE] == STRING:
            mode = _word(data, start[row, _MODE], end[row, _MODE], rules.modes)
            mode = mode if mode >= 0 else -2
        elif kind[row, _MODE] == NUMBER:
            mode = -2
        if kind[row, _KIND] == STRING:
            fill_kind = _word(data, start[row, _KIND], end[row, _KIND], rules.kinds)
        elif kind[row, _KIND] != ABSENT:
            fill_kind = -1
        if not 0 <= time <= rules.latest_ms or mode < -1 or fill_kind < 0:
            continue
        if fill_kind == rules.opening and instruments.closed[instrument]:
            continue

        rows.accepted[row] = True
        rows.account_start[row], rows.account_end[row] = start[row, _ACCOUNT], end[row, _ACCOUNT]
        rows.id_start[row], rows.id_end[row] = start[row, _FILL_ID], end[row, _FILL_ID]
        rows.instrument[row], rows.lots[row], rows.ticks[row], rows.fee[row] = instrument, lots, ticks, fee
        rows.time[row], rows.mode[row], rows.fill_kind[row], rows.liquidation[row] = time, mode, fill_kind, -1


@inner
def _is_id(data: Bytes, start: int, end: int, rules: Rules) -> bool:
    return 0 < end - start <= rules.id_bytes_max and data[start] != 32 and data[end - 1] != 32


@kernel
def _find(data: Bytes, start: int, end: int, text: Bytes, bound: I64, slots: I64) -> int:
    """The instrument of that id, -1 where there is none."""
    slot = _hash(data, start, end) & (len(slots) - 1)
    while slots[slot] >= 0:
        found = slots[slot]
        if bound[found + 1] - bound[found] == end - start and _same(data, start, text, bound[found], end - start):
            return found
        slot = (slot + 1) & (len(slots) - 1)
    return -1


@kernel
def _time(data: Bytes, start: int, end: int, rules: Rules) -> int:
    for at in range(start, end):
        if data[at] < 48:  # a minus or a fraction
            return -1
    return _decimal(data, start, end, 0, rules)


@inner
def _decimal(data: Bytes, start: int, end: int, places: int, rules: Rules) -> int:
    """The decimal x 10**places; `amount_end`, out of range everywhere, where it is no plain one or not exact."""
    amount_end = rules.amount_end
    at = start
    if at < end and data[at] == 45:
        at += 1
    value, digits, decimals, point = 0, 0, 0, False
    if at >= end or data[at] == 46 or data[end - 1] == 46 or end - start > rules.number_bytes_max:
        return amount_end
    while at < end:
        digit = int(data[at]) - 48
        at += 1
        if digit == -2 and not point:
            point = True
            continue
        if digit < 0 or digit > 9 or (decimals == places and point and digit != 0):
            return amount_end
        if decimals == places and point:
            continue
        value = value * 10 + digit
        digits += 1
        decimals += point
        if digits > _DIGITS_MAX:
            return amount_end
    for _ in range(places - decimals):
        if value > amount_end // 10:
            return amount_end
        value *= 10
    return -value if data[start] == 45 else value


@kernel
def _slots(instruments: InstrumentColumns) -> I64:
    """An open hash table of the instruments that are plain: places in the table, -1 free."""
    count = len(instruments.plain)
    size = 16
    while size < 2 * count:
        size *= 2
    slots = np.full(size, -1, np.int64)
    for number in range(count):
        if instruments.plain[number]:
            slot = _hash(instruments.text, instruments.bound[number], instruments.bound[number + 1]) & (size - 1)
            while slots[slot] >= 0:
                slot = (slot + 1) & (size - 1)
            slots[slot] = number
    return slots


@inner
def _hash(text: Bytes, start: int, end: int) -> int:
    """FNV-1a."""
    found = 2166136261
    for at in range(start, end):
        found = ((found ^ int(text[at])) * 16777619) & 0xFFFFFFFF
    return found


@inner
def _same(one: Bytes, at: int, other: Bytes, there: int, size: int) -> bool:
    for step in range(size):
        if one[at + step] != other[there + step]:
            return False
    return True


@inner
def _word(data: Bytes, start: int, end: int, words: Bytes) -> int:
    """Which row of `words`, padded with zeros, the text is; -1 where it is none."""
    size = end - start
    for word in range(len(words)):
        if 0 < size < words.shape[1] and words[word, size] == 0 and _same(data, start, words[word], 0, size):
            return word
    return -1
