"""Judging books after a block: new status of each, and the events and summaries that follow.

The parent decides, in one screen per status; sizes, limits and texts come from leaves.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from streams.engine.book_view import BookView, Leg
from streams.engine.cautious import both_sides, cautious_books
from streams.engine.columns import distinct
from streams.engine.decisions import (
    Cause,
    Output,
    event,
    liquidation_step,
    output,
    shortfall,
    told_prices,
)
from streams.engine.frame import judge_framed, value_framed
from streams.engine.judged_books import Judged, judged_room
from streams.engine.ledger import CROSS
from streams.engine.report import decimal_text
from streams.engine.restraint import HELD, can_order, restrained
from streams.engine.standing import margin_ratio, step_due
from streams.engine.trust import HALTED, I8, STALE, Trust, worst_states
from streams.engine.valuation import (
    BANKRUPT,
    LIQUIDATION,
    MARGIN_CALL,
    OK,
    UNPRICED,
    Numbers,
)
from streams.margin.parameters import F64, I64
from streams.margin.rational import Rational

if TYPE_CHECKING:
    from streams.engine.shard import Shard


def numbers_of(shard: Shard, books: I64) -> Numbers:
    """What the books are worth and require, at the shard's marks; the initial ones are cautious of suspect prices."""
    ledger, prices, trust = shard.ledger, shard.prices, shard.prices.trust
    numbers: Numbers = value_framed(shard.frames.of(shard), prices.marks, prices.prices, books)
    if trust is None or not trust.suspects:
        return shard.portfolio.number(shard, books, numbers)
    sides = both_sides(trust, prices.marks, prices.prices)
    entries = ledger.positions, ledger.balances, shard.posting
    initial_equity, initial = cautious_books(shard.parameters, *entries, sides, books)
    numbers = shard.portfolio.number(shard, books, numbers._replace(initial_equity=initial_equity, initial=initial))
    return shard.portfolio.cautious(shard, books, numbers, sides)


def judged_now(shard: Shard, books: I64, room: Judged | None = None, *, at_check: bool = False) -> Judged:
    """What judging the books finds at the shard's marks, before anything is done about it.

    Parameters
    ----------
    room : to write to, as long as `books`; else new
    at_check : at check prices, where some price is not trusted
    """
    prices = shard.prices
    marks, asset_prices = prices.marks, prices.prices
    if at_check and prices.trust is not None:
        marks, asset_prices = prices.trust.check_marks, prices.trust.check_prices
    judged = room or judged_room(len(books))
    standard, portfolio = shard.portfolio.apart(books)
    if not portfolio.size:
        judge_framed(shard.frames.of(shard), marks, asset_prices, books, judged)
        return judged
    if standard.size:
        own = judged_room(len(standard))
        judge_framed(shard.frames.of(shard), marks, asset_prices, books[standard], own)
        judged.equity[standard], judged.adjusted[standard] = own.equity, own.adjusted
        judged.maintenance[standard], judged.status[standard] = own.maintenance, own.status
    shard.portfolio.judge(shard, marks, asset_prices, books, portfolio, judged)
    return judged


def judge(shard: Shard, offset: int, books: I64, touched: I64) -> tuple[list[Output], I64]:
    """Judge `books` and return the events, and the accounts whose ledger or status changed, ascending.

    Parameters
    ----------
    offset : of the block that caused this
    touched : books that the block's rows changed

    Notes
    -----
    What posting touched is among the books. Order of events: by account, then bucket, so it does not depend on how
    the books lie in memory.
    """
    ledger, standing = shard.ledger, shard.standing
    if not books.size:
        return [], np.zeros(0, dtype=np.int64)
    judged = judged_now(shard, books)
    status = judged.status if shard.prices.trust is None else _restrained(shard, books, judged.status)
    numbers = judged.adjusted, judged.maintenance
    timeout_ms = shard.terms.rules.liquidation_timeout_ms
    acting = standing.to_act(books, status, *numbers, time=shard.prices.time, timeout_ms=timeout_ms)
    out: list[Output] = []
    changed: list[int] = []
    if acting.size:
        out, changed = _act_all(shard, offset, books[acting], status[acting], *(column[acting] for column in numbers))
    shard.slack.anchor(shard, books, judged)
    if changed:
        shard.touched.update(ledger.book_account[changed])
        touched = np.append(touched, np.array(changed, dtype=np.int64))
    return out, distinct(ledger.book_account[touched]) if touched.size else touched


