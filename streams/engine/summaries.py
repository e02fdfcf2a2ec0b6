"""Summaries of accounts: what a `margin-accounts` record says, and whose turn for one has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import orjson
from numba import njit

from streams.engine.columns import Balances, distinct, holders_of
from streams.engine.judge import numbers_of
from streams.engine.ledger import entries
from streams.engine.report import shown_numbers, units_text
from streams.engine.terms import TermsTable
from streams.engine.texts import Texts, amount_texts, number_texts
from streams.engine.trust import RESTRICTED, RESTRICTIONS, worst_states
from streams.engine.valuation import STATUSES
from streams.margin.parameters import I32, I64
from streams.rows import U8, Rows, side_by_side

if TYPE_CHECKING:
    from streams.engine.shard import Shard


class Tokens(NamedTuple):
    """Fixed texts: token n ends at ``end[n]``, where the next one begins."""

    data: U8
    end: I64


#: What stands around the values of a record, keys sorted. Statuses (each behind so many restrictions, 0 to all), assets
#: and buckets follow among the tokens.
LABELS = (
    b'{"account":"',
    b'","adjusted_equity":',
    b',"balances":{',
    b'},"equity":',
    b',"free_margin":',
    b',"initial_equity":',
    b',"initial_margin":',
    b',"isolated":[',
    b',"maintenance_margin":',
    b',"margin_ratio":',
    b',"',
    b'{"adjusted_equity":',
    b'},"bucket":',
    b',"equity":',
)
ACCOUNT, ADJUSTED, BALANCES, EQUITY, FREE, INITIAL_EQUITY, INITIAL, ISOLATED, MAINTENANCE, RATIO, STATUS = range(11)
ISOLATED_ADJUSTED, BUCKET, ISOLATED_EQUITY, FIRST_STATUS = range(11, 15)
STANDINGS = [
    (b'restrictions":' + orjson.dumps(RESTRICTIONS[:count]) + b',"' if count else b"") + f'status":"{status}"'.encode()
    for count in range(len(RESTRICTIONS) + 1)
    for status in STATUSES
]
FIRST_ASSET = FIRST_STATUS + len(STANDINGS)


class Vocabulary(NamedTuple):
    """What records are put together from, the same from block to block.

    Attributes
    ----------
    precision : by asset
    """

    tokens: Tokens
    precision: I32


#: How much of the sweep one block may do: a part of all accounts, but at least so many.
SWEEP_PARTS, SWEEP_LEAST = 16, 1_000
#: A character inside a JSON string, by its byte: row, and how much of the row.
_ESCAPED = [orjson.dumps(chr(byte))[1:-1] if byte < 128 else bytes([byte]) for byte in range(256)]
ESCAPES = np.array([list(text.ljust(6, b"\0")) for text in _ESCAPED], dtype=np.uint8)
ESCAPE_SIZES = np.array([len(text) for text in _ESCAPED], dtype=np.int64)


class Held(NamedTuple):
    """What records show of books, and where.

    Attributes
    ----------
    book_end : per account, into the books: where its own end; the first is its cross one
    numbers : the texts of `SHOWN` of each book
    status, bucket : per book; tokens, the former with its restrictions
    balance_end : per book, into the balances
    asset, amount : per balance; token and text
    """

    book_end: I64
    numbers: Texts
    status: I64
    bucket: I64
    balance_end: I64
    asset: I64
    amount: Texts


class Place(NamedTuple):
    """Where and when all records of a block were written."""

    journal: U8
    time: U8


def summaries(shard: Shard, offset: int, accounts: I64) -> Rows:
    """A `margin-accounts` record of each account: its cross book, and its isolated ones beside it."""
    if not len(accounts):
        return Rows.of(())
    ledger, vocabulary = shard.ledger, _vocabulary(shard.terms)
    books, book_end = books_in_order(accounts, ledger.cross_book, ledger.next_book)
    balance_end, asset, amounts, places = balances_in_order(ledger.balances, books, vocabulary.precision)
    held = Held(
        book_end,
        number_texts(shown_numbers(*numbers_of(shard, books)).ravel()),
        shard.standing.status[books] + len(STATUSES) * restrictions_of(shard, books) + np.int64(FIRST_STATUS),
        ledger.book_instrument[books] + np.int64(FIRST_ASSET + len(vocabulary.precision)),
        balance_end,
        asset,
        amount_texts(amounts, places),
    )
    journal = b'],"journal":{"offset":%d,"partition":%d}' % (offset, shard.partition)
    place = Place(*(np.frombuffer(text, np.uint8) for text in (journal, b',"time":%d}' % shard.prices.time)))
    keys, key_end = ledger.accounts.keys(accounts)
    out = np.empty(room(keys, held, vocabulary.tokens, place), dtype=np.uint8)
    ends = np.empty(len(accounts), dtype=np.int64)
    size = write(keys, key_end, held, vocabulary.tokens, place, out, ends)
    return Rows(keys, key_end, out[:size], ends)


def restrictions_of(shard: Shard, books: I64) -> I64:
    """How many of RESTRICTIONS hold for each book."""
    ledger, settlement = shard.ledger, shard.parameters.settlement
    return RESTRICTED[worst_states(shard.prices.trust, settlement, ledger.positions, ledger.balances, books)]


#: By the terms they are of, which only ever grow.
_VOCABULARIES: WeakKeyDictionary[TermsTable, tuple[int, Vocabulary]] = WeakKeyDictionary()


def _vocabulary(terms: TermsTable) -> Vocabulary:
    known = len(terms.assets) + len(terms.instruments)
    size, vocabulary = _VOCABULARIES.get(terms, (-1, None))
    if vocabulary is None or size != known:
        texts = [
            *LABELS,
            *STANDINGS,
            *(orjson.dumps(asset) + b":" for asset in terms.assets),
            *(orjson.dumps(instrument) for instrument in terms.instruments),
        ]
        precision = np.array([terms.records[asset]["precision"] for asset in terms.assets], dtype=np.int32)
        vocabulary = Vocabulary(Tokens(*side_by_side(texts)), precision)
        _VOCABULARIES[terms] = known, vocabulary
    return vocabulary


@njit(cache=True)
def room(keys: U8, held: Held, tokens: Tokens, place: Place) -> int:
    """Bytes that the records take at most: every label and the longest other token once a book or balance."""
    longest = 0
    for n in range(FIRST_STATUS, tokens.end.shape[0]):
        longest = max(longest, tokens.end[n] - tokens.end[n - 1])
    count, balances = held.status.shape[0], held.asset.shape[0]
    book = tokens.end[FIRST_STATUS - 1] + 2 * longest + place.journal.shape[0] + place.time.shape[0] + 50
    return (
        6 * keys.shape[0] + held.numbers.size.sum() + held.amount.size.sum() + count * book + balances * (longest + 7)
    )


@njit(cache=True)
def balances_in_order(balances: Balances, books: I64, precision: I32) -> tuple[I64, I64, I64, I32]:
    """The balances of the books: where each book's end, then of each its asset's token, amount and precision."""
    ends = np.empty(books.shape[0], dtype=np.int64)
    count = 0
    for n in range(books.shape[0]):
        count += balances.size[books[n]]
        ends[n] = count
    asset, amount = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    places = np.empty(count, dtype=np.int32)
    count = 0
    for book in books:
        for at in range(balances.start[book], balances.start[book] + balances.size[book]):
            asset[count] = FIRST_ASSET + balances.key[at]
            amount[count] = balances.amount[at]
            places[count] = precision[balances.key[at]]
            count += 1
    return ends, asset, amount, places


@njit(cache=True)
def books_in_order(accounts: I64, first: I64, next_book: I32) -> tuple[I64, I64]:
    """The books of each account, cross first, isolated as they were opened; and where each account's end."""
    ends = np.empty(accounts.shape[0], dtype=np.int64)
    count = 0
    for row in range(accounts.shape[0]):
        book = first[accounts[row]]
        while book >= 0:
            count += 1
            book = np.int64(next_book[book])
        ends[row] = count
    books = np.empty(count, dtype=np.int64)
    count = 0
    for account in accounts:
        book = first[account]
        while book >= 0:
            books[count] = book
            count += 1
            book = np.int64(next_book[book])
    return books, ends


