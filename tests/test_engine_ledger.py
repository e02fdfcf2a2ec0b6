"""Collateral, buckets, and the tables that hold them. Every block is checked for double entry by the builder."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from streams.engine.columns import LARGE_ARRAY, Positions, empty, grown, position_entry, with_room, with_rows, zeros
from tests.builders import STANDARD, Fill, Json, Leg, Market, asset, instrument


def ledger(terms: Iterable[Json] = STANDARD) -> Market:
    """A shard that never judges: no marks came."""
    return Market(terms, prices=None)


# -- collateral ------------------------------------------------------------------------------------------------------


def test_withdrawals_and_adjustments_may_leave_a_debt() -> None:
    """Transfers are facts: the engine books them and margins what is left."""
    market = ledger()
    market.collateral(
        Leg("d", "alice", "100"),
        Leg("w", "alice", "-150", type="withdrawal"),
        Leg("a", "alice", "-25.5", type="adjustment"),
        Leg("b", "alice", "3", type="adjustment"),
    )
    assert (market.balance("alice"), market.house("~external")) == ("-72.5", "72.5")


def test_the_two_legs_of_a_transfer_are_two_postings_of_one_id() -> None:
    """Where both accounts live on one shard, the second leg is no repetition of the first."""
    market = ledger()
    market.deposit("alice", "100")
    market.collateral(Leg("x", "alice", "-40", type="transfer"), Leg("x", "bob", "40", type="transfer", leg=1))
    assert (market.balance("alice"), market.balance("bob"), market.house("~external")) == ("60", "40", "-100")


def test_a_transfer_to_oneself_moves_between_buckets() -> None:
    """Margin given to an isolated position must come out of the cross bucket, to the last unit."""
    market = ledger()
    market.deposit("alice", "100")
    market.collateral(
        Leg("x", "alice", "-40", type="transfer"),
        Leg("x", "alice", "40", type="transfer", leg=1, bucket="BTC-PERP"),
    )
    assert (market.balance("alice"), market.balance("alice", bucket="BTC-PERP")) == ("60", "40")


def test_a_transfer_to_another_shard_shows_on_this_one_as_gone_outside() -> None:
    """Each shard balances by itself; the sum of ~external over all shards is what really came in."""
    here, there = ledger(), ledger()
    here.deposit("alice", "100")
    here.collateral(Leg("x", "alice", "-40", type="transfer"))
    there.collateral(Leg("x", "bob", "40", type="transfer", leg=1))
    assert (here.house("~external"), there.house("~external")) == ("-60", "-40")


def test_a_conversion_gives_one_asset_and_takes_another() -> None:
    """Collateral sold to repay a debt: both legs or the account is charged twice."""
    market = ledger()
    market.collateral(Leg("d", "alice", "2", "ETH"), Leg("w", "alice", "-1000", type="withdrawal"))
    market.collateral(
        Leg("c", "alice", "-0.5", "ETH", type="conversion"), Leg("c", "alice", "999.5", type="conversion", leg=1)
    )
    assert (market.balance("alice", "ETH"), market.balance("alice")) == ("1.5", "-0.5")


# -- buckets ---------------------------------------------------------------------------------------------------------


def test_an_isolated_fill_never_touches_the_cross_bucket() -> None:
    """An isolated loss must end at its own margin."""
    market = ledger()
    market.collateral(Leg("d", "alice", "1000"), Leg("m", "alice", "500", bucket="BTC-PERP"))
    market.fills(Fill("i", "alice", "BTC-PERP", "0.1", "50000", "2.5", mode="isolated"))
    market.fills(Fill("c", "alice", "BTC-PERP", "-0.3", "50000", mode="cross"))
    market.fills(Fill("j", "alice", "BTC-PERP", "-0.1", "49000", mode="isolated"))
    # isolated: 500 - 2.5 - 100; cross: untouched but for its own position
    assert market.balance("alice", bucket="BTC-PERP") == "397.5"
    assert market.position("alice", "BTC-PERP", "BTC-PERP") is None
    assert (market.balance("alice"), market.position("alice", "BTC-PERP")) == ("1000", ("-0.3", "-15000"))


def test_a_fill_without_a_mode_takes_the_accounts_own() -> None:
    """An account set to isolated would otherwise risk its whole collateral on every trade."""
    market = ledger()
    market.fills(Fill("1", "alice", "BTC-PERP", "0.1", "50000"))
    market.settings({"account": "alice", "mode": "isolated", "levels": {}})
    market.fills(
        Fill("2", "alice", "ETH-PERP", "1", "2000"),
        Fill("3", "alice", "BTC-PERP", "0.2", "50000", mode="cross"),
    )
    assert market.position("alice", "BTC-PERP") == ("0.3", "15000")
    assert market.position("alice", "ETH-PERP") is None
    assert market.position("alice", "ETH-PERP", "ETH-PERP") == ("1", "2000")
    market.settings({"account": "alice", "mode": "cross", "levels": {}})
    market.fills(Fill("4", "alice", "ETH-PERP", "1", "2000"))
    assert market.position("alice", "ETH-PERP") == ("1", "2000")


def test_settings_of_an_account_that_is_new_hold_from_its_first_fill() -> None:
    """Accounts are often set up before they trade."""
    market = ledger()
    market.settings({"account": "carol", "mode": "isolated", "levels": {}})
    market.fills(Fill("1", "carol", "BTC-PERP", "0.1", "50000"))
    assert market.position("carol", "BTC-PERP", "BTC-PERP") == ("0.1", "5000")


# -- many entries ----------------------------------------------------------------------------------------------------


def test_tables_grow_and_pack_without_losing_an_entry() -> None:
    """An account with many positions shares its memory with all others: moving it must not move their money."""
    names = [f"C{n:02}" for n in range(40)]
    terms = [asset("USDC"), *(asset(name, 4) for name in names), *(instrument(f"{name}-PERP") for name in names)]
    market = ledger(terms)
    accounts = [f"user-{n}" for n in range(30)]
    for round, name in enumerate([*reversed(names), *names]):
        market.fills(*(Fill(f"f{round}", who, f"{name}-PERP", "1", str(round + 1)) for who in accounts))
        market.collateral(*(Leg(f"d{round}", who, str(n + 1), name) for n, who in enumerate(accounts)))
    for n, who in enumerate(accounts):
        found = market.view(who)
        # instrument k was bought in round 39 - k at 40 - k and in round 40 + k at 41 + k: cost 81
        assert [(row["instrument"], row["quantity"]) for row in found["positions"]] == [
            (f"{name}-PERP", "2") for name in names
        ]
        assert {market.position(who, f"{name}-PERP") for name in names} == {("2", "81")}
        assert found["balances"] == {**dict.fromkeys(names, str(2 * (n + 1))), "USDC": "0"}
    assert market.house_lots("~market", "C07-PERP") == "-60"


def test_a_table_of_mostly_holes_is_packed() -> None:
    """Books that come and go would otherwise eat the worker's memory."""
    rank = np.arange(64, dtype=np.int32)
    table: Positions = with_room(with_rows(empty(Positions), 2), 2, 4096)
    for key in range(32):
        for book in (0, 1):
            entry = position_entry(table, book, 31 - key, rank)
            table.lots[entry] = 100 * book + 31 - key
    # each run moved when it held 1, 2, 4, 8, 16: 2 x (1 + 2 + 4 + 8 + 16 + 32) entries used, 64 of them in use
    assert int(table.top[0]) == 126
    packed = with_room(table, 2, len(table.key))
    assert int(packed.top[0]) == 64
    assert len(packed.key) >= 64 + len(table.key)
    for book in (0, 1):
        run = slice(int(packed.start[book]), int(packed.start[book]) + 32)
        assert packed.key[run].tolist() == list(range(32))
        assert packed.lots[run].tolist() == [100 * book + key for key in range(32)]


