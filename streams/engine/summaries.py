"""Summaries of accounts: what a `margin-accounts` record says, and whose turn for one has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import orjson

from streams.compiled import inner, kernel
from streams.engine.columns import Balances, distinct, holders_of
from streams.engine.judge import numbers_of
from streams.engine.ledger import entries
from streams.engine.report import shown_numbers, units_text
from streams.engine.shadow import with_other_model
from streams.engine.terms import TermsTable
from streams.engine.texts import SLOT, Texts, number_texts, put_amount
from streams.engine.trust import I8, RESTRICTED, RESTRICTIONS, worst_states
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
    longest : bytes of the longest token that is no label
    precision : by asset
    """

    tokens: Tokens
    longest: int
    precision: I32


#: How much of the sweep one block may do: a part of all accounts, but at least so many.
SWEEP_PARTS, SWEEP_LEAST = 16, 1_000
#: A character inside a JSON string, by its byte: row, and how much of the row.
_ESCAPED = [orjson.dumps(chr(byte))[1:-1] if byte < 128 else bytes([byte]) for byte in range(256)]
ESCAPES = np.array([list(text.ljust(6, b"\0")) for text in _ESCAPED], dtype=np.uint8)
ESCAPE_SIZES = np.array([len(text) for text in _ESCAPED], dtype=np.int64)


#: No account is due, and what is written then.
NOBODY: I64 = np.zeros(0, dtype=np.int64)
NOTHING = Rows.of(())


class Shown(NamedTuple):
    """What records say of books.

    Attributes
    ----------
    books : those of each account side by side, its cross one first
    book_end : per account, into them: where its own end
    numbers : the texts of `SHOWN` of each
    restricted : how many of RESTRICTIONS hold for each
    status, instrument, balances : of all books of the shard
    """

    books: I64
    book_end: I64
    numbers: Texts
    restricted: I64
    status: I8
    instrument: I32
    balances: Balances


class Place(NamedTuple):
    """Where and when all records of a block were written."""

    journal: U8
    time: U8


def summaries(shard: Shard, offset: int, accounts: I64) -> Rows:
    """A `margin-accounts` record of each account: its cross book, and its isolated ones beside it."""
    if not len(accounts):
        return NOTHING
    ledger = shard.ledger
    books, book_end = books_in_order(accounts, ledger.cross_book, ledger.next_book)
    shown = Shown(
        books,
        book_end,
        number_texts(shown_numbers(*numbers_of(shard, books)).ravel()),
        restrictions_of(shard, books),
        shard.standing.status,
        ledger.book_instrument,
        ledger.balances,
    )
    journal = b'],"journal":{"offset":%d,"partition":%d}' % (offset, shard.partition)
    place = Place(*(np.frombuffer(text, np.uint8) for text in (journal, b',"time":%d}' % shard.prices.time)))
    keys, key_end = ledger.accounts.keys(accounts)
    rows = Rows(keys, key_end, *write(keys, key_end, shown, _vocabulary(shard.terms), place))
    return with_other_model(shard, accounts, rows)


def restrictions_of(shard: Shard, books: I64) -> I64:
    """How many of RESTRICTIONS hold for each book."""
    if shard.prices.trust is None:
        return np.zeros(len(books), dtype=np.int64)
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
        longest = max(map(len, texts[len(LABELS) :]))
        precision = np.array([terms.records[asset]["precision"] for asset in terms.assets], dtype=np.int32)
        vocabulary = Vocabulary(Tokens(*side_by_side(texts)), longest, precision)
        _VOCABULARIES[terms] = known, vocabulary
    return vocabulary


@kernel
def room(keys: U8, shown: Shown, vocabulary: Vocabulary, place: Place) -> int:
    """Bytes that the records take at most: every label and the longest other token once a book or balance."""
    longest, count = vocabulary.longest, 0
    for book in shown.books:
        count += shown.balances.size[book]
    labels = vocabulary.tokens.end[FIRST_STATUS - 1]
    book_room = labels + 2 * longest + place.journal.shape[0] + place.time.shape[0] + 50
    numbers = shown.numbers.size.sum()
    return 6 * keys.shape[0] + numbers + shown.books.shape[0] * book_room + count * (longest + SLOT + 3)


@kernel
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


@kernel
def put(out: U8, at: int, text: U8) -> int:
    """Write a text; where the next byte goes."""
    for k in range(text.shape[0]):
        out[at + k] = text[k]
    return at + text.shape[0]


@inner
def put_token(out: U8, at: int, tokens: Tokens, token: int) -> int:
    """Write a token; where the next byte goes."""
    for k in range(tokens.end[token - 1] if token > 0 else 0, tokens.end[token]):
        out[at] = tokens.data[k]
        at += 1
    return at


@inner
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