@njit(cache=True)
def put(out: U8, at: int, text: U8) -> int:
    """Write a text; where the next byte goes."""
    for k in range(text.shape[0]):
        out[at + k] = text[k]
    return at + text.shape[0]


@njit(cache=True)
def put_token(out: U8, at: int, tokens: Tokens, token: int) -> int:
    """Write a token; where the next byte goes."""
    for k in range(tokens.end[token - 1] if token > 0 else 0, tokens.end[token]):
        out[at] = tokens.data[k]
        at += 1
    return at


@njit(cache=True)
def put_number(out: U8, at: int, texts: Texts, n: int) -> int:
    """Write a number as a JSON string, or null; where the next byte goes."""
    if texts.size[n] == 0:
        for byte in (110, 117, 108, 108):  # null
            out[at] = byte
            at += 1
        return at
    out[at] = 34
    at += 1
    for k in range(texts.start[n], texts.start[n] + texts.size[n]):
        out[at] = texts.data[k]
        at += 1
    out[at] = 34
    return at + 1


@njit(cache=True)
def put_balances(out: U8, at: int, held: Held, tokens: Tokens, book: int) -> int:
    """Write a book's balances; where the next byte goes."""
    first = held.balance_end[book - 1] if book > 0 else 0
    for n in range(first, held.balance_end[book]):
        if n > first:
            out[at] = 44
            at += 1
        at = put_token(out, at, tokens, held.asset[n])
        at = put_number(out, at, held.amount, n)
    return at


