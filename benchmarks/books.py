"""Accounts for measuring restores: a journal that gives each one balance, and four positions from as many fills."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from schemas.journal import Block, pack_ids

POSITIONS = 4
BLOCK_ROWS = 4_000
PRICES = {"BTC": 50_000, "ETH": 2_000, "SOL": 100, "LTC": 80, "DOT": 6, "XRP": 1, "ADA": 2, "DOGE": 3}


def names(accounts: int) -> list[str]:
    """Names of so many accounts."""
    return [f"account-{number:07d}" for number in range(accounts)]


def journal(accounts: Sequence[str]) -> Iterator[Block]:
    """Terms, a deposit for each account, then one fill for each in a random order, four times over."""
    generator, count = np.random.default_rng(1), len(accounts)
    yield Block(kind="terms", terms=terms())
    for first in range(0, count, BLOCK_ROWS):
        who = np.arange(first, min(count, first + BLOCK_ROWS))
        deposits = {"asset": 0, "amount": 10**11, "bucket": -1, "transfer_type": 0, "leg": 0}
        yield Block(kind="collateral", **rows("d", accounts, who, first, deposits, assets=["USDC"], instruments=[]))
    instruments = [f"{symbol}-PERP" for symbol in PRICES]
    ticks = np.array(list(PRICES.values())) * 10_000
    for turn in range(POSITIONS):
        order = generator.permutation(count)
        for first in range(0, count, BLOCK_ROWS):
            who = order[first : first + BLOCK_ROWS]
            instrument = (who + 2 * turn) % len(PRICES)
            lots = generator.integers(1, 50, len(who)) * generator.choice((-1, 1), len(who))
            columns: dict[str, Any] = {
                "instrument": instrument,
                "lots": lots,
                "ticks": ticks[instrument],
                "fee": 10_000,
            }
            columns |= {"mode": -1, "fill_kind": 0}
            yield Block(
                kind="fills", **rows("f", accounts, who, turn * count + first, columns, instruments=instruments)
            )


def marks(time_ms: int) -> Block:
    """Marks of everything at its price, for a shard that is live from then on."""
    symbols, instruments = [*PRICES, "USDC"], [f"{symbol}-PERP" for symbol in PRICES]
    columns: dict[str, Any] = {
        "symbol": np.arange(len(symbols)),
        "index": np.array([*PRICES.values(), 1], dtype=np.float64),
        "confidence": np.zeros(len(symbols)),
        "check": np.full(len(symbols), np.nan),
        "symbol_state": np.zeros(len(symbols)),
        "quote_time": np.full(len(symbols), time_ms),
        "instrument": np.arange(len(instruments)),
        "mark": np.array(list(PRICES.values()), dtype=np.float64),
        "mark_state": np.zeros(len(instruments)),
    }
    return Block(
        kind="marks",
        names={"symbols": symbols, "instruments": instruments},
        columns=columns,
        extra={"time": time_ms, "oracle": {"partition": 0, "of": 1, "mode": "live"}},
    )


def rows(
    prefix: str, accounts: Sequence[str], who: Any, first: int, columns: dict[str, Any], **names: list[str]
) -> dict[str, Any]:
    """Names and columns of a block with one row for each of `who`."""
    count = len(who)
    common = {"time": 1, "liquidation": -1, **columns}
    return {
        "names": {"accounts": [accounts[number] for number in who.tolist()], **names},
        "columns": {
            "account": np.arange(count),
            "source_offset": np.arange(first, first + count),
            **{name: np.broadcast_to(column, count) for name, column in common.items()},
            **pack_ids([f"{prefix}-{number:09d}" for number in range(first, first + count)]),
        },
    }


def terms() -> list[dict[str, Any]]:
    asset = {"id": "USDC", "kind": "asset", "precision": 6, "haircut": "0", "borrow_haircut": "0", "version": 1}
    common = {
        "kind": "instrument",
        "type": "perpetual",
        "settlement": "USDC",
        "multiplier": "1",
        "price_precision": 4,
        "quantity_precision": 2,
        "initial_margin": "0.10",
        "maintenance_margin": "0.05",
        "tier_method": "marginal",
        "size_premium_factor": "0",
        "liquidation_fee": "0.005",
        "version": 1,
    }
    return [asset, *({**common, "id": f"{symbol}-PERP", "underlying": symbol} for symbol in PRICES)]
