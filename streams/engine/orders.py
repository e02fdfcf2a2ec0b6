"""Liquidation orders: sizes from the requirement function, limits from the book's exact equity."""

from decimal import Context, Decimal
from typing import Any

from streams.engine.book_view import BookView, Leg, exact
from streams.engine.portfolio_view import leg_losses, portfolio_sizes
from streams.engine.report import LONG, decimal_text
from streams.engine.restraint import closable, price_state
from streams.engine.trust import STALE
from streams.margin.liquidation import closing_sizes, limit_price
from streams.margin.rational import Rational, ceiling, floored, quotient, rational

#: A buy that no price would make too dear is limited at this many times its mark.
BUY_LIMIT_FACTOR = 10
#: Decimals of a limit price where the instrument states none, and of a conversion's.
FREE_PRECISION = 12
_DIGITS = Context(prec=28)


def spendable(view: BookView) -> Rational:
    """What the orders may lose: the book's exact equity.

    Nothing where there is none, in a bankrupt book that may not be taken over yet: limits are then the marks.
    """
    equity = view.equity()
    return equity if view.trust is None else max(equity, Rational(0))


def equity_shares(view: BookView) -> list[Rational]:
    """Each leg's share of what the book can lose, by maintenance margin (by notional where there is none); on portfolio
    margin by the leg's own worst loss."""
    weights = leg_losses(view) if view.margin_model == "portfolio" else view.details().maintenance.tolist()
    if sum(weights) == 0:
        weights = view.details().notional.tolist()
    parts = [exact(float(weight)) for weight in weights]
    whole = spendable(view) / sum(parts)
    return [whole * part for part in parts]


def limit_of(view: BookView, leg: Leg, share: Rational) -> Decimal:
    """The leg's limit price, rounded to the tick in favour of equity: up for a sell, down for a buy."""
    settlement = int(view.parameters.settlement[leg.index])
    mark = view.mark(leg)
    limit = limit_price(
        quantity=rational(leg.quantity),
        multiplier=leg.names.multiplier,
        mark=mark,
        share=share / view.price(settlement),
        fee=leg.names.liquidation_fee,
        inverse=bool(view.parameters.inverse[leg.index]),
    )
    precision = FREE_PRECISION if leg.names.price_precision is None else leg.names.price_precision
    scale = 10**precision
    if leg.quantity > 0:
        ticks = 1 if limit is None else max(1, ceiling(limit * scale))
    else:
        worst = mark * BUY_LIMIT_FACTOR
        ticks = max(1, floored((worst if limit is None else min(limit, worst)) * scale))
    return LONG.scaleb(Decimal(ticks), -precision)


def closing_orders(view: BookView, target: float, step_cap: Rational) -> list[dict[str, Any]]:
    """Orders that bring a priced book to `target`, in the book's order; none for halted legs.

    Parameters
    ----------
    step_cap : most of a leg that one step may close, as a fraction of it, rounded up to a lot; 1: no cap
    """
    lots = view.lots()
    if view.margin_model == "portfolio":
        sizes = portfolio_sizes(view, closable(view), target, step_cap)
    else:
        sizes = closing_sizes(view.parameters, view.book(), lots, closable(view), target)
    shares = equity_shares(view)
    orders = []
    for leg, held, wanted, share in zip(view.legs, lots.tolist(), sizes.tolist(), shares, strict=True):
        size = min(wanted, ceiling(abs(held) * step_cap))
        if size == 0:
            continue
        # a position may have more digits than its lots, where the quantity has no precision
        whole = size == abs(held)
        quantity = -leg.quantity if whole else Decimal(-size if held > 0 else size).scaleb(-view.decimals(leg))
        limit = limit_of(view, leg, share)
        price, multiplied = rational(limit), abs(rational(quantity)) * leg.names.multiplier
        value = multiplied / price if view.parameters.inverse[leg.index] else multiplied * price
        orders.append(
            {
                "instrument": leg.names.id,
                "quantity": decimal_text(quantity),
                "limit_price": decimal_text(limit),
                "expected_fee": decimal_text(float(value * leg.names.liquidation_fee)),
            }
        )
    return orders


def conversion_orders(view: BookView) -> list[dict[str, Any]]:
    """Sales of collateral that repay the debts of a book without positions, largest haircut sold first.

    Each order sells what repays a debt at the prices now, or all there is; its limit spends its share of the
    equity by value sold. Assets whose price is stale or halted are left as they are.
    """
    p = view.parameters
    net = {asset: amount for asset, amount in view.net_assets().items() if price_state(view, asset) < STALE}
    debts = {a: -amount for a, amount in net.items() if amount < 0}
    held = {a: amount for a, amount in net.items() if amount > 0}
    haircut = {a: float(p.haircut[p.haircut_start[a]]) for a in held}
    sales: list[tuple[int, int, Rational]] = []
    for buy in sorted(debts, key=lambda a: -debts[a] * view.price(a)):
        owed = debts[buy] * view.price(buy)
        for sell in sorted(held, key=lambda a: (-haircut[a], view.asset_names[a])):
            amount = min(held[sell], owed / view.price(sell))
            scale = int(p.asset_scale[sell])
            amount = min(Rational(ceiling(amount * scale), scale), held[sell])
            if amount > 0 and owed > 0:
                sales.append((sell, buy, amount))
                held[sell] -= amount
                owed -= amount * view.price(sell)
    total = sum(amount * view.price(sell) for sell, _, amount in sales)
    equity = spendable(view)
    orders = []
    for sell, buy, amount in sales:
        value = amount * view.price(sell)
        worst = (value - equity * value / total) / (amount * view.price(buy))
        limit = Rational(max(1, ceiling(worst * 10**FREE_PRECISION)), 10**FREE_PRECISION)
        orders.append(
            {
                "sell_asset": view.asset_names[sell],
                "amount": decimal_text(quotient(amount, _DIGITS)),
                "buy_asset": view.asset_names[buy],
                "limit_price": decimal_text(quotient(limit, _DIGITS)),
            }
        )
    return orders
