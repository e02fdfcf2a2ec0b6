"""What is left undone for a book whose prices are not to be trusted; alike for a shard and for `evaluate`.

A *suspect* price closes nobody out on its own: the book must be under water at check prices too. With a *stale* one
liquidations go on, but nothing is converted from or to the asset. What is *halted* gets no order, and who holds it is
not taken over; the rest of the book is liquidated.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.journal import PRICE_STATES
from streams.engine.book_view import BookView
from streams.engine.trust import HALTED, RESTRICTED, RESTRICTIONS, STALE
from streams.engine.valuation import BANKRUPT, LIQUIDATION

#: In the place of a status: a book that would be closed out and may not be. It stays where it is, at least called.
HELD = -1


def restrained(status: int, *, at_check: int, halted: bool, orderable: bool) -> int:
    """What is done about a book that is in liquidation or bankrupt at its prices: that, less, or HELD.

    Parameters
    ----------
    at_check : its status at check prices; the milder of the two counts
    halted : it holds something halted
    orderable : an order could be sent for it
    """
    milder = min(status, at_check)
    if at_check not in (LIQUIDATION, BANKRUPT):
        return HELD
    if milder == BANKRUPT and halted:
        milder = LIQUIDATION
    return HELD if milder == LIQUIDATION and not orderable else milder


def can_order(leg_states: Iterable[int], held: Iterable[tuple[Any, int]]) -> bool:
    """Whether anything of a book can be ordered: a leg that is not halted; without legs, a conversion of assets none of
    which is stale or halted.

    Parameters
    ----------
    leg_states : of each position
    held : net amount and state of each asset
    """
    legs = list(leg_states)
    if legs:
        return min(legs) < HALTED
    fresh = [amount for amount, state in held if state < STALE]
    return any(amount > 0 for amount in fresh) and any(amount < 0 for amount in fresh)


def leg_states(view: BookView) -> list[int]:
    """State of each leg's mark, in the order of the legs."""
    return [0 if view.trust is None else int(view.trust.mark_state[leg.index]) for leg in view.legs]


def orderable(view: BookView) -> bool:
    """Whether anything of a priced book can be ordered."""
    open_legs = [state for leg, state in zip(view.legs, leg_states(view), strict=True) if leg.quantity]
    return can_order(open_legs, [(net, price_state(view, asset)) for asset, net in view.net_assets().items()])


def price_state(view: BookView, asset: int) -> int:
    """State of an asset's price."""
    return 0 if view.trust is None else int(view.trust.price_state[asset])


def worst_state(view: BookView) -> int:
    """As `streams.engine.trust.worst_states` has it of one book."""
    if view.trust is None:
        return 0
    settles = [price_state(view, int(view.parameters.settlement[leg.index])) for leg in view.legs]
    owned = [price_state(view, asset) for asset, amount in view.balances.items() if amount]
    return max([0, *leg_states(view), *settles, *owned])


def restrictions(view: BookView) -> list[str]:
    """What the account should not be let do."""
    return list(RESTRICTIONS[: RESTRICTED[worst_state(view)]])


def at_check(view: BookView) -> BookView:
    """The book at check prices."""
    if view.trust is None:
        return view
    return replace(view, marks=view.trust.check_marks.tolist(), prices=view.trust.check_prices.tolist())


def cautious(view: BookView) -> BookView:
    """The priced book with each suspect price on the side that is worse for it: the lower of price and check price of
    what is long or owned, the higher of what is short or owed. The view itself where nothing of it is suspect."""
    trust = view.trust
    if trust is None or not trust.suspects:
        return view
    marks, prices = list(view.marks), list(view.prices)
    for leg in view.legs:
        marks[leg.index] = _worse(marks[leg.index], trust.check_marks[leg.index], leg.quantity > 0)
    marked = replace(view, marks=marks)
    for asset, net in marked.net_assets().items():
        prices[asset] = _worse(prices[asset], trust.check_prices[asset], net >= 0)
    return replace(marked, prices=prices)


def _worse(price: float, check: float, owned: bool) -> float:
    """nan, no check price, changes nothing."""
    return float(np.fmin(price, check) if owned else np.fmax(price, check))


def closable(view: BookView) -> npt.NDArray[np.bool_]:
    """By leg, whether an order may be sent for it."""
    return np.array([state < HALTED for state in leg_states(view)], dtype=np.bool_)


def withheld(view: BookView) -> list[dict[str, str]]:
    """What orders leave out for the state of its price: halted legs; where there are no legs, assets not converted."""
    if any(leg.quantity for leg in view.legs):
        states = zip(view.legs, leg_states(view), strict=True)
        return [{"instrument": leg.names.id, "state": PRICE_STATES[state]} for leg, state in states if state >= HALTED]
    found = []
    for asset, net in view.net_assets().items():
        state = price_state(view, asset)
        if net and state >= STALE:
            found.append({"asset": view.asset_names[asset], "state": PRICE_STATES[state]})
    return found
