"""What a book is worth and requires, in exact fractions, from a portfolio document as `evaluate` reads it.

Every rule is the sentence it comes from, with no thought of speed.
"""

from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Position:
    """`cost` is what opening paid: value - cost is the unrealised P&L. Amounts in the settlement asset."""

    instrument: str
    quantity: Fraction
    cost: Fraction
    accrued: Fraction


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """In the reporting currency."""

    equity: Fraction
    adjusted_equity: Fraction
    initial_equity: Fraction
    initial_margin: Fraction
    maintenance_margin: Fraction


@dataclass(frozen=True, kw_only=True)
class Book:
    """What is margined together, and the document that says at which prices and terms."""

    document: Json
    balances: dict[str, Fraction]
    positions: tuple[Position, ...]

    def price(self, asset: str) -> Fraction:
        return Fraction(str(self.document["assets"][asset]["price"]))

    def mark(self, instrument: str) -> Fraction:
        return Fraction(str(self.document["instruments"][instrument]["mark_price"]))

    def terms(self, instrument: str) -> Json:
        return self.document["instruments"][instrument]

    def number(self, record: Json, name: str, default: str = "0") -> Fraction:
        value = record.get(name)
        return Fraction(default if value is None else str(value))


def cross_book(document: Json, account: Json) -> Book:
    """The cross book of an account of the document."""
    held = [p for p in account.get("positions", ()) if p.get("margin_mode", account.get("mode")) != "isolated"]
    balances = {asset: Fraction(str(amount)) for asset, amount in account.get("balances", {}).items()}
    return Book(document=document, balances=balances, positions=tuple(position(document, p) for p in held))


def isolated_book(document: Json, held: Json) -> Book:
    """The book of one isolated position."""
    settlement = document["instruments"][held["instrument"]]["settlement"]
    balances = {settlement: Fraction(str(held["isolated_margin"]))}
    return Book(document=document, balances=balances, positions=(position(document, held),))


def position(document: Json, held: Json) -> Position:
    terms = document["instruments"][held["instrument"]]
    size = Fraction(str(held["quantity"])) * Fraction(str(terms.get("multiplier", "1")))
    entry = Fraction(str(held["entry_price"]))
    return Position(
        instrument=held["instrument"],
        quantity=Fraction(str(held["quantity"])),
        cost=-size / entry if terms["type"].startswith("inverse") else size * entry,
        accrued=Fraction(str(held.get("accrued_funding", "0"))),
    )


def value(book: Book, held: Position) -> Fraction:
    """What closing a position at its mark would receive, settlement asset."""
    terms = book.terms(held.instrument)
    size = held.quantity * book.number(terms, "multiplier", "1")
    if terms["type"].startswith("inverse"):
        return -size / book.mark(held.instrument)
    return size * book.mark(held.instrument)


def notional(book: Book, held: Position) -> Fraction:
    """Reporting currency, >= 0."""
    return abs(value(book, held)) * book.price(book.terms(held.instrument)["settlement"])


def net_assets(book: Book) -> dict[str, Fraction]:
    """Balance plus unrealised P&L and funding of each asset."""
    net = dict(book.balances)
    for held in book.positions:
        settlement = book.terms(held.instrument)["settlement"]
        net[settlement] = net.get(settlement, Fraction(0)) + value(book, held) - held.cost + held.accrued
    return net


def kept(book: Book, asset: str, net: Fraction, *, initial: bool) -> Fraction:
    """Value of a net amount after haircuts: each slice of a holding at its own, a debt with its charge on top."""
    terms = book.document["assets"][asset]
    if net < 0:
        charge = book.number(terms, "borrow_haircut")
        if initial and terms.get("initial_borrow_haircut") is not None:
            charge = Fraction(str(terms["initial_borrow_haircut"]))
        return net * book.price(asset) * (1 + charge)
    tiers = terms.get("haircut_tiers") or [{"from": "0", "haircut": str(terms.get("haircut", "0"))}]
    counted = Fraction(0)
    for index, tier in enumerate(tiers):
        start = Fraction(str(tier["from"]))
        stop = Fraction(str(tiers[index + 1]["from"])) if index + 1 < len(tiers) else net
        haircut = Fraction(str(tier["haircut"]))
        if initial and tier.get("initial_haircut") is not None:
            haircut = Fraction(str(tier["initial_haircut"]))
        elif initial and terms.get("initial_haircut") is not None:
            own = Fraction(str(terms["initial_haircut"]))
            haircut = max(haircut, own) if terms.get("haircut_tiers") else own
        counted += max(Fraction(0), min(stop, net) - start) * (1 - haircut)
    return counted * book.price(asset)


