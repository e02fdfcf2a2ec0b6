"""`marks`: the index price of a symbol and the mark prices of the instruments on it."""

from typing import Literal

import msgspec

from schemas.fields import DecimalText, Name, Record

PriceState = Literal["ok", "degraded", "suspect", "stale", "halted"]


class MarkPrice(Record, frozen=True, kw_only=True):
    """What an instrument is valued at.

    Parameters
    ----------
    mark : mark price, in the instrument's quote currency; of an option settled in coins, in coins
    index : price of the underlying, in the reporting currency
    state : how far the mark is to be trusted; the last mark is kept while it is stale or halted
    """

    mark: DecimalText
    index: DecimalText | None = None
    state: PriceState = "ok"


class OptionMark(Record, frozen=True, kw_only=True):
    """What the mark of an option was made of.

    Parameters
    ----------
    volatility : a year's, 0.5 is 50 %; 0: it has expired, and forward is the mean that it settles at
    forward : price of the underlying for the option's expiry
    discount : factor from expiry to now
    """

    volatility: DecimalText
    forward: DecimalText
    discount: DecimalText


class Mark(Record, frozen=True, kw_only=True):
    """The latest prices of one symbol. The message key is the symbol; the topic is compacted.

    Parameters
    ----------
    symbol : what is priced
    index : of the live sources by the symbol's rules, in the reporting currency; null: never seen
    confidence : half-width of the uncertainty of the index, same unit
    check : what a suspect index is checked against: what it would be by the check source, or else by the spot price
        that was last trusted; null: none
    state : how far the index is to be trusted
    reasons : why the state is not ok, in order, such as band, check, drift:<source>, source_missing:<source>
    widening : fraction that haircuts of the asset widen by
    sources : the sources the index was made of, in order
    quote_time : when the source of the newest quote in the index saw its price, epoch ms; null: not known
    marks : mark of each instrument on the symbol, by id; of an option, where its volatility is known
    options : what the marks of options were made of, by id
    time : oracle time, epoch ms
    """

    symbol: Name
    index: DecimalText | None
    state: PriceState
    time: int
    confidence: DecimalText = "0"
    check: DecimalText | None = None
    sources: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    widening: DecimalText = "0"
    quote_time: int | None = None
    marks: dict[str, MarkPrice] = msgspec.field(default_factory=dict)
    options: dict[str, OptionMark] = msgspec.field(default_factory=dict)
