"""What must hold of every book, whatever its positions, collateral and terms.

Books are random portfolio documents; the engine's report of each is held against the slow model in fractions.
"""

import copy
from decimal import Decimal
from fractions import Fraction

import numpy as np
import orjson
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from streams.engine.book_view import BookView
from streams.engine.orders import equity_shares, limit_of
from streams.evaluate.portfolio import read_portfolio
from streams.margin.equity import Book, book_requirement, equity_of, haircut_value, net_assets
from streams.margin.liquidation import limit_price
from streams.margin.liquidation_price import liquidation_factor
from tests.notation import Json, evaluated
from tests.portfolios import portfolios
from tests.reference import margin as reference

NUMBERS = ("equity", "adjusted_equity", "initial_equity", "initial_margin", "maintenance_margin")
UNHEALTHY = settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


def account_of(document: Json) -> Json:
    found: Json = document["accounts"][0]
    return found


def view_of(document: Json) -> BookView:
    return read_portfolio(orjson.dumps(document)).accounts[0].cross.view


def below_maintenance(document: Json, tenths: int) -> Json:
    """The document with its cross book worth so many tenths of its maintenance margin: positions at their marks."""
    document = copy.deepcopy(document)
    document["assets"]["USDC"] = {"price": "1"}
    account = account_of(document)
    for held in account["positions"]:
        held["entry_price"] = document["instruments"][held["instrument"]]["mark_price"]
        held.pop("accrued_funding", None)
    account |= {"balances": {}, "previous_status": "ok"}
    required = reference.numbers(reference.cross_book(document, account)).maintenance_margin
    account["balances"] = {"USDC": f"{float(required * tenths / 10):.6f}"}
    return document


def near(found: str, exact: Fraction, size: Fraction) -> bool:
    return abs(Fraction(found) - exact) <= Fraction(1, 10**12) * size


@UNHEALTHY
@given(document=portfolios())
def test_report_agrees_with_fractions(document: Json) -> None:
    """Equity, margins and status of the engine are those of the rules, written down a second time."""
    report = evaluated(document)
    exact = reference.numbers(reference.cross_book(document, account_of(document)))
    size = 1 + abs(exact.equity) + abs(exact.adjusted_equity) + exact.initial_margin
    for name in NUMBERS:
        assert near(report[name], getattr(exact, name), size), name
    assert near(report["free_margin"], exact.initial_equity - exact.initial_margin, size)
    assert report["status"] == reference.status(exact, None, account_of(document)["previous_status"])


@UNHEALTHY
@given(document=portfolios())
def test_initial_is_at_least_maintenance(document: Json) -> None:
    """What may be opened may be kept."""
    report = evaluated(document)
    assert Decimal(report["initial_margin"]) >= Decimal(report["maintenance_margin"])
    for row in report["positions"]:
        assert Decimal(row["initial_margin"]) >= Decimal(row["maintenance_margin"]) >= 0


@UNHEALTHY
@given(document=portfolios(), asset=st.sampled_from(["USDC", "BTC", "ETH", "XRP"]), more=st.integers(0, 10**6))
def test_more_collateral_never_hurts(document: Json, asset: str, more: int) -> None:
    """A deposit lowers no equity, adjusted or not, and worsens no status."""
    richer = copy.deepcopy(document)
    balances = account_of(richer)["balances"]
    balances[asset] = str(Decimal(balances.get(asset, "0")) + Decimal(more) / 1000)
    before, after = evaluated(document), evaluated(richer)
    for name in ("equity", "adjusted_equity", "initial_equity", "free_margin"):
        assert Decimal(after[name]) >= Decimal(before[name]) - Decimal("1e-9"), name
    order = ("bankrupt", "liquidation", "margin_call", "ok")
    assert order.index(after["status"]) >= order.index(before["status"])


@UNHEALTHY
@given(
    document=portfolios(), amounts=st.lists(st.integers(-(10**5), 10**5), min_size=2, max_size=2), third=st.floats(0, 1)
)
def test_value_after_haircuts_is_concave(document: Json, amounts: list[int], third: float) -> None:
    """Holding the mean of two amounts never counts for less than the mean of what the two count for."""
    view = view_of(document)
    one, other = (amount / 10 for amount in amounts)
    mean = one + third * (other - one)
    for asset in range(len(view.asset_names)):
        price = view.prices[asset]
        for part in (0, 1):
            at_one, at_other, at_mean = (
                haircut_value(view.parameters, asset, n, price)[part] for n in (one, other, mean)
            )
            assert at_mean >= at_one + third * (at_other - at_one) - 1e-9 * (abs(at_one) + abs(at_other) + 1)