@inner
def put_balances(out: U8, at: int, shown: Shown, vocabulary: Vocabulary, book: int) -> int:
    """Write the balances of a book of the shard; where the next byte goes."""
    balances = shown.balances
    first = balances.start[book]
    for n in range(first, first + balances.size[book]):
        if n > first:
            out[at] = 44
            at += 1
        asset = balances.key[n]
        at = put_token(out, at, vocabulary.tokens, FIRST_ASSET + asset)
        out[at] = 34
        at = put_amount(out, at + 1, balances.amount[n], vocabulary.precision[asset])
        out[at] = 34
        at += 1
    return at


@inner
def put_status(out: U8, at: int, shown: Shown, tokens: Tokens, row: int) -> int:
    """Write the status of the book in this row, with its restrictions; where the next byte goes."""
    at = put_token(out, at, tokens, STATUS)
    standing = shown.status[shown.books[row]] + len(STATUSES) * shown.restricted[row]
    return put_token(out, at, tokens, FIRST_STATUS + standing)


@inner
def put_isolated(out: U8, at: int, shown: Shown, vocabulary: Vocabulary, row: int) -> int:
    """Write the isolated book in this row; where the next byte goes."""
    tokens, n, book = vocabulary.tokens, 7 * row, shown.books[row]
    at = put_token(out, at, tokens, ISOLATED_ADJUSTED)
    at = put_number(out, at, shown.numbers, n + 1)
    at = put_token(out, at, tokens, BALANCES)
    at = put_balances(out, at, shown, vocabulary, book)
    at = put_token(out, at, tokens, BUCKET)
    at = put_token(out, at, tokens, FIRST_ASSET + vocabulary.precision.shape[0] + shown.instrument[book])
    at = put_token(out, at, tokens, ISOLATED_EQUITY)
    at = put_number(out, at, shown.numbers, n)
    for label, number in ((FREE, 6), (INITIAL_EQUITY, 2), (INITIAL, 3), (MAINTENANCE, 4), (RATIO, 5)):
        at = put_token(out, at, tokens, label)
        at = put_number(out, at, shown.numbers, n + number)
    at = put_status(out, at, shown, tokens, row)
    out[at] = 125
    return at + 1


@kernel
def write(keys: U8, key_end: I64, shown: Shown, vocabulary: Vocabulary, place: Place) -> tuple[U8, I64]:
    """The record of each account, one after another, and where each ends."""
    tokens, numbers = vocabulary.tokens, shown.numbers
    out = np.empty(room(keys, shown, vocabulary, place), dtype=np.uint8)
    ends = np.empty(key_end.shape[0], dtype=np.int64)
    at, cross, key = 0, 0, 0
    for row in range(key_end.shape[0]):
        at = put_token(out, at, tokens, ACCOUNT)
        for k in range(key, key_end[row]):
            byte = keys[k]
            for j in range(ESCAPE_SIZES[byte]):
                out[at] = ESCAPES[byte, j]
                at += 1
        n = 7 * cross
        at = put_token(out, at, tokens, ADJUSTED)
        at = put_number(out, at, numbers, n + 1)
        at = put_token(out, at, tokens, BALANCES)
        at = put_balances(out, at, shown, vocabulary, shown.books[cross])
        at = put_token(out, at, tokens, EQUITY)
        at = put_number(out, at, numbers, n)
        for label, number in ((FREE, 6), (INITIAL_EQUITY, 2), (INITIAL, 3)):
            at = put_token(out, at, tokens, label)
            at = put_number(out, at, numbers, n + number)
        at = put_token(out, at, tokens, ISOLATED)
        for own in range(cross + 1, shown.book_end[row]):
            if own > cross + 1:
                out[at] = 44
                at += 1
            at = put_isolated(out, at, shown, vocabulary, own)
        at = put(out, at, place.journal)
        for label, number in ((MAINTENANCE, 4), (RATIO, 5)):
            at = put_token(out, at, tokens, label)
            at = put_number(out, at, numbers, n + number)
        at = put_status(out, at, shown, tokens, cross)
        at = put(out, at, place.time)
        ends[row], cross, key = at, shown.book_end[row], key_end[row]
    return out[:at], ends


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
    million in one transaction would take longer than it may last. A shard of very many goes on where it stood although
    `everybody` is due: their summaries would delay it so long that it had to catch up once more, and so on for ever.
    """
    interval = shard.terms.rules.summary_interval_ms
    total = len(shard.ledger.accounts)
    turn, done = shard.sweep
    now = shard.prices.time * total // interval
    at_once = everybody and total <= SWEEP_PARTS * SWEEP_LEAST
    first = max(now - total, 0 if at_once else turn * total + done)
    count = min(max(now - first, 0), max(SWEEP_LEAST, total // SWEEP_PARTS))
    shard.sweep = divmod(first + count, total) if total else (shard.prices.time // interval, 0)
    return np.arange(first, first + count, dtype=np.int64) % total if count else NOBODY


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
