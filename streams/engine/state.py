"""A shard's whole state as changelog records, and back: one record an account, one for terms (more where they are
long), one for the rest; from rules 2 on one for what is known of trust in prices; with options one for what their marks
were made of; and with a market whose past is told one for that.

The records of a state are a function of the state alone, so equal states have equal records and one hash.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from schemas.journal import RULES_OLDEST, Block
from streams.engine import account_records
from streams.engine.account_records import FORMAT, Books, Found
from streams.engine.invariants import InvariantViolation
from streams.engine.risk_factors import followed, told
from streams.engine.shard import Shard
from streams.margin.parameters import I64
from streams.rows import Rows, side_by_side

TERMS_KEY = b"~terms"
SHARD_KEY = b"~shard"
TRUST_KEY = b"~trust"
OPTIONS_KEY = b"~options"
RISK_KEY = b"~risk"
#: Terms that take more than this are cut into pieces of so many bytes, each a record: a record has to stay below 1 MB.
TERMS_BYTES = 512 * 1024

#: Accounts whose records are made in one piece where all are wanted.
PIECE = 4096

_encode = msgspec.msgpack.Encoder().encode
_bytes = msgspec.msgpack.Decoder(bytes).decode
_settings = msgspec.msgpack.Decoder(dict[str, Any]).decode
_wrapped = msgspec.msgpack.Decoder(tuple[int, int, msgspec.Raw]).decode
_terms = msgspec.msgpack.Decoder(int | tuple[dict[str, dict[str, Any]], list[str], list[str]]).decode
_trust = msgspec.msgpack.Decoder(tuple[int, dict[str, float], dict[str, float]]).decode
_options = msgspec.msgpack.Decoder(dict[str, tuple[float, float, float]]).decode
_Sums = list[tuple[str, int, str]]
_Prices = tuple[
    int,
    dict[str, float],
    dict[str, float],
    dict[str, int],
    dict[str, int],
    dict[str, int],
    dict[int, str],
    int,
    dict[int, int],
    dict[int, int],
    list[tuple[int, int, int, int | None]],
]
_shard = msgspec.msgpack.Decoder(
    tuple[int, int, _Prices, dict[int, int], tuple[int, int], _Sums, _Sums, dict[str, int]]
).decode


def books(shard: Shard) -> Books:
    """The columns that account records are written from and read into."""
    ledger, standing = shard.ledger, shard.standing
    return Books(
        ledger.cross_book,
        ledger.book_account,
        ledger.book_instrument,
        ledger.next_book,
        ledger.taken_over,
        standing.status,
        standing.called,
        standing.step,
        standing.step_offset,
        standing.step_time,
        standing.step_ratio.view(np.uint64),
        ledger.positions,
        ledger.balances,
        ledger.recent,
    )


def account_rows(shard: Shard, accounts: I64) -> Rows:
    """The record of each account: settings, remembered ids, and each book with its standing."""
    told = shard.settings
    settings, settings_end = side_by_side(
        [_encode(told[account]) if account in told else b"" for account in accounts.tolist()]
        if told
        else [b""] * len(accounts)
    )
    columns = books(shard)
    out = np.empty(account_records.room(accounts, columns) + len(settings), dtype=np.uint8)
    ends = np.zeros(len(accounts), dtype=np.int64)
    account_records.write(accounts, columns, settings, settings_end, out, ends)
    return Rows(*shard.ledger.accounts.keys(accounts), out[: ends.max(initial=0)].copy(), ends)


def terms_records(shard: Shard) -> list[tuple[bytes, bytes]]:
    """Terms with their versions, and the indexes they were given: one record, or where that would be too long, how many
    pieces of it there are, and those."""
    terms = shard.terms
    whole = _wrap((dict(sorted(terms.records.items())), terms.instruments, terms.assets))
    if len(whole) <= TERMS_BYTES:
        return [(TERMS_KEY, whole)]
    pieces = [whole[first : first + TERMS_BYTES] for first in range(0, len(whole), TERMS_BYTES)]
    return [(TERMS_KEY, _wrap(len(pieces))), *((_piece_key(at), piece) for at, piece in enumerate(pieces))]


def _piece_key(at: int) -> bytes:
    return TERMS_KEY + b":%d" % at


def shard_record(shard: Shard) -> bytes:
    """Everything of the shard that is no account's: offset, prices, funding, house, sweep."""
    prices, ledger = shard.prices, shard.ledger
    return _wrap(
        (
            shard.next_offset,
            shard.window,
            (
                prices.time,
                prices.index,
                prices.mark,
                prices.symbol_state,
                prices.mark_state,
                prices.quote_time,
                prices.modes,
                prices.oracles,
                prices.funding_index,
                prices.funding_time,
                prices.pending_funding,
            ),
            shard.settled,
            shard.sweep,
            _house(ledger.house_assets),
            _house(ledger.house_lots),
            ledger.rows,
        )
    )


