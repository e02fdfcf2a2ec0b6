"""Terms that change while a shard runs."""

from __future__ import annotations

import pytest

from streams.engine import state
from streams.engine.invariants import InvariantViolation
from tests.builders import PRICES, STANDARD, Fill, Json, Leg, Market, events, instrument


def market(prices: dict[str, float] | None = PRICES, *terms: Json) -> Market:
    """alice long 0.5 BTC-PERP, bob short 0.5, both with plenty of collateral."""
    made = Market((*STANDARD, *terms), prices)
    made.collateral(Leg("d", "alice", "100000"), Leg("d", "bob", "100000"))
    made.fills(Fill("t", "alice", "BTC-PERP", "0.5", "50000"), Fill("t", "bob", "BTC-PERP", "-0.5", "50000"))
    return made


def test_new_terms_remargin_what_they_touch_at_once() -> None:
    """A raised requirement that waited for the next price would leave the venue exposed until then."""
    made = market()
    made.collateral(Leg("w", "alice", "-95000", type="withdrawal"))
    # 5,000 on 25,000: ratio 4; at 18 % the requirement is 4,500, ratio 1.11
    assert made.status("alice") == "ok"
    sent = made.tell(instrument("BTC-PERP", initial_margin="0.2", maintenance_margin="0.18", version=7))
    assert events(sent) == ["alice called"]


@pytest.mark.parametrize("version", [6, 7])
def test_older_terms_change_nothing(version: int) -> None:
    """Two producers may tell the same record late; the newest terms must stand."""
    made = market()
    made.tell(instrument("BTC-PERP", initial_margin="0.2", maintenance_margin="0.18", version=7))
    before = made.view("alice")["maintenance_margin"]
    made.tell(instrument("BTC-PERP", initial_margin="0.9", maintenance_margin="0.9", version=version))
    assert made.view("alice")["maintenance_margin"] == before == "4500"


def test_terms_in_a_block_of_rows_hold_for_its_rows() -> None:
    """A producer tells an instrument with the first row that uses it."""
    made = market()
    sol = instrument("SOL-PERP", price_precision=3, quantity_precision=0)
    made.fills(Fill("s", "alice", "SOL-PERP", "10", "200.125"), terms=[sol])
    assert made.position("alice", "SOL-PERP") == ("10", "2001.25")
    assert made.status("alice") == "unpriced"
    made.marks({"SOL": 200.0})
    assert made.status("alice") == "ok"


def test_an_instrument_listed_later_keeps_the_books_in_order_of_id() -> None:
    """Sums in another order differ in their last bit: a replay would decide otherwise."""
    made = market()
    rows = Fill("a", "alice", "AAA-PERP", "1", "10"), Fill("b", "alice", "ETH-PERP", "1", "2000")
    made.fills(*rows, terms=[instrument("AAA-PERP")])
    assert [row["instrument"] for row in made.view("alice")["positions"]] == ["AAA-PERP", "BTC-PERP", "ETH-PERP"]


def test_a_closed_instrument_is_still_margined() -> None:
    """Closed means no new positions: those that are there keep their risk."""
    made = market()
    made.tell(instrument("BTC-PERP", closed=True, version=8))
    assert made.view("alice")["maintenance_margin"] == "1250"


def test_long_terms_are_kept_in_pieces() -> None:
    """A thousand instruments with tiers take more than a record may: each piece stays below 512 KiB, the state is
    restored from them, and goes on when there are fewer pieces again."""
    rates = {"initial_margin": "0.1", "maintenance_margin": "0.05"}
    tiers = [{"notional_from": str(at * 1000), **rates} for at in range(9)]
    many = [instrument(f"BTC-{at:04d}", tiers=tiers) for at in range(1_000)]
    market = Market((*STANDARD, *many), PRICES)
    changelog = dict(state.dirty(market.shard))
    lengths = [len(value) for key, value in changelog.items() if key.startswith(state.TERMS_KEY)]
    assert len(lengths) > 2
    assert max(lengths) <= state.TERMS_BYTES
    assert state.hash_of(state.records(market.shard)) == state.state_hash(market.shard)
    market.tell(*(instrument(f"BTC-{at:04d}", version=2) for at in range(1_000)))
    restored = state.restore(0, (changelog | dict(state.dirty(market.shard))).items())
    assert state.state_hash(restored) == state.state_hash(market.shard)
    del changelog[state.TERMS_KEY + b":1"]
    with pytest.raises(InvariantViolation, match="~terms"):
        state.restore(0, changelog.items())
