"""Rows that come again under an id that was there: counted, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from streams.engine import state
from tests.builders import STANDARD, Fill, Json, Leg, Market, of, rules


def ledger(terms: Iterable[Json] = STANDARD) -> Market:
    """A shard that never judges: no marks came."""
    return Market(terms, prices=None)


# -- what is a repetition --------------------------------------------------------------------------------------------


def test_ids_of_different_kinds_never_meet() -> None:
    """A bust of fill 0 taken for trade 1, or deposit d1 for fill f1, is money that silently never arrives."""
    market = ledger()
    names = "0123456789abcdefghijklmnopqrstuvwxyz"
    market.fills(*(Fill(f"{name}x", "alice", "BTC-PERP", "0.001", "50000") for name in names))
    market.fills(*(Fill(f"{name}x", "alice", "BTC-PERP", "0.001", "50000", kind="bust") for name in names))
    for leg in (0, 1):
        market.collateral(*(Leg(f"{name}x", "alice", "1", type="transfer", leg=leg) for name in names))
    assert market.shard.ledger.rows["duplicate"] == 0
    assert market.balance("alice") == "72"
    assert market.position("alice", "BTC-PERP") is None


def test_a_repeated_id_is_counted_and_changes_nothing() -> None:
    """A venue that resends after a time-out would double its customers' positions."""
    market = Market()
    market.deposit("alice", "10000")
    sent = market.fills(Fill("t1", "alice", "BTC-PERP", "0.5", "50000", "1"))
    assert [record["account"] for record in of(sent, "margin-accounts")] == ["alice"]
    before = market.view("alice")["positions"], market.balance("alice")
    assert market.fills(Fill("t1", "alice", "BTC-PERP", "0.5", "50000", "1")) == []
    assert (market.view("alice")["positions"], market.balance("alice")) == before
    assert market.shard.ledger.rows["duplicate"] == 1


def test_the_same_id_of_another_account_is_no_duplicate() -> None:
    """Both sides of a trade often share an id."""
    market = ledger()
    market.fills(Fill("t1", "alice", "BTC-PERP", "1", "50000"), Fill("t1", "bob", "BTC-PERP", "-1", "50000"))
    assert market.house_lots("~market", "BTC-PERP") == "0"
    assert market.shard.ledger.rows["applied"] == 2


@pytest.mark.parametrize(
    ("window", "later", "applied"),
    [(256, 255, 0), (256, 256, 1), (3, 2, 0), (3, 3, 1), (1, 1, 1), (3000, 2999, 0), (3000, 3000, 1)],
)
def test_an_id_is_remembered_for_as_many_ids_as_the_window_says(window: int, later: int, applied: int) -> None:
    """Last id of the window: still a duplicate; one more: forgotten, as documented."""
    market = ledger((*STANDARD, rules(duplicate_window=window)))
    market.fills(Fill("first", "alice", "BTC-PERP", "0.001", "50000"))
    market.fills(*(Fill(f"t{n}", "alice", "BTC-PERP", "0.001", "50000") for n in range(later)))
    before = market.shard.ledger.rows["applied"]
    market.fills(Fill("first", "alice", "BTC-PERP", "0.001", "50000"))
    assert market.shard.ledger.rows["applied"] - before == applied


@pytest.mark.parametrize("window", [2, 1000])
def test_the_window_is_fixed_once_rows_were_applied(window: int) -> None:
    """A ring that changed its size in use would take new trades for old ones."""
    market = ledger((*STANDARD, rules(duplicate_window=4)))
    market.fills(*(Fill(f"t{n}", "alice", "BTC-PERP", "0.001", "50000") for n in range(6)))
    market.tell(rules(duplicate_window=window, version=2))
    market.fills(*(Fill(f"t{n}", "alice", "BTC-PERP", "0.001", "50000") for n in range(6, 14)))
    assert market.shard.ledger.rows["applied"] == 14
    market.fills(Fill("t10", "alice", "BTC-PERP", "0.001", "50000"), Fill("t9", "alice", "BTC-PERP", "0.001", "50000"))
    # the last four are t10 to t13
    assert market.shard.ledger.rows == {"applied": 15, "duplicate": 1, "out_of_range": 0, "to_house": 0}
    assert market.shard.window == 4


