"""Whom a block summarises on `margin-accounts`: whoever changed, and everybody once an interval."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import (
    PRICES,
    STANDARD,
    Fill,
    Leg,
    Market,
    Sent,
    asset,
    of,
)
from tests.long_one import long_one


def summarised(sent: list[Sent]) -> list[str]:
    return [record["account"] for record in of(sent, "margin-accounts")]


def test_summaries_tell_accounts_whose_ledger_or_status_changed_and_no_others() -> None:
    """A tick that sent a million unchanged summaries would drown every reader."""
    market = long_one("5000")
    market.collateral(Leg("d", "bob", "100"), Leg("d", "carol", "100"))
    market.marks(after=0)
    assert summarised(market.marks({"BTC": 49_000.0})) == []
    assert summarised(market.fills(Fill("t", "bob", "BTC-PERP", "0.001", "49000"))) == ["bob"]
    # alice: 5,000 - 2,500 = 2,500 against 2,375
    assert summarised(market.marks({"BTC": 47_500.0})) == ["alice"]
    assert summarised(market.marks({"BTC": 47_400.0})) == []


def test_an_account_has_one_summary_a_block() -> None:
    """Two states of one block under one key: the reader of a compacted topic would see either."""
    market = Market()
    names = [f"user-{n:02}" for n in range(20)]
    market.collateral(*(Leg("d", name, "6000") for name in names))
    market.fills(*(Fill("t", name, "BTC-PERP", "1", "50000") for name in names))
    sent = market.marks({"BTC": 46_000.0}, after=600_000)
    assert summarised(sent) == names


@pytest.mark.parametrize("step_ms", [1_000, 7_000, 59_999, 60_000])
def test_the_sweep_tells_every_account_once_an_interval(step_ms: int) -> None:
    """Who never trades must still find a fresh summary, and nobody needs hundreds of them."""
    market, names = swept(17)
    told = []
    for _ in range(600_000 // step_ms):
        told += summarised(market.marks(after=step_ms))
    # ten intervals have passed; the last turn of an account may lie just before or after their end
    assert {told.count(name) for name in names} <= {9, 10}


@pytest.mark.parametrize("step_ms", [60_001, 119_999, 120_000, 250_000])
def test_the_sweep_tells_everybody_after_a_jump(step_ms: int) -> None:
    """In a replay shard time may pass over whole intervals: nobody's turn may be passed over with them."""
    market, names = swept(17)
    last = dict.fromkeys(names, market.time)
    for _ in range(40):
        for name in summarised(market.marks(after=step_ms)):
            last[name] = market.time
        # no one waits longer than two intervals, where blocks come that often
        assert market.time - min(last.values()) < max(120_000, step_ms)


def swept(accounts: int) -> tuple[Market, list[str]]:
    """Idle accounts at the start of an interval of the sweep, all told."""
    market = Market(STANDARD, PRICES)
    names = [f"user-{n:02}" for n in range(accounts)]
    market.collateral(*(Leg("d", name, "10") for name in names))
    market.marks(after=60_000 - market.time % 60_000)
    return market, names


def test_the_sweep_is_spread_over_its_interval() -> None:
    """A million summaries at the stroke of the minute would hold back the liquidations behind them."""
    market, _ = swept(60)
    assert [len(summarised(market.marks(after=1_000))) for _ in range(60)] == [1] * 60


def test_new_accounts_join_the_sweep() -> None:
    """Those opened in the middle of an interval are told in it or the next."""
    market = Market(STANDARD, PRICES)
    market.deposit("alice", "10")
    market.marks(after=60_000 - market.time % 60_000)
    market.marks(after=30_000)
    market.deposit("bob", "10")
    told: list[str] = []
    for _ in range(9):
        told += summarised(market.marks(after=10_000))
    assert told.count("bob") in (1, 2)


def test_a_summary_is_complete() -> None:
    """What a dashboard shows."""
    terms = (asset("ETH", 8, haircut="0.1", borrow_haircut="0.05", version=2),)
    market = Market((*STANDARD, *terms), PRICES)
    market.collateral(
        Leg("d", "alice", "4000"), Leg("e", "alice", "0.5", "ETH"), Leg("m", "alice", "7", bucket="ETH-PERP")
    )
    sent = market.fills(Fill("t", "alice", "BTC-PERP", "1", "49500", "25"))
    (summary,) = of(sent, "margin-accounts")
    margins: dict[str, Any] = {
        "status": "ok",
        "equity": "5475",  # 4,000 - 25 + 500 + 0.5 x 2,000
        "adjusted_equity": "5375",  # ETH at 0.9
        "initial_equity": "5375",
        "initial_margin": "5000",
        "maintenance_margin": "2500",
        "margin_ratio": "2.15",
        "free_margin": "375",
    }
    idle = {**dict.fromkeys(margins, "0"), "status": "ok", "margin_ratio": None}
    idle |= {"equity": "7", "adjusted_equity": "7", "initial_equity": "7", "free_margin": "7"}
    assert summary == {
        "account": "alice",
        **margins,
        "balances": {"ETH": "0.5", "USDC": "3975"},
        "isolated": [{"bucket": "ETH-PERP", "balances": {"USDC": "7"}, **idle}],
        "journal": {"partition": 0, "offset": len(market.journal) - 1},
        "time": market.time,
    }


def test_a_new_venue_without_prices_is_not_ok() -> None:
    """Blocks before the first marks are applied, and nothing is said of them."""
    market = Market(STANDARD, None)
    assert market.deposit("alice", "1") == []
    assert not market.shard.prices.live
