"""The margin report of a book, as `evaluate` prints it and every decision carries it."""

from decimal import Context, Decimal
from typing import Any, NamedTuple

import numpy as np

from streams.compiled import kernel
from streams.engine.book_view import BookView, MarginModel
from streams.engine.portfolio_view import portfolio_numbers, portfolio_section
from streams.engine.restraint import cautious, restrictions
from streams.engine.valuation import STATUSES
from streams.margin.equity import TIE, Book, book_requirement, net_assets, standard_equity
from streams.margin.liquidation_price import liquidation_factor
from streams.margin.parameters import F64, Parameters
from streams.margin.requirements import notional, position_requirement

#: Digits enough for any price to any precision.
LONG = Context(prec=120)


def decimal_text(value: float | Decimal) -> str:
    """A plain decimal of at most 15 significant digits; equal numbers give equal text.

    Examples
    --------
    >>> decimal_text(12000.0), decimal_text(1e-9), decimal_text(0.1 + 0.2), decimal_text(-0.0)
    ('12000', '0.000000001', '0.3', '0')
    """
    if isinstance(value, float):
        text = f"{value:.15g}"  # which has no zeros at its end
        if "e" in text:
            text = format(Decimal(text), "f")
    else:
        text = format(value, "f")
        if "." in text:
            text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def units_text(amount: int, precision: int) -> str:
    """Minor units as a plain decimal of units.

    Examples
    --------
    >>> units_text(-1_500_000, 6), units_text(10**9, 6), units_text(7, 0), units_text(-1, 8)
    ('-1.5', '1000', '7', '-0.00000001')
    """
    if precision == 0:
        return str(amount)
    whole, part = divmod(abs(amount), 10**precision)
    text = f"{whole}.{part:0{precision}}".rstrip("0").rstrip(".") if part else str(whole)
    return f"-{text}" if amount < 0 else text


def number_text(value: float) -> str | None:
    """`decimal_text`, or None for nan (not known)."""
    return None if value != value else decimal_text(float(value))


class Details(NamedTuple):
    """Per position of one book: notional and margins in the reporting currency, liquidation price."""

    notional: F64
    initial: F64
    maintenance: F64
    liquidation_price: F64


@kernel
def book_numbers(p: Parameters, book: Book) -> tuple[float, float, float, float, float]:
    """Equity, adjusted equity, initial equity, initial and maintenance margin; nan where unpriced."""
    net = np.empty(book.asset.shape[0])
    if not net_assets(p, book, net):
        return np.nan, np.nan, np.nan, np.nan, np.nan
    equity, adjusted, initial_equity = standard_equity(p, book, net)
    initial, maintenance = book_requirement(p, book)
    return equity, adjusted, initial_equity, initial, maintenance


def exact_numbers(view: BookView) -> tuple[float, float, float, float, float]:
    """The five numbers by the book's own model, from exact net assets, so that small differences of large amounts keep
    their digits.

    Initial equity and margin are those of the `cautious` view.
    """
    numbers = numbers_by(view, view.margin_model)
    if np.isnan(numbers[0]):
        return numbers
    strict = cautious(view)
    if strict is view:
        return numbers
    worse = numbers_by(strict, view.margin_model)
    return numbers[0], numbers[1], worse[2], worse[3], numbers[4]


def numbers_by(view: BookView, model: MarginModel) -> tuple[float, float, float, float, float]:
    """`book_numbers` by one of the models, from exact net assets."""
    if model == "portfolio":
        return portfolio_numbers(view)
    numbers: tuple[float, float, float, float, float] = book_numbers(view.parameters, view.book())
    return numbers if np.isnan(numbers[0]) else (*_equity(view), *numbers[3:])


def _equity(view: BookView) -> tuple[float, float, float]:
    net = np.array([float(amount) for amount in view.net_assets().values()], dtype=np.float64)
    found: tuple[float, float, float] = standard_equity(view.parameters, view.book(), net)
    return found


@kernel
def book_details(p: Parameters, book: Book) -> Details:
    """Details of a book's positions; liquidation prices only where the whole book is priced."""
    n = book.instrument.shape[0]
    out = Details(np.empty(n), np.empty(n), np.empty(n), np.full(n, np.nan))
    factor = np.empty(n)
    priced = book_numbers(p, book)[0]
    for j in range(n):
        i = book.instrument[j]
        price = book.price[book.slot[j]]
        out.notional[j] = notional(p, i, book.quantity[j], book.mark[j], price)
        if out.notional[j] != out.notional[j]:
            out.initial[j] = out.maintenance[j] = np.nan
        else:
            held = position_requirement(p, i, book.quantity[j], book.mark[j], price)
            out.initial[j], out.maintenance[j] = held
        if priced == priced:
            same = -1
            for other in range(j):
                if p.underlying[book.instrument[other]] == p.underlying[i]:
                    same = other
            factor[j] = factor[same] if same >= 0 else liquidation_factor(p, book, p.underlying[i])
            out.liquidation_price[j] = factor[j] * book.mark[j]
    return out