# -- what a repetition must leave alone ------------------------------------------------------------------------------


def accounts(market: Market) -> list[tuple[bytes, bytes]]:
    """All that is kept of accounts: settings, remembered ids, buckets with their balances and positions."""
    return list(state.account_rows(market.shard, np.arange(len(market.shard.ledger.accounts), dtype=np.int64)))


def buckets(market: Market, account: str = "alice") -> list[str]:
    """The account's isolated buckets, in the order they were opened."""
    ledger, terms = market.shard.ledger, market.shard.terms
    return [terms.instruments[ledger.book_instrument[b]] for b in ledger.books_of(ledger.accounts.find(account))[1:]]


def test_a_fill_that_comes_again_opens_no_bucket_where_the_accounts_mode_changed() -> None:
    """A venue resends yesterday's fills: whoever went isolated since would get empty buckets, one an instrument."""
    market = Market()
    market.fills(Fill("t1", "alice", "BTC-PERP", "0.5", "50000"))
    market.settings({"account": "alice", "mode": "isolated", "levels": {}})
    before = accounts(market)
    assert market.fills(Fill("t1", "alice", "BTC-PERP", "0.5", "50000")) == []
    assert accounts(market) == before
    assert market.shard.ledger.rows["duplicate"] == 1


def test_a_transfer_that_comes_again_for_another_bucket_opens_none() -> None:
    """The id says it is the transfer that was booked, whatever else it says now."""
    market = Market()
    market.collateral(Leg("d1", "alice", "100"))
    before = accounts(market)
    assert market.collateral(Leg("d1", "alice", "100", bucket="BTC-PERP")) == []
    assert accounts(market) == before


def test_a_repetition_within_one_block_opens_no_bucket() -> None:
    """Where a venue's batch ends must not decide what is opened."""
    market = ledger()
    row = Fill("t1", "alice", "BTC-PERP", "0.5", "50000", mode="cross")
    market.fills(row, row._replace(mode="isolated"), row._replace(id="t2", instrument="ETH-PERP", mode="isolated"))
    market.collateral(Leg("d1", "alice", "1"), Leg("d1", "alice", "1", bucket="BTC-COIN"))
    assert buckets(market) == ["ETH-PERP"]


def test_of_two_legs_only_the_new_one_opens_its_bucket() -> None:
    """A leg that was there may come with one that was not, as its account's ids reach less far back."""
    market = ledger()
    market.collateral(Leg("x", "alice", "-40", type="transfer"))
    market.collateral(
        Leg("x", "alice", "-40", type="transfer", bucket="ETH-PERP"),
        Leg("x", "alice", "40", type="transfer", leg=1, bucket="BTC-PERP"),
    )
    assert buckets(market) == ["BTC-PERP"]
    assert market.balance("alice", bucket="BTC-PERP") == "40"


def test_buckets_are_opened_in_the_order_of_their_rows() -> None:
    """The order is in the account's record, so it must be the same however blocks are cut."""
    market = ledger()
    market.collateral(
        Leg("x", "alice", "-1", type="transfer", bucket="ETH-PERP"),
        Leg("x", "alice", "1", type="transfer", leg=1, bucket="BTC-PERP"),
        Leg("y", "alice", "1", bucket="BTC-COIN"),
        Leg("z", "alice", "1", bucket="BTC-PERP"),
    )
    assert buckets(market) == ["ETH-PERP", "BTC-PERP", "BTC-COIN"]
    assert market.balance("alice", bucket="BTC-PERP") == "2"


@pytest.mark.timeout(60)
def test_a_row_that_opens_its_book_may_need_room_for_it_too() -> None:
    """Its book opened, it was taken for one without a book for ever: the worker stood still, and its pages with it."""
    market = Market()
    names = [f"user-{number}" for number in range(500)]
    market.collateral(*(Leg(f"d-{name}", name, "10", bucket="cross") for name in names))
    market.fills(*(Fill(f"f-{name}", name, "BTC-PERP", "1", "50000", mode="isolated") for name in names))
    market.collateral(*(Leg(f"e-{name}", name, "10", bucket="ETH-PERP", type="adjustment") for name in names))
    assert market.shard.ledger.rows["applied"] == 3 * len(names)
    assert all(market.position(name, "BTC-PERP", bucket="BTC-PERP") for name in names)
