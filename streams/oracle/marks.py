"""What the oracle tells the margin engine: prices and marks, as the columns of a `marks` block."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.oracle.options import OptionMark

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
    state : OK and so on, of the index and of every mark; that of an option may be worse
    quote_time : of the newest quote in the index, epoch ms
    sources : those that the index is made of, by name; none where it is an old one
    marks : (instrument, mark price), by instrument
    check : price that a suspect index is to be checked against; None: there is none, or none is needed
    widening : fraction that haircuts widen by
    reasons : why the state is not OK, ascending
    options : marks of the options whose volatility is known, by instrument
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
    options: tuple[OptionMark, ...] = ()

    def tells_more_than(self, sent: "SymbolMark | None") -> bool:
        """Whether it tells more than a newer time or another set of sources."""
        return sent is None or self._replace(quote_time=sent.quote_time, sources=sent.sources) != sent

    def at_prices_of(self, sent: "SymbolMark") -> "SymbolMark":
        """The same state and reasons at the prices told before; instruments that are new get their mark."""
        told = dict(sent.marks)
        valued = {option.instrument: option for option in sent.options}
        return self._replace(
            index_price=sent.index_price,
            confidence=sent.confidence,
            quote_time=sent.quote_time,
            sources=(),
            marks=tuple((name, told.get(name, mark)) for name, mark in self.marks),
            options=tuple(
                valued.get(option.instrument, option)._replace(stale=option.stale) for option in self.options
            ),
        )

    def option_state(self, option: OptionMark) -> int:
        """The state of an option's mark."""
        return max(STALE, self.state) if option.stale else self.state

    def instruments(self) -> list[tuple[OptionMark, int]]:
        """Every instrument on the symbol and the state of its mark; one that is no option has no volatility (nan)."""
        plain = [(OptionMark(name, mark, False, *[math.nan] * 3), self.state) for name, mark in self.marks]
        return plain + [(option, self.option_state(option)) for option in self.options]

    def record(self) -> list[Any]:
        """For the changelog; symbols without options have the record that they ever had."""
        return list(self[1:] if self.options else self[1:-1])

    @classmethod
    def restored(cls, symbol: str, record: list[Any]) -> "SymbolMark":
        """The mark whose record it is; those of older releases end with `marks`."""
        index_price, confidence, state, quote_time, sources, marks, *later = record
        check, widening, reasons, *options = later or (None, 0.0, ())
        named = tuple((name, mark) for name, mark in marks)
        prices = (index_price, confidence, state, quote_time)
        valued = tuple(OptionMark(*option) for option in options[0]) if options else ()
        return cls(symbol, *prices, tuple(sources), named, check, widening, tuple(reasons), valued)


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
        """`names`, `columns`, `extra` of the `marks` block: one table of symbols and one of instruments.

        What options are made of is there where options are.
        """
        marks = [mark for row in self.rows for mark in row.instruments()]
        names = {"symbols": [row.symbol for row in self.rows], "instruments": [mark.instrument for mark, _ in marks]}
        checks = [math.nan if row.check is None else row.check for row in self.rows]
        columns = {
            "symbol": np.arange(len(self.rows), dtype="<i4"),
            "index": np.array([row.index_price for row in self.rows], dtype="<f8"),
            "confidence": np.array([row.confidence for row in self.rows], dtype="<f8"),
            "check": np.array(checks, dtype="<f8"),
            "symbol_state": np.array([row.state for row in self.rows], dtype="<i1"),
            "quote_time": np.array([row.quote_time for row in self.rows], dtype="<i8"),
            "instrument": np.arange(len(marks), dtype="<i4"),
            "mark": np.array([mark.price for mark, _ in marks], dtype="<f8"),
            "mark_state": np.array([state for _, state in marks], dtype="<i1"),
            "widening": np.array([row.widening for row in self.rows], dtype="<f8"),
        }
        if any(row.options for row in self.rows):
            for name in ("volatility", "forward", "discount"):
                columns[f"instrument_{name}"] = np.array([getattr(mark, name) for mark, _ in marks], dtype="<f8")
        oracle = {"partition": self.partition, "of": self.of, "mode": self.mode}
        return names, columns, {"time": self.time, "oracle": oracle}
