"""Options in an oracle partition: when they are told, in what state, and what the marks block says of them."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.journal import COLUMNS, PRICE_STATES, Block
from streams.oracle.marks import OK, STALE, MarksUpdate, SymbolMark
from streams.oracle.options import Listed
from streams.oracle.partition import OraclePartition
from streams.oracle.quotes import Quote
from streams.oracle.volatilities import YEAR_MS, Smile, Volatility

T = 1_760_130_900_000 - 1_760_130_900_000 % 60_000
EXPIRY = T + YEAR_MS // 10
AGE = 300_000
CALL = Listed("BTC-C", "BTC", EXPIRY, 1, 60_000.0, False)
PUT = Listed("BTC-P", "BTC", EXPIRY, -1, 40_000.0, False)


def surface(volatility: float = 0.5, time: int = T, symbol: str = "BTC") -> Volatility:
    smile = Smile(EXPIRY, None, ((-1.0, volatility), (1.0, volatility)), None, 1.0)
    return Volatility(symbol, "desk", time, None, None, (smile,))


def partition() -> OraclePartition:
    found = OraclePartition(0, 1, heartbeat_ms=1_000, quote_age_ms_max=10**9, max_source_skew_ms=2_000)
    found.terms([("BTC-PERP", "BTC")])
    return found


def quoted(*listed: Listed, price: float = 50_000.0) -> OraclePartition:
    """A partition with one quote of BTC, a perpetual, and these options."""
    found = partition()
    found.dated(listed)
    found.quotes([Quote("BTC", "a", price, 0.5, T)])
    return found


def row(update: MarksUpdate | None) -> SymbolMark:
    assert update is not None
    (found,) = update.rows
    return found


def block(update: MarksUpdate | None) -> Block:
    """The marks block as it is read back from its bytes."""
    assert update is not None
    names, columns, extra = update.block()
    return Block.decode(Block(kind="marks", names=names, columns=columns, extra=extra).encode())


def test_without_a_volatility_an_option_is_not_told() -> None:
    """The index of its underlying would be no mark: an option at 50,000 makes its sellers bankrupt."""
    told = block(quoted(CALL).due(T, None))
    assert told.names["instruments"] == ["BTC-PERP"]


def test_blocks_without_options_keep_their_bytes() -> None:
    """The columns of options are not even there, so what older releases wrote is written still."""
    told = block(quoted(CALL).due(T, None))
    assert list(told.columns) == list(COLUMNS["marks"])[:10]
    assert b"options" not in quoted().dirty()[0][1]


def test_block_says_what_marks_are_made_of() -> None:
    here = quoted(CALL, PUT)
    here.volatilities([surface()])
    told = block(here.due(T, None))
    assert told.names["instruments"] == ["BTC-PERP", "BTC-C", "BTC-P"]
    np.testing.assert_array_equal(told.columns["instrument_volatility"], [np.nan, 0.5, 0.5])
    np.testing.assert_array_equal(told.columns["instrument_forward"], [np.nan, 50_000.0, 50_000.0])
    np.testing.assert_array_equal(told.columns["instrument_discount"], [np.nan, 1.0, 1.0])
    assert 0.0 < told.columns["mark"][1] < 50_000.0


def test_a_new_volatility_is_told_at_once_and_once() -> None:
    here = quoted(CALL)
    here.volatilities([surface()])
    before = row(here.due(T, None)).options[0]
    here.volatilities([surface(0.6), surface(symbol="ETH")])
    assert row(here.due(T + 1, None)).options[0].price > before.price
    here.volatilities([surface(0.6)])
    assert here.due(T + 2, None) is None


def test_an_option_published_after_its_volatility_is_told() -> None:
    here = quoted()
    here.volatilities([surface()])
    assert row(here.due(T, None)).options == ()
    here.dated([CALL])
    assert [option.instrument for option in row(here.due(T + 1, None)).options] == ["BTC-C"]


def test_an_old_volatility_makes_the_option_stale_and_nothing_else() -> None:
    here = quoted(CALL)
    here.volatilities([surface()])
    here.due(T, None)
    here.due(T + AGE, None)
    told = block(here.due(T + AGE + 1, None))
    assert told.columns["symbol_state"].tolist() == [OK]
    assert dict(zip(told.names["instruments"], told.columns["mark_state"].tolist(), strict=True)) == {
        "BTC-PERP": OK,
        "BTC-C": STALE,
    }


def test_marks_move_with_time_alone() -> None:
    """Once a minute, whatever the heartbeat."""
    here = quoted(CALL)
    here.volatilities([surface()])
    first = row(here.due(T + 59_000, None)).options[0]
    second = row(here.due(T + 60_000, None)).options[0]
    assert second.price < first.price


def test_a_halted_symbol_keeps_its_options_marks() -> None:
    here = quoted(CALL)
    here.volatilities([surface()])
    first = row(here.due(T, None)).options[0]
    here.rules(lambda _: None, ["BTC"])
    here.quotes([Quote("BTC", "a", 60_000.0, 0.5, T + 1)])
    halted = row(here.due(T + 1, None))
    assert (PRICE_STATES[halted.state], halted.options) == ("halted", (first,))


@pytest.mark.parametrize("judged", [False, True])
def test_a_restart_changes_nothing(judged: bool) -> None:
    """What was told is in the changelog; volatilities come again from their own."""
    rules = {"version": 1, "method": "median", "sources_min": 1, "max_age_ms": 10**6}

    def learn(here: OraclePartition) -> None:
        here.terms([("BTC-PERP", "BTC")])
        here.dated([CALL, PUT])
        here.volatilities([surface()])

    one = partition()
    if judged:
        one.rules(lambda _: rules)
    learn(one)
    one.quotes([Quote("BTC", "a", 50_000.0, 0.5, T)])
    one.due(T, None)
    other = partition()
    if judged:
        other.rules(lambda _: rules)
    other.restore(one.dirty())
    learn(other)
    assert other.due(T + 1, None) is None
    for here in (one, other):
        here.quotes([Quote("BTC", "a", 51_000.0, 0.5, T + 2)])
    updates = [here.due(T + 2, None) for here in (one, other)]
    assert row(updates[0]) == row(updates[1])
    assert len(row(updates[0]).options) == 2
