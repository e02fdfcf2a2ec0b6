"""Quotes of one partition of `oracle-prices`: messages in, checked quotes and dead letters out."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from schemas.codec import Reader
from schemas.dead_letters import DeadLetter, Refused, dead_letter
from schemas.fields import NAME_CHARS_MAX, epoch_ms, exact, legal_id, shown
from schemas.prices import FUNDING_INTERVAL_MS, Quote
from streams.ingest.checks import event_time
from streams.ingest.messages import Message
from streams.ingest.origin import check_origin
from streams.ingest.terms import Terms, check_size

#: symbol, source, price, confidence, time (epoch ms), sequence; quote_asset, instrument, last, funding_rate,
#: next_funding_time (epoch ms), funding_interval_ms
QuoteRow = tuple[
    str, str, float, float, int, int | None, str | None, str | None, float | None, float | None, int | None, int
]

#: Prices are float64 from here on; this is far outside any market and far inside its range.
PRICE_MAX = 1e18
PRICE_MIN = 1e-18

_INTERVAL_MS_MIN = 60_000
_INTERVAL_MS_MAX = 7 * 86_400_000
_UNFUNDED = (None, None, None, FUNDING_INTERVAL_MS)


class QuoteResult(NamedTuple):
    """What a batch of messages came to. Every message is in `rows` or in `dead_letters`, in order.

    Parameters
    ----------
    unknown_ids : what was not published as far as the terms were read: an instrument, or a source or its key. Where
        there is one, nothing was taken: read `instruments` to its end and take the batch again with final=True
    unknown_fields : fields passed over because no record knows them
    """

    rows: list[QuoteRow]
    dead_letters: list[DeadLetter]
    unknown_ids: frozenset[str] = frozenset()
    unknown_fields: int = 0


class QuotePartition:
    """Reads one source partition of quotes.

    Parameters
    ----------
    topic, partition : the broker's names, for coordinates
    message_bytes_max : longer values are refused
    max_future_ms : how far a quote's time may be ahead of the clock
    """

    def __init__(self, *, topic: str, partition: int, message_bytes_max: int, max_future_ms: int) -> None:
        self._topic = topic
        self._partition = partition
        self._message_bytes_max = message_bytes_max
        self._max_future_ms = max_future_ms
        self._reader = Reader(Quote)

    def take(self, messages: Sequence[Message], terms: Terms, now_ms: int, *, final: bool = False) -> QuoteResult:
        """Every message becomes a quote or a dead letter, in order.

        Parameters
        ----------
        terms : instruments, sources and the oracle's rules, as far as they have been read
        now_ms : the clock that times are held against, epoch ms
        final : what names an unknown instrument, source or key is refused instead of reported
        """
        rows: list[QuoteRow] = []
        refused: list[DeadLetter] = []
        before = self._reader.unknown_fields
        for offset, key, value, timestamp in messages:
            try:
                rows.append(self._quote(key, value, terms, now_ms + self._max_future_ms))
            except Refused as why:
                if why.missing is not None and not final:
                    return QuoteResult([], [], frozenset([why.missing]))
                letter = dead_letter(
                    why,
                    topic=self._topic,
                    partition=self._partition,
                    offset=offset,
                    timestamp=timestamp,
                    key=key,
                    value=value,
                    value_bytes_max=self._message_bytes_max,
                )
                refused.append(letter)
        return QuoteResult(rows, refused, unknown_fields=self._reader.unknown_fields - before)

    def _quote(self, key: bytes | None, value: bytes | None, terms: Terms, latest_ms: int) -> QuoteRow:
        if value is None:
            raise Refused("tombstone", "the value must not be null on oracle-prices, found null")
        check_size(value, self._message_bytes_max)
        quote = self._reader.read(value)
        price = _price(quote.price, "price")
        confidence = float(exact(quote.confidence, "confidence"))
        if not 0.0 <= confidence <= PRICE_MAX or math.copysign(1.0, confidence) < 0:
            raise Refused("over_range", f"confidence must be between 0 and 1e18, found {shown(quote.confidence)}")
        if quote.sequence is not None and not 0 <= quote.sequence < 1 << 63:
            raise Refused("over_range", f"sequence must be 0 or more and below 2**63, found {shown(quote.sequence)}")
        symbol = legal_id(quote.symbol, "symbol", NAME_CHARS_MAX)
        if key != symbol.encode():  # by the key all quotes of a symbol come to one oracle partition
            raise Refused("bad_key", f"key must be the symbol {shown(symbol)}, found {shown(_text(key))}")
        source = legal_id(quote.source, "source", NAME_CHARS_MAX)
        time = event_time(quote.time, latest_ms)
        if quote.quote_asset is not None and legal_id(quote.quote_asset, "quote_asset", NAME_CHARS_MAX) == symbol:
            raise Refused("contradiction", f"quote_asset must be another symbol than {shown(symbol)}, found the same")
        of_instrument = _of_instrument(quote, time, terms)
        check_origin(quote, time, terms)
        return (
            symbol,
            source,
            price,
            confidence,
            time,
            quote.sequence,
            quote.quote_asset,
            quote.instrument,
            *of_instrument,
        )


def _price(value: object, field: str) -> float:
    price = float(exact(value, field))
    if price <= 0.0:
        raise Refused("non_positive_price", f"{field} must be above 0, found {shown(value)}")
    if not PRICE_MIN <= price <= PRICE_MAX:
        raise Refused("over_range", f"{field} must be between 1e-18 and 1e18, found {shown(value)}")
    return price


def _of_instrument(quote: Quote, time: int, terms: Terms) -> tuple[float | None, float | None, int | None, int]:
    """Last price, funding rate, time of the next funding and its interval: what only an instrument has."""
    if quote.instrument is None:
        found = (quote.last, quote.funding_rate, quote.next_funding_time, quote.funding_interval_ms)
        if found != _UNFUNDED:
            names = ("last", "funding_rate", "next_funding_time", "funding_interval_ms")
            name = next(name for name, here, none in zip(names, found, _UNFUNDED, strict=True) if here != none)
            raise Refused("contradiction", f"{name} must be left out where instrument is null, found it given")
        return _UNFUNDED
    underlying = terms.find_instrument(quote.instrument).records[1]["underlying"]
    if underlying != quote.symbol:
        raise Refused(
            "contradiction",
            f"symbol must be the underlying {shown(underlying)} of {shown(quote.instrument)}, "
            f"found {shown(quote.symbol)}",
        )
    last = None if quote.last is None else _price(quote.last, "last")
    return last, *_funding(quote, time)


def _funding(quote: Quote, time: int) -> tuple[float | None, int | None, int]:
    """Funding rate, time of the next funding and its interval."""
    interval = quote.funding_interval_ms
    if not _INTERVAL_MS_MIN <= interval <= _INTERVAL_MS_MAX:
        raise Refused("over_range", f"funding_interval_ms must be a minute to a week, found {shown(interval)}")
    if quote.funding_rate is None and quote.next_funding_time is None:
        return None, None, interval
    if quote.funding_rate is None or quote.next_funding_time is None:
        absent = "funding_rate" if quote.funding_rate is None else "next_funding_time"
        raise Refused("missing_field", f"{absent} must be given, as rate and time of funding go together, found null")
    rate = exact(quote.funding_rate, "funding_rate")
    if abs(rate) > 1:
        raise Refused("over_range", f"funding_rate must be -1 to 1, found {shown(quote.funding_rate)}")
    pays = epoch_ms(quote.next_funding_time, "next_funding_time")
    latest = time + 2 * interval
    if pays > latest:
        raise Refused("contradiction", f"next_funding_time must be at most {latest}, two intervals on, found {pays}")
    return float(rate), pays, interval


def _text(key: bytes | None) -> str | None:
    return None if key is None else key.decode(errors="replace")
