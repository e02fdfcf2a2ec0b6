"""The closing checks: they must fail for one unit."""

import copy
from typing import Any

import pytest

from schemas.sharding import shard_of
from streams.demo.exchange import Exchange
from streams.demo.score import Score
from streams.demo.tally import Tally
from streams.demo.universe import Universe, universe
from streams.demo.venue import Message, Venue
from streams.demo.verify import agreement, conservation, orderly

TIME = 1_760_130_000_000
LISTED: Universe = universe({"BTC": 50_000.0, "USDC": 1.0}, TIME + 1)


def books() -> tuple[Tally, list[dict[str, Any]]]:
    """Two shards after deposits of alice and a market maker and one trade between them, worked by hand.

    Alice buys 0.1 BTC at 50,000 and pays 2 of fee: her entry is 998 - 5,000, the market's 5,000, fees 2.
    """
    venue, tally = Venue(LISTED), Tally()
    sent = [Message("instruments", value["id"], value) for value in LISTED.messages()]
    sent.append(venue.transfer("deposit", "alice", "USDC", 1_000_000_000, TIME))
    sent.append(venue.transfer("deposit", "maker-1", "USDC", 7_000_000, TIME))
    sent += venue.trade(
        account="alice", bucket="cross", instrument="BTC-PERP", lots=1000, ticks=5_000_000, fee=2_000_000, time=TIME
    )
    for message in sent:
        tally.note(message)
    shards: list[dict[str, Any]] = [{"partition": p, "time": TIME, "assets": {}, "lots": {}} for p in range(2)]
    entries = {
        "alice": (998_000_000 - 5_000_000_000, 1000, {"~external": -1_000_000_000, "~fees": 2_000_000}),
        "maker-1": (7_000_000 + 5_000_000_000, -1000, {"~external": -7_000_000}),
    }
    for account, (amount, lots, house) in entries.items():
        shard = shards[shard_of(account, 2)]
        usdc = shard["assets"].setdefault("USDC", {"accounts": 0, "house": {"~market:BTC-PERP": 0}, "total": "0"})
        usdc["accounts"] += amount
        usdc["house"]["~market:BTC-PERP"] += 5_000_000 * lots
        for name, value in house.items():
            usdc["house"][name] = usdc["house"].get(name, 0) + value
        position = shard["lots"].setdefault("BTC-PERP", {"accounts": 0, "house": {"~market": 0}})
        position["accounts"] += lots
        position["house"]["~market"] -= lots
    return tally, shards


def failed(tally: Tally, shards: list[dict[str, Any]]) -> list[str]:
    return [check.name for check in (*conservation(shards), *agreement(shards, tally, LISTED)) if not check.holds]


def test_balanced_books_pass() -> None:
    """A check that cannot pass is no check."""
    tally, shards = books()
    assert failed(tally, shards) == []


@pytest.mark.parametrize(
    ("place", "names"),
    [
        (("assets", "USDC", "accounts"), ["every asset's double entry is zero in every shard"]),
        (
            ("assets", "USDC", "house", "~market:BTC-PERP"),
            ["every asset's double entry is zero in every shard", "~market is zero over all shards"],
        ),
        (
            ("assets", "USDC", "house", "~external"),
            [
                "every asset's double entry is zero in every shard",
                "~external is what was deposited less what was withdrawn",
            ],
        ),
        (
            ("lots", "BTC-PERP", "accounts"),
            [
                "every instrument's positions are zero in every shard",
                "positions are those of the fills sent",
            ],
        ),
    ],
)
def test_one_unit_too_much_is_found(place: tuple[str, ...], names: list[str]) -> None:
    """One minor unit or one lot is all a lost or doubled fill may show."""
    tally, shards = books()
    shards = copy.deepcopy(shards)
    entry: Any = shards[shard_of("alice", 2)]
    for name in place[:-1]:
        entry = entry[name]
    entry[place[-1]] += 1
    assert failed(tally, shards) == names


def test_fee_that_was_never_booked_is_found() -> None:
    """A fill lost on the way leaves balanced books behind: only what was sent tells of it."""
    tally, shards = books()
    usdc = shards[shard_of("alice", 2)]["assets"]["USDC"]
    usdc["house"]["~fees"] -= 2_000_000
    usdc["accounts"] += 2_000_000
    assert failed(tally, shards) == ["~fees are the fees sent"]


def test_orderly_outputs_pass_and_quiet_markets_fail_only_where_seeded() -> None:
    """A seeded crash that liquidates nobody means the engine is not looking; a calm real day does not."""
    exchange = Exchange(Venue(LISTED), 0)
    assert all(check.holds for check in orderly(Score(steps=1), exchange, seeded=False))
    assert [check.name for check in orderly(Score(steps=1), exchange, seeded=True) if not check.holds] == [
        "more than 20 margin calls and liquidations"
    ]
    exchange.misplaced.append("x")
    assert not all(check.holds for check in orderly(Score(steps=1), exchange, seeded=False))
