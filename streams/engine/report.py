"""The margin report of a book, as `evaluate` prints it and every decision carries it."""

from decimal import Context, Decimal
from typing import Any

import numpy as np

from streams.compiled import kernel
from streams.engine.book_details import BookNumbers, book_numbers
from streams.engine.book_view import BookView, MarginModel
from streams.engine.portfolio_view import portfolio_numbers, portfolio_section
from streams.engine.restraint import cautious, restrictions
from streams.engine.valuation import STATUSES
from streams.margin.equity import TIE
from streams.margin.parameters import F64

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


def exact_numbers(view: BookView) -> BookNumbers:
    """The five numbers by the book's own model, from exact net assets, so that small differences of large amounts keep
    their digits.

    Initial equity and margin are those of the `cautious` view.
    """
    numbers = numbers_by(view, view.margin_model)
    strict = cautious(view) if numbers[0] == numbers[0] else view
    return numbers if strict is view else _initially(numbers, numbers_by(strict, view.margin_model))


def _initially(numbers: BookNumbers, strict: BookNumbers) -> BookNumbers:
    """The numbers with initial equity and margin of the cautious view."""
    return numbers[0], numbers[1], strict[2], strict[3], numbers[4]


def numbers_by(view: BookView, model: MarginModel) -> BookNumbers:
    """The five numbers by one of the models, from exact net assets."""
    if model == "portfolio":
        return portfolio_numbers(view)
    numbers: BookNumbers = book_numbers(view.parameters, view.book(), view.net_array())
    return numbers


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


def summary(numbers: BookNumbers, status: int) -> dict[str, Any]:
    """The numbers of one book without its positions."""
    shown = shown_numbers(*np.array(numbers).reshape(-1, 1))[0].tolist()
    return {"status": STATUSES[status], **dict(zip(SHOWN, map(number_text, shown), strict=True))}


def margin_report(view: BookView, status: int) -> dict[str, Any]:
    """Summary and positions of one book; amounts in the reporting currency, P&L in the settlement asset.

    `restrictions` are in it where there are any.
    """
    details = view.details()
    alone = view.margin_model == "standard"
    numbers = details.numbers if alone else portfolio_numbers(view)
    initial = details.initial
    strict = cautious(view) if numbers[0] == numbers[0] else view
    if strict is not view:
        initial = strict.details().initial
        numbers = _initially(numbers, strict.details().numbers if alone else portfolio_numbers(strict))
    report = summary(numbers, status)
    if restricted := restrictions(view):
        report["restrictions"] = restricted
    if view.risk is not None and numbers[0] == numbers[0]:
        report |= _models(view)
    marks = view.book().mark.tolist()
    columns = details.notional, initial, details.maintenance, details.liquidation_price
    rows = zip(view.legs, marks, *(column.tolist() for column in columns), strict=True)
    report["positions"] = [
        {
            "instrument": leg.names.id,
            "quantity": decimal_text(leg.quantity),
            "notional": number_text(value),
            "unrealized_pnl": None if mark != mark else decimal_text(float(view.unrealized_pnl(leg))),
            "initial_margin": number_text(its_initial) if alone else None,
            "maintenance_margin": number_text(its_maintenance) if alone else None,
            "liquidation_price": toward_mark(price, mark, leg.names.price_precision) if alone else None,
        }
        for leg, mark, value, its_initial, its_maintenance, price in rows
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
