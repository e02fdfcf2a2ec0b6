"""Quotes of one partition of `oracle-prices`: messages in, checked quotes and dead letters out."""

import math
from collections.abc import Sequence

from schemas.codec import Reader
from schemas.dead_letters import DeadLetter, Refused, dead_letter
from schemas.fields import NAME_CHARS_MAX, exact, legal_id, shown
from schemas.prices import Quote
from streams.ingest.checks import event_time
from streams.ingest.messages import Message
from streams.ingest.terms import check_size

#: symbol, source, price, confidence, time (epoch ms), sequence
QuoteRow = tuple[str, str, float, float, int, int | None]

#: Prices are float64 from here on; this is far outside any market and far inside its range.
PRICE_MAX = 1e18
PRICE_MIN = 1e-18


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

    @property
    def unknown_fields(self) -> int:
        """Fields passed over so far because no record knows them."""
        return self._reader.unknown_fields

    def take(self, messages: Sequence[Message], now_ms: int) -> tuple[list[QuoteRow], list[DeadLetter]]:
        """Every message becomes a quote or a dead letter, in order; `now_ms` is the clock."""
        rows: list[QuoteRow] = []
        refused: list[DeadLetter] = []
        for offset, key, value, timestamp in messages:
            try:
                rows.append(self._quote(key, value, now_ms + self._max_future_ms))
            except Refused as why:
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
        return rows, refused

    def _quote(self, key: bytes | None, value: bytes | None, latest_ms: int) -> QuoteRow:
        if value is None:
            raise Refused("tombstone", "the value must not be null on oracle-prices, found null")
        check_size(value, self._message_bytes_max)
        quote = self._reader.read(value)
        price = float(exact(quote.price, "price"))
        confidence = float(exact(quote.confidence, "confidence"))
        if price <= 0.0:
            raise Refused("non_positive_price", f"price must be above 0, found {shown(quote.price)}")
        if not PRICE_MIN <= price <= PRICE_MAX:
            raise Refused("over_range", f"price must be between 1e-18 and 1e18, found {shown(quote.price)}")
        if not 0.0 <= confidence <= PRICE_MAX or math.copysign(1.0, confidence) < 0:
            raise Refused("over_range", f"confidence must be between 0 and 1e18, found {shown(quote.confidence)}")
        if quote.sequence is not None and not 0 <= quote.sequence < 1 << 63:
            raise Refused("over_range", f"sequence must be 0 or more and below 2**63, found {shown(quote.sequence)}")
        symbol = legal_id(quote.symbol, "symbol", NAME_CHARS_MAX)
        if key != symbol.encode():  # by the key all quotes of a symbol come to one oracle partition
            raise Refused("bad_key", f"key must be the symbol {shown(symbol)}, found {shown(_text(key))}")
        return (
            symbol,
            legal_id(quote.source, "source", NAME_CHARS_MAX),
            price,
            confidence,
            event_time(quote.time, latest_ms),
            quote.sequence,
        )


def _text(key: bytes | None) -> str | None:
    return None if key is None else key.decode(errors="replace")
