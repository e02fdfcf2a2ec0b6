"""Compile every kernel of the engine before a worker joins its group; instant once the compiled code is cached.

A tiny journal through a shard that nobody keeps: it opens, closes, funds, settles, liquidates and takes over.
"""

from typing import Any

import msgspec
import numpy as np

from schemas.journal import Block, pack_ids
from schemas.risk_terms import RiskUnit
from streams.engine import state
from streams.engine.shard import Shard
from streams.engine.trust import SUSPECT
from streams.engine.views import account_view

#: Time and price of each marks block: the account is well (its prices suspect), called, in liquidation, bankrupt.
MARKS = ((2, 99.0), (10_000, 68.0), (11_000, 67.0), (12_000, 66.5), (13_000, 66.0), (20_000, 65.0), (90_000, 20.0))
_ASSET = {"kind": "asset", "haircut": "0.1", "borrow_haircut": "0.1", "version": 1}
_SETTINGS = {"account": "one", "mode": "cross", "margin_model": "portfolio", "levels": {}, "source_offset": 0}
_INSTRUMENT = {
    "kind": "instrument",
    "underlying": "COIN",
    "multiplier": "1",
    "price_precision": 0,
    "quantity_precision": 0,
    "initial_margin": "0.2",
    "maintenance_margin": "0.1",
    "tier_method": "marginal",
    "size_premium_factor": "0.0001",
    "liquidation_fee": "0.01",
    "version": 1,
}


def _terms() -> list[dict[str, Any]]:
    return [
        {**_ASSET, "id": "CASH", "precision": 2},
        {**_ASSET, "id": "COIN", "precision": 8},
        {**_INSTRUMENT, "id": "LINEAR", "type": "perpetual", "settlement": "CASH"},
        {**_INSTRUMENT, "id": "INVERSE", "type": "inverse_perpetual", "settlement": "COIN"},
        {**_INSTRUMENT, "id": "DATED", "type": "future", "settlement": "CASH", "expiry": 2},
    ]


def _rows(ids: list[str], columns: dict[str, Any]) -> dict[str, Any]:
    count = len(ids)
    shared = {"account": np.zeros(count), "time": np.ones(count), "liquidation": np.full(count, -1)}
    return {**shared, "source_offset": np.arange(count), **columns, **pack_ids(ids)}


def _deposits() -> Block:
    columns = {"asset": [0, 1], "amount": [60_000, 10**8], "bucket": [-1, -1], "transfer_type": [0, 0], "leg": [0, 0]}
    names = {"accounts": ["one"], "assets": ["CASH", "COIN"], "instruments": []}
    return Block(kind="collateral", names=names, columns=_rows(["a", "b"], columns))


def _fills() -> Block:
    lots = [20, -5, 100, -1, 1]
    columns = {
        "instrument": [0, 0, 1, 2, 0],
        "lots": lots,
        "ticks": [100] * 5,
        "fee": [1] * 5,
        "mode": [-1, -1, -1, -1, 1],
        "fill_kind": [0] * 5,
    }
    names = {"accounts": ["one"], "instruments": ["LINEAR", "INVERSE", "DATED"]}
    return Block(kind="fills", names=names, columns=_rows(["c", "d", "e", "f", "g"], columns))


def _funding() -> Block:
    columns: dict[str, Any] = {"instrument": [0], "rate": [10**8], "price": [-1], "time": [1], "source_offset": [0]}
    return Block(kind="funding", names={"instruments": ["LINEAR"]}, columns=columns)


def _marks(time: int, price: float) -> Block:
    columns: dict[str, Any] = {
        "symbol": [0, 1],
        "index": [price, 1.0],
        "confidence": [0.0, 0.0],
        "check": [price, np.nan],
        "symbol_state": [SUSPECT if time == MARKS[0][0] else 0, 0],
        "quote_time": [time, time],
        "instrument": [0, 1, 2],
        "mark": [price] * 3,
        "mark_state": [0] * 3,
    }
    names = {"symbols": ["COIN", "CASH"], "instruments": ["LINEAR", "INVERSE", "DATED"]}
    extra = {"time": time, "oracle": {"partition": 0, "of": 1, "mode": "live"}}
    return Block(kind="marks", names=names, columns=columns, extra=extra)


def _portfolio_margin(liquidation: str) -> list[Block]:
    """A risk unit whose books are closed in this way, and the account on portfolio margin."""
    unit = msgspec.to_builtins(RiskUnit(id="~risk_unit:COIN", basis_move="0.04"))
    terms = [{**unit, "underlying": "COIN", "liquidation": liquidation, "closed": False, "version": 2}]
    return [Block(kind="terms", terms=terms), Block(kind="accounts", extra={"accounts": [_SETTINGS]})]


def warm_up() -> int:
    """Run the journal by either model and return the number of its decisions (so that the work cannot be skipped)."""
    opening = [Block(kind="terms", terms=_terms()), _marks(1, 100.0)]
    blocks = [_deposits(), _fills(), _funding(), *(_marks(time, price) for time, price in MARKS)]
    return sum(_run([*opening, *chosen, *blocks]) for chosen in ([], *map(_portfolio_margin, ("share", "legs"))))


def _run(blocks: list[Block]) -> int:
    shard = Shard(0)
    sent = 0
    for offset, block in enumerate(blocks):
        sent += len(shard.apply(offset, block.encode()))
        account_view(shard, "one")
    restored = state.restore(0, state.records(shard))
    sent += len(state.state_hash(restored))
    shard.ledger.check(shard.terms.assets, shard.terms.instruments, shard.posting.settlement)
    return sent + len(restored.ledger.accounts)
