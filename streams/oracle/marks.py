"""What the oracle tells the margin engine: prices and marks, as the columns of a `marks` block."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]

#: States of a price by their place in the contract's PRICE_STATES; a greater one is worse.
OK, DEGRADED, SUSPECT, STALE, HALTED = range(5)

CATCHING_UP = "catching_up"
LIVE = "live"


def mark_price(index: float, *, basis: float = 0.0) -> float:
    """What positions in an instrument are valued at: index + basis, in the reporting currency.

    `basis` is positive where the instrument trades above its underlying.
    """
    return index + basis


class SymbolMark(NamedTuple):
    """One symbol's index price and the marks of the instruments that hang on it.

    Parameters
    ----------
    state : OK and so on, of the index and of every mark
    quote_time : of the newest quote in the index, epoch ms
    sources : those that the index is made of, by name; none where it is an old one
    marks : (instrument, mark price), by instrument
    check : price that a suspect index is to be checked against; None: there is none, or none is needed
    widening : fraction that haircuts widen by
    reasons : why the state is not OK, ascending
    """

    symbol: str
    index_price: float
    confidence: float
    state: int
    quote_time: int
    sources: tuple[str, ...]
    marks: tuple[tuple[str, float], ...]
    check: float | None = None
    widening: float = 0.0
    reasons: tuple[str, ...] = ()

    def tells_more_than(self, sent: "SymbolMark | None") -> bool:
        """Whether it tells more than a newer time or another set of sources."""
        return sent is None or self._replace(quote_time=sent.quote_time, sources=sent.sources) != sent

    def at_prices_of(self, sent: "SymbolMark") -> "SymbolMark":
        """The same state and reasons at the prices told before; instruments that are new get their mark."""
        told = dict(sent.marks)
        return self._replace(
            index_price=sent.index_price,
            confidence=sent.confidence,
            quote_time=sent.quote_time,
            sources=(),
            marks=tuple((name, told.get(name, mark)) for name, mark in self.marks),
        )

    def record(self) -> list[Any]:
        """For the changelog."""
        return list(self[1:])

    @classmethod
    def restored(cls, symbol: str, record: list[Any]) -> "SymbolMark":
        """The mark whose record it is; those of older releases end with `marks`."""
        index_price, confidence, state, quote_time, sources, marks, *later = record
        check, widening, reasons = later or (None, 0.0, ())
        named = tuple((name, mark) for name, mark in marks)
        prices = (index_price, confidence, state, quote_time)
        return cls(symbol, *prices, tuple(sources), named, check, widening, tuple(reasons))


@dataclass(frozen=True, kw_only=True)
class MarksUpdate:
    """One marks block of one oracle partition; the same goes to every journal partition.

    Parameters
    ----------
    partition, of : the oracle partition that speaks, and how many there are
    time : shard time in epoch ms, never less than that of the update before
    mode : CATCHING_UP or LIVE
    rows : the changed symbols, by name; all of them where the mode turns to LIVE; none in a bare heartbeat
    """

    partition: int
    of: int
    time: int
    mode: str
    rows: Sequence[SymbolMark] = ()

    def block(self) -> tuple[dict[str, list[str]], dict[str, Column], dict[str, Any]]:
        """`names`, `columns`, `extra` of the `marks` block: one table of symbols and one of instruments."""
        marks = [(name, mark, row.state) for row in self.rows for name, mark in row.marks]
        names = {"symbols": [row.symbol for row in self.rows], "instruments": [name for name, _, _ in marks]}
        checks = [math.nan if row.check is None else row.check for row in self.rows]
        columns = {
            "symbol": np.arange(len(self.rows), dtype="<i4"),
            "index": np.array([row.index_price for row in self.rows], dtype="<f8"),
            "confidence": np.array([row.confidence for row in self.rows], dtype="<f8"),
            "check": np.array(checks, dtype="<f8"),
            "symbol_state": np.array([row.state for row in self.rows], dtype="<i1"),
            "quote_time": np.array([row.quote_time for row in self.rows], dtype="<i8"),
            "instrument": np.arange(len(marks), dtype="<i4"),
            "mark": np.array([mark for _, mark, _ in marks], dtype="<f8"),
            "mark_state": np.array([state for _, _, state in marks], dtype="<i1"),
            "widening": np.array([row.widening for row in self.rows], dtype="<f8"),
        }
        oracle = {"partition": self.partition, "of": self.of, "mode": self.mode}
        return names, columns, {"time": self.time, "oracle": oracle}
