"""The books of one shard: exact balances and positions of every account, and the house's side of each entry.

Rows of a journal block in, what became of each row out. Integers only; no price, no time, no status.
"""

from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.journal import Block
from streams.engine import posting
from streams.engine.columns import (
    Balances,
    Positions,
    empty,
    find_books,
    grown,
    with_room,
    with_rows,
)
from streams.engine.invariants import InvariantViolation
from streams.engine.names import Names
from streams.engine.posting import House, Terms
from streams.engine.remembered import PIECE_MAX, Recent, no_rings, with_accounts, with_words
from streams.engine.transfers import post_transfers
from streams.margin.parameters import I32, I64

CROSS = -1
#: Rings of remembered ids that are fetched together.
RINGS = 16


class Ledger:
    """All accounts of a shard.

    A book is numbered; `book_account` and `book_instrument` (CROSS, or the instrument of an isolated book) say what
    it is. An account's cross book is opened with the account; `next_book` leads from it through the isolated ones in
    the order they were opened, and is -1 at the last.
    """

    def __init__(self) -> None:
        self.accounts = Names()
        self.cross_book: I64 = np.zeros(0, dtype=np.int64)
        self.isolated_by_default: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self.books = 0
        self.book_account: I64 = np.zeros(0, dtype=np.int64)
        self.book_instrument: I32 = np.zeros(0, dtype=np.int32)
        self.next_book: I32 = np.zeros(0, dtype=np.int32)
        self.taken_over: I64 = np.zeros(0, dtype=np.int64)  # journal offset of the last take-over, -1 never
        self.positions: Positions = empty(Positions)
        self.balances: Balances = empty(Balances)
        self.recent: Recent = no_rings()
        self._house_assets: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._house_lots: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._totals = posting.house(0, 0)  # posted to the house since it was last looked at
        self._settlement: I32 = np.zeros(0, dtype=np.int32)  # of each instrument among them
        self._posted_rows = 0  # in them
        self.rows = {"applied": 0, "duplicate": 0, "out_of_range": 0, "to_house": 0}

    # -- accounts and books ------------------------------------------------------------------------------------

    def numbers(self, names: list[str]) -> I64:
        """The number of each account; new ones are opened with an empty cross book."""
        known = len(self.accounts)
        found = self.accounts.numbers(names)
        if len(self.accounts) > known:
            self.open_accounts(np.arange(known, len(self.accounts), dtype=np.int64))
        return found

    def open_accounts(self, accounts: I64) -> None:
        """Empty cross books of new accounts."""
        total = len(self.accounts)
        self.cross_book = grown(self.cross_book, total)
        self.isolated_by_default = grown(self.isolated_by_default, total)
        self.recent = with_accounts(self.recent, total)
        self.cross_book[accounts] = self._open_books(accounts, CROSS)

    def _open_books(self, accounts: I64, instrument: int) -> I64:
        """New empty books, one an account, not yet linked to its others."""
        opened = np.arange(self.books, self.books + len(accounts), dtype=np.int64)
        self.reserve_books(len(accounts))
        self.books += len(accounts)
        self.book_account[opened] = accounts
        self.book_instrument[opened] = instrument
        self.next_book[opened] = self.taken_over[opened] = -1
        return opened

    def reserve_books(self, more: int) -> None:
        """Room in the columns of books for so many more."""
        total = self.books + more
        self.book_account = grown(self.book_account, total)
        self.book_instrument = grown(self.book_instrument, total)
        self.next_book = grown(self.next_book, total)
        self.taken_over = grown(self.taken_over, total)
        self.positions = with_rows(self.positions, total)
        self.balances = with_rows(self.balances, total)

    def book(self, account: int, instrument: int) -> int:
        """The account's cross book (CROSS) or its isolated book of an instrument, opened where it is new."""
        book = int(self.cross_book[account])
        while self.book_instrument[book] != instrument:
            if self.next_book[book] < 0:
                self.next_book[book] = self._open_books(np.array([account]), instrument)[0]
            book = int(self.next_book[book])
        return book

    def books_of(self, account: int) -> list[int]:
        """The account's books: cross first, isolated in the order they were opened."""
        books = [int(self.cross_book[account])]
        while self.next_book[books[-1]] >= 0:
            books.append(int(self.next_book[books[-1]]))
        return books

    # -- posting -----------------------------------------------------------------------------------------------

    def fills(self, block: Block, terms: Terms, instruments: list[int], window: int) -> tuple[I64, Any]:
        """Post a block of fills; the book of each row and what became of it (posting.APPLIED, ...).

        A row that was there opens no book: where it names one that is not open, its account's cross book stands for it.

        Parameters
        ----------
        instruments : the shard's index of each name in the block
        """
        columns = block.columns
        account = self.numbers(block.names["accounts"])[columns["account"]]
        instrument = np.array(instruments, dtype=np.int32)[columns["instrument"]]
        isolated = np.where(columns["mode"] < 0, self.isolated_by_default[account], columns["mode"] == 1)
        bucket = np.where(isolated, instrument, np.int32(CROSS))
        book = self._open(account, bucket)
        arguments = (
            account,
            book,
            instrument,
            columns["lots"],
            columns["ticks"],
            columns["fee"],
            columns["fill_kind"],
            columns["liquidation"],
        )
        outcome, here = np.zeros(len(account), dtype=np.int8), np.empty(RINGS, dtype=np.int64)

        def post(totals: House, first: int) -> int:
            return posting.post_fills(
                self.positions,
                self.balances,
                self.recent,
                terms,
                totals,
                *arguments,
                self.taken_over,
                columns["id_end"],
                columns["id_bytes"],
                window,
                here,
                outcome,
                first,
            )

        self._post(post, terms, account, bucket, book, outcome)
        return book, outcome

    def transfers(
        self, block: Block, terms: Terms, assets: list[int], instruments: list[int], window: int
    ) -> tuple[I64, Any]:
        """Post a block of collateral legs; the book of each row and what became of it, as of fills."""
        columns = block.columns
        account = self.numbers(block.names["accounts"])[columns["account"]]
        asset = np.array(assets, dtype=np.int32)[columns["asset"]]
        bucket = np.array([*instruments, CROSS], dtype=np.int32)[columns["bucket"]]  # -1 is the last
        book = self._open(account, bucket)
        outcome = np.zeros(len(account), dtype=np.int8)

        def post(totals: House, first: int) -> int:
            return post_transfers(
                self.balances,
                self.recent,
                terms,
                totals,
                account,
                book,
                asset,
                columns["amount"],
                columns["leg"],
                columns["liquidation"],
                columns["source_offset"],
                self.taken_over,
                columns["id_end"],
                columns["id_bytes"],
                window,
                outcome,
                first,
            )

        self._post(post, terms, account, bucket, book, outcome)
        return book, outcome

    def _open(self, account: I64, bucket: I32) -> I64:
        """The book of each account and bucket (instrument, or CROSS), -1 where it is not open."""
        return find_books(self.cross_book, self.next_book, self.book_instrument, account, bucket)

    def _post(
        self,
        post: Callable[[House, int], int],
        terms: Terms,
        account: I64,
        bucket: I32,
        book: I64,
        outcome: npt.NDArray[np.int8],
    ) -> None:
        """Post all rows, opening books and making room on the way; `book` is completed."""
        totals = self._house(terms, len(account))
        done = post(totals, 0)
        while done < len(account):
            here = slice(done, done + 2)
            unopened = done + np.flatnonzero((outcome[here] == posting.NO_BOOK) & (book[here] < 0))
            for row in unopened.tolist():
                opened = self.book(int(account[row]), int(bucket[row]))
                book[(account == account[row]) & (bucket == bucket[row])] = opened
            if not len(unopened):
                self.make_room()
            done = post(totals, done)
        closed = book < 0
        if closed.any():
            book[closed] = self.cross_book[account[closed]]
        for name, number in zip(self.rows, np.bincount(outcome, minlength=4).tolist(), strict=True):
            self.rows[name] += number

    def make_room(self) -> None:
        """Room for at least one more row of any size in every table, or two legs of a transfer."""
        self.reserve(
            2 * int(self.positions.size.max(initial=0)) + 64,
            4 * int(self.balances.size.max(initial=0)) + 64,
            2 * (1 + PIECE_MAX),
        )

    def reserve(self, positions: int, balances: int, words: int) -> None:
        """At least so many unused entries in each table, and words for remembered ids."""
        self.positions = with_room(self.positions, self.books, positions)
        self.balances = with_room(self.balances, self.books, balances)
        self.recent = with_words(self.recent, words)

    # -- the house -----------------------------------------------------------------------------------------------

    @property
    def house_assets(self) -> defaultdict[tuple[str, int], int]:
        """(house account, asset) -> minor units."""
        self._add_up()
        return self._house_assets

    @property
    def house_lots(self) -> defaultdict[tuple[str, int], int]:
        """(house account, instrument) -> lots."""
        self._add_up()
        return self._house_lots

    def _house(self, terms: Terms, rows: int) -> House:
        """Where so many rows post what is the house's: to what is not yet added up, while that has room."""
        shape = len(terms.asset_rank), len(terms.instrument_rank)
        held = self._totals.assets.shape[1], self._totals.instruments.shape[1]
        if shape != held or self._posted_rows + rows > posting.HOUSE_ROWS_MOST:
            self._add_up()
            self._totals, self._settlement, self._posted_rows = posting.house(*shape), terms.settlement, 0
        self._posted_rows += rows
        return self._totals

    def _add_up(self) -> None:
        """Take in what was posted to the house."""
        totals = self._totals
        moved = np.nonzero(totals.assets.any(axis=2))
        for account, asset, limbs in zip(*(at.tolist() for at in moved), totals.assets[moved].tolist(), strict=True):
            self._house_assets[(posting.ASSET_ACCOUNTS[account], asset)] += posting.total(limbs)
        traded = np.nonzero(totals.instruments.any(axis=(0, 2)))[0]
        for instrument in traded.tolist():
            rows = totals.instruments[:, instrument].tolist()
            asset = int(self._settlement[instrument])
            self._house_assets[(f"~market:{instrument}", asset)] += posting.total(rows[posting.MARKET])
            for account in (posting.MARKET_LOTS, posting.EXTERNAL_LOTS, posting.HOUSE_LOTS):
                self._house_lots[(posting.LOTS_ACCOUNTS[account], instrument)] += posting.total(rows[account])
        totals.assets[:] = totals.instruments[:] = 0

    # -- settlement and take-over --------------------------------------------------------------------------------

    def settle(self, books: I64, instrument: int, ticks: int, terms: Terms) -> list[int]:
        """Close an expired instrument's positions in `books` at the settlement price; the books that held one.

        What the house has taken over of it is closed too. A position whose settlement would leave the ledger's range
        is counted and stays open.
        """
        totals = self._house(terms, len(books))
        held = []
        for book in books.tolist():
            before = int(self.positions.size[book])
            outcome = posting.settle(self.positions, self.balances, terms, totals, book, instrument, ticks)
            self.rows["out_of_range"] += outcome == posting.OUT_OF_RANGE
            if self.positions.size[book] != before:
                held.append(book)
        self._settle_house(instrument, ticks, terms)
        return held

    def _settle_house(self, instrument: int, ticks: int, terms: Terms) -> None:
        lots = self.house_lots.get(("~house", instrument), 0)
        if lots == 0:
            return
        unit, divisor = int(terms.settled_unit[instrument]), int(terms.divisor[instrument])
        inverse = bool(terms.inverse[instrument])
        value = -round(Fraction(lots * unit, ticks * divisor)) if inverse else lots * ticks * unit
        residue = value + lots * round(Fraction(unit, ticks * divisor)) if inverse else 0  # as posting.post_residue
        asset = int(terms.settlement[instrument])
        self._house_assets[("~house", asset)] += value
        self._house_assets[(f"~market:{instrument}", asset)] -= value - residue
        if residue:
            self._house_assets[("~rounding", asset)] -= residue
        self._house_lots[("~house", instrument)] -= lots
        self._house_lots[("~market", instrument)] += lots

    def take_over(self, book: int, offset: int, terms: Terms) -> None:
        """Move every balance, position and cost of a book to the house, unchanged, at journal `offset`.

        The house holds a position's cost as cash already paid. Unsettled funding is settled first.
        """
        first = int(self.positions.start[book])
        for entry in range(first, first + int(self.positions.size[book])):
            instrument = int(self.positions.key[entry])
            asset = int(terms.settlement[instrument])
            lots = int(self.positions.lots[entry])
            moved = int(terms.funding_index[instrument]) - int(self.positions.funding[entry])
            # as funding_payment, but the house has no range to leave
            funding = round(Fraction(-lots * moved, int(terms.funding_scale[instrument])))
            self._house_lots[("~house", instrument)] += lots
            self._house_assets[("~house", asset)] += funding - int(self.positions.cost[entry])
            self._house_assets[("~funding", asset)] -= funding
        first = int(self.balances.start[book])
        for entry in range(first, first + int(self.balances.size[book])):
            self._house_assets[("~house", int(self.balances.key[entry]))] += int(self.balances.amount[entry])
        self.positions.size[book] = 0
        self.balances.size[book] = 0
        self.taken_over[book] = offset

    # -- sums ----------------------------------------------------------------------------------------------------

    def account_totals(self, assets: int, settlement: npt.NDArray[np.int32]) -> list[int]:
        """Sum of all accounts' balances minus open cost, by asset: exact, whatever the number of accounts."""
        sums = [0] * assets
        balance_rows = entries(self.balances, np.arange(self.books))
        position_rows = entries(self.positions, np.arange(self.books))
        for asset in range(assets):
            own = self.balances.amount[balance_rows][self.balances.key[balance_rows] == asset]
            cost = self.positions.cost[position_rows][settlement[self.positions.key[position_rows]] == asset]
            sums[asset] = _exact_sum(own) - _exact_sum(cost)
        return sums

    def lots_totals(self, instruments: int) -> list[int]:
        """Sum of all accounts' lots, by instrument."""
        rows = entries(self.positions, np.arange(self.books))
        return [_exact_sum(self.positions.lots[rows][self.positions.key[rows] == i]) for i in range(instruments)]

    def check(self, assets: list[str], instruments: list[str], settlement: npt.NDArray[np.int32]) -> None:
        """Raise InvariantViolation unless every asset's and instrument's entries sum to zero."""
        sums = self.account_totals(len(assets), settlement)
        for (_, asset), amount in self.house_assets.items():
            sums[asset] += amount
        lots = self.lots_totals(len(instruments))
        for (_, instrument), amount in self.house_lots.items():
            lots[instrument] += amount
        for name, amount in [*zip(assets, sums, strict=True), *zip(instruments, lots, strict=True)]:
            if amount:
                raise InvariantViolation(f"all entries of {name} must sum to 0, found {amount}")


def entries(table: Positions | Balances, books: I64) -> I64:
    """Indexes of the entries in use of each of `books`, one book after another."""
    count = table.size[books].astype(np.int64)
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(books) else 0
    return np.repeat(table.start[books] - (ends - count), count) + np.arange(total)


def _exact_sum(amounts: I64) -> int:
    """Sum as a Python int, in two halves so that int64 never overflows."""
    return (int((amounts >> 32).sum()) << 32) + int((amounts & 0xFFFFFFFF).sum())