@njit(cache=True)
def put_book(out: U8, at: int, held: Held, tokens: Tokens, book: int) -> int:
    """Write an isolated book; where the next byte goes."""
    n = 7 * book
    at = put_token(out, at, tokens, ISOLATED_ADJUSTED)
    at = put_number(out, at, held.numbers, n + 1)
    at = put_token(out, at, tokens, BALANCES)
    at = put_balances(out, at, held, tokens, book)
    at = put_token(out, at, tokens, BUCKET)
    at = put_token(out, at, tokens, held.bucket[book])
    at = put_token(out, at, tokens, ISOLATED_EQUITY)
    at = put_number(out, at, held.numbers, n)
    for label, number in ((FREE, 6), (INITIAL_EQUITY, 2), (INITIAL, 3), (MAINTENANCE, 4), (RATIO, 5)):
        at = put_token(out, at, tokens, label)
        at = put_number(out, at, held.numbers, n + number)
    at = put_token(out, at, tokens, STATUS)
    at = put_token(out, at, tokens, held.status[book])
    out[at] = 125
    return at + 1


@njit(cache=True)
def write(keys: U8, key_end: I64, held: Held, tokens: Tokens, place: Place, out: U8, ends: I64) -> int:
    """Write the record of each account into `out`, one after another, and where each ends into `ends`; all bytes."""
    at, book, key = 0, 0, 0
    for row in range(key_end.shape[0]):
        at = put_token(out, at, tokens, ACCOUNT)
        for k in range(key, key_end[row]):
            byte = keys[k]
            for j in range(ESCAPE_SIZES[byte]):
                out[at] = ESCAPES[byte, j]
                at += 1
        n = 7 * book
        at = put_token(out, at, tokens, ADJUSTED)
        at = put_number(out, at, held.numbers, n + 1)
        at = put_token(out, at, tokens, BALANCES)
        at = put_balances(out, at, held, tokens, book)
        at = put_token(out, at, tokens, EQUITY)
        at = put_number(out, at, held.numbers, n)
        for label, number in ((FREE, 6), (INITIAL_EQUITY, 2), (INITIAL, 3)):
            at = put_token(out, at, tokens, label)
            at = put_number(out, at, held.numbers, n + number)
        at = put_token(out, at, tokens, ISOLATED)
        for own in range(book + 1, held.book_end[row]):
            if own > book + 1:
                out[at] = 44
                at += 1
            at = put_book(out, at, held, tokens, own)
        at = put(out, at, place.journal)
        for label, number in ((MAINTENANCE, 4), (RATIO, 5)):
            at = put_token(out, at, tokens, label)
            at = put_number(out, at, held.numbers, n + number)
        at = put_token(out, at, tokens, STATUS)
        at = put_token(out, at, tokens, held.status[book])
        at = put(out, at, place.time)
        ends[row], book, key = at, held.book_end[row], key_end[row]
    return at


def balances_of(shard: Shard, books: I64) -> list[dict[str, str]]:
    """Balances of each book in units, by asset."""
    balances, terms = shard.ledger.balances, shard.terms
    rows = entries(balances, books)
    precision = [terms.records[asset]["precision"] for asset in terms.assets]
    keys, amounts = balances.key[rows].tolist(), balances.amount[rows].tolist()
    found = []
    last = 0
    for count in balances.size[books].tolist():
        first, last = last, last + count
        found.append(
            {terms.assets[keys[at]]: units_text(amounts[at], precision[keys[at]]) for at in range(first, last)}
        )
    return found


def sweep(shard: Shard, everybody: bool = False) -> I64:
    """The accounts whose turn for a summary has come: all of them once per interval of shard time, evenly spread.

    Where all are due at once (`everybody`, and where shard time has leapt) they follow in several marks blocks: a
    million in one transaction would take longer than it may last.
    """
    interval = shard.terms.rules.summary_interval_ms
    total = len(shard.ledger.accounts)
    turn, done = shard.sweep
    now = shard.prices.time * total // interval
    first = max(now - total, 0 if everybody else turn * total + done)
    count = min(max(now - first, 0), max(SWEEP_LEAST, total // SWEEP_PARTS))
    shard.sweep = divmod(first + count, total) if total else (shard.prices.time // interval, 0)
    return np.arange(first, first + count, dtype=np.int64) % max(total, 1)


def holders_due(shard: Shard, names: set[str]) -> I64:
    """The accounts that hold one of these instruments or assets, where they are few enough for one block.

    Where they are more, none: everybody's turn has come then, see `sweep`.
    """
    ledger, terms = shard.ledger, shard.terms
    most = max(SWEEP_LEAST, len(ledger.accounts) // SWEEP_PARTS)
    found = []
    for table, known in ((ledger.positions, terms.instruments), (ledger.balances, terms.assets)):
        wanted = np.array([name in names for name in known], dtype=np.bool_)
        found.append(holders_of(table, wanted, ledger.books, most))
    if max(map(len, found)) <= most:
        return distinct(ledger.book_account[np.concatenate(found)].astype(np.int64))
    shard.sweep = (0, 0)
    return np.zeros(0, dtype=np.int64)