def margins(book: Book, held: Position) -> tuple[Fraction, Fraction]:
    """Initial and maintenance margin of one position."""
    terms, size = book.terms(held.instrument), notional(book, held)
    if size == 0:
        return Fraction(0), Fraction(0)
    initial = rate(book, terms, "initial_margin", held, size)
    maintenance = rate(book, terms, "maintenance_margin", held, size)
    if terms.get("open_interest") is not None and terms.get("open_interest_upper") is not None:
        lower, upper = (book.number(terms, f"open_interest_{bound}") for bound in ("lower", "upper"))
        share = (book.number(terms, "open_interest") - lower) / (upper - lower)
        share = min(max(share, Fraction(0)), Fraction(1))
        initial = max(initial, initial + share * (1 - initial))
    return size * initial, size * maintenance


def rate(book: Book, terms: Json, name: str, held: Position, size: Fraction) -> Fraction:
    """Rate of a notional after tiers and size premium."""
    tiers = terms.get("tiers") or [{"notional_from": "0", **{n: terms[n] for n in RATES}}]
    base = Fraction(0)
    for index, tier in enumerate(tiers):
        start = Fraction(str(tier["notional_from"]))
        stop = Fraction(str(tiers[index + 1]["notional_from"])) if index + 1 < len(tiers) else size
        own = Fraction(str(tier[name]))
        if terms.get("tier_method", "marginal") == "whole":
            base = own if size >= start else base
        else:
            base += max(Fraction(0), min(stop, size) - start) * own / size
    factor = book.number(terms, "size_premium_factor")
    root = square_root(abs(held.quantity) * book.number(terms, "multiplier", "1"))
    return max(base, Fraction(4, 5) * base + factor * root)


RATES = ("initial_margin", "maintenance_margin")


def square_root(number: Fraction) -> Fraction:
    """To 50 digits."""
    with localcontext(prec=60):
        return Fraction((Decimal(number.numerator) / Decimal(number.denominator)).sqrt())


def numbers(book: Book) -> Numbers:
    """All sums of a book."""
    net = net_assets(book)
    required = [margins(book, held) for held in book.positions]
    return Numbers(
        equity=sum((amount * book.price(asset) for asset, amount in net.items()), Fraction(0)),
        adjusted_equity=sum((kept(book, a, amount, initial=False) for a, amount in net.items()), Fraction(0)),
        initial_equity=sum((kept(book, a, amount, initial=True) for a, amount in net.items()), Fraction(0)),
        initial_margin=sum((initial for initial, _ in required), Fraction(0)),
        maintenance_margin=sum((maintenance for _, maintenance in required), Fraction(0)),
    )


LEVELS = {"margin_call": "1.25", "margin_call_exit": "1.30", "liquidation_exit": "1.05", "liquidation_target": "1.10"}


def status(found: Numbers, levels: Json | None = None, previous: str = "ok") -> str:
    """Status of a book and the exits beside it; exactly at a line is safe."""
    level = {name: Fraction(str((levels or {}).get(name) or text)) for name, text in LEVELS.items()}
    adjusted, required = found.adjusted_equity, found.maintenance_margin
    if found.equity < 0:
        return "bankrupt"
    if adjusted < required:
        return "liquidation"
    if previous == "liquidation" and adjusted < level["liquidation_exit"] * required:
        return "liquidation"
    if adjusted < level["margin_call"] * required:
        return "margin_call"
    if previous in ("margin_call", "liquidation") and adjusted < level["margin_call_exit"] * required:
        return "margin_call"
    return "ok"


def moved(book: Book, underlying: str, factor: Fraction) -> Book:
    """The same book after the underlying's marks and its own price have moved by one factor."""
    assets = {
        name: terms | {"price": Fraction(str(terms["price"])) * (factor if name == underlying else 1)}
        for name, terms in book.document["assets"].items()
    }
    instruments = {
        name: terms
        | {"mark_price": Fraction(str(terms["mark_price"])) * (factor if terms["underlying"] == underlying else 1)}
        for name, terms in book.document["instruments"].items()
    }
    return replace(book, document=book.document | {"assets": assets, "instruments": instruments})


def closed(book: Book, closes: dict[str, Fraction], limits: dict[str, Fraction] | None = None) -> Book:
    """The book after closing part of its positions: each |quantity| at its limit, or the mark, less the fee."""
    balances = dict(book.balances)
    positions = []
    for held in book.positions:
        quantity = closes.get(held.instrument, Fraction(0))
        terms = book.terms(held.instrument)
        price = (limits or {}).get(held.instrument, book.mark(held.instrument))
        part = quantity / abs(held.quantity) if held.quantity else Fraction(0)
        size = held.quantity * part * book.number(terms, "multiplier", "1")
        received = -size / price if terms["type"].startswith("inverse") else size * price
        fee = abs(received) * book.number(terms, "liquidation_fee")
        settlement = terms["settlement"]
        balances[settlement] = balances.get(settlement, Fraction(0)) + received - held.cost * part - fee
        left = replace(held, quantity=held.quantity * (1 - part), cost=held.cost * (1 - part))
        positions.append(left)
    return replace(book, balances=balances, positions=tuple(positions))
