"""A portfolio document as the engine sees one: the market, and the books of each account.

Where the document states no precision, nothing is rounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, get_args

import numpy as np

from schemas.accounts import Levels
from schemas.dead_letters import Refused
from streams.engine.book_view import BookView, Leg, MarginModel
from streams.engine.posting import LOTS_LIMIT
from streams.engine.risk_model import RiskView
from streams.engine.standing import LevelSet
from streams.engine.terms import Rules
from streams.engine.valuation import STATUSES
from streams.evaluate.document import BadDocument, Field, Node, parse
from streams.evaluate.market import Market, read_market
from streams.ingest.term_rules import checked_levels
from streams.margin.rational import Rational, rational
from streams.margin.scenarios import OPTION

#: Significant digits that a liquidation size has where the document states no lot.
SIZE_DIGITS = 15

_DOCUMENT = (
    "time",
    "assets",
    "instruments",
    "risk_units",
    "correlations",
    "risk_history",
    "accounts",
    "levels",
    "previous_status",
)
_ACCOUNT = ("account", "mode", "margin_model", "levels", "balances", "positions", "previous_status")
_POSITION = (
    *("instrument", "quantity", "entry_price", "accrued_funding"),
    *("margin_mode", "isolated_margin", "previous_status"),
)
_MODES = ("cross", "isolated")
MARGIN_MODELS = get_args(MarginModel)


@dataclass(frozen=True, kw_only=True)
class HeldBook:
    """One book of an account: what it holds, and the status it comes from."""

    view: BookView
    previous_status: str


@dataclass(frozen=True, kw_only=True)
class Account:
    """One account; `isolated` has a book for each isolated position."""

    name: str
    levels: LevelSet
    cross: HeldBook
    isolated: Sequence[HeldBook]


@dataclass(frozen=True, kw_only=True)
class Portfolio:
    """A whole document; `unknown` are the paths of fields that mean nothing here."""

    accounts: Sequence[Account]
    unknown: Sequence[str]


def read_portfolio(data: bytes) -> Portfolio:
    """The portfolio in a JSON document.

    Raises
    ------
    BadDocument
        with the path of the first field that is wrong.
    """
    unknown: list[str] = []
    field = parse(data).record(_DOCUMENT, unknown)
    market = read_market(field, unknown)
    if not field("accounts").given:
        raise BadDocument("accounts must be given, found nothing")
    rules = Rules()
    common = LevelSet(*(getattr(rules, name) for name in LevelSet._fields))
    common = _levels(field("levels"), common, unknown)
    previous = _previous(field, "ok")
    accounts = []
    seen: set[str] = set()
    for node in field("accounts").items():
        account = _account(node, market, common, previous, unknown)
        if account.name in seen:
            raise BadDocument(f"{node.path}.account must be used once, found {account.name!r} again")
        seen.add(account.name)
        accounts.append(account)
    return Portfolio(accounts=accounts, unknown=unknown)


def _account(node: Node, market: Market, levels: LevelSet, previous: str, unknown: list[str]) -> Account:
    """One account; `levels` and `previous` hold where it states none."""
    field = node.record(_ACCOUNT, unknown)
    mode = field("mode").choice(_MODES, "cross")
    model: Any = field("margin_model").choice(MARGIN_MODELS, "standard")
    if model == "portfolio" and market.risk is None:
        raise field("margin_model").refuse("be standard where the document has no risk_units")
    balances: dict[int, Rational] = {}
    for name, amount in field("balances").fields() if field("balances").given else ():
        if name not in market.assets:
            raise BadDocument(f"{amount.path} must be one of the document's assets, found {name!r}")
        asset = market.assets[name]
        balances[asset] = rational(amount.places(market.asset_precision[asset]))
    cross: list[Leg] = []
    isolated: list[HeldBook] = []
    held: set[tuple[str, int]] = set()
    for position in field("positions").items():
        own = position.record(_POSITION, unknown)
        leg = _leg(own, market)
        bucket = own("margin_mode").choice(_MODES, mode)
        if (bucket, leg.index) in held:
            raise BadDocument(
                f"{position.path}.instrument must be held once in the {bucket} book, found {leg.names.id!r} again"
            )
        held.add((bucket, leg.index))
        if (bucket, model) == ("cross", "portfolio") and not _valued(leg, market):
            raise own("instrument").refuse(
                "have its expiry given, an option its volatility too, and the document its time"
            )
        if bucket == "cross":
            _no_isolated_fields(own)
            cross.append(leg)
        else:
            isolated.append(_isolated(own, leg, market))
    return Account(
        name=field("account").text(),
        levels=_levels(field("levels"), levels, unknown),
        cross=HeldBook(
            view=_view(market, cross, balances, model, market.risk), previous_status=_previous(field, previous)
        ),
        isolated=isolated,
    )


def _valued(leg: Leg, market: Market) -> bool:
    """Whether the portfolio model can value the leg: it belongs to no unit, or it is known how long it has, and of an
    option the volatility."""
    if market.risk is None or market.risk.model.unit[leg.index] < 0:
        return True
    model, risk = market.risk.model, market.risk
    if model.kind[leg.index] == OPTION:
        return bool(risk.volatility[leg.index] == risk.volatility[leg.index])
    return bool(np.isinf(model.expires[leg.index])) or (market.timed and bool(model.expires[leg.index] > 0.0))


def _no_isolated_fields(own: Field) -> None:
    for name in ("isolated_margin", "previous_status"):
        if own(name).given:
            raise own(name).refuse("be given for isolated positions only")


def _isolated(own: Field, leg: Leg, market: Market) -> HeldBook:
    settlement = int(market.parameters.settlement[leg.index])
    margin = own("isolated_margin").places(market.asset_precision[settlement])
    return HeldBook(view=_view(market, [leg], {settlement: rational(margin)}), previous_status=_previous(own, "ok"))


def _previous(field: Field, default: str) -> str:
    return field("previous_status").choice(STATUSES, default)


def _levels(node: Node, default: LevelSet, unknown: list[str]) -> LevelSet:
    """The levels that the object states, each in place of the default one."""
    if not node.given:
        return default
    field = node.record(LevelSet._fields, unknown)
    given = {name: field(name).digits() for name in LevelSet._fields if field(name).given}
    try:
        checked_levels(Levels(**given))
    except Refused as refused:
        raise BadDocument(f"{node.path}.{refused.reason}") from None
    return default._replace(**{name: float(text) for name, text in given.items()})


def _leg(own: Field, market: Market) -> Leg:
    name = own("instrument").text()
    if name not in market.instruments:
        raise own("instrument").refuse("be one of the document's instruments")
    index, names = market.instruments[name], market.names[name]
    quantity = own("quantity").places(names.quantity_precision)
    if names.quantity_precision is not None and abs(quantity.scaleb(names.quantity_precision)) >= LOTS_LIMIT:
        raise own("quantity").refuse("be below 2**53 lots")
    funding = own("accrued_funding")
    asset = int(market.parameters.settlement[index])
    return Leg(
        index=index,
        names=names,
        quantity=quantity,
        cost=_cost(
            rational(quantity) * names.multiplier,
            rational(own("entry_price").positive()),
            inverse=bool(market.parameters.inverse[index]),
            precision=market.asset_precision[asset],
        ),
        accrued=rational(funding.decimal()) if funding.given else Rational(0),
    )


def _cost(size: Rational, entry: Rational, *, inverse: bool, precision: int | None) -> Rational:
    """What opening a position at `entry` paid, settlement asset; as the ledger rounds it, where it has a precision."""
    cost = -size / entry if inverse else size * entry
    return cost if precision is None else round(cost * 10**precision) / Rational(10**precision)


def _view(
    market: Market,
    legs: list[Leg],
    balances: dict[int, Rational],
    model: MarginModel = "standard",
    risk: RiskView | None = None,
) -> BookView:
    """A book as the engine would hold it: legs by instrument, balances by asset, both in order of id."""
    legs = sorted(legs, key=lambda leg: leg.names.id)
    settlements = {int(market.parameters.settlement[leg.index]) for leg in legs}
    amounts = {asset: Rational(0) for asset in settlements} | balances
    lot_scale = market.parameters.lot_scale.copy()
    for leg in legs:
        if leg.names.quantity_precision is None:
            lot_scale[leg.index] = 10.0 ** _size_decimals(leg.quantity)
    return BookView(
        parameters=market.parameters._replace(lot_scale=np.ascontiguousarray(lot_scale)),
        legs=legs,
        balances={asset: amounts[asset] for asset in sorted(amounts, key=lambda at: market.asset_names[at])},
        asset_names=market.asset_names,
        marks=market.marks,
        prices=market.prices,
        trust=market.trust,
        margin_model=model,
        risk=risk,
    )


def _size_decimals(quantity: Decimal) -> int:
    """Decimals with which a quantity has SIZE_DIGITS significant digits."""
    return SIZE_DIGITS - 1 - quantity.adjusted() if quantity else 0
