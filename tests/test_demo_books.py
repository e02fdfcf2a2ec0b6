"""The seeded accounts and the messages that open them."""

from collections import Counter
from fractions import Fraction

import pytest

from streams.demo.books import KINDS, USE_MAX, Book, Desk, opening
from streams.demo.market import market
from streams.demo.tally import Tally
from streams.demo.universe import Universe, universe
from streams.demo.venue import CROSS, MAKERS, Message, Venue
from streams.replay.bars import steps

PRICES = next(steps(market(1), 5_000)).prices()
TIME = 1_760_130_000_000


@pytest.fixture(scope="module")
def listed() -> Universe:
    return universe(PRICES, TIME + 3_600_000, options=True)


@pytest.fixture(scope="module")
def books(listed: Universe) -> list[Book]:
    return Desk(listed, PRICES, 1).draw(400)


def test_enough_is_listed(listed: Universe) -> None:
    """The demo promises eight instruments at least, inverse and dated ones among them."""
    types = Counter(item.type for item in listed.instruments.values())
    assert types == {"perpetual": 8, "inverse_perpetual": 2, "future": 1, "option": 10}
    in_coins = {name for name, item in listed.instruments.items() if item.settlement.id == item.underlying}
    assert in_coins == {"BTCUSD", "ETHUSD", *(name for name in listed.options()["ETH"])}


def test_cash_of_a_linear_trade_is_exact(listed: Universe) -> None:
    """A lot times a tick that is no whole minor unit would be refused at ingest."""
    for item in listed.instruments.values():
        if not item.inverse:
            assert item.settlement.precision >= item.price_precision + item.quantity_precision


def test_same_seed_gives_the_same_books(listed: Universe, books: list[Book]) -> None:
    """A run that cannot be repeated cannot be debugged."""
    assert Desk(listed, PRICES, 1).draw(400) == books
    assert Desk(listed, PRICES, 2).draw(400) != books


def test_books_are_varied(books: list[Book]) -> None:
    """Each way to hold a book has its own code path in a margin engine."""
    assert set(Counter(book.kind for book in books)) == {*KINDS, "maker"}
    assert any(bucket != CROSS for book in books for _, bucket, _ in book.positions)
    assert any(book.borrowed for book in books)
    assert any(lots < 0 for book in books for *_, lots in book.positions)


def test_every_account_starts_within_its_initial_margin(listed: Universe, books: list[Book]) -> None:
    """An account that starts under water is called by the seed, not by the market."""
    for book in books:
        worth = sum(
            listed.assets[name].amount(minor) * PRICES[name] * (1 - float(listed.assets[name].haircut))
            for name, minor in book.deposits
        ) - sum(1.02 * listed.assets[name].amount(minor) * PRICES[name] for name, minor in book.borrowed)
        need = 0.0
        for name, _, lots in book.positions:
            item = listed.instruments[name]
            value = item.value(lots, PRICES[item.underlying])
            need += value * item.margin_rate(value)
        assert worth > 0
        assert need <= 1.01 * USE_MAX * worth


def sent(listed: Universe, books: list[Book]) -> list[Message]:
    return [message for wave in opening(books, Venue(listed), PRICES, TIME) for message in wave]


def test_every_trade_has_both_sides(listed: Universe, books: list[Book]) -> None:
    """A trade with one side would leave ~market with a position at the end."""
    fills = [message.value for message in sent(listed, books) if message.topic == "fills"]
    assert len(fills) % 2 == 0
    for ours, theirs in zip(fills[::2], fills[1::2], strict=True):
        assert Fraction(ours["quantity"]) == -Fraction(theirs["quantity"])
        assert [ours[name] for name in ("instrument", "price", "time")] == [
            theirs[name] for name in ("instrument", "price", "time")
        ]
        assert theirs["account"] in MAKERS
        assert theirs["margin_mode"] == CROSS
    assert len({fill["fill_id"] for fill in fills}) == len(fills)


def test_tally_adds_up_to_what_was_opened(listed: Universe, books: list[Book]) -> None:
    """The closing checks stand on the tally: it must say of the messages what they say."""
    tally = Tally()
    for value in listed.messages():
        tally.note(Message("instruments", value["id"], value))
    for message in sent(listed, books):
        tally.note(message)
    assert set(tally.positions(tally.accounts).values()) == {0}
    traders = tally.accounts - set(MAKERS)
    name, item = next(iter(listed.instruments.items()))
    lots = sum(lots for book in books for opened, _, lots in book.positions if opened == name)
    assert tally.positions(traders)[name] * 10**item.quantity_precision == lots
    cash = sum(minor for book in books for asset, minor in book.deposits if asset == "USDC")
    debt = sum(minor for book in books for asset, minor in book.borrowed if asset == "USDC")
    assert tally.external["USDC"] * 10**6 == cash - debt


def test_isolated_margin_is_moved_before_the_position_is_opened(listed: Universe, books: list[Book]) -> None:
    """A position that arrives before its margin would be liquidated at birth."""
    waves = opening(books, Venue(listed), PRICES, TIME)
    topics = [{message.topic for message in wave} for wave in waves]
    assert topics == [{"accounts", "collateral"}, {"collateral"}, {"fills"}]
    isolated = [m.value for m in waves[1] if m.value["type"] == "transfer"]
    assert isolated
    assert all(row["to_account"] == row["account"] and row["to_bucket"] in listed.instruments for row in isolated)
