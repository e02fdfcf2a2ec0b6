"""What all books of a shard are worth and require, by whole columns of numpy: no loop over books, no kernel.

Sums run over all books at once, so their last digits may differ from the kernels'; everything else is the same.
"""

from typing import Any, NamedTuple

import numpy as np

from streams.engine.ledger import entries
from streams.engine.shard import Shard


class Valued(NamedTuple):
    """By book, in the reporting currency; nan where unpriced."""

    equity: Any
    adjusted: Any
    initial_equity: Any
    initial: Any
    maintenance: Any


def valued(shard: Shard) -> Valued:
    """Every book of the shard at its marks."""
    p, terms, ledger = shard.parameters, shard.posting, shard.ledger
    books, assets = np.arange(ledger.books), len(p.asset_scale)
    marks, prices = shard.prices.marks, shard.prices.prices
    at = entries(ledger.positions, books)
    owner = np.repeat(books, ledger.positions.size[: ledger.books])
    i, lots = ledger.positions.key[at], ledger.positions.lots[at]
    settles = p.settlement[i]
    scale = p.asset_scale[settles]
    size = lots / p.lot_scale[i] * p.multiplier[i]
    worth = np.where(p.inverse[i], -size / marks[i], size * marks[i])
    accrued = -lots * ((terms.funding_index[i] - ledger.positions.funding[at]) / terms.funding_scale[i]) / scale
    net = np.zeros((ledger.books, assets))
    held = entries(ledger.balances, books)
    what = ledger.balances.key[held]
    np.add.at(
        net,
        (np.repeat(books, ledger.balances.size[: ledger.books]), what),
        ledger.balances.amount[held] / p.asset_scale[what],
    )
    np.add.at(net, (owner, settles), np.nan_to_num(worth - ledger.positions.cost[at] / scale + accrued))
    unpriced = ((net != 0) & np.isnan(prices)).any(axis=1)
    sold = (p.right[i] != 0) & (lots < 0)
    unpriced[owner[np.isnan(marks[i]) | np.isnan(prices[settles]) | (sold & np.isnan(p.index_price[i]))]] = True
    plain, stricter = (p.haircut, p.borrow_haircut), (p.initial_haircut, p.initial_borrow_haircut)
    lent = net.copy()  # options bought count in equity alone
    long_options = (p.right[i] != 0) & (lots > 0)
    np.subtract.at(lent, (owner[long_options], settles[long_options]), np.nan_to_num(worth[long_options]))
    kept = np.stack([_after_haircuts(p, asset, lent[:, asset], *plain) for asset in range(assets)])
    kept_initial = np.stack([_after_haircuts(p, asset, lent[:, asset], *stricter) for asset in range(assets)])
    known = np.nan_to_num(prices)
    notional = np.abs(worth) * prices[settles]
    initial, maintenance = np.zeros(ledger.books), np.zeros(ledger.books)
    for instrument in np.unique(i):
        mine = i == instrument
        if p.right[instrument]:
            required = _required_of_option(
                p, int(instrument), size[mine], worth[mine], prices[p.settlement[instrument]]
            )
        else:
            required = _required(p, int(instrument), np.abs(size[mine]), notional[mine])
        np.add.at(initial, owner[mine], required[0])
        np.add.at(maintenance, owner[mine], required[1])
    found = Valued(net @ known, kept.T @ known, kept_initial.T @ known, initial, maintenance)
    for column in found:
        column[unpriced] = np.nan
    return found


def _after_haircuts(p: Any, asset: int, net: Any, haircut: Any, borrow: Any) -> Any:
    first, last = p.haircut_start[asset], p.haircut_start[asset + 1]
    edges = np.append(p.haircut_from[first:last], np.inf)
    slices = np.clip(np.maximum(net, 0.0)[:, None], edges[:-1], edges[1:]) - edges[:-1]
    return (slices * (1.0 - haircut[first:last])).sum(axis=1) + np.minimum(net, 0.0) * (1.0 + borrow[asset])


def _required(p: Any, instrument: int, size: Any, notional: Any) -> tuple[Any, Any]:
    first, last = p.tier_start[instrument], p.tier_start[instrument + 1]
    tier = first + np.searchsorted(p.tier_from[first:last], notional, side="right") - 1
    above = notional if p.whole_tiers[instrument] else notional - p.tier_from[tier]
    below = 0.0 if p.whole_tiers[instrument] else 1.0
    initial = below * p.tier_initial_below[tier] + above * p.tier_initial[tier]
    maintenance = below * p.tier_maintenance_below[tier] + above * p.tier_maintenance[tier]
    premium = p.size_premium_factor[instrument] * np.sqrt(size) * notional
    initial = np.maximum(initial, 0.8 * initial + premium)
    maintenance = np.maximum(maintenance, 0.8 * maintenance + premium)
    share = p.open_interest_share[instrument]
    return np.maximum(initial, np.minimum(initial + share * (notional - initial), notional)), maintenance


def _required_of_option(p: Any, instrument: int, size: Any, worth: Any, price: float) -> tuple[Any, Any]:
    """On top of the value of what is sold, in the reporting currency."""
    most, least, call, put, put_value, put_offset = p.option_rates[instrument]
    index, strike = p.index_price[instrument], p.strike[instrument]
    coin = index if p.coin_settled[instrument] else 1.0
    sold, value = np.maximum(-size, 0.0) * index / coin, np.maximum(-worth, 0.0)
    out = max(p.right[instrument] * (strike / index - 1.0), 0.0)
    initial = max(most - out, least) * sold
    if p.right[instrument] > 0:
        maintenance = call * sold
    else:
        maintenance = np.maximum(put * sold, put_value * value)
        initial = np.maximum(initial, put_offset * (maintenance + value) - value)
    return initial * price, maintenance * price
