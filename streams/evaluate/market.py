"""Instruments, assets and prices of a portfolio document.

Each gets the record it would have on the `instruments` topic, so the engine's own rules check it and make the arrays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from schemas.dead_letters import Refused
from schemas.instruments import DATED_TYPES, PERPETUAL_TYPES, Asset, HaircutTier, Instrument, MarginTier, OptionMargin
from schemas.journal import PRICE_STATES
from streams.engine.book_view import InstrumentNames
from streams.engine.orders import FREE_PRECISION
from streams.engine.risk_model import RiskView
from streams.engine.terms import TermsTable
from streams.engine.trust import SUSPECT, Trust
from streams.evaluate.document import BadDocument, Field, Node
from streams.evaluate.risk import (
    NO_OPTION,
    OPTION_MARKET,
    option_market,
    read_risk_terms,
    risk_view,
)
from streams.evaluate.risk_history import read_risk_history
from streams.ingest.term_checks import TermsRecord
from streams.ingest.term_rules import DAY_MS, PRECISION_MAX, normalised
from streams.margin.parameters import F64, Parameters, widened
from streams.margin.rational import rational

_ASSET = (
    *("id", "kind", "closed", "price", "precision"),
    *("haircut", "borrow_haircut", "initial_haircut", "initial_borrow_haircut", "haircut_tiers"),
    *("state", "check_price", "widening"),
)
_HAIRCUT_TIER = ("from", "haircut", "initial_haircut")
_RATES = (
    *("initial_margin", "maintenance_margin", "size_premium_factor", "liquidation_fee"),
    *("open_interest", "open_interest_lower", "open_interest_upper"),
)
_INSTRUMENT = (
    *("id", "kind", "closed", "type", "underlying", "settlement", "multiplier", "mark_price"),
    *("price_precision", "quantity_precision", "expiry", "settlement_price", "tiers", "tier_method"),
    *("state", "check_price"),
    *("option_type", "strike", "option_margin", "settlement_window_ms", "index_price"),
    *OPTION_MARKET,
    *_RATES,
)
_TIER = ("notional_from", "initial_margin", "maintenance_margin")
_OPTION_MARGIN = ("most", "least", "call", "put", "put_value", "put_offset")
_TYPES = ("perpetual", "inverse_perpetual", "future", "inverse_future", "option")


@dataclass(frozen=True, kw_only=True)
class Market:
    """What all accounts share. Instruments and assets are found by the name in the document.

    Parameters
    ----------
    timed : whether the document says its time
    """

    parameters: Parameters
    names: Mapping[str, InstrumentNames]
    instruments: Mapping[str, int]
    assets: Mapping[str, int]
    asset_names: Sequence[str]
    asset_precision: Sequence[int | None]
    marks: Sequence[float]
    prices: Sequence[float]
    trust: Trust | None
    risk: RiskView | None
    timed: bool


class _Priced(NamedTuple):
    """A price and how far it is to be trusted."""

    price: float
    state: int
    check: float


class _Hangs(NamedTuple):
    """What an instrument hangs on; `index_price` may state what that costs."""

    type: str
    underlying: str
    index_price: Node


def read_market(document: Field, unknown: list[str]) -> Market:
    """What the objects `assets`, `instruments`, `risk_units`, `correlations` and `risk_history` of a document say, at
    its `time`; paths of fields without a meaning go to `unknown`.

    Raises
    ------
    BadDocument
        with the path of the first field that is wrong.
    """
    asset_records, prices, precisions, widening = {}, {}, {}, {}
    for name, node in _named(document("assets")):
        field = node.record(_ASSET, unknown)
        prices[name] = _priced(field, "price")
        widening[name] = _widening(field("widening"))
        precisions[name] = field("precision").integer(0, PRECISION_MAX)
        asset_records[name] = _asset(node, field, precisions[name], unknown)
    instrument_records, names, marks, given, options = {}, {}, {}, [], []
    time = document("time").time()
    for name, node in _named(document("instruments")):
        field = node.record(_INSTRUMENT, unknown)
        marks[name] = _priced(field, "mark_price")
        options.append(option_market(field, time) if field("type").value == "option" else NO_OPTION)
        instrument_records[name], names[name] = _instrument(name, node, field, unknown)
        if field("settlement").text() not in asset_records:
            raise field("settlement").refuse("be one of the document's assets")
        given.append(_Hangs(field("type").text(), field("underlying").text(), field("index_price")))
    table = TermsTable()
    table.apply([{**record, "id": name, "version": 0} for name, record in asset_records.items()])
    # an instrument may be called as an asset is; in the table a line end, which no name has, tells it apart
    table.apply([{**record, "id": f"{name}\n", "version": 0} for name, record in instrument_records.items()])
    risk_terms = read_risk_terms(document("risk_units"), document("correlations"), unknown)
    table.apply([{**record, "version": 0} for record in risk_terms])
    units = {record["underlying"] for record in risk_terms if record["kind"] == "risk_unit"}
    scales = [10.0 ** (FREE_PRECISION if places is None else places) for places in precisions.values()]
    widenings = np.array(list(widening.values()), dtype=np.float64)
    parameters = widened(table.parameters(), widenings)
    indexes = _known_indexes(given, prices, list(marks.values()))
    return Market(
        parameters=parameters._replace(
            asset_scale=np.array(scales, dtype=np.float64), index_price=_indexes(given, indexes)
        ),
        names=names,
        instruments={name: at for at, name in enumerate(names)},
        assets={name: at for at, name in enumerate(asset_records)},
        asset_names=list(asset_records),
        asset_precision=list(precisions.values()),
        marks=[mark.price for mark in marks.values()],
        prices=[price.price for price in prices.values()],
        trust=_trust(list(marks.values()), list(prices.values())),
        timed=time is not None,
        risk=risk_view(
            table,
            options=options,
            indexes=indexes,
            time=time or 0,
            widening=widenings,
            factors=read_risk_history(document("risk_history"), units, unknown),
        ),
    )


def _priced(field: Field, name: str) -> _Priced:
    price, check = float(field(name).positive()), field("check_price")
    state = PRICE_STATES.index(field("state").choice(PRICE_STATES, "ok"))
    return _Priced(price, state, float(check.positive()) if check.given else np.nan)


def _known_indexes(hang: Sequence[_Hangs], prices: Mapping[str, _Priced], marks: Sequence[_Priced]) -> dict[str, float]:
    """The price of each underlying that has one: of the asset of that name, else what the first perpetual or future on
    it states, else the mark of the first perpetual, else what the first option states."""
    known = {name: priced.price for name, priced in prices.items()}
    for instrument in hang:
        if instrument.type != "option" and instrument.index_price.given:
            known.setdefault(instrument.underlying, float(instrument.index_price.positive()))
    for instrument, mark in zip(hang, marks, strict=True):
        if instrument.type in PERPETUAL_TYPES:
            known.setdefault(instrument.underlying, mark.price)
    for instrument in hang:
        if instrument.type == "option" and instrument.index_price.given:
            known.setdefault(instrument.underlying, float(instrument.index_price.positive()))
    return known


def _indexes(hang: Sequence[_Hangs], known: Mapping[str, float]) -> F64:
    """The price of each option's underlying: what it states itself, else the known one."""
    found = np.full(len(hang), np.nan)
    for at, instrument in enumerate(hang):
        if instrument.type == "option":
            stated = instrument.index_price
            own = stated.given or instrument.underlying not in known
            found[at] = float(stated.positive()) if own else known[instrument.underlying]
    return found


