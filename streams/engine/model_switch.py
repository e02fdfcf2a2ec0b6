"""From one margin model to another: only where the account meets initial margin by the model it goes to.

A switch that the account could not bear is refused with both numbers, and the model in force stays; the rest of the
message holds. While a shard is catching up it cannot tell, so a switch waits until the shard is live. Who holds
nothing switches at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streams.engine.decisions import Output, refusal
from streams.engine.judge import view_of
from streams.engine.ledger import CROSS
from streams.engine.report import decimal_text, exact_numbers
from streams.margin.equity import TIE

if TYPE_CHECKING:
    from streams.engine.shard import Shard

STANDARD, PORTFOLIO = "standard", "portfolio"


def asked(before: dict[str, Any] | None, setting: dict[str, Any], source: Mapping[str, Any] | None) -> dict[str, Any]:
    """The setting under the model in force, with the one that it asks for as `wanted` where that is another."""
    force, wanted = (before or {}).get("margin_model", STANDARD), setting.get("margin_model", STANDARD)
    if wanted == force:
        return setting
    place = {"topic": (source or {}).get("topic"), "partition": (source or {}).get("partition")}
    return {**setting, "margin_model": force, "wanted": {"margin_model": wanted, **place}}


def waiting(shard: Shard) -> list[int]:
    """Accounts whose switch is not decided, ascending."""
    return sorted(account for account, setting in shard.settings.items() if "wanted" in setting)


def decide(shard: Shard, offset: int, accounts: list[int]) -> list[Output]:
    """Switch the accounts that can bear it; dead letters of those that cannot. Some may wait."""
    letters = []
    for account in accounts:
        setting = shard.settings[account]
        if "wanted" not in setting:
            continue
        books = [int(book) for book in shard.ledger.books_of(account)]
        cross = [book for book in books if shard.ledger.book_instrument[book] == CROSS]
        held = bool(cross) and _holds(shard, cross[0])
        if held and not shard.prices.live:
            continue
        wanted = setting["wanted"]
        shard.settings[account] = own = {name: value for name, value in setting.items() if name != "wanted"}
        shard.touched.add(account)
        reason = _reason(shard, wanted["margin_model"], cross[0] if held else None)
        if reason is None:
            own["margin_model"] = wanted["margin_model"]
            for book in cross:
                shard.portfolio.set(book, own["margin_model"] == PORTFOLIO)
        else:
            letters.append(_letter(shard, offset, own, wanted, reason))
    return letters


def _holds(shard: Shard, book: int) -> bool:
    first = int(shard.ledger.balances.start[book])
    amounts = shard.ledger.balances.amount[first : first + int(shard.ledger.balances.size[book])]
    return bool(shard.ledger.positions.size[book]) or bool(amounts.any())


def _reason(shard: Shard, wanted: str, book: int | None) -> str | None:
    """Why the switch may not be; None: it may. `book` is the account's cross book, None where it holds nothing.

    Initial equity and margin are cautious of suspect prices, as wherever they are told.
    """
    if wanted == PORTFOLIO and shard.portfolio.model is None:
        return "margin_model must be standard where no risk unit is published, found 'portfolio'"
    if book is None:
        return None
    view = replace(view_of(shard, book), risk=shard.portfolio.view(shard))
    by_wanted = exact_numbers(replace(view, margin_model="portfolio" if wanted == PORTFOLIO else "standard"))
    equity, _, initial_equity, initial, _ = by_wanted
    least = shard.terms.rules.portfolio_equity_min
    if wanted == PORTFOLIO and equity < least:
        return f"equity must be at least {decimal_text(least)} for margin_model portfolio, found {decimal_text(equity)}"
    if initial_equity + TIE * (abs(initial_equity) + initial) >= initial:
        return None
    if initial_equity != initial_equity:
        return f"margin_model must stay while something held has no price, found {wanted!r}"
    now = exact_numbers(view)
    return (
        f"initial equity must be at least initial margin {decimal_text(initial)} by margin_model {wanted}, found "
        f"{decimal_text(initial_equity)}; by {view.margin_model} initial margin is {decimal_text(now[3])}"
    )


def _letter(shard: Shard, offset: int, setting: dict[str, Any], wanted: dict[str, Any], reason: str) -> Output:
    """The refusal as a dead letter: with where the message came from, to be sent again when it can be."""
    record = {
        "reason_code": "model_refused",
        "reason": f"{reason} ({setting['account']})",
        "source_topic": wanted["topic"],
        "source_partition": wanted["partition"],
        "source_offset": setting.get("source_offset"),
        "journal": {"partition": shard.partition, "offset": offset},
    }
    return refusal(setting["account"], record)