def _act_all(
    shard: Shard, offset: int, books: I64, status: I8, adjusted: F64, maintenance: F64
) -> tuple[list[Output], list[int]]:
    """Move books to their new status, by account and then by bucket; what to send, and which of them changed."""
    out: list[Output] = []
    changed: list[int] = []
    order = np.lexsort((books, shard.ledger.book_account[books])) if len(books) > 1 else np.arange(len(books))
    columns = (column[order].tolist() for column in (books, status, adjusted, maintenance))
    for book, its_status, its_adjusted, its_maintenance in zip(*columns, strict=True):
        before = shard.standing.status[book]
        events = _act(shard, offset, book, its_status, margin_ratio(its_adjusted, its_maintenance))
        if events or shard.standing.status[book] != before:
            changed.append(book)
        out += events
    return out, changed


def _restrained(shard: Shard, books: I64, status: I8) -> I8:
    """The status of each book, or HELD, after all that is left undone while prices are not to be trusted."""
    ledger, trust = shard.ledger, shard.prices.trust
    closing = np.nonzero((status == LIQUIDATION) | (status == BANKRUPT))[0]
    if trust is None or not closing.size:
        return status
    found = status.copy()
    own = books[closing]
    at_check = judged_now(shard, own, at_check=True).status if trust.suspects else status[closing]
    worst = worst_states(trust, shard.parameters.settlement, ledger.positions, ledger.balances, own)
    for at, book, checked, state in zip(closing.tolist(), own.tolist(), at_check.tolist(), worst.tolist(), strict=True):
        orderable = state < STALE or _orderable(shard, trust, book)
        found[at] = restrained(int(status[at]), at_check=checked, halted=state == HALTED, orderable=orderable)
    return found


def _orderable(shard: Shard, trust: Trust, book: int) -> bool:
    """Whether anything of the book can be ordered; a book without positions is its balances."""
    positions, balances = shard.ledger.positions, shard.ledger.balances
    first, base = int(positions.start[book]), int(balances.start[book])
    keys = balances.key[base : base + int(balances.size[book])]
    amounts = balances.amount[base : base + int(balances.size[book])]
    legs = trust.mark_state[positions.key[first : first + int(positions.size[book])]]
    return can_order(legs.tolist(), zip(amounts.tolist(), trust.price_state[keys].tolist(), strict=True))


def _act(shard: Shard, offset: int, book: int, status: int, ratio: float) -> list[Output]:
    """Move a book to its new status; what to send."""
    standing, time = shard.standing, shard.prices.time
    if status == HELD or (status in (LIQUIDATION, BANKRUPT) and _held_back(shard, book)):
        status = LIQUIDATION if standing.step[book] > 0 else MARGIN_CALL
        waits = status == LIQUIDATION
    else:
        step = standing.step[book], standing.step_time[book], standing.step_ratio[book]
        due = step_due(*step, time, ratio, shard.terms.rules.liquidation_timeout_ms)
        waits = status == UNPRICED or (status == LIQUIDATION and not due)
    called = bool(standing.called[book])
    quiet = status in (OK, MARGIN_CALL) and standing.step[book] == 0 and called == (status == MARGIN_CALL)
    if waits or quiet:
        standing.status[book] = status
        return []
    cause, view = cause_of(shard, offset, book), view_of(shard, book)
    if status in (LIQUIDATION, BANKRUPT):
        return [_close(shard, cause, book, view, status, ratio)]
    out = []
    account = cause.account
    if standing.step[book] > 0:
        record = _event(shard, cause, "liquidation_cleared", view, status)
        out.append(output("liquidations", account, {**record, "replaces": _last_step(shard, cause, book)}))
        standing.step[book] = 0
    if called != (status == MARGIN_CALL):
        levels = standing.sets[standing.level_set[book]]
        level = levels.margin_call_exit if called else levels.margin_call
        record = _event(shard, cause, "cleared" if called else "called", view, status)
        out.append(output("margin-calls", account, {**record, "level": decimal_text(level)}))
        standing.called[book] = not called
    standing.status[book] = status
    return out


