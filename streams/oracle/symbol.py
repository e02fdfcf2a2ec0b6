"""What an oracle partition holds of one symbol, and its changelog record. No other symbol is known here."""

import json
from dataclasses import dataclass, field

from streams.oracle.index import index_of, live_quotes
from streams.oracle.marks import OK, STALE, SymbolMark, mark_price
from streams.oracle.quotes import SOURCES_MAX, Quote, refusal

#: Later than any time: the expiry of a symbol that has no live source.
NEVER_MS = 1 << 62


@dataclass(slots=True)
class SymbolBook:
    """The latest quote of each source, the instruments that hang on the symbol, and what was last told of it.

    `expires_ms` is the first moment at which the mark last computed loses a source. It is no part of the
    record, since that mark is computed anew after a restore.
    """

    symbol: str
    quotes: dict[str, Quote] = field(default_factory=dict)
    instruments: set[str] = field(default_factory=set)
    sent: SymbolMark | None = None
    expires_ms: int = NEVER_MS

    def take(self, quote: Quote, quote_age_ms_max: int) -> str:
        """Hold the quote as its source's latest, or say why not, by a key of REFUSALS."""
        held = self.quotes.get(quote.source)
        if held is not None:
            reason = refusal(held, quote, restart_ms=quote_age_ms_max)
        else:
            reason = self._make_room(quote, quote_age_ms_max)
        if not reason:
            self.quotes[quote.source] = quote
        return reason

    def _make_room(self, quote: Quote, quote_age_ms_max: int) -> str:
        """Drop the oldest source where there are too many and it is too old beside the new one to count."""
        if len(self.quotes) >= SOURCES_MAX:
            oldest = min(self.quotes.values(), key=lambda held: (held.time, held.source))
            if quote.time - oldest.time <= quote_age_ms_max:
                return "too_many_sources"
            del self.quotes[oldest.source]
        return ""

    @property
    def newest_ms(self) -> int:
        """Time of the newest quote of any source; 0 before the first."""
        return max((quote.time for quote in self.quotes.values()), default=0)

    def mark_at(self, now_ms: int, quote_age_ms_max: int) -> SymbolMark | None:
        """The symbol's mark at `now_ms`; None before its first quote.

        With no live source it is stale and keeps the price last told. Where a newer quote came and grew old
        untold, because marks were withheld meanwhile, it has the price of the moment of that quote.
        """
        if not self.quotes:
            return None
        live = live_quotes(self.quotes.values(), now_ms=now_ms, quote_age_ms_max=quote_age_ms_max)
        self.expires_ms = min(quote.time for quote in live) + quote_age_ms_max + 1 if live else NEVER_MS
        if live:
            index = index_of(live)
            return self._mark(index.price, index.confidence, OK, index.quote_time, index.sources)
        newest_ms = self.newest_ms
        if self.sent and self.sent.quote_time >= newest_ms:
            return self._mark(self.sent.index_price, self.sent.confidence, STALE, self.sent.quote_time, ())
        index = index_of(live_quotes(self.quotes.values(), now_ms=newest_ms, quote_age_ms_max=quote_age_ms_max))
        return self._mark(index.price, index.confidence, STALE, index.quote_time, ())

    def _mark(
        self, index_price: float, confidence: float, state: int, quote_time: int, sources: tuple[str, ...]
    ) -> SymbolMark:
        return SymbolMark(
            symbol=self.symbol,
            index_price=index_price,
            confidence=confidence,
            state=state,
            quote_time=quote_time,
            sources=sources,
            marks=tuple((name, mark_price(index_price)) for name in sorted(self.instruments)),
        )

    def record(self) -> bytes:
        """The changelog record; equal books give equal bytes."""
        quotes = {source: quote[2:] for source, quote in self.quotes.items()}
        sent = self.sent[1:] if self.sent else None
        return encode({"quotes": quotes, "instruments": sorted(self.instruments), "sent": sent})

    @classmethod
    def restored(cls, symbol: str, record: bytes) -> "SymbolBook":
        """The book whose record it is."""
        held = json.loads(record)
        book = cls(symbol, instruments=set(held["instruments"]))
        book.quotes = {source: Quote(symbol, source, *rest) for source, rest in held["quotes"].items()}
        if held["sent"]:
            *price, sources, marks = held["sent"]
            marks = tuple((name, mark) for name, mark in marks)
            book.sent = SymbolMark._make([symbol, *price, tuple(sources), marks])
        return book


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def encode(record: object) -> bytes:
    """JSON with sorted keys; floats in the shortest form that reads back exactly."""
    return _ENCODER.encode(record).encode()
