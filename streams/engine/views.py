"""What a shard shows to who asks: one account whole, and its double entry."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from streams.engine import judge
from streams.engine.ledger import CROSS
from streams.engine.report import margin_report
from streams.engine.shard import Shard
from streams.engine.summaries import balances_of
from streams.engine.valuation import STATUSES


def account_view(shard: Shard, name: str) -> dict[str, Any] | None:
    """The account's books at the shard's present marks; None where there is no such account."""
    ledger, terms = shard.ledger, shard.terms
    account = ledger.accounts.find(name)
    if account < 0:
        return None
    books = []
    for book in ledger.books_of(account):
        instrument = int(ledger.book_instrument[book])
        report = margin_report(judge.view_of(shard, book), int(shard.standing.status[book]))
        report["bucket"] = "cross" if instrument == CROSS else terms.instruments[instrument]
        (report["balances"],) = balances_of(shard, np.array([book]))
        report["liquidation_step"] = int(shard.standing.step[book])
        books.append(report)
    return {
        "account": name,
        "partition": shard.partition,
        "settings": shard.settings.get(account),
        "time": shard.prices.time,
        "journal": {"partition": shard.partition, "offset": shard.next_offset - 1},
        **books[0],
        "isolated": books[1:],
    }


def shard_view(shard: Shard) -> dict[str, Any]:
    """Both sides of every asset and instrument, in minor units and lots: `total` is 0, always.

    `accounts` of an asset is balances minus open cost; each house account that has something is beside it.
    """
    ledger, terms = shard.ledger, shard.terms
    house: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for (account, asset), amount in sorted(ledger.house_assets.items()):
        kind, _, at = account.partition(":")
        if amount:
            house[asset][f"{kind}:{terms.instruments[int(at)]}" if at else kind] = amount
    lots: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for (account, instrument), number in sorted(ledger.house_lots.items()):
        if number:
            lots[instrument][account] = number
    sums = ledger.account_totals(len(terms.assets), shard.posting.settlement)
    held = ledger.lots_totals(len(terms.instruments))
    status = np.bincount(shard.standing.status[: ledger.books], minlength=5).tolist()
    return {
        "partition": shard.partition,
        "time": shard.prices.time,
        "live": shard.prices.live,
        "next_offset": shard.next_offset,
        "accounts": len(ledger.accounts),
        "statuses": dict(zip(STATUSES, status, strict=True)),
        "rows": dict(ledger.rows),
        "assets": {
            asset: _entries(sums[at], house[at]) for at, asset in enumerate(terms.assets) if sums[at] or house[at]
        },
        "lots": {
            name: _entries(held[at], lots[at]) for at, name in enumerate(terms.instruments) if held[at] or lots[at]
        },
    }


def _entries(accounts: int, house: dict[str, int]) -> dict[str, Any]:
    return {
        "accounts": str(accounts),
        "house": {name: str(amount) for name, amount in house.items()},
        "total": str(accounts + sum(house.values())),
    }