def _widening(node: Node) -> float:
    if node.given and node.decimal() < 0:
        raise node.refuse("be 0 or more")
    return float(node.digits("0"))


def _trust(marks: list[_Priced], prices: list[_Priced]) -> Trust | None:
    """As the engine has it of a market: check prices count where a price is suspect."""
    if all(found.state < SUSPECT for found in (*marks, *prices)):
        return None
    mark_state, price_state = (np.array([found.state for found in table], dtype=np.int8) for table in (marks, prices))
    check_marks, check_prices = (
        np.array([found.check if found.state == SUSPECT else found.price for found in table], dtype=np.float64)
        for table in (marks, prices)
    )
    return Trust(mark_state, price_state, check_marks, check_prices)


def _named(table: Node) -> list[tuple[str, Node]]:
    rows = list(table.fields()) if table.given else []
    for name, node in rows:
        if not name or not name.isprintable():
            raise BadDocument(f"{node.path} must have a name of visible characters, found {name!r}")
    return rows


def _asset(node: Node, field: Field, precision: int | None, unknown: list[str]) -> TermsRecord:
    rows = [row.record(_HAIRCUT_TIER, unknown) for row in field("haircut_tiers").items()]
    tiers = [
        HaircutTier(
            quantity_from=row("from").digits(),
            haircut=row("haircut").digits(),
            initial_haircut=row("initial_haircut").digits_or_none(),
        )
        for row in rows
    ]
    return _checked(
        node,
        Asset(
            id="-",
            precision=precision or 0,
            haircut=field("haircut").digits("0"),
            borrow_haircut=field("borrow_haircut").digits("0"),
            initial_haircut=field("initial_haircut").digits_or_none(),
            initial_borrow_haircut=field("initial_borrow_haircut").digits_or_none(),
            haircut_tiers=tuple(tiers),
        ),
    )


