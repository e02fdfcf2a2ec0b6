"""Shadow numbers in summaries: who gets them, and that they are those of the report."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.codec import decode
from schemas.margin import MarginAccount
from streams.engine import state
from tests.builders import PRICES, STANDARD, Fill, Json, Leg, Market, Sent, of
from tests.test_engine_portfolio import UNIT

OWN = {"mode": "cross", "levels": {}, "source_offset": 17}


def market(**settings: Any) -> Market:
    """alice and bob short 2 BTC-PERP from 50,000 each, bob with an isolated bucket too: standard 10,000 and 5,000 of
    margin, by portfolio 18,000 and 14,800."""
    made = Market((*STANDARD, UNIT), PRICES)
    for name in ("alice", "bob"):
        made.settings({"account": name, "margin_model": "standard", **OWN, **settings})
        made.collateral(Leg(f"{name}-d", name, "30000"))
        made.fills(Fill(f"{name}-f", name, "BTC-PERP", "-2", "50000"))
    return made


def summary(sent: list[Sent], account: str) -> Json:
    (found,) = (record for record in of(sent, "margin-accounts") if record["account"] == account)
    return found


@pytest.mark.parametrize(
    ("model", "other"),
    [("standard", ("18000", "14800")), ("portfolio", ("10000", "5000"))],
)
def test_a_summary_shows_the_other_model_where_asked(model: str, other: tuple[str, str]) -> None:
    """An account decides on a switch by it, so it must be what the switch will find."""
    made = market(shadow=True, margin_model=model)
    found = summary(made.collateral(Leg("x", "bob", "1")), "bob")
    assert found["other_model"] == dict(zip(("initial_margin", "maintenance_margin"), other, strict=True))
    assert decode(MarginAccount, orjson.dumps(found)).other_model is not None
    assert list(found) == sorted(found), "keys stay sorted"


def test_all_of_a_block_that_ask_get_their_own() -> None:
    """Two in one block, of which one holds half as much: each record is whole, and has its own numbers."""
    made = market(shadow=True)
    made.fills(Fill("bob-g", "bob", "BTC-PERP", "1", "50000"))
    sent = made.collateral(Leg("x", "alice", "1"), Leg("y", "bob", "1"))
    assert [summary(sent, name)["other_model"]["initial_margin"] for name in ("alice", "bob")] == ["18000", "9000"]


def test_nobody_else_pays_for_it() -> None:
    """Off by default, and with no risk unit there is no other model; the bytes are those of before."""
    assert "other_model" not in summary(market().collateral(Leg("x", "bob", "1")), "bob")
    made = Market(STANDARD, PRICES)
    made.settings({"account": "bob", "margin_model": "standard", "shadow": True, **OWN})
    assert "other_model" not in summary(made.collateral(Leg("x", "bob", "1")), "bob")


def test_it_ends_with_the_setting_and_outlives_a_restart() -> None:
    """Of two accounts in one block only the one that asks has it; a restored shard sends the same."""
    made = market(shadow=True)
    made.settings({"account": "alice", "margin_model": "standard", **OWN})
    made.collateral(Leg("i", "bob", "5000", bucket="BTC-PERP"))
    other = state.restore(0, state.records(made.shard))
    assert other.shadows == made.shard.shadows == {int(made.shard.ledger.numbers(["bob"])[0])}
    legs = Leg("x", "alice", "1"), Leg("y", "bob", "1")
    calm = made.collateral(*legs)
    assert "other_model" not in summary(calm, "alice")
    assert summary(calm, "bob")["other_model"]["initial_margin"] == "18000"
    again = other.apply(len(made.journal) - 1, made.journal[-1])
    assert [orjson.loads(one.value) for one in again] == [one.record for one in calm]