def trust_record(shard: Shard) -> bytes:
    """The rules that the shard has come to, and by symbol the check prices and widenings that there are."""
    prices = shard.prices
    return _wrap((prices.rules_version, dict(sorted(prices.check.items())), dict(sorted(prices.widening.items()))))


def options_record(shard: Shard) -> bytes:
    """What the marks of options were made of, by instrument."""
    return _wrap(dict(sorted(shard.prices.made_of.items())))


def risk_record(shard: Shard) -> bytes:
    """What values at risk are made of, as the block that tells it whole; empty where nobody told."""
    factors = shard.portfolio.factors
    return _wrap(b"" if factors is None else told(None, factors, 0).encode())


def _wrap(content: Any) -> bytes:
    """A record that is no account's: format, checksum, content."""
    body = _encode(content)
    return _encode((FORMAT, zlib.crc32(body), msgspec.Raw(body)))


def _house(sums: Mapping[tuple[str, int], int]) -> list[tuple[str, int, str]]:
    """House entries other than zero, as text: they can outgrow 64 bits."""
    return [(name, key, str(amount)) for (name, key), amount in sorted(sums.items()) if amount]


def records(shard: Shard) -> Iterator[tuple[bytes, bytes]]:
    """Every changelog record of the state."""
    for part in _parts(shard):
        yield from part


def _parts(shard: Shard) -> Iterator[Rows]:
    """Every changelog record of the state, PIECE accounts at a time."""
    first = terms_records(shard)
    if shard.prices.rules_version > RULES_OLDEST:
        first.append((TRUST_KEY, trust_record(shard)))
    if shard.prices.made_of:
        first.append((OPTIONS_KEY, options_record(shard)))
    if shard.portfolio.factors is not None:
        first.append((RISK_KEY, risk_record(shard)))
    yield Rows.of(first)
    total = len(shard.ledger.accounts)
    for start in range(0, total, PIECE):
        yield account_rows(shard, np.arange(start, min(start + PIECE, total), dtype=np.int64))
    yield Rows.of([(SHARD_KEY, shard_record(shard))])


def state_hash(shard: Shard) -> str:
    """Hash of the whole state; equal for equal states, however they were reached."""
    return _hash_of(_parts(shard))


def hash_of(changelog: Iterable[tuple[bytes, bytes]]) -> str:
    """Hash of a state's records as `records` gives them."""
    return _hash_of([Rows.of(changelog)])


def _hash_of(parts: Iterable[Rows]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part.framed().data)
    return digest.hexdigest()


def dirty(shard: Shard) -> Rows:
    """Changelog records of all that changed since the last call; the shard's own record comes last."""
    first = terms_records(shard) if shard.terms_changed else []
    if shard.prices.trust_changed:
        first.append((TRUST_KEY, trust_record(shard)))
    if shard.prices.made_of_changed:
        first.append((OPTIONS_KEY, options_record(shard)))
    if shard.portfolio.factors_changed:
        first.append((RISK_KEY, risk_record(shard)))
        shard.portfolio.factors_changed = False
    shard.terms_changed = shard.prices.trust_changed = shard.prices.made_of_changed = False
    own = Rows.of([(SHARD_KEY, shard_record(shard))])
    return Rows.joined([Rows.of(first), account_rows(shard, shard.touched.take()), own])


