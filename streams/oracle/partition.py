"""One oracle partition as a pure fold: quotes, terms and moments in; marks updates and changelog records out.

The clock is an argument, so the same calls give the same updates; nothing here knows Kafka or a message.
"""

import json
from collections.abc import Iterable

from streams.oracle.marks import CATCHING_UP, LIVE, MarksUpdate, SymbolMark
from streams.oracle.quotes import REFUSALS, Quote
from streams.oracle.symbol import NEVER_MS, SymbolBook, encode

FORMAT_VERSION = 1

_PARTITION_KEY = b"partition"
_SYMBOL_PREFIX = b"symbol:"


class OraclePartition:
    """The prices of the symbols whose quotes come on one partition of the quotes topic.

    Parameters
    ----------
    partition, of : which partition of the quotes topic this is, and how many it has
    heartbeat_ms : an update goes out at least this often, whether or not anything changed
    quote_age_ms_max : a source whose latest quote is older than this is left out
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
        self._unsettled: set[str] = set()  # symbols whose mark may differ from the one told
        self._as_of_ms = 0  # the moment of the last look
        self._expires_ms = NEVER_MS  # no later than the first expiry of a settled symbol
        self._dirty: set[str] = set()
        self._partition_dirty = False

    def quotes(self, rows: Iterable[Quote]) -> int:
        """Take validated quotes in order of arrival; how many were accepted. `refused` counts the others."""
        changed: set[str] = set()
        accepted = 0
        for quote in rows:
            symbol = quote.symbol
            book = self._books.get(symbol) or self._book(symbol)
            reason = book.take(quote, self.quote_age_ms_max)
            if reason:
                self.refused[reason] += 1
                self._partition_dirty = True
            else:
                changed.add(symbol)
                accepted += 1
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
                self._unsettled.add(symbol)
                self._dirty.add(symbol)

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
        self._unsettle(as_of_ms)
        candidates = self._books if turns else self._unsettled
        if mode == CATCHING_UP:
            candidates = {name for name in candidates if self._books[name].newest_ms <= read_to_ms}
        rows = self._marks(sorted(candidates), as_of_ms, everything=turns)
        beat = not 0 <= now_ms - self._told_ms < self.heartbeat_ms
        if turns or beat or any(_repriced(row, self._books[row.symbol].sent) for row in rows):
            return self._tell(now_ms, as_of_ms, mode, rows)
        return None

    def _mode_for(self, lag_ms: int) -> str:
        lag_ms_max = self.max_source_skew_ms if self.mode == LIVE else self.max_source_skew_ms // 2
        return LIVE if lag_ms <= lag_ms_max else CATCHING_UP

    def _unsettle(self, as_of_ms: int) -> None:
        """Have the symbols looked at again whose live sources may be others by the mere change of time."""
        last_ms, self._as_of_ms = self._as_of_ms, as_of_ms
        if as_of_ms < last_ms:  # old quotes are young again
            self._unsettled |= self._books.keys()
        if as_of_ms < self._expires_ms:
            return
        self._expires_ms = NEVER_MS
        for symbol, book in self._books.items():
            if book.expires_ms <= as_of_ms:
                self._unsettled.add(symbol)
            else:
                self._expires_ms = min(self._expires_ms, book.expires_ms)

    def _marks(self, symbols: list[str], as_of_ms: int, *, everything: bool) -> list[SymbolMark]:
        """The marks of these symbols, without those that were told already unless `everything`."""
        rows = []
        for symbol in symbols:
            book = self._books[symbol]
            row = book.mark_at(as_of_ms, self.quote_age_ms_max)
            self._expires_ms = min(self._expires_ms, book.expires_ms)
            if row is not None and (everything or row != book.sent):
                rows.append(row)
            else:
                self._unsettled.discard(symbol)
        return rows

    def _tell(self, now_ms: int, as_of_ms: int, mode: str, rows: list[SymbolMark]) -> MarksUpdate:
        self.mode = mode
        self.time = max(self.time, as_of_ms)
        self._told_ms = now_ms
        self._partition_dirty = True
        for row in rows:
            self._books[row.symbol].sent = row
            self._unsettled.discard(row.symbol)
            self._dirty.add(row.symbol)
        return MarksUpdate(partition=self.partition, of=self.of, time=self.time, mode=mode, rows=rows)

    def _book(self, symbol: str) -> SymbolBook:
        return self._books.setdefault(symbol, SymbolBook(symbol))

    def dirty(self) -> list[tuple[bytes, bytes]]:
        """The changelog records (key, value) of what changed since the last call, in a fixed order."""
        records = [(_SYMBOL_PREFIX + symbol.encode(), self._books[symbol].record()) for symbol in sorted(self._dirty)]
        if self._partition_dirty:
            records.append((_PARTITION_KEY, self._record()))
        self._dirty.clear()
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
            else:
                symbol = key.removeprefix(_SYMBOL_PREFIX).decode()
                self._books[symbol] = SymbolBook.restored(symbol, value)
        self._underlying = {name: symbol for symbol, book in self._books.items() for name in book.instruments}
        self._unsettled = set(self._books)

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


def _repriced(row: SymbolMark, sent: SymbolMark | None) -> bool:
    """Whether the row tells more than a newer time or another set of sources."""
    return sent is None or row._replace(quote_time=sent.quote_time, sources=sent.sources) != sent
