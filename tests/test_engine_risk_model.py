"""The portfolio model made of terms: rows, units and correlations, in an order that no message decides.

If one of these failed, two shards that met the same terms in another order would margin alike books differently.
"""

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from streams.engine.risk_model import RiskMarket, risk_model
from streams.engine.terms import TermsTable
from streams.ingest.terms import Terms
from streams.margin.risk_table import BASIS_RATE, DELTA, MARK, NOTIONAL
from streams.margin.scenarios import ASSET, FUTURE, OPTION
from tests.ingest_samples import BYTES_MAX, encoded

DAY_MS = 86_400_000
ASSETS = [{"id": name, "kind": "asset", "precision": 6} for name in ("USDC", "BTC", "ETH")]
PERP: dict[str, Any] = {
    "kind": "instrument", "type": "perpetual", "underlying": "BTC", "settlement": "USDC", "price_precision": 1,
    "quantity_precision": 3, "initial_margin": "0.1", "maintenance_margin": "0.05",
}  # fmt: skip
FUTURES = [
    {**PERP, "id": "BTC-PERP"},
    {**PERP, "id": "BTC-FAR", "type": "future", "expiry": 90 * DAY_MS},
    {**PERP, "id": "BTC-NEAR", "type": "future", "expiry": 30 * DAY_MS},
    {**PERP, "id": "BTC-COIN", "type": "inverse_perpetual", "settlement": "BTC"},
    {**PERP, "id": "SOL-PERP", "underlying": "SOL"},
]
UNITS = [
    {"kind": "risk_unit", "id": "~risk_unit:BTC", "group": "majors"},
    {"kind": "risk_unit", "id": "~risk_unit:ETH", "group": "majors", "price_range": "0.2", "steps": 2, "skew": False},
    {"kind": "risk_unit", "id": "~risk_unit:XRP", "group": "nobody"},
]
GROUP = {"kind": "correlations", "id": "~correlations:majors", "low": "0.4", "high": "0.8", "share": "0.6"}


def table_of(records: list[dict[str, Any]]) -> TermsTable:
    """The terms as a shard has them after these messages."""
    ingest, table = Terms(BYTES_MAX), TermsTable()
    for offset, record in enumerate(records):
        table.apply(ingest.add(offset, record["id"].encode(), encoded(record)))
    return table


def test_rows_are_instruments_and_coins() -> None:
    """What belongs to no unit has none; a coin is a leg of its unit where it is an asset too."""
    model = risk_model(table_of([*ASSETS, *FUTURES, *UNITS, GROUP]))
    assert model is not None
    assert model.symbols == ["BTC", "ETH", "XRP"]
    assert model.unit.tolist() == [0, 0, 0, 0, -1, 0, 1, 2]
    assert model.kind.tolist() == [FUTURE] * 5 + [ASSET] * 3
    assert OPTION not in model.kind
    assert model.coin.tolist() == [-1, 5, 6], "USDC is no unit's coin; XRP is no asset"
    assert model.coin_settled.tolist() == [False, False, False, True] + [False] * 4
    near, far = model.expiry[2], model.expiry[1]
    assert near < far
    assert len({model.expiry[0], near, far}) == 3
    assert model.expiry[0] == model.expiry[3] == model.expiry[5], "what never expires is one expiry"


def test_correlations_are_of_the_group() -> None:
    """A unit of a group that nobody published offsets nothing."""
    model = risk_model(table_of([*ASSETS, *UNITS, GROUP]))
    assert model is not None
    found = model.correlations
    assert found.group.tolist() == [0, 0, -1]
    assert found.low.tolist() == [[1, 0.4, 0], [0.4, 1, 0], [0, 0, 1]]
    assert (found.high[0, 1], found.share_least.tolist()) == (0.8, [0.6])


def test_no_order_of_messages_matters() -> None:
    """Units come in the order of their names, rows of one expiry in the order of instruments."""
    orders = [risk_model(table_of([*ASSETS, *FUTURES, *order])) for order in permutations([*UNITS, GROUP])]
    assert all(repr(order) == repr(orders[0]) for order in orders)


def test_a_unit_taken_back() -> None:
    """A tombstone, and the unit is as if it had never been."""
    table = table_of([*ASSETS, *UNITS])
    last = {**table.records["~risk_unit:ETH"], "closed": True, "version": 99}
    table.apply([last])
    model = risk_model(table)
    assert model is not None
    assert model.symbols == ["BTC", "XRP"]
    for name in ("BTC", "XRP"):
        table.apply([{**table.records[f"~risk_unit:{name}"], "closed": True, "version": 99}])
    assert risk_model(table) is None


def test_values_by_hand() -> None:
    """Marks, coins and expiries reach the risk table: 16 % of each mark, and the basis charge of a quarter year."""
    table = table_of([*ASSETS, *FUTURES, UNITS[0]])
    model = risk_model(table)
    assert model is not None
    nothing = np.full(5, np.nan)
    market = RiskMarket(
        marks=np.array([100.0, 103.0, 101.0, 100.5, 7.0]),
        prices=np.array([1.0, 99.0, 5.0]),
        volatility=nothing,
        forward=nothing,
        discount=nothing,
        index_price=np.array([100.0]),
        time=DAY_MS // 2 + 1,
    )
    written = model.table(model.rows(market), np.array([0, 1, 3, 5], dtype=np.int32), curves=False)
    down = int(np.argmin(model.units.move[0][:27]))
    assert written.amounts[[0, 1, 5], MARK].tolist() == [100.0, 103.0, 99.0]
    assert np.isnan(written.amounts[2, MARK]), "not asked for"
    assert written.values[0, down] - written.amounts[0, MARK] == pytest.approx(-16.0)
    assert written.values[5, down] - written.amounts[5, MARK] == pytest.approx(-15.84)
    # a coin-settled one: 1 of quote currency / 100.5 coins, each worth 99
    assert written.amounts[3, DELTA] == pytest.approx(99.0 / 100.5)
    minutes = 90 * 24 * 60 - 12 * 60 - 1
    assert written.by_expiry[model.expiry[1], BASIS_RATE] == pytest.approx(0.5 + 2 * minutes / (365 * 24 * 60))
    assert written.amounts[0, NOTIONAL] == 100.0