@pytest.mark.parametrize("length", [0, 1, LARGE_ARRAY // 8 - 1, LARGE_ARRAY // 8, LARGE_ARRAY])
def test_zeros_are_zero_and_can_be_written(length: int) -> None:
    """On large pages or not, a column is a column."""
    column = zeros(length, np.int64)
    assert (column.shape, column.dtype, column.any()) == ((length,), np.int64, np.False_)
    column[:] = 7
    longer = grown(column, 2 * length + 1)
    assert (longer[:length] == 7).all()
    assert not longer[length:].any()


def test_what_the_house_is_owed_is_added_up_over_many_blocks() -> None:
    """Its sums are looked at when state is written: all that came before, of old terms and new, must be in them."""
    market = ledger()
    new = instrument("NEW-PERP")
    for turn in range(3):
        rows = [
            Fill(f"{turn}-1", "alice", "BTC-PERP", "2", "50000", fee="5000"),
            Fill(f"{turn}-2", "bob", "BTC-PERP", "-3", "50000", fee="-1"),
            *([Fill(f"{turn}-3", "alice", "NEW-PERP", "1", "7", fee="0.25")] if turn else []),
        ]
        block = market.fills_block(rows, [new] if turn == 1 else ())
        market.shard.apply(market.shard.next_offset, block.encode())
    # BTC: three times (2 - 3) x 50,000, NEW: twice 1 x 7; fees: three times 4,999 (past 32 bits of minor units) and 0.5
    assert (market.house("~market:BTC-PERP"), market.house("~fees")) == ("-150000", "14997.5")
    index = market.shard.terms.instrument_index["NEW-PERP"]
    usdc = market.shard.terms.asset_index["USDC"]
    assert market.shard.ledger.house_assets[f"~market:{index}", usdc] == 14_000_000
    assert market.shard.ledger.house_lots["~market", index] == -2 * 10 ** new["quantity_precision"]
    terms = market.shard.terms
    market.shard.ledger.check(terms.assets, terms.instruments, market.shard.posting.settlement)
