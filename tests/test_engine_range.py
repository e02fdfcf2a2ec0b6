"""Rows that would leave the range of the ledger: refused whole, with a dead letter."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.builders import PRICES, STANDARD, Fill, Json, Leg, Market, of


def ledger(terms: Iterable[Json] = STANDARD) -> Market:
    """A shard that never judges: no marks came."""
    return Market(terms, prices=None)


#: 2**62 minor units of USDC (6 decimals) is 4,611,686,018,427.387904.
HALF = "2400000000000"


def test_a_deposit_past_the_range_is_rejected_and_nothing_changes() -> None:
    """A balance that wrapped around would turn the richest account into the poorest."""
    market = ledger()
    market.collateral(Leg("d1", "alice", HALF))
    market.marks(PRICES)
    sent = market.collateral(Leg("d2", "alice", HALF), Leg("d3", "bob", "7"))
    assert (market.balance("alice"), market.balance("bob")) == (HALF, "7")
    (letter,) = of(sent, "dead-letters")
    assert letter["reason_code"] == "ledger_range"
    assert (letter["source_topic"], letter["source_partition"], letter["source_offset"]) == ("collateral", 0, 0)
    assert letter["journal"] == {"partition": 0, "offset": len(market.journal) - 1}
    assert "alice" in letter["reason"]
    assert [record["account"] for record in of(sent, "margin-accounts")] == ["bob"]
    assert market.house("~external") == "-2400000000007"


def test_of_a_conversion_past_the_range_neither_leg_posts() -> None:
    """Giving the coins without getting the money would take them for nothing."""
    market = ledger()
    market.collateral(Leg("d1", "alice", HALF), Leg("d2", "alice", "2", "ETH"))
    legs = Leg("c", "alice", "-1", "ETH", type="conversion"), Leg("c", "alice", HALF, type="conversion", leg=1)
    for order in (legs, (legs[0]._replace(amount="1"), legs[1]._replace(amount="7"))):
        sent = market.collateral(*order, Leg(f"d{len(market.journal)}", "bob", "7"))
    assert [market.balance("alice", asset) for asset in ("USDC", "ETH")] == ["2400000000007", "3"]
    assert market.shard.ledger.rows["out_of_range"] == 2
    assert of(sent, "dead-letters") == []
    (letter,) = of(market.collateral(*(leg._replace(id="again") for leg in legs)), "dead-letters")
    assert letter["source_offset"] == 0


def test_a_rejected_id_may_come_again_corrected() -> None:
    """Remembering the id of a row that was not applied would refuse its correction."""
    market = ledger()
    market.collateral(Leg("d1", "alice", HALF))
    market.collateral(Leg("d2", "alice", HALF))
    market.collateral(Leg("d2", "alice", "5"))
    assert market.balance("alice") == "2400000000005"


@pytest.mark.parametrize(
    ("held", "row"),
    [
        ("2000000", Fill("big", "alice", "BTC-PERP", "2000000", "1500000")),  # cost 3e12 + 3e12
        ("2000000", Fill("big", "alice", "BTC-PERP", "0.001", "1500000", fee="-4611686018427.387903")),  # fee + 1
        ("-2000000", Fill("big", "alice", "BTC-PERP", "2000000", "0.1")),  # profit 3e12 onto a balance of 2.4e12
    ],
)
def test_a_fill_past_the_range_is_rejected_and_nothing_changes(held: str, row: Fill) -> None:
    """Cost, fee and profit each have to fit before any of them is booked."""
    market = ledger()
    market.collateral(Leg("d1", "alice", HALF))
    market.fills(Fill("first", "alice", "BTC-PERP", held, "1500000"))
    before = market.balance("alice"), market.position("alice", "BTC-PERP")
    sent = market.fills(row)
    assert [letter["reason_code"] for letter in of(sent, "dead-letters")] == ["ledger_range"]
    assert (market.balance("alice"), market.position("alice", "BTC-PERP")) == before
    assert market.shard.ledger.rows["out_of_range"] == 1