def _instrument(name: str, node: Node, field: Field, unknown: list[str]) -> tuple[TermsRecord, InstrumentNames]:
    kind = field("type").choice(_TYPES)
    method = field("tier_method").choice(("marginal", "whole"), "marginal")
    price_precision = field("price_precision").integer(0, PRECISION_MAX)
    quantity_precision = field("quantity_precision").integer(0, PRECISION_MAX)
    rows = [row.record(_TIER, unknown) for row in field("tiers").items()]
    right = field("option_type")
    rates: dict[str, Any] = {rate: field(rate).digits() for rate in _RATES if field(rate).given}
    record = _checked(
        node,
        Instrument(
            id="-",
            type=kind,
            underlying="-",
            settlement="-",
            multiplier=field("multiplier").digits("1"),
            price_precision=price_precision or 0,
            quantity_precision=quantity_precision or 0,
            tiers=tuple(MarginTier(**{rate: row(rate).digits() for rate in _TIER}) for row in rows),
            tier_method=method,
            expiry=field("expiry").time() or 0 if kind in DATED_TYPES else None,
            option_type=right.choice(("call", "put")) if right.given else None,
            strike=field("strike").digits_or_none(),
            settlement_window_ms=field("settlement_window_ms").integer(0, DAY_MS) or 0,
            option_margin=_option_margin(field("option_margin"), unknown),
            **rates,
        ),
    )
    names = InstrumentNames(
        id=name,
        multiplier=rational(Decimal(record["multiplier"])),
        liquidation_fee=rational(Decimal(record["liquidation_fee"])),
        price_precision=price_precision,
        quantity_precision=quantity_precision,
    )
    return {**record, "underlying": field("underlying").text(), "settlement": field("settlement").text()}, names


def _option_margin(node: Node, unknown: list[str]) -> OptionMargin | None:
    if not node.given:
        return None
    field = node.record(_OPTION_MARGIN, unknown)
    return OptionMargin(**{name: field(name).digits() for name in _OPTION_MARGIN if field(name).given})


def _checked(node: Node, record: Asset | Instrument) -> TermsRecord:
    try:
        return normalised(record)
    except Refused as refused:
        raise BadDocument(f"{node.path}.{refused.reason}") from None
