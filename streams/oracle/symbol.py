"""What an oracle partition holds of one symbol, and its changelog record. No other symbol is known here."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from streams.oracle.basis import InstrumentBook
from streams.oracle.index import Index, index_of, live_quotes
from streams.oracle.judged import Judged, RateOf, usable
from streams.oracle.legs import PRICE_MIN, converted
from streams.oracle.marks import HALTED, OK, STALE, SUSPECT, SymbolMark, mark_price
from streams.oracle.options import OptionBook
from streams.oracle.quotes import BOOK_SOURCES_MAX, SOURCES_MAX, Quote, refusal
from streams.oracle.settings import SymbolRules
from streams.oracle.settlement import SettlementMeans

#: Later than any time: the expiry of a symbol that has no live source.
NEVER_MS = 1 << 62


@dataclass(slots=True)
class SymbolBook:
    """The latest quote of each source, the instruments that hang on the symbol, and what was last told of it.

    `judged` is None where the rules say nothing of trust. `wakes_ms` is the first moment at which time alone may
    change the mark last computed. `legs` are the other symbols that this one is made of, as last found. `options` are
    the options on the symbol, which no quote marks.
    """

    symbol: str
    rules: SymbolRules
    quotes: dict[str, Quote] = field(default_factory=dict)
    instruments: set[str] = field(default_factory=set)
    books: dict[str, InstrumentBook] = field(default_factory=dict)
    judged: Judged | None = None
    halted: bool = False
    sent: SymbolMark | None = None
    wakes_ms: int = NEVER_MS
    legs: frozenset[str] = frozenset()
    options: OptionBook = field(default_factory=lambda: OptionBook("", {}))

    def take(self, quote: Quote) -> str:
        """Hold the quote as its source's latest, or say why not, by a key of REFUSALS."""
        if quote.instrument is not None:
            return self._take_of_instrument(quote)
        held = self.quotes.get(quote.source)
        if held is not None:
            reason = refusal(held, quote, restart_ms=self.rules.max_age_ms)
        elif not self.rules.role(quote.source):
            reason = "unlisted_source"
        else:
            reason = _make_room(self.quotes, quote, SOURCES_MAX, self.rules.max_age_ms)
        if not reason:
            self.quotes[quote.source] = quote
        return reason

    def _take_of_instrument(self, quote: Quote) -> str:
        if quote.instrument not in self.instruments:
            return "unknown_instrument"
        book = self.books.setdefault(quote.instrument, InstrumentBook())
        held = book.quotes.get(quote.source)
        if held is not None:
            reason = refusal(held, quote, restart_ms=self.rules.max_age_ms)
        else:
            reason = _make_room(book.quotes, quote, BOOK_SOURCES_MAX, self.rules.max_age_ms)
        if not reason:
            book.quotes[quote.source] = quote
        return reason

    def follow(self, rules: SymbolRules) -> None:
        """Go on by other rules; sources that they do not know are forgotten."""
        self.rules = rules
        self.quotes = {source: quote for source, quote in self.quotes.items() if rules.role(source)}
        if not rules.judged:
            self.judged = None

    @property
    def newest_ms(self) -> int:
        """Time of the newest quote of any source; 0 before the first."""
        return max((quote.time for quote in self.quotes.values()), default=0)

    def looked_after(self, now_ms: int) -> bool:
        """Whether what was found last may be of a later moment."""
        return self.judged is None or self.judged.looked_ms > now_ms

    def find_legs(self) -> frozenset[str]:
        """The symbols that quotes held, or the redemption, are stated in."""
        quotes = [*self.quotes.values(), *(quote for book in self.books.values() for quote in book.quotes.values())]
        legs = {quote.quote_asset for quote in quotes if quote.quote_asset is not None}
        if self.rules.redemption is not None:
            legs.add(self.rules.redemption.of)
        return frozenset(legs)

    def mark_at(self, now_ms: int, rate_of: RateOf) -> SymbolMark | None:
        """The symbol's mark at `now_ms`; None before its first quote in a known currency.

        A halted one keeps the prices last told, and so does a judged one that is stale.
        """
        found = self._judged(now_ms, rate_of) if self.rules.judged else self._unjudged(now_ms, rate_of)
        if found is None:
            return None
        row, spot = found
        if self.options.options:
            row = self._with_options(row, spot, now_ms)
        if self.halted and not self.rules.judged:
            row = row._replace(state=HALTED, reasons=("halted",))
        keeps = row.state == HALTED or (self.rules.judged and row.state == STALE)
        return row.at_prices_of(self.sent) if keeps and self.sent is not None else row

    def told(self, row: SymbolMark, now_ms: int) -> None:
        """Hold the mark as the one last told, at `now_ms`; its price counts as long as its quotes are young."""
        self.sent = row
        until_ms = row.quote_time + self.rules.silence_ms_max() if row.state < SUSPECT else now_ms
        self.options.means.tell(row.index_price, until_ms, now_ms, self.options.windows(now_ms))

    def _with_options(self, row: SymbolMark, spot: float, now_ms: int) -> SymbolMark:
        age_ms_max = self.rules.volatility_age_ms_max
        before = () if self.sent is None else self.sent.options
        marks = self.options.marks(spot, dict(row.marks), now_ms, age_ms_max, before)
        wakes_ms = self.options.wakes_ms(now_ms, age_ms_max)
        self.wakes_ms = self.wakes_ms if wakes_ms is None else min(self.wakes_ms, wakes_ms)
        return row._replace(options=marks)

    def _judged(self, now_ms: int, rate_of: RateOf) -> tuple[SymbolMark, float] | None:
        """The symbol's mark but for options, and the price that marks are made of."""
        if self.judged is None:
            self.judged = Judged() if self.sent is None else Judged.after(self.sent)
        self.wakes_ms = NEVER_MS
        price = self.judged.look(self.quotes.values(), now_ms, self.rules, rate_of, halted=self.halted)
        if price is None:
            return None
        marks = [(name, self._mark(name, price.spot, now_ms, rate_of)) for name in sorted(self.instruments)]
        wakes = [self.judged.wakes_ms]
        wakes += [
            self.books[name].wakes_ms(now_ms, rule, self.rules.age_ms_max)
            for name, rule in self.rules.marks.items()
            if name in self.books
        ]
        self.wakes_ms = min((moment for moment in wakes if moment is not None), default=NEVER_MS)
        row = SymbolMark(
            symbol=self.symbol,
            index_price=price.asset_price,
            confidence=price.confidence,
            state=price.state,
            quote_time=price.quote_time,
            sources=price.sources,
            marks=tuple(marks),
            check=price.check,
            widening=price.widening,
            reasons=price.reasons,
        )
        return row, price.spot

    def _mark(self, instrument: str, index: float, now_ms: int, rate_of: RateOf) -> float:
        rule, book = self.rules.marks.get(instrument), self.books.get(instrument)
        if rule is None or book is None:
            return mark_price(index)
        live = usable(book.quotes.values(), now_ms, self.rules, rate_of)
        return max(PRICE_MIN, book.mark(index, [one.quote for one in live], now_ms, rule))

    def _unjudged(self, now_ms: int, rate_of: RateOf) -> tuple[SymbolMark, float] | None:
        """Median of the sources that are young enough; with none it is stale and keeps the price last told.

        Where a newer quote came and grew old untold, because marks were withheld meanwhile, it has the price of the
        moment of that quote.
        """
        quotes, age_ms_max = self._in_one_currency(rate_of), self.rules.max_age_ms
        if not quotes:
            self.wakes_ms = NEVER_MS
            if self.sent is None:
                return None
            return self.sent._replace(state=STALE, sources=()), self.sent.index_price
        live = live_quotes(quotes, now_ms=now_ms, quote_age_ms_max=age_ms_max)
        self.wakes_ms = min(quote.time for quote in live) + age_ms_max + 1 if live else NEVER_MS
        if live:
            return self._plain(index_of(live), OK)
        newest_ms = max(quote.time for quote in quotes)
        if self.sent is not None and self.sent.quote_time >= newest_ms:
            sent = self.sent
            return self._plain(Index(sent.index_price, sent.confidence, sent.quote_time, ()), STALE)
        index = index_of(live_quotes(quotes, now_ms=newest_ms, quote_age_ms_max=age_ms_max))
        return self._plain(index._replace(sources=()), STALE)

    def _in_one_currency(self, rate_of: RateOf) -> Collection[Quote]:
        """The quotes in the reporting currency, but those whose leg is unknown or not to be trusted."""
        if not self.legs:
            return self.quotes.values()
        found = [quote for quote in self.quotes.values() if quote.quote_asset is None]
        for quote in self.quotes.values():
            rate = None if quote.quote_asset is None else rate_of(quote.quote_asset)
            told = converted(quote, rate) if rate is not None and rate.state < SUSPECT else None
            if told is not None:
                found.append(told)
        return found

    def _plain(self, index: Index, state: int) -> tuple[SymbolMark, float]:
        marks = tuple((name, mark_price(index.price)) for name in sorted(self.instruments))
        row = SymbolMark(self.symbol, index.price, index.confidence, state, index.quote_time, index.sources, marks)
        return row, index.price

    def record(self, *, settled: bool) -> bytes:
        """The changelog record; equal books give equal bytes. `settled`: nothing awaits an evaluation."""
        held: dict[str, Any] = {
            "quotes": {source: quote[2:] for source, quote in self.quotes.items()},
            "instruments": sorted(self.instruments),
            "sent": None if self.sent is None else self.sent.record(),
        }
        if self.books:
            held["books"] = {name: book.record() for name, book in self.books.items()}
        if self.options.means.closed:
            held["means"] = self.options.means.record()
        if self.judged is not None:
            held["judged"] = self.judged.record()
            held |= {"version": self.rules.version, "halted": self.halted}
            held |= {"wakes_ms": self.wakes_ms, "settled": settled}
        return encode(held)

    @classmethod
    def restored(
        cls, symbol: str, record: bytes, rules: SymbolRules, options: OptionBook, *, halted: bool
    ) -> tuple["SymbolBook", bool]:
        """The book whose record it is, and whether it is settled: nothing awaits an evaluation."""
        held = json.loads(record)
        book = cls(symbol, rules, instruments=set(held["instruments"]), halted=halted, options=options)
        if "means" in held:
            options.means = SettlementMeans.restored(held["means"])
        quotes = {source: Quote(symbol, source, *rest) for source, rest in held["quotes"].items()}
        book.quotes = {source: quote for source, quote in quotes.items() if rules.role(source)}
        book.books = {name: InstrumentBook.restored(symbol, rest) for name, rest in held.get("books", {}).items()}
        if held["sent"]:
            book.sent = SymbolMark.restored(symbol, held["sent"])
        if not rules.judged or "judged" not in held:
            return book, False
        book.judged, book.wakes_ms = Judged.restored(held["judged"]), held["wakes_ms"]
        goes_on = (held["version"], held["halted"]) == (rules.version, halted)
        return book, held["settled"] and goes_on


def _make_room(quotes: dict[str, Quote], quote: Quote, sources_max: int, age_ms_max: int) -> str:
    """Drop the oldest source where there are too many and it is too old beside the new one to count."""
    if len(quotes) >= sources_max:
        oldest = min(quotes.values(), key=lambda held: (held.time, held.source))
        if quote.time - oldest.time <= age_ms_max:
            return "too_many_sources"
        del quotes[oldest.source]
    return ""


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def encode(record: object) -> bytes:
    """JSON with sorted keys; floats in the shortest form that reads back exactly."""
    return _ENCODER.encode(record).encode()
