"""A shard's whole state as changelog records, and back: one record an account, one for terms, one for the rest.

The records of a state are a function of the state alone, so equal states have equal records and one hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from streams.engine.invariants import InvariantViolation
from streams.engine.ledger import Ledger
from streams.engine.shard import Shard

TERMS_KEY = b"~terms"
SHARD_KEY = b"~shard"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
#: The number of an account, and the rest of its record as it is.
_peek = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw, msgspec.Raw, msgspec.Raw, msgspec.Raw]).decode


def account_record(shard: Shard, account: int) -> bytes:
    """All there is of one account: settings, remembered ids, and each book with its standing."""
    ledger, recent = shard.ledger, shard.ledger.recent
    first, size = int(recent.start[account]), int(recent.size[account])
    name = ledger.accounts[account]
    return _encode(
        (
            account,
            shard.settings.get(name),
            int(recent.head[account]),
            recent.hash[first : first + size].tobytes(),
            [_book(shard, book) for book in ledger.books_of(account)],
        )
    )


def _book(shard: Shard, book: int) -> tuple[Any, ...]:
    ledger, standing = shard.ledger, shard.standing
    positions, balances = ledger.positions, ledger.balances
    at = slice(int(positions.start[book]), int(positions.start[book]) + int(positions.size[book]))
    held = slice(int(balances.start[book]), int(balances.start[book]) + int(balances.size[book]))
    return (
        int(ledger.book_instrument[book]),
        int(ledger.taken_over[book]),
        int(standing.status[book]),
        bool(standing.called[book]),
        int(standing.step[book]),
        int(standing.step_offset[book]),
        int(standing.step_time[book]),
        float(standing.step_ratio[book]),
        [column[at].tolist() for column in (positions.key, positions.lots, positions.cost, positions.funding)],
        [column[held].tolist() for column in (balances.key, balances.amount)],
    )


def terms_record(shard: Shard) -> bytes:
    """Terms with their versions, and the indexes they were given."""
    terms = shard.terms
    return _encode((dict(sorted(terms.records.items())), terms.instruments, terms.assets))


def shard_record(shard: Shard) -> bytes:
    """Everything of the shard that is no account's: offset, prices, funding, house, sweep."""
    prices, ledger = shard.prices, shard.ledger
    return _encode(
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


def _house(sums: Mapping[tuple[str, int], int]) -> list[tuple[str, int, str]]:
    """House entries other than zero, as text: they can outgrow 64 bits."""
    return [(name, key, str(amount)) for (name, key), amount in sorted(sums.items()) if amount]


def records(shard: Shard) -> Iterator[tuple[bytes, bytes]]:
    """Every changelog record of the state."""
    yield TERMS_KEY, terms_record(shard)
    for account, name in enumerate(shard.ledger.accounts):
        yield name.encode(), account_record(shard, account)
    yield SHARD_KEY, shard_record(shard)


def state_hash(shard: Shard) -> str:
    """Hash of the whole state; equal for equal states, however they were reached."""
    digest = hashlib.blake2b(digest_size=16)
    for key, value in records(shard):
        digest.update(len(key).to_bytes(4, "little") + key + len(value).to_bytes(4, "little") + value)
    return digest.hexdigest()


def dirty(shard: Shard) -> list[tuple[bytes, bytes]]:
    """Changelog records of all that changed since the last call; the shard's own record comes last."""
    changed = [(TERMS_KEY, terms_record(shard))] if shard.terms_changed else []
    shard.terms_changed = False
    for account in sorted(shard.touched):
        changed.append((shard.ledger.accounts[account].encode(), account_record(shard, account)))
    shard.touched.clear()
    changed.append((SHARD_KEY, shard_record(shard)))
    return changed


def restore(partition: int, changelog: Iterable[tuple[bytes, bytes | None]]) -> Shard:
    """The shard that a changelog describes; an empty one where there is none.

    Parameters
    ----------
    changelog : records in order; the last one of each key holds, None deletes it

    Raises
    ------
    InvariantViolation
        where accounts are there but the shard's own record is not, or an account is missing.
    """
    last = {bytes(key): value for key, value in changelog}
    latest = {key: value for key, value in last.items() if value is not None}
    shard = Shard(partition)
    own, terms = latest.pop(SHARD_KEY, None), latest.pop(TERMS_KEY, None)
    if own is None:
        if latest or terms:
            raise InvariantViolation(f"the changelog of shard {partition} must hold {SHARD_KEY!r}, found none")
        return shard
    if terms is not None:
        _restore_terms(shard, terms)
    _restore_shard(shard, own)
    _restore_accounts(shard, latest)
    shard.terms_changed = False
    shard.touched.clear()
    return shard


def _restore_terms(shard: Shard, value: bytes) -> None:
    known, instruments, assets = _decode(value)
    others = sorted(set(known) - {*assets, *instruments}, key=lambda identity: known[identity]["version"])
    order = [*assets, *instruments, *others]
    shard.terms.apply([known[identity] for identity in order])


def _restore_shard(shard: Shard, value: bytes) -> None:
    offset, window, price, settled, sweep, assets, lots, rows = _decode(value)
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
        waiting,
    ) = price
    prices.pending_funding = [(instrument, rate, time, price) for instrument, rate, time, price in waiting]
    shard.next_offset, shard.window, shard.settled, shard.sweep = offset, window, settled, tuple(sweep)
    shard.ledger.rows = rows
    shard.ledger.house_assets.update({(name, asset): int(amount) for name, asset, amount in assets})
    shard.ledger.house_lots.update({(name, instrument): int(amount) for name, instrument, amount in lots})
    shard.derive()


def _restore_accounts(shard: Shard, latest: dict[bytes, Any]) -> None:
    rows = sorted((_peek(value)[0], key) for key, value in latest.items())
    if [number for number, _ in rows] != list(range(len(rows))):
        raise InvariantViolation(f"accounts of shard {shard.partition} must be numbered without a gap")
    ledger = shard.ledger
    for account, key in rows:
        _, settings, head, hashes, books = _decode(latest[key])
        name = key.decode()
        ledger.account(name)
        if settings is not None:
            shard.settings[name] = settings
            ledger.isolated_by_default[account] = settings.get("mode") == "isolated"
        _restore_ring(ledger, account, head, np.frombuffer(hashes, dtype=np.uint64))
        for record in books:
            book = ledger.book(account, record[0])
            shard.grow()
            _restore_book(shard, book, record)


def _restore_ring(ledger: Ledger, account: int, head: int, hashes: Any) -> None:
    ledger.reserve(0, 0, len(hashes))
    ledger.recent.head[account] = head
    _restore_run(ledger.recent, account, (hashes,))


def _restore_book(shard: Shard, book: int, record: tuple[Any, ...]) -> None:
    ledger, standing = shard.ledger, shard.standing
    ledger.taken_over[book] = record[1]
    standing.status[book], standing.called[book], standing.step[book] = record[2:5]
    standing.step_offset[book], standing.step_time[book], standing.step_ratio[book] = record[5:8]
    positions, balances = record[8], record[9]
    ledger.reserve(len(positions[0]), len(balances[0]), 0)
    _restore_run(ledger.positions, book, positions)
    _restore_run(ledger.balances, book, balances)


def _restore_run(table: Any, row: int, columns: Sequence[Sequence[int]]) -> None:
    """Write the entries of a book or account, which are in their order, at the end of a table that has room."""
    top, count = int(table.top[0]), len(columns[0])
    table.start[row] = top
    table.size[row] = table.capacity[row] = count
    table.top[0] = top + count
    for column, values in zip(table[-len(columns) :], columns, strict=True):
        column[top : top + count] = values
