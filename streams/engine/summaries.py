"""Summaries of accounts: what a `margin-accounts` record says, and whose turn for one has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streams.engine.decisions import Output, output
from streams.engine.judge import numbers_of
from streams.engine.ledger import entries
from streams.engine.report import summary, units_text
from streams.margin.parameters import I64

if TYPE_CHECKING:
    from streams.engine.shard import Shard


def summaries(shard: Shard, offset: int, accounts: list[int]) -> list[Output]:
    """A `margin-accounts` record of each account: its cross book, and its isolated ones beside it."""
    ledger, terms = shard.ledger, shard.terms
    books = [ledger.books_of(account) for account in accounts]
    flat = np.array([book for own in books for book in own], dtype=np.int64)
    columns = np.column_stack(numbers_of(shard, flat)).tolist()
    status = shard.standing.status[flat].tolist()
    held = balances_of(shard, flat)
    journal, time = {"partition": shard.partition, "offset": offset}, shard.prices.time
    out = []
    at = 0
    for account, own in zip(accounts, books, strict=True):
        record = summary(columns[at], status[at])
        record["account"] = name = ledger.accounts[account]
        record["balances"] = held[at]
        record["isolated"] = [
            {
                "bucket": terms.instruments[int(ledger.book_instrument[book])],
                "balances": held[also],
                **summary(columns[also], status[also]),
            }
            for also, book in enumerate(own[1:], at + 1)
        ]
        record["journal"] = journal
        record["time"] = time
        out.append(output("margin-accounts", name, record))
        at += len(own)
    return out


def balances_of(shard: Shard, books: I64) -> list[dict[str, str]]:
    """Balances of each book in units, by asset."""
    balances, terms = shard.ledger.balances, shard.terms
    rows = entries(balances, books)
    precision = [terms.records[asset]["precision"] for asset in terms.assets]
    keys, amounts = balances.key[rows].tolist(), balances.amount[rows].tolist()
    found = []
    last = 0
    for count in balances.size[books].tolist():
        first, last = last, last + count
        found.append(
            {terms.assets[keys[at]]: units_text(amounts[at], precision[keys[at]]) for at in range(first, last)}
        )
    return found


def sweep(shard: Shard) -> set[int]:
    """The accounts whose turn for a summary has come: all of them once per interval of shard time, evenly spread.

    An interval that shard time has left behind is finished first; where it has passed over a whole one, all are due.
    """
    interval = shard.terms.rules.summary_interval_ms
    total = len(shard.ledger.accounts)
    turn, done = shard.sweep
    now = shard.prices.time // interval
    due = total if now == turn else done if now == turn + 1 else 0
    accounts = list(range(due, total))
    done = done if now == turn else 0
    until = total * (shard.prices.time % interval) // interval
    accounts += list(range(done, max(done, until)))
    shard.sweep = (now, max(done, until))
    return set(accounts)
