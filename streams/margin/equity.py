"""What an account is worth: its positions at their marks and its assets after haircuts, in the reporting currency.

A *book* is what is margined together: all cross positions and balances of an account, or one isolated position
with its margin. Here it is a handful of parallel arrays: positions (instrument, quantity, cost, accrued, mark,
slot of the settlement asset) and slots (asset, balance, price), both in order of their ids. Costs, accrued
funding and balances are in units of the settlement asset.
"""

from typing import NamedTuple

from streams.compiled import inner, kernel
from streams.margin.parameters import F64, I32, Parameters
from streams.margin.requirements import position_requirement

#: Amounts closer than this, relative to the amounts compared, are equal: float64 cannot tell them apart after a few
#: sums, and exactly at a line is the safe side of it.
TIE = 1e-12


class Book(NamedTuple):
    """One margined book as arrays; positions have length n, slots length m.

    `quantity` is positive long; `cost` is what opening the position paid (positive for a linear long, negative for
    an inverse long: -quantity x multiplier / entry); `accrued` is unsettled funding, positive received; `slot` is
    the slot of the settlement asset. Marks and prices are > 0, nan where never seen.
    """

    instrument: I32
    quantity: F64
    cost: F64
    accrued: F64
    mark: F64
    slot: I32
    asset: I32
    balance: F64
    price: F64


@inner(_nrt=False)
def position_value(p: Parameters, instrument: int, quantity: float, mark: float) -> float:
    """Settlement-asset value of a position at `mark`: what closing it would receive, before fees."""
    if p.inverse[instrument]:
        return -quantity * p.multiplier[instrument] / mark
    return quantity * p.multiplier[instrument] * mark


@kernel(_nrt=False)
def haircut_value(p: Parameters, asset: int, net: float, price: float) -> tuple[float, float]:
    """Value of `net` units after haircuts: for maintenance and for initial purposes.

    A positive amount is cut slice by slice, (1 - haircut) of each; a debt grows by its borrow haircut. The net is
    cut, not its parts.
    """
    if net < 0.0:
        debt = net * price
        kept = debt * (1.0 + p.borrow_haircut[asset])
        kept_initial = debt * (1.0 + p.initial_borrow_haircut[asset])
    else:
        kept = 0.0
        kept_initial = 0.0
        last = p.haircut_start[asset + 1] - 1
        for tier in range(p.haircut_start[asset], last + 1):
            stop = net if tier == last else min(net, p.haircut_from[tier + 1])
            width = max(stop - p.haircut_from[tier], 0.0)
            kept += width * (1.0 - p.haircut[tier])
            kept_initial += width * (1.0 - p.initial_haircut[tier])
        kept *= price
        kept_initial *= price
    return kept, kept_initial


@kernel(_nrt=False)
def net_assets(p: Parameters, book: Book, net: F64) -> bool:
    """Write each slot's balance plus unrealised P&L and funding settling in it to `net`; False where unpriced.

    A book is unpriced where a position's mark, the price of the underlying of an option sold, or the price of a slot
    that counts, was never seen.
    """
    priced = True
    for k in range(book.asset.shape[0]):
        net[k] = book.balance[k]
    for j in range(book.instrument.shape[0]):
        mark = book.mark[j]
        if mark != mark:
            priced = False
            continue
        value = position_value(p, book.instrument[j], book.quantity[j], mark)
        if book.quantity[j] < 0.0 and p.right[book.instrument[j]] != 0.0:
            priced = priced and p.index_price[book.instrument[j]] == p.index_price[book.instrument[j]]
        net[book.slot[j]] += value - (book.cost[j] - book.accrued[j])
        if book.price[book.slot[j]] != book.price[book.slot[j]]:
            priced = False
    for k in range(book.asset.shape[0]):
        if net[k] != 0.0 and book.price[k] != book.price[k]:
            priced = False
    return priced


@kernel(_nrt=False)
def equity_of(p: Parameters, book: Book, net: F64) -> tuple[float, float, float]:
    """Equity, adjusted equity and initial equity of a priced book whose net assets are `net`, all of which counts."""
    equity = 0.0
    adjusted = 0.0
    initial = 0.0
    for k in range(book.asset.shape[0]):
        if net[k] != 0.0:
            equity += net[k] * book.price[k]
            kept, kept_initial = haircut_value(p, book.asset[k], net[k], book.price[k])
            adjusted += kept
            initial += kept_initial
    return equity, adjusted, initial


@kernel(_nrt=False)
def bought(p: Parameters, book: Book, j: int) -> float:
    """What position j is worth if it is an option bought, which the standard model lends nothing on; else 0."""
    i, value = book.instrument[j], 0.0
    if p.right[i] != 0.0 and book.quantity[j] > 0.0:
        value = position_value(p, i, book.quantity[j], book.mark[j])
    return value


@kernel(_nrt=False)
def standard_equity(p: Parameters, book: Book, net: F64) -> tuple[float, float, float]:
    """As `equity_of`, but options bought count in equity alone."""
    options = False
    for j in range(book.instrument.shape[0]):
        options = options or p.right[book.instrument[j]] != 0.0
    equity = 0.0
    adjusted = 0.0
    initial = 0.0
    for k in range(book.asset.shape[0]):
        held = 0.0
        if options:
            for j in range(book.instrument.shape[0]):
                if book.slot[j] == k:
                    held += bought(p, book, j)
        if net[k] != 0.0:
            equity += net[k] * book.price[k]
        if net[k] - held != 0.0:
            kept, kept_initial = haircut_value(p, book.asset[k], net[k] - held, book.price[k])
            adjusted += kept
            initial += kept_initial
    return equity, adjusted, initial


@kernel(_nrt=False)
def book_requirement(p: Parameters, book: Book) -> tuple[float, float]:
    """Initial and maintenance margin of a priced book: the sum over its positions, in their order."""
    initial = 0.0
    maintenance = 0.0
    for j in range(book.instrument.shape[0]):
        position_initial, position_maintenance = position_requirement(
            p, book.instrument[j], book.quantity[j], book.mark[j], book.price[book.slot[j]]
        )
        initial += position_initial
        maintenance += position_maintenance
    return initial, maintenance
