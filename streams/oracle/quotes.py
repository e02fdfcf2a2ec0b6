"""One source's quotes of one symbol: which of two is the later one. Knows no clock, message or broker."""

from typing import NamedTuple

#: Why a quote is refused, with the meaning that its counter has.
REFUSALS = {
    "repeated": "the quote that is already held came again",
    "out_of_order": "a later quote of the same source is already held",
    "too_many_sources": "the symbol has SOURCES_MAX sources and all of them quote it",
}

#: Sources held per symbol, so that invented source names cannot grow a symbol's state without end.
SOURCES_MAX = 64


class Quote(NamedTuple):
    """What one source says of one symbol.

    `price` (in the reporting currency) is finite and > 0, `confidence` (half-width, same unit) finite and
    >= 0: both are checked before they come here. `time` is the source's, in epoch ms; `sequence` counts the
    source's quotes of this symbol upwards, None where the source gives none.
    """

    symbol: str
    source: str
    price: float
    confidence: float
    time: int
    sequence: int | None = None
    quote_asset: str | None = None
    instrument: str | None = None
    last: float | None = None
    funding_rate: float | None = None
    next_funding_time: int | None = None
    funding_interval_ms: int = 28_800_000


def refusal(held: Quote, new: Quote, *, restart_ms: int) -> str:
    """The key of REFUSALS for which `new` must not replace `held`; empty where it is the later quote.

    By sequence where both have one: the higher is the later, whatever their times. A lower or equal one whose
    time is more than `restart_ms` newer is taken for a source that began to count anew; a replay cannot look
    so, because its time is old. Without sequences by time; at equal times the order of arrival decides, and
    only the very same quote is refused, since a source may say two things in one millisecond and means the
    second.

    Examples
    --------
    >>> held = Quote("BTC", "a", 100.0, 0.1, 5_000, 7)
    >>> refusal(held, held._replace(sequence=6, price=99.0), restart_ms=10_000)
    'out_of_order'
    >>> refusal(held, held._replace(sequence=1, time=15_001), restart_ms=10_000)
    ''
    """
    if held.sequence is not None and new.sequence is not None:
        if new.sequence > held.sequence or new.time - held.time > restart_ms:
            return ""
        return "repeated" if new.sequence == held.sequence else "out_of_order"
    if new.time != held.time:
        return "" if new.time > held.time else "out_of_order"
    return "repeated" if (new.price, new.confidence) == (held.price, held.confidence) else ""