def _close(shard: Shard, cause: Cause, book: int, view: BookView, status: int, ratio: float) -> Output:
    """The next liquidation step, or the take-over of a bankrupt book."""
    standing = shard.standing
    replaces = _last_step(shard, cause, book)
    if status == BANKRUPT:
        record = _event(shard, cause, "bankrupt", view, status)
        shard.ledger.take_over(book, cause.offset, shard.posting)
        standing.reset(book, BANKRUPT)
        return output("liquidations", cause.account, {**record, "replaces": replaces, "shortfall": shortfall(view)})
    standing.open_step(book, offset=cause.offset, time=cause.time, ratio=ratio)
    standing.status[book] = LIQUIDATION
    record = liquidation_step(
        _event(shard, cause, "liquidation", view, status),
        view,
        step=int(standing.step[book]),
        replaces=replaces,
        target=standing.sets[standing.level_set[book]].liquidation_target,
        step_cap=shard.terms.rules.liquidation_step_cap,
    )
    return output("liquidations", cause.account, record)


def _held_back(shard: Shard, book: int) -> bool:
    """Whether liquidations are paused for this book: all are, or by rules 1 a symbol it has a position on is halted."""
    terms, positions = shard.terms, shard.ledger.positions
    if terms.paused or not terms.halted or shard.prices.rules_version > 1:
        return terms.paused
    first, count = int(positions.start[book]), int(positions.size[book])
    return any(terms.underlying(int(i)) in terms.halted for i in positions.key[first : first + count])


def _last_step(shard: Shard, cause: Cause, book: int) -> str | None:
    if shard.standing.step[book] == 0:
        return None
    return cause.id("liquidation", int(shard.standing.step_offset[book]))


def _event(shard: Shard, cause: Cause, kind: str, view: BookView, status: int) -> dict[str, Any]:
    return event(cause, kind, view, status, told_prices(view, shard.prices, shard.terms))


def cause_of(shard: Shard, offset: int, book: int) -> Cause:
    """Who and what a decision on this book is about."""
    instrument = int(shard.ledger.book_instrument[book])
    return Cause(
        partition=shard.partition,
        offset=offset,
        time=shard.prices.time,
        account=shard.ledger.accounts[int(shard.ledger.book_account[book])],
        bucket="cross" if instrument == CROSS else shard.terms.instruments[instrument],
    )


def reopen(shard: Shard, books: I64) -> None:
    """Rows have posted to the books: one that was taken over begins anew."""
    for book in books[shard.standing.status[books] == BANKRUPT].tolist():
        shard.standing.reset(book)


def view_of(shard: Shard, book: int) -> BookView:
    """One book, exact and by name."""
    ledger, terms = shard.ledger, shard.terms
    positions, balances, posting = ledger.positions, ledger.balances, shard.posting
    scale = [10 ** terms.records[a]["precision"] for a in terms.assets]
    legs = []
    first = int(positions.start[book])
    for entry in range(first, first + int(positions.size[book])):
        i = int(positions.key[entry])
        unit = scale[int(posting.settlement[i])]
        lots = int(positions.lots[entry])
        moved = int(posting.funding_index[i]) - int(positions.funding[entry])
        legs.append(
            Leg(
                index=i,
                names=terms.names[i],
                quantity=Decimal(lots).scaleb(-(terms.names[i].quantity_precision or 0)),
                cost=Rational(int(positions.cost[entry]), unit),
                accrued=Rational(-lots * moved, int(posting.funding_scale[i]) * unit),
            )
        )
    first = int(balances.start[book])
    held = range(first, first + int(balances.size[book]))
    return BookView(
        parameters=shard.parameters,
        legs=legs,
        balances={
            int(balances.key[at]): Rational(int(balances.amount[at]), scale[int(balances.key[at])]) for at in held
        },
        asset_names=terms.assets,
        marks=shard.prices.marks.tolist(),
        prices=shard.prices.prices.tolist(),
        trust=shard.prices.trust,
        margin_model="portfolio" if shard.portfolio.holds(book) else "standard",
        risk=shard.portfolio.view(shard) if shard.portfolio.holds(book) else None,
    )
