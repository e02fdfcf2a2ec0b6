"""Operators' orders: liquidations paused and resumed, symbols halted."""

from __future__ import annotations

from tests.builders import (
    Fill,
    Leg,
    control,
    events,
    instrument,
    of,
)
from tests.long_one import long_one, set_balance


def test_pausing_liquidations_holds_back_steps_and_take_overs_but_not_calls() -> None:
    """In a broken market the desk stops the machine; users are still warned."""
    market = long_one("5000")
    market.tell(control("pause_liquidations"))
    assert events(set_balance(market, "2000")) == ["alice called"]
    assert market.status("alice") == "margin_call"
    assert events(set_balance(market, "-10")) == []
    assert events(market.tell(control("resume_liquidations", version=2))) == ["alice bankrupt"]


def test_pausing_leaves_an_open_step_open_and_clears_it_when_safe() -> None:
    """Orders already out must still be withdrawn when the account recovers."""
    market = long_one("2400")
    market.tell(control("pause_liquidations"))
    assert events(market.marks(after=60_000)) == []
    assert market.status("alice") == "liquidation"
    assert events(set_balance(market, "3250")) == ["alice liquidation_cleared"]


def test_an_account_priced_during_a_pause_is_in_liquidation_again() -> None:
    """Unpriced is only said while it is true, paused or not."""
    market = long_one("2400")
    market.fills(Fill("s", "alice", "SOL-PERP", "1", "100"), terms=[instrument("SOL-PERP")])
    market.tell(control("pause_liquidations"))
    assert market.status("alice") == "unpriced"
    market.marks({"SOL": 100.0}, after=60_000)
    assert market.status("alice") == "liquidation"


def test_resuming_goes_on_with_the_next_step() -> None:
    """A step that timed out during the pause is due at once."""
    market = long_one("2400")
    market.tell(control("pause_liquidations"))
    market.marks(after=60_000)
    sent = market.tell(control("resume_liquidations", version=2))
    assert [record["step"] for record in of(sent, "liquidations")] == [2]


def test_a_halted_symbol_holds_back_those_who_have_it() -> None:
    """Its price means nothing for now: whoever holds it is not liquidated by it, everybody else is."""
    market = long_one("5000")
    market.collateral(Leg("d", "bob", "400"))
    market.fills(Fill("t", "bob", "ETH-PERP", "2", "2000"))
    market.tell(control("halt", "BTC"))
    assert events(set_balance(market, "2400")) == ["alice called"]
    # 190 against 200
    assert events(set_balance(market, "190", "bob")) == ["bob liquidation"]
    assert events(market.tell(control("resume", "BTC", version=2))) == ["alice liquidation"]


def test_operators_orders_follow_their_versions() -> None:
    """Two desks: the later order holds, whichever name it goes by, also after a restore."""
    market = long_one("5000")
    market.tell(control("pause_liquidations", name="a", version=5), control("resume_liquidations", name="b", version=6))
    market.tell(control("pause_liquidations", name="c", version=4))
    assert events(set_balance(market, "2400")) == ["alice liquidation"]


def test_a_second_order_of_one_name_replaces_the_first() -> None:
    """The topic is compacted: whoever reads it later sees only the last order of a name, and must judge alike."""
    market = long_one("5000")
    market.tell(control("halt", "BTC"))
    market.tell(control("halt", "ETH", version=2))
    assert events(set_balance(market, "2400")) == ["alice liquidation"]