def restore(partition: int, changelog: Iterable[tuple[bytes, bytes]]) -> Shard:
    """The shard that a changelog describes, from its records in order; see `Restoring`."""
    restoring = Restoring(partition)
    restoring.add(Rows.of(changelog))
    return restoring.finish()


class Restoring:
    """A shard on its way back from its changelog: records go straight into columns, part after part.

    The last record of a key holds; accounts are never deleted. Bytes that no shard has written, or of another format,
    raise InvariantViolation.

    Attributes
    ----------
    own : the last record of each key that is no account's
    """

    def __init__(self, partition: int) -> None:
        self.own: dict[bytes, bytes] = {}
        self._shard = Shard(partition)

    def add(self, rows: Rows) -> None:
        """Take in the next records."""
        own = np.append(rows.key_bytes, 0)[rows.starts()[0]] == ord("~")
        self._accounts(rows, np.nonzero(~own)[0])
        for at in np.nonzero(own)[0].tolist():
            key, value = rows[at]
            self.own[key] = value

    def _accounts(self, rows: Rows, which: I64) -> None:
        shard, ledger = self._shard, self._shard.ledger
        key_start, start = (starts[which] for starts in rows.starts())
        keys, key_end, values, end = rows.key_bytes, rows.key_end[which], rows.value_bytes, rows.value_end[which]
        found = Found(*(np.empty(len(which), dtype=np.int64) for _ in Found._fields))
        bad, wrong, isolated, positions, balances, words = account_records.check(values, start, end, found)
        if wrong != account_records.WHOLE:
            name, value = rows[int(which[bad])]
            if wrong == account_records.OTHER_FORMAT:
                raise InvariantViolation(f"an account record must have format {FORMAT}, found {value[:1]!r} ({name!r})")
            raise InvariantViolation(f"an account record must be whole, found {len(value)} bytes ({name!r})")
        known = len(ledger.accounts)
        bad = ledger.accounts.place(keys, key_start, key_end, found.account)
        if bad >= 0:
            name, number = rows[int(which[bad])][0], int(found.account[bad])
            raise InvariantViolation(f"accounts must keep their numbers, found {number} ({name!r})")
        ledger.open_accounts(np.arange(known, len(ledger.accounts), dtype=np.int64))
        ledger.reserve_books(isolated)
        ledger.reserve(positions, balances, words)
        shard.standing.grow(ledger.books + isolated)
        ledger.books, bad = account_records.load(values, start, books(shard), ledger.books)
        if bad >= 0:
            raise InvariantViolation(f"an account must keep its books, found others ({rows[int(which[bad])][0]!r})")
        for row in np.nonzero(found.settings_size)[0].tolist():
            first = int(found.settings_start[row])
            settings = decoded(_settings, values[first : first + int(found.settings_size[row])].tobytes(), "settings")
            shard.settings[int(found.account[row])] = settings

    def finish(self) -> Shard:
        """The shard, once all records are in; an empty one where there are none."""
        shard, ledger = self._shard, self._shard.ledger
        own, terms = self.own.get(SHARD_KEY), self.own.get(TERMS_KEY)
        if own is None:
            if len(ledger.accounts) or terms:
                raise InvariantViolation(f"changelog {shard.partition} must hold {SHARD_KEY!r}, found none")
            return shard
        if terms is not None:
            _restore_terms(shard, terms, self.own)
        if TRUST_KEY in self.own:
            prices = shard.prices
            told = _unwrapped(self.own[TRUST_KEY], _trust, TRUST_KEY)
            prices.rules_version, prices.check, prices.widening = told
        if OPTIONS_KEY in self.own:
            shard.prices.made_of = _unwrapped(self.own[OPTIONS_KEY], _options, OPTIONS_KEY)
        if RISK_KEY in self.own and (block := _unwrapped(self.own[RISK_KEY], _bytes, RISK_KEY)):
            shard.portfolio.learn(followed(None, Block.decode(block)))
            shard.portfolio.factors_changed = False
        _restore_shard(shard, own)
        missing = np.nonzero(ledger.accounts.size[: len(ledger.accounts)] == 0)[0]
        if len(missing):
            raise InvariantViolation(f"accounts of shard {shard.partition} must be numbered without a gap")
        _restore_settings(shard)
        ranks = shard.posting.instrument_rank, shard.posting.asset_rank
        ring, torn = account_records.sound(books(shard), len(ledger.accounts), ledger.books, *ranks, shard.window)
        if ring >= 0 or torn >= 0:
            name = ledger.accounts[ring if ring >= 0 else int(ledger.book_account[torn])]
            raise InvariantViolation(f"remembered ids and entries must be in their order, found others ({name})")
        ledger.check(shard.terms.assets, shard.terms.instruments, shard.posting.settlement)
        shard.terms_changed = False
        return shard


