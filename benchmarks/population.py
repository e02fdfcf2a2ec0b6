"""Many accounts at once, drawn from a seed, in a shard of their own: for measuring the engine without a broker.

Kinds of books as the demo's (streams/demo/books.py): positions on dollars, one coin against another, coins as
collateral with inverse or linear positions, dollars borrowed against coins, savers. Nobody starts below a call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.journal import Block, pack_ids
from streams.demo.universe import CASH, STABLE, Universe
from streams.engine.columns import Balances, Positions
from streams.engine.shard import Shard
from streams.margin.parameters import I32, I64

POSITIONS = 4
TARGET = 2.0  # adjusted equity / maintenance margin that a liquidation aims at
#: Part of each kind: dollars and one to four positions, hedged, coins, borrowed dollars, savers.
KINDS = (0.45, 0.20, 0.17, 0.10, 0.08)
DOLLARS, HEDGED, COINS, BORROWED, SAVER = range(len(KINDS))
LONG_SHARE = 0.6
SPREAD = 0.7  # standard deviation of the logarithm of the leverage
#: Initial margin takes at most this part of the collateral: the margin ratio starts at 1.5 or above.
USE_MAX = 1.33 / 2


@dataclass(frozen=True, kw_only=True)
class Population:
    """What all accounts bring and hold: rows of (account, asset, minor units) and of (account, instrument, lots)."""

    accounts: int
    universe: Universe
    balances: tuple[I64, I64, I64]
    positions: tuple[I64, I64, I64]


def draw(
    listed: Universe,
    prices: Mapping[str, float],
    *,
    accounts: int,
    leverage: float,
    seed: int,
    positions: int = 0,
    dollars: bool = False,
) -> Population:
    """Accounts of a median leverage (notional / collateral), lognormal with SPREAD, cut where USE_MAX is used.

    Parameters
    ----------
    positions : of every account; 0: as many as its kind has
    dollars : all are of the first kind
    """
    rng = np.random.default_rng((seed, accounts))
    assets, instruments = list(listed.assets), list(listed.instruments.values())
    coins = np.array([at for at, name in enumerate(assets) if name in prices and name not in STABLE])
    worth = np.array([prices.get(name, 1.0) for name in assets])
    scale = np.array([10.0 ** listed.assets[name].precision for name in assets])
    kept = np.array([1.0 - float(listed.assets[name].haircut) for name in assets])
    linear = np.array([at for at, item in enumerate(instruments) if not item.inverse])
    inverse = np.array([at for at, item in enumerate(instruments) if item.inverse] or linear[:1])
    slots = min(POSITIONS, len(linear))
    rate = np.array([float(item.tiers[0][1]) for item in instruments])
    lot = np.array([_lot_value(item, prices) for item in instruments])

    kind = rng.choice(len(KINDS), accounts, p=KINDS) * (not dollars)
    wealth = np.clip(rng.lognormal(np.log(20_000), 1.1, accounts), 500, 2_000_000)
    count = rng.integers(1, slots + 1, accounts)
    count[kind == HEDGED] = 2
    count[kind == COINS] = 1
    count[kind == SAVER] = 0
    if positions:
        count[:] = positions
    held = linear[np.argsort(rng.random((accounts, len(linear))), axis=1)[:, :slots]]
    on_inverse = (kind == COINS) & (rng.random(accounts) < 0.4)
    held[on_inverse, 0] = rng.choice(inverse, int(on_inverse.sum()))
    side = np.where(rng.random((accounts, slots)) < LONG_SHARE, 1.0, -1.0)
    side[kind == HEDGED, 1] = -side[kind == HEDGED, 0]

    coin = rng.choice(coins, accounts)
    collateral = np.where((kind == COINS) | (kind == BORROWED), coin, assets.index(CASH))
    settles = np.array([assets.index(item.settlement.id) for item in instruments])
    collateral[on_inverse] = settles[held[on_inverse, 0]]
    debt = np.where(kind == BORROWED, rng.uniform(0.2, 0.5, accounts), 0.0)
    use = np.arange(slots) < count[:, None]
    share = wealth * (kept[collateral] - debt)
    wanted = share * leverage * rng.lognormal(0.0, SPREAD, accounts)
    each = use * side * (wanted / np.maximum(count, 1))[:, None]
    need = (np.abs(each) * rate[held] * (1.0 + np.abs(each) / 1_000_000)).sum(axis=1)  # above what tiers ask
    each *= np.minimum(1.0, USE_MAX * share / np.maximum(need, 1e-9))[:, None]
    lots = (each / lot[held]).astype(np.int64)

    who = np.arange(accounts)
    brought = (wealth / worth[collateral] * scale[collateral]).astype(np.int64)
    owed = -(wealth * debt * scale[assets.index(CASH)]).astype(np.int64)
    cash = np.full(accounts, assets.index(CASH))
    borrows = owed < 0
    account, place = np.nonzero(lots)
    return Population(
        accounts=accounts,
        universe=listed,
        balances=(
            np.concatenate((who, who[borrows])),
            np.concatenate((collateral, cash[borrows])),
            np.concatenate((brought, owed[borrows])),
        ),
        positions=(account, held[account, place], lots[account, place]),
    )


def shard_of(population: Population, prices: Mapping[str, float], time: int) -> Shard:
    """A live shard that holds them, its positions opened at the prices given; without a journal of its own.

    Nobody's turn for a summary ever comes: writing one takes longer than judging a hundred accounts. Liquidations aim
    high, so that an account is not in them at every step of a fall.
    """
    shard, listed = Shard(0), population.universe
    terms = [{**message, "version": 1} for message in listed.messages()]
    rules = {"id": "~engine", "kind": "engine", "version": 1, "summary_interval_ms": 1 << 50}
    rules["liquidation_target"] = TARGET
    shard.apply(0, Block(kind="terms", terms=[rules, *terms]).encode())
    shard.ledger.numbers([name_of(number) for number in range(population.accounts)])
    shard.grow()
    posting = shard.posting
    ticks = ticks_of(listed, prices)
    account, instrument, lots = _ordered(population.positions, posting.instrument_rank)
    linear = posting.unit[instrument] * ticks[instrument] * lots
    coins = -lots * (posting.unit[instrument] / posting.divisor[instrument] / ticks[instrument])
    cost = np.where(posting.inverse[instrument], np.round(coins), linear).astype(np.int64)
    assets = len(listed.assets)
    who, what, brought = population.balances
    keys, place = np.unique(
        np.concatenate((who * assets + what, account * assets + posting.settlement[instrument])), return_inverse=True
    )
    amounts = np.zeros(len(keys), dtype=np.int64)
    np.add.at(amounts, place[: len(brought)], brought)
    owner, asset, amount = _ordered((*np.divmod(keys, assets), amounts), posting.asset_rank)
    ledger = shard.ledger
    ledger.positions = Positions(
        *_runs(account, population.accounts),
        instrument.astype(np.int32),
        lots,
        cost,
        np.zeros(len(lots), dtype=np.int64),
    )
    ledger.balances = Balances(*_runs(owner, population.accounts), asset.astype(np.int32), amount)
    shard.prices.oracles, shard.prices.modes, shard.prices.time = 1, {0: "live"}, time
    return shard


def name_of(number: int) -> str:
    """Name of an account."""
    return f"account-{number:07}"


def ticks_of(listed: Universe, prices: Mapping[str, float]) -> I64:
    """Prices of all instruments in ticks."""
    return np.array([max(1, item.ticks(prices[item.underlying], 1)) for item in listed.instruments.values()])


def _ordered(rows: tuple[I64, I64, I64], rank: I32) -> tuple[I64, I64, I64]:
    """Rows by account, then by the rank of their key."""
    order = np.lexsort((rank[rows[1]], rows[0]))
    return rows[0][order], rows[1][order], rows[2][order]


def _runs(owner: I64, books: int) -> tuple[I64, I32, I32, I64]:
    """start, size, capacity and top of a segment table whose entries have these owners, ascending."""
    size = np.bincount(owner, minlength=books)
    start = np.cumsum(size) - size
    return start, size.astype(np.int32), size.astype(np.int32), np.array([len(owner)])


def fills(
    listed: Universe,
    account: I64,
    instrument: I64,
    lots: I64,
    liquidation: I64 | int,
    prices: Mapping[str, float],
    time: int,
) -> Block:
    """Fills at the prices of the underlyings, without fee, in answer to the liquidations of these journal offsets."""
    rows = len(account)
    own, index = np.unique(account, return_inverse=True)
    given: dict[str, Any] = {"time": time, "fee": 0, "mode": 0, "fill_kind": 0, "liquidation": liquidation}
    columns = {"instrument": instrument, "lots": lots, "ticks": ticks_of(listed, prices)[instrument], **given}
    return Block(
        kind="fills",
        names={"accounts": [name_of(at) for at in own.tolist()], "instruments": list(listed.instruments)},
        columns={
            "account": index,
            **{name: np.broadcast_to(value, rows) for name, value in columns.items()},
            "source_offset": np.arange(rows),
            **pack_ids([f"{time}-{row}" for row in range(rows)]),
        },
    )


def marks(prices: Mapping[str, float], basis: Mapping[str, float], listed: Universe, time: int) -> Block:
    """A live marks block: instruments at the price of their underlying x (1 + basis)."""
    items = listed.instruments
    columns: dict[str, Any] = {
        "symbol": np.arange(len(prices)),
        "index": np.array(list(prices.values())),
        "confidence": np.zeros(len(prices)),
        "check": np.full(len(prices), np.nan),
        "symbol_state": np.zeros(len(prices)),
        "quote_time": np.full(len(prices), time),
        "instrument": np.arange(len(items)),
        "mark": np.array([prices[item.underlying] * (1.0 + basis[name]) for name, item in items.items()]),
        "mark_state": np.zeros(len(items)),
    }
    extra = {"time": time, "oracle": {"partition": 0, "of": 1, "mode": "live"}}
    return Block(
        kind="marks", names={"symbols": list(prices), "instruments": list(items)}, columns=columns, extra=extra
    )


def _lot_value(item: Any, prices: Mapping[str, float]) -> float:
    return float(item.value(1, prices[item.underlying]))
