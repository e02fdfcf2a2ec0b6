"""The slack index by hand: what a radius is, who is woken, and short stretches of the real crash days."""

import numpy as np
import pytest

from benchmarks.slack_days import DAYS, day_of, race
from streams.engine.judge import judged_now
from streams.engine.slots import LOOSE, SLOTS
from streams.engine.state import records, restore
from streams.engine.valuation import STATUSES
from tests.builders import PRICES, STANDARD, Fill, Market, control, events, instrument
from tests.journals import TERMS

HOUR_MS = 3_600_000
#: The hour of each day with its steepest fall starts here, hours after midnight.
STEEPEST = {"2021-05-19": 12.5, "2025-10-10": 20.75}


def long_one(balance: str = "5000", *more: str) -> Market:
    """Alice is long 1 BTC from 50,000 at 50,000: maintenance margin 2,500; the others hold nothing but dollars."""
    market = Market()
    market.deposit("alice", balance)
    for name in more:
        market.deposit(name, "10")
    market.fills(Fill("open", "alice", "BTC-PERP", "1", "50000"))
    market.marks({"BTC": 50_000.0}, after=1)
    return market


def woken(market: Market) -> list[str]:
    """Accounts that a marks block of these very prices would wake."""
    books = market.shard.slack.woken(market.shard)
    return [market.shard.ledger.accounts[int(market.shard.ledger.book_account[book])] for book in books]


def radius(market: Market, account: str = "alice") -> float:
    slots, book = market.shard.slack.slots, market.book(account)
    if slots.slot_of[book] == LOOSE:
        return 0.0
    parts = zip(slots.start[slots.slot_of[book]], slots.end[slots.slot_of[book]], strict=True)
    return next(float(slots.reaches[at]) for first, end in parts for at in range(first, end) if slots.entry[at] == book)


def test_a_radius_stays_below_what_would_change_the_status() -> None:
    """A fall of BTC by 4 % calls alice; with room for dollars that fall and BTC that rises, half of it is safe."""
    market = long_one("5000")
    # 5,000 - 50,000 f = 0.0625 x 50,000 (1 - f) at f = 1,875 / 46,875
    assert 0.5 * 0.04 < radius(market) < -np.log(1 - 0.04)
    assert radius(long_one("3125")) == 0.0


def test_only_those_near_their_line_are_woken() -> None:
    """A tick that judged everybody would cost a thousand times what it need."""
    market = long_one("5000", "bob", "carol")
    assert woken(market) == []
    market.marks({"BTC": 49_900.0}, after=1)
    assert woken(market) == []
    assert events(market.marks({"BTC": 47_999.0}, after=1)) == ["alice called"]


def test_a_rise_wakes_no_long_at_a_quarter_of_its_size() -> None:
    """Rises take a long from its line: they count less."""
    market = long_one("5000")
    market.shard.prices.mark["BTC-PERP"] = 52_500.0
    market.shard.prices.arrange(market.shard.terms)
    assert woken(market) == []
    market.shard.prices.mark["BTC-PERP"] = 48_000.0
    market.shard.prices.arrange(market.shard.terms)
    assert woken(market) == ["alice"]


def test_a_whole_tier_ends_the_radius() -> None:
    """At the edge the requirement jumps: smooth bounds would sleep through it."""
    tiers = [
        {"notional_from": "0", "initial_margin": "0.01", "maintenance_margin": "0.005"},
        {"notional_from": "50500", "initial_margin": "0.5", "maintenance_margin": "0.4"},
    ]
    market = Market((*STANDARD[:5], instrument("BTC-PERP", tiers=tiers, tier_method="whole", version=2)))
    market.deposit("alice", "5000")
    market.fills(Fill("open", "alice", "BTC-PERP", "1", "50000"))
    market.marks({"BTC": 50_000.0}, after=1)
    assert 0.0 < radius(market) * 4 < np.log(1.01) + 1e-6
    assert events(market.marks({"BTC": 50_500.0}, after=1)) == ["alice liquidation"]


def test_an_account_in_liquidation_or_held_back_from_it_is_always_woken() -> None:
    """Its next step comes with time, not with prices; and it is due the moment that orders allow it."""
    market = long_one("5000")
    assert events(market.marks({"BTC": 47_000.0}, after=1)) == ["alice liquidation"]
    assert woken(market) == ["alice"]
    held = long_one("5000")
    held.tell(control("pause_liquidations"))
    assert events(held.marks({"BTC": 47_000.0}, after=1)) == ["alice called"]
    assert woken(held) == ["alice"]


