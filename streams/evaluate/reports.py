"""The margin report of each account of a portfolio."""

from typing import Any

from streams.engine.book_view import BookView
from streams.engine.decisions import liquidation_plan, shortfall
from streams.engine.report import exact_numbers, margin_report
from streams.engine.restraint import HELD, at_check, orderable, restrained, worst_state
from streams.engine.standing import LevelSet
from streams.engine.trust import HALTED
from streams.engine.valuation import BANKRUPT, LIQUIDATION, MARGIN_CALL, status_of
from streams.evaluate.portfolio import Account, HeldBook, Portfolio
from streams.margin.rational import Rational

#: One step may close all of a leg.
_NO_CAP = Rational(1)


def reports(portfolio: Portfolio) -> dict[str, Any]:
    """What `crossmargin evaluate` prints; accounts in the document's order."""
    return {"accounts": [account_report(account) for account in portfolio.accounts]}


def account_report(account: Account) -> dict[str, Any]:
    """The report of the cross book; isolated positions stand among the positions, each with its own report.

    Positions are in order of instrument, cross before isolated.
    """
    report = {"account": account.name, **book_report(account.cross, account.levels)}
    plan = report.pop("liquidation")
    isolated = [_isolated_position(book, account.levels) for book in account.isolated]
    report["positions"] = sorted([*report["positions"], *isolated], key=lambda position: position["instrument"])
    return {**report, "liquidation": plan}


def _isolated_position(book: HeldBook, levels: LevelSet) -> dict[str, Any]:
    report = book_report(book, levels)
    (position,) = report.pop("positions")
    return {**position, "margin_mode": "isolated", **report}


def book_report(book: HeldBook, levels: LevelSet) -> dict[str, Any]:
    """The report of one book, with what would be ordered now."""
    view = book.view
    status, held = _status(book, levels, view), False
    if status in (LIQUIDATION, BANKRUPT) and view.trust is not None:
        allowed = restrained(
            status,
            at_check=_status(book, levels, at_check(view)),
            halted=worst_state(view) == HALTED,
            orderable=orderable(view),
        )
        held = allowed == HELD
        status = (LIQUIDATION if book.previous_status == "liquidation" else MARGIN_CALL) if held else allowed
    report = {**margin_report(view, status), "liquidation": None}
    if status == LIQUIDATION and not held:
        report["liquidation"] = liquidation_plan(view, levels.liquidation_target, _NO_CAP)
    if status == BANKRUPT:
        report["shortfall"] = shortfall(view)
    return report


def _status(book: HeldBook, levels: LevelSet, view: BookView) -> int:
    """The status by the numbers of the view alone."""
    equity, adjusted, _, _, maintenance = exact_numbers(view)
    return int(
        status_of(
            equity,
            adjusted,
            maintenance,
            levels.margin_call,
            levels.margin_call_exit,
            levels.liquidation_exit,
            book.previous_status == "margin_call",
            book.previous_status == "liquidation",
        )
    )