def toward_mark(price: float, mark: float, precision: int | None) -> str | None:
    """A liquidation price rounded to `precision` decimals toward the mark; None where there is none."""
    if price != price:
        return None
    if precision is None:
        return decimal_text(price)
    exact = Decimal(decimal_text(price))
    rounding = "ROUND_CEILING" if price < mark else "ROUND_FLOOR"
    return decimal_text(exact.quantize(Decimal(1).scaleb(-precision), rounding=rounding, context=LONG))


@kernel
def settled(value: float, scale: float) -> float:
    """A difference between amounts of size `scale`; 0 where nothing but their rounding is left of it."""
    return 0.0 if abs(value) <= TIE * scale else value


#: The numbers that a report and a summary show of a book.
SHOWN = (
    "equity",
    "adjusted_equity",
    "initial_equity",
    "initial_margin",
    "maintenance_margin",
    "margin_ratio",
    "free_margin",
)


@kernel
def shown_numbers(equity: F64, adjusted: F64, initial_equity: F64, initial: F64, maintenance: F64) -> F64:
    """What is shown of books, shape (books, 7), in the order of `SHOWN`; nan where there is none or no price."""
    out = np.empty((equity.shape[0], 7))
    for n in range(equity.shape[0]):
        scale = abs(equity[n]) + abs(adjusted[n]) + maintenance[n]
        out[n, 0] = settled(equity[n], scale)
        out[n, 1] = settled(adjusted[n], scale)
        out[n, 2] = settled(initial_equity[n], scale)
        out[n, 3] = initial[n]
        out[n, 4] = maintenance[n]
        out[n, 5] = out[n, 1] / maintenance[n] if maintenance[n] > 0.0 else np.nan
        out[n, 6] = settled(initial_equity[n] - initial[n], abs(initial_equity[n]) + initial[n])
    return out


def summary(numbers: tuple[float, float, float, float, float], status: int) -> dict[str, Any]:
    """The numbers of one book without its positions."""
    shown = shown_numbers(*(np.array([float(n)]) for n in numbers))[0].tolist()
    return {"status": STATUSES[status], **dict(zip(SHOWN, map(number_text, shown), strict=True))}


def margin_report(view: BookView, status: int) -> dict[str, Any]:
    """Summary and positions of one book; amounts in the reporting currency, P&L in the settlement asset.

    `restrictions` are in it where there are any.
    """
    book = view.book()
    details = book_details(view.parameters, book)
    numbers = exact_numbers(view)
    strict = cautious(view) if numbers[0] == numbers[0] else view
    initial = details.initial if strict is view else book_details(view.parameters, strict.book()).initial
    report = summary(numbers, status)
    if restricted := restrictions(view):
        report["restrictions"] = restricted
    if view.risk is not None and numbers[0] == numbers[0]:
        report |= _models(view)
    alone = view.margin_model == "standard"
    report["positions"] = [
        {
            "instrument": leg.names.id,
            "quantity": decimal_text(leg.quantity),
            "notional": number_text(details.notional[j]),
            "unrealized_pnl": None if np.isnan(book.mark[j]) else decimal_text(float(view.unrealized_pnl(leg))),
            "initial_margin": number_text(initial[j]) if alone else None,
            "maintenance_margin": number_text(details.maintenance[j]) if alone else None,
            "liquidation_price": toward_mark(details.liquidation_price[j], book.mark[j], leg.names.price_precision)
            if alone
            else None,
        }
        for j, leg in enumerate(view.legs)
    ]
    return report


def _models(view: BookView) -> dict[str, Any]:
    """What a report says of the models: why the portfolio model requires what it does, what the other one would."""
    own = view.margin_model == "portfolio"
    other = numbers_by(view, "standard" if own else "portfolio")
    found = {"initial_margin": number_text(other[3]), "maintenance_margin": number_text(other[4])}
    return {**({"portfolio": _texts(portfolio_section(view))} if own else {}), "other_model": found}


def _texts(section: Any) -> Any:
    """The same with its numbers as text."""
    if isinstance(section, dict):
        return {name: _texts(value) for name, value in section.items()}
    if isinstance(section, list):
        return [_texts(value) for value in section]
    return number_text(section) if isinstance(section, float) else section