def test_the_unpriced_are_woken_by_their_first_price_only() -> None:
    """They are neither judged at every tick nor forgotten."""
    market = Market(TERMS, {"USDC": 1.0, "BTC": 50_000.0})
    market.deposit("alice", "1000")
    market.fills(Fill("s", "alice", "SOL-PERP", "1", "100"))
    market.marks({"BTC": 20_000.0}, after=1)
    assert woken(market) == []
    assert market.status("alice") == "unpriced"
    market.marks({"SOL": 100.0}, after=1)
    assert market.status("alice") == "ok"


def test_a_restored_shard_judges_all_once() -> None:
    """Anchors are no state: without them every book is woken, and then as before."""
    market = long_one("5000", "bob")
    shard = restore(0, list(records(market.shard)))
    assert shard.slack.woken(shard).tolist() == [0, 1]
    market.shard = shard
    market.marks(PRICES, after=1)
    assert woken(market) == []


def test_columns_are_handed_over_anew_only_where_they_are_others() -> None:
    """Judged by columns that have since been replaced, an account keeps positions that it closed long ago."""
    market = long_one("5000")
    shard = market.shard
    frame = shard.frames.of(shard)
    assert shard.frames.of(shard) is frame
    shard.ledger.positions = shard.ledger.positions._replace(size=shard.ledger.positions.size * 0)
    assert shard.frames.of(shard) is not frame
    assert judged_now(shard, np.array([market.book("alice")])).maintenance.tolist() == [0.0]


def test_slots_never_run_out() -> None:
    """A slot taken from books that still need it would leave them at prices they were never judged at."""
    market = long_one("5000")
    for number in range(3 * SLOTS):
        name = f"user-{number}"
        market.deposit(name, "5000")
        market.fills(Fill(f"f{number}", name, "BTC-PERP", "0.9", f"{50_000 + number}"))
        market.marks({"BTC": 50_000.0 + number / 10}, after=1)
        assert np.count_nonzero(market.shard.slack.slots.live) < SLOTS
    slots = market.shard.slack.slots
    assert slots.live.sum() == np.count_nonzero(slots.slot_of >= 0)


def test_no_book_is_nearer_than_the_nearest_of_its_slot() -> None:
    """A slot whose nearest radius were too large would be passed over while a price crosses an account's line."""
    market = long_one("5000")
    for number in range(20):
        market.deposit(f"user-{number}", f"{5_000 + 500 * number}")
        market.fills(Fill(f"f{number}", f"user-{number}", "BTC-PERP", "0.9", "50000"))
    for price in (49_990.0, 49_000.0, 51_000.0, 48_100.0):
        market.deposit("user-7", "1")
        market.marks({"BTC": price}, after=1)
        slots, seen = market.shard.slack.slots, 0
        for slot, kind in np.ndindex(slots.nearest.shape):
            books = slice(slots.start[slot, kind], slots.end[slot, kind])
            radii = slots.reaches[books][slots.slot_of[slots.entry[books]] == slot]
            assert slots.nearest[slot, kind] <= radii.min(initial=np.inf)
            seen += len(radii)
        assert seen >= 20


@pytest.mark.parametrize("day", DAYS)
def test_real_crashes_are_decided_as_by_judging_everything(day: str) -> None:
    """Real gaps, wicks and assets that part: what no seeded market has."""
    bars = day_of(day)
    if bars is None:
        pytest.skip(f"needs the price file of {day}: see benchmarks/slack_days.py")
    since = bars.start + int(STEEPEST[day] * HOUR_MS)
    run = race(bars.between(since, since + HOUR_MS), accounts=300, leverage=4.0, step_ms=60_000, seed=7)
    assert run.found.different == 0
    assert run.found.decisions > 20
    assert len(run.found.full) == len(run.found.indexed)
    assert np.mean(run.found.share) < 0.5
    status = judged_now(run.shard, np.arange(run.shard.ledger.books)).status
    open_step = run.shard.standing.step[: run.shard.ledger.books] > 0
    stands = run.shard.standing.status[: run.shard.ledger.books]
    settled = ~open_step & (stands != STATUSES.index("bankrupt"))
    assert (status[settled] == stands[settled]).all()