@UNHEALTHY
@given(document=portfolios(precise=True), tenths=st.integers(1, 9))
def test_sizes_reach_the_target_and_no_lot_more(document: Json, tenths: int) -> None:
    """The orders reach the target at the marks, fees paid; with one lot less of the last leg they would not."""
    document = below_maintenance(document, tenths)
    book = reference.cross_book(document, account_of(document))
    assume(book.positions)
    closes = {
        order["instrument"]: abs(Fraction(order["quantity"])) for order in evaluated(document)["liquidation"]["orders"]
    }
    sizes = {held.instrument: abs(held.quantity) for held in book.positions}
    partial = [name for name, quantity in closes.items() if quantity < sizes[name]]
    assert len(partial) <= 1
    assert all(closes[name] <= sizes[name] for name in closes)

    def recovery(closed: dict[str, Fraction]) -> Fraction:
        after = reference.numbers(reference.closed(book, closed))
        return after.adjusted_equity - Fraction("1.1") * after.maintenance_margin

    tie = Fraction(1, 10**9)
    if closes != sizes:
        assert recovery(closes) >= -tie
    for name in partial:
        assert recovery({**closes, name: closes[name] - Fraction(1, 1000)}) < tie


@UNHEALTHY
@given(document=portfolios(precise=True))
def test_a_full_close_at_its_limits_leaves_equity(document: Json) -> None:
    """Every leg filled at its limit, fees paid, leaves nothing below zero."""
    book = reference.cross_book(document, account_of(document))
    assume(book.positions)
    assume(reference.numbers(book).equity >= 0)
    view = view_of(document)
    limits = {
        leg.names.id: Fraction(limit_of(view, leg, share))
        for leg, share in zip(view.legs, equity_shares(view), strict=True)
    }
    sizes = {held.instrument: abs(held.quantity) for held in book.positions}
    assert reference.numbers(reference.closed(book, sizes, limits)).equity >= 0


@UNHEALTHY
@given(document=portfolios())
def test_at_the_unrounded_limits_equity_is_zero(document: Json) -> None:
    """The limits are the bankruptcy price of the book: all of its equity, and no more, is spent."""
    book = reference.cross_book(document, account_of(document))
    assume(book.positions)
    assume(reference.numbers(book).equity >= 0)
    view = view_of(document)
    limits = {}
    for leg, share in zip(view.legs, equity_shares(view), strict=True):
        settlement = int(view.parameters.settlement[leg.index])
        limits[leg.names.id] = limit_price(
            quantity=Fraction(leg.quantity),
            multiplier=leg.names.multiplier,
            mark=view.mark(leg),
            share=share / view.price(settlement),
            fee=leg.names.liquidation_fee,
            inverse=bool(view.parameters.inverse[leg.index]),
        )
    assume(None not in limits.values())
    exact = {name: limit for name, limit in limits.items() if limit is not None}
    sizes = {held.instrument: abs(held.quantity) for held in book.positions}
    assert reference.numbers(reference.closed(book, sizes, exact)).equity == 0


def excess(view: BookView, underlying: int, factor: float) -> float:
    """Adjusted equity minus maintenance margin with one underlying moved."""
    p, book = view.parameters, view.book()
    marks = np.where(p.underlying[book.instrument] == underlying, book.mark * factor, book.mark)
    prices = np.where(p.asset_underlying[book.asset] == underlying, book.price * factor, book.price)
    moved = Book(*book._replace(mark=marks, price=prices))
    net = np.empty(len(book.asset))
    net_assets(p, moved, net)
    return equity_of(p, moved, net)[1] - book_requirement(p, moved)[1]


@UNHEALTHY
@given(document=portfolios(), steps=st.lists(st.floats(0.001, 3), min_size=8, max_size=8))
def test_the_liquidation_price_is_a_root_and_the_nearest(document: Json, steps: list[float]) -> None:
    """At the price the excess changes its sign, and nowhere nearer to the mark."""
    view = view_of(document)
    for underlying in {int(view.parameters.underlying[leg.index]) for leg in view.legs}:
        factor = liquidation_factor(view.parameters, view.book(), underlying)
        here = excess(view, underlying, 1.0) < 0.0
        if factor == factor and factor != 1.0:
            sides = [excess(view, underlying, factor * (1 + side)) < 0.0 for side in (-1e-9, 1e-9)]
            assert sides[0] != sides[1]
        reach = abs(factor - 1.0) * (1 - 1e-9) if factor == factor else np.inf
        for step in steps:
            for at in (np.exp(step), np.exp(-step), 1 + step / 100, 1 - step / 100):
                if abs(at - 1.0) < reach:
                    assert (excess(view, underlying, float(at)) < 0.0) == here