def decoded(decode: Any, value: bytes, what: str) -> Any:
    """What a record says; InvariantViolation where its bytes say nothing."""
    try:
        return decode(value)
    except (msgspec.DecodeError, ValueError) as error:
        raise InvariantViolation(f"{what} in the changelog must be readable, found {error}") from None


def _unwrapped(value: bytes, decode: Any, key: bytes) -> Any:
    version, checksum, body = decoded(_wrapped, value, repr(key))
    if version != FORMAT:
        raise InvariantViolation(f"{key!r} in the changelog must have format {FORMAT}, found {version}")
    if zlib.crc32(body) != checksum:
        raise InvariantViolation(f"crc32 of {key!r} must be {checksum:#010x}, found {zlib.crc32(body):#010x}")
    return decoded(decode, bytes(body), repr(key))


def _restore_terms(shard: Shard, value: bytes, own: Mapping[bytes, bytes]) -> None:
    found = _unwrapped(value, _terms, TERMS_KEY)
    if isinstance(found, int):
        found = _unwrapped(b"".join(own.get(_piece_key(at), b"") for at in range(found)), _terms, TERMS_KEY)
    known, instruments, assets = found
    others = sorted(set(known) - {*assets, *instruments}, key=lambda identity: known[identity]["version"])
    order = [*assets, *instruments, *others]
    shard.terms.apply([known[identity] for identity in order])


def _restore_shard(shard: Shard, value: bytes) -> None:
    offset, window, price, settled, sweep, assets, lots, rows = _unwrapped(value, _shard, SHARD_KEY)
    prices = shard.prices
    (
        prices.time,
        prices.index,
        prices.mark,
        prices.symbol_state,
        prices.mark_state,
        prices.quote_time,
        prices.modes,
        prices.oracles,
        prices.funding_index,
        prices.funding_time,
        prices.pending_funding,
    ) = price
    shard.next_offset, shard.window, shard.settled, shard.sweep = offset, window, settled, sweep
    shard.ledger.rows = rows
    shard.ledger.house_assets.update({(name, asset): int(amount) for name, asset, amount in assets})
    shard.ledger.house_lots.update({(name, instrument): int(amount) for name, instrument, amount in lots})
    shard.derive()


def _restore_settings(shard: Shard) -> None:
    """What accounts said of themselves, in the columns that follow from it."""
    shard.shadow(shard.settings)
    for account, settings in shard.settings.items():
        shard.ledger.isolated_by_default[account] = settings.get("mode") == "isolated"
        shard.standing.level_set[shard.ledger.books_of(account)] = shard.level_set(account)
        for book in shard.ledger.books_of(account):
            shard.portfolio.set(int(book), shard.on_portfolio(int(book)))
    shard.standing.grow(shard.ledger.books)
