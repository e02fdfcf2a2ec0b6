"""One oracle partition as a pure fold: quotes, terms and moments in; marks updates and changelog records out.

The clock is an argument, so the same calls give the same updates; nothing here knows Kafka or a message.
"""

import heapq
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from streams.oracle.legs import ONE, Rate, ranks
from streams.oracle.marks import CATCHING_UP, LIVE, STALE, MarksUpdate, SymbolMark
from streams.oracle.options import Listed, OptionDesk
from streams.oracle.quotes import REFUSALS, Quote
from streams.oracle.settings import rules_of
from streams.oracle.symbol import NEVER_MS, SymbolBook, encode
from streams.oracle.volatilities import Volatility

FORMAT_VERSION = 1
#: What a price of another partition may take to come here.
RATE_DELAY_MS_MAX = 5_000

_PARTITION_KEY = b"partition"
_SYMBOL_PREFIX = b"symbol:"
_RATE_PREFIX = b"rate:"

#: The oracle record of a symbol in normal form; None: it has none.
RecordOf = Callable[[str], Mapping[str, Any] | None]


class OraclePartition:
    """The prices of the symbols whose quotes come on one partition of the quotes topic.

    Parameters
    ----------
    partition, of : which partition of the quotes topic this is, and how many it has
    heartbeat_ms : an update goes out at least this often, whether or not anything changed
    quote_age_ms_max : a source whose latest quote is older than this is left out; an oracle record may say otherwise
    max_source_skew_ms : how far a source topic may lag behind the clock before marks are withheld

    Notes
    -----
    Modes: a lag above `max_source_skew_ms` turns LIVE into CATCHING_UP, told in an update of its own. A lag
    of at most half of it turns it back into LIVE, told together with the newest marks of all symbols; the gap
    keeps a lag near the limit from flipping the mode, since each turn to LIVE has every account evaluated. A
    new partition has said nothing yet: its first update says which of the two it is. While CATCHING_UP,
    neither shard time nor any quote let out is newer than what the slowest source has been read to.

    Whatever `due` returned counts as told: the caller sends it and the changelog records in one transaction,
    and starts from the changelog again where that fails.
    """

    def __init__(
        self, partition: int, of: int, *, heartbeat_ms: int, quote_age_ms_max: int, max_source_skew_ms: int
    ) -> None:
        self.partition = partition
        self.of = of
        self.heartbeat_ms = heartbeat_ms
        self.quote_age_ms_max = quote_age_ms_max
        self.max_source_skew_ms = max_source_skew_ms
        #: Mode last told; None before the first update.
        self.mode: str | None = None
        #: Shard time last told, epoch ms; never decreases.
        self.time = 0
        #: Quotes refused so far, by reason.
        self.refused: dict[str, int] = dict.fromkeys(REFUSALS, 0)
        self._told_ms = 0  # the caller's clock at the last update
        self._books: dict[str, SymbolBook] = {}
        self._underlying: dict[str, str] = {}
        self._desk = OptionDesk()
        self._record_of: RecordOf = _no_record
        self._halted: frozenset[str] = frozenset()
        self._reporting_currency = "USD"
        self._rates: dict[str, tuple[Rate, int]] = {}  # of symbols of other partitions, with their quote time
        self._silence_ms: dict[str, int] = {}  # after how long without a quote such a rate is stale
        self._ranks: dict[str, int] = {}  # of symbols made of others
        self._made_of: dict[str, list[str]] = {}  # leg -> symbols made of it
        self._relinked: set[str] = set()  # symbols whose legs may have changed
        self._unsettled: set[str] = set()  # symbols whose mark may differ from the one told
        self._as_of_ms = 0  # the moment of the last look
        self._wakes_ms = NEVER_MS  # no later than the first moment at which time changes a settled symbol
        self._dirty: set[str] = set()
        self._dirty_rates: set[str] = set()
        self._partition_dirty = False

    def quotes(self, rows: Iterable[Quote]) -> int:
        """Take validated quotes in order of arrival; how many were accepted. `refused` counts the others."""
        changed: set[str] = set()
        accepted = 0
        for quote in rows:
            symbol = quote.symbol
            known = self._books.get(symbol)
            book = known or self._book(symbol)
            reason = book.take(quote)
            if reason:
                self.refused[reason] += 1
                self._partition_dirty = True
                if known is None:  # nothing is held of it
                    del self._books[symbol]
                    self._relinked.discard(symbol)
            else:
                changed.add(symbol)
                accepted += 1
                if quote.quote_asset is not None or book.legs:
                    self._relinked.add(symbol)
        self._unsettled |= changed
        self._dirty |= changed
        return accepted

    def terms(self, instruments: Iterable[tuple[str, str]]) -> None:
        """Learn on which symbol each instrument hangs, as (instrument, underlying symbol).

        The first word on an instrument holds: an underlying never changes, and a closed instrument keeps its
        mark as long as someone may hold a position in it.
        """
        for instrument, symbol in instruments:
            if instrument not in self._underlying:
                self._underlying[instrument] = symbol
                self._book(symbol).instruments.add(instrument)
                self._unsettle_one(symbol)

    def dated(self, rows: Iterable[Listed]) -> None:
        """Learn of options, and of futures, which `terms` names too."""
        for symbol in sorted(self._desk.list(rows)):
            self._book(symbol)
            self._unsettle_one(symbol)

    def volatilities(self, rows: Iterable[Volatility]) -> None:
        """Learn of checked volatilities, of whatever symbols: the latest of each name."""
        for symbol in sorted(self._desk.take(rows) & self._books.keys()):
            self._unsettle_one(symbol)

    def rules(self, record_of: RecordOf, halted: Collection[str] = (), reporting_currency: str = "USD") -> None:
        """Go on by these oracle records, and with these symbols halted by hand. Before `restore`, too.

        The reporting currency is worth 1 in itself.
        """
        self._record_of, self._halted = record_of, frozenset(halted)
        self._reporting_currency = reporting_currency
        self._silence_ms.clear()
        for symbol, book in self._books.items():
            rules = rules_of(record_of(symbol), self.quote_age_ms_max)
            if rules != book.rules or book.halted != (symbol in self._halted):
                book.follow(rules)
                book.halted = symbol in self._halted
                self._relinked.add(symbol)
                self._unsettle_one(symbol)

    def rates(self, rows: Iterable[tuple[str, float, float, int, int]]) -> None:
        """Learn the prices of symbols of other partitions, as (symbol, index, confidence, state, quote time).

        What is told of a symbol that is quoted here is passed over. A price whose quote time is so old that its own
        oracle would have called it stale counts as stale: that oracle may be silent itself.
        """
        for symbol, price, confidence, state, quote_time in rows:
            before, rate = self._rates.get(symbol), Rate(price, confidence, state)
            if before == (rate, quote_time):
                continue
            self._rates[symbol] = rate, quote_time
            self._dirty_rates.add(symbol)
            if before is None or before[0] != rate:
                for other in self._made_of.get(symbol, ()):
                    self._unsettle_one(other)

    def foreign_legs(self) -> list[str]:
        """The symbols that prices here are stated in, and that are not quoted here: `rates` is to tell of them."""
        return [
            leg
            for leg in sorted(self._made_of)
            if leg != self._reporting_currency and not (leg in self._books and self._books[leg].quotes)
        ]

    def quoted(self, symbol: str) -> bool:
        """Whether quotes of the symbol come here."""
        return symbol in self._books and bool(self._books[symbol].quotes)

    def due(self, now_ms: int, progress_ms: int | None, *, backlog: bool = False) -> MarksUpdate | None:
        """The update to send now, or None where nothing is to be told before the next heartbeat.

        Parameters
        ----------
        now_ms : the oracle's clock, epoch ms. Where it runs backwards, shard time waits and heartbeats go on.
        progress_ms : time of the oldest source record not read yet, epoch ms; None where all are read
        backlog : whether sources hold unread what was there at the start: CATCHING_UP, whatever the times say. The
            times of a backlog may mislead: those of records that a mirror wrote, or the clock of the newest quote read

        Notes
        -----
        A changed price, confidence or state is told at once; a newer quote of the same price goes with the
        next update. A call tells the latest state only, however many quotes came since the last one.
        """
        read_to_ms = now_ms if progress_ms is None else min(now_ms, progress_ms)
        mode = CATCHING_UP if backlog else self._mode_for(now_ms - read_to_ms)
        turns = mode != self.mode
        as_of_ms = now_ms if mode == LIVE else read_to_ms
        if turns and mode == CATCHING_UP:
            return self._tell(now_ms, as_of_ms, mode, [])
        self._relink()
        self._unsettle(as_of_ms)
        newest_ms = NEVER_MS if mode == LIVE else read_to_ms
        rows = self._marks(self._books if turns else self._unsettled, as_of_ms, newest_ms, everything=turns)
        beat = not 0 <= now_ms - self._told_ms < self.heartbeat_ms
        if turns or beat or any(row.tells_more_than(self._books[row.symbol].sent) for row in rows):
            return self._tell(now_ms, as_of_ms, mode, rows)
        return None

    def _mode_for(self, lag_ms: int) -> str:
        lag_ms_max = self.max_source_skew_ms if self.mode == LIVE else self.max_source_skew_ms // 2
        return LIVE if lag_ms <= lag_ms_max else CATCHING_UP

    def _relink(self) -> None:
        """Find anew which symbols are made of which others, where that may have changed."""
        relinked, self._relinked = self._relinked, set()
        changed = False
        for symbol in relinked:
            book = self._books[symbol]
            legs = book.find_legs()
            changed |= legs != book.legs
            book.legs = legs
        if not changed:
            return
        self._ranks = ranks({symbol: book.legs for symbol, book in self._books.items()})
        before, self._made_of = self._made_of, {}
        for symbol in sorted(self._ranks):
            for leg in self._books[symbol].legs:
                self._made_of.setdefault(leg, []).append(symbol)
        self._dirty_rates |= self._made_of.keys() - before.keys()

    def _unsettle_one(self, symbol: str) -> None:
        self._unsettled.add(symbol)
        self._dirty.add(symbol)

    def _unsettle(self, as_of_ms: int) -> None:
        """Have the symbols looked at again whose mark may be another by the mere change of time."""
        last_ms, self._as_of_ms = self._as_of_ms, as_of_ms
        if as_of_ms < last_ms:  # old quotes are young again
            self._unsettled |= {symbol for symbol, book in self._books.items() if book.looked_after(as_of_ms)}
        if as_of_ms < self._wakes_ms:
            return
        self._wakes_ms = NEVER_MS
        for symbol, book in self._books.items():
            if book.wakes_ms <= as_of_ms:
                self._unsettled.add(symbol)
            else:
                self._wakes_ms = min(self._wakes_ms, book.wakes_ms)

    def _marks(self, symbols: Collection[str], as_of_ms: int, newest_ms: int, *, everything: bool) -> list[SymbolMark]:
        """The marks of these symbols, by name, without those that were told already unless `everything`.

        Symbols with a quote after `newest_ms` wait. One that another is made of comes before it, and where its price
        changed, takes it along.
        """
        waiting = [(self._ranks.get(symbol, 0), symbol) for symbol in symbols]
        waiting.sort()  # a sorted list is a heap
        done: dict[str, SymbolMark | None] = {}
        while waiting:
            _, symbol = heapq.heappop(waiting)
            book = self._books[symbol]
            if symbol in done or book.newest_ms > newest_ms:
                continue
            row = done[symbol] = book.mark_at(as_of_ms, partial(self._rate, done, symbol, as_of_ms))
            self._wakes_ms = min(self._wakes_ms, book.wakes_ms)
            if book.rules.judged:
                self._dirty.add(symbol)
            if row is not None and row.tells_more_than(book.sent):
                for other in self._made_of.get(symbol, ()):
                    self._unsettle_one(other)
                    heapq.heappush(waiting, (self._ranks[other], other))
        rows = []
        for symbol, row in sorted(done.items()):
            if row is not None and (everything or row != self._books[symbol].sent):
                rows.append(row)
            else:
                self._unsettled.discard(symbol)
        return rows

    def _rate(self, done: Mapping[str, SymbolMark | None], symbol: str, as_of_ms: int, leg: str) -> Rate | None:
        """By what a leg of the symbol is converted; None where nobody told, or where it closes a circle."""
        if leg == self._reporting_currency:
            return ONE
        if self._ranks.get(leg, 0) >= self._ranks.get(symbol, 0):
            return None
        book = self._books.get(leg)
        if book is None or not book.quotes:
            return self._foreign_rate(leg, as_of_ms)
        row = done.get(leg) or book.sent
        return None if row is None else Rate(row.index_price, row.confidence, row.state)

    def _foreign_rate(self, leg: str, as_of_ms: int) -> Rate | None:
        if leg not in self._rates:
            return None
        if leg not in self._silence_ms:
            rules = rules_of(self._record_of(leg), self.quote_age_ms_max)
            self._silence_ms[leg] = rules.silence_ms_max() + RATE_DELAY_MS_MAX
        rate, quote_time = self._rates[leg]
        return rate if as_of_ms - quote_time <= self._silence_ms[leg] else rate._replace(state=max(rate.state, STALE))

    def _tell(self, now_ms: int, as_of_ms: int, mode: str, rows: list[SymbolMark]) -> MarksUpdate:
        self.mode = mode
        self.time = max(self.time, as_of_ms)
        self._told_ms = now_ms
        self._partition_dirty = True
        for row in rows:
            self._books[row.symbol].told(row, self.time)
            self._unsettled.discard(row.symbol)
            self._dirty.add(row.symbol)
        return MarksUpdate(partition=self.partition, of=self.of, time=self.time, mode=mode, rows=rows)

    def _book(self, symbol: str) -> SymbolBook:
        if symbol not in self._books:
            rules = rules_of(self._record_of(symbol), self.quote_age_ms_max)
            options = self._desk.book(symbol)
            self._books[symbol] = SymbolBook(symbol, rules, halted=symbol in self._halted, options=options)
            if rules.redemption is not None:
                self._relinked.add(symbol)
        return self._books[symbol]

    def dirty(self) -> list[tuple[bytes, bytes]]:
        """The changelog records (key, value) of what changed since the last call, in a fixed order."""
        self._relink()
        records = [
            (_SYMBOL_PREFIX + symbol.encode(), self._books[symbol].record(settled=symbol not in self._unsettled))
            for symbol in sorted(self._dirty)
        ]
        for symbol in sorted(self._dirty_rates & self._made_of.keys() & self._rates.keys()):
            records.append((_RATE_PREFIX + symbol.encode(), encode(self._rates[symbol])))
        if self._partition_dirty:
            records.append((_PARTITION_KEY, self._record()))
        self._dirty.clear()
        self._dirty_rates.clear()
        self._partition_dirty = False
        return records

    def restore(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Become, from new, the partition that wrote these changelog records; of one key the last holds.

        Raises
        ------
        ValueError
            where they are of another format or partition, or of another number of partitions: with that,
            symbols moved, and two partitions would tell the same symbol.
        """
        for key, value in records:
            if key == _PARTITION_KEY:
                self._restore_partition(value)
            elif key.startswith(_RATE_PREFIX):
                rate, quote_time = json.loads(value)
                self._rates[key.removeprefix(_RATE_PREFIX).decode()] = Rate(*rate), quote_time
            else:
                self._restore_symbol(key.removeprefix(_SYMBOL_PREFIX).decode(), value)
        self._underlying = {name: symbol for symbol, book in self._books.items() for name in book.instruments}
        self._relinked = set(self._books)
        self._relink()
        self._dirty_rates.clear()
        self._as_of_ms = max((book.judged.looked_ms for book in self._books.values() if book.judged), default=0)
        self._wakes_ms = min((book.wakes_ms for book in self._books.values()), default=NEVER_MS)

    def _restore_symbol(self, symbol: str, record: bytes) -> None:
        rules = rules_of(self._record_of(symbol), self.quote_age_ms_max)
        options, halted = self._desk.book(symbol), symbol in self._halted
        self._books[symbol], settled = SymbolBook.restored(symbol, record, rules, options, halted=halted)
        if settled:
            self._unsettled.discard(symbol)
        else:
            self._unsettled.add(symbol)

    def _record(self) -> bytes:
        return encode(
            {
                "format": FORMAT_VERSION,
                "partition": self.partition,
                "of": self.of,
                "mode": self.mode,
                "time": self.time,
                "told_ms": self._told_ms,
                "refused": self.refused,
            }
        )

    def _restore_partition(self, record: bytes) -> None:
        held = json.loads(record)
        for name, expected in (("format", FORMAT_VERSION), ("partition", self.partition), ("of", self.of)):
            if held[name] != expected:
                where = f"oracle changelog, partition {self.partition}"
                raise ValueError(f"{name} must be {expected}, found {held[name]} ({where})")
        self.mode, self.time, self._told_ms = held["mode"], held["time"], held["told_ms"]
        self.refused |= held["refused"]


def _no_record(_symbol: str) -> None:
    return None
