"""The records a shard sends: margin calls, liquidations, summaries. Built from a book's view, never from a clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from schemas.journal import PRICE_STATES, liquidation_id
from streams.engine.book_view import BookView
from streams.engine.orders import closing_orders, conversion_orders
from streams.engine.report import decimal_text, margin_report, number_text
from streams.engine.restraint import withheld
from streams.margin.parameters import I64
from streams.margin.rational import Rational, ceiling, rational
from streams.rows import Rows

if TYPE_CHECKING:
    from streams.engine.marking import Prices
    from streams.engine.terms import TermsTable

#: Decimals that a shortfall is rounded up to, in the reporting currency.
SHORTFALL_PRECISION = 6


#: The topic of summaries.
SUMMARIES = "margin-accounts"


class Output(NamedTuple):
    """One record to send: logical topic, key, value, and headers where it has any."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a block gives, to be sent in this order; iterating gives each as an `Output`.

    Attributes
    ----------
    decisions : margin calls and liquidations
    summaries : records of `margin-accounts`
    refused : dead letters of rows that the ledger cannot hold
    """

    decisions: list[Output]
    summaries: Rows
    refused: list[Output]

    def __len__(self) -> int:
        return len(self.decisions) + len(self.summaries) + len(self.refused)

    def __iter__(self) -> Iterator[Output]:
        yield from self.decisions
        for key, value in self.summaries:
            yield Output(SUMMARIES, key, value)
        yield from self.refused


class Folded(NamedTuple):
    """What a block gives before summaries are written.

    Attributes
    ----------
    decisions, refused : see `Outputs`
    due : accounts whose summary is to be sent, ascending; as long as no later block is applied it can be written
    """

    decisions: list[Output]
    due: I64
    refused: list[Output]


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What a decision is about: the block that caused it, and whose book it is."""

    partition: int
    offset: int
    time: int
    account: str
    bucket: str

    def id(self, kind: str, offset: int | None = None) -> str:
        """Deterministic id of a decision of this kind."""
        at = self.offset if offset is None else offset
        return liquidation_id(self.partition, at, self.account, self.bucket, kind)


def output(topic: str, account: str, record: Mapping[str, Any]) -> Output:
    """The record as bytes: sorted keys, so equal records are equal bytes."""
    return Output(topic, account.encode(), orjson.dumps(record, option=orjson.OPT_SORT_KEYS))


def told_prices(view: BookView, prices: Prices, terms: TermsTable) -> dict[str, Any]:
    """What a decision says of the prices that the book was valued with: marks by instrument; from rules 2 on prices by
    asset too, and of each how far it is trusted, what it is checked against, and how old it is."""
    marks: dict[str, Any] = {}
    trusted = prices.rules_version > 1
    for leg in view.legs:
        symbol = terms.underlying(leg.index)
        state = prices.mark_states[leg.index] if trusted else prices.mark_state.get(leg.names.id, 0)
        marks[leg.names.id] = {
            "mark": number_text(view.marks[leg.index]),
            "index": number_text(prices.index.get(symbol, float("nan"))),
            "state": PRICE_STATES[state],
        }
        if trusted:
            marks[leg.names.id] |= _seen(prices, symbol)
    if not trusted:
        return {"marks": marks}
    assets = {}
    for asset in view.balances:
        name = view.asset_names[asset]
        own = name == terms.rules.reporting_currency
        assets[name] = {
            "index": number_text(view.prices[asset]),
            "state": PRICE_STATES[prices.price_states[asset]],
            "widening": decimal_text(float(prices.widenings[asset])),
            **({"check": None, "quote_time": None} if own else _seen(prices, name)),
        }
    return {"marks": marks, "prices": assets}


def _seen(prices: Prices, symbol: str) -> dict[str, Any]:
    check = prices.check.get(symbol, float("nan"))
    return {"check": number_text(check), "quote_time": prices.quote_time.get(symbol)}


def event(cause: Cause, kind: str, view: BookView, status: int, prices: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that every decision has; `prices` as `told_prices` gives them."""
    return {
        "id": cause.id(kind),
        "kind": kind,
        "account": cause.account,
        "bucket": cause.bucket,
        "report": {"account": cause.account, **margin_report(view, status), "liquidation": None},
        **prices,
        "journal": {"partition": cause.partition, "offset": cause.offset},
        "time": cause.time,
    }


def liquidation_step(
    record: dict[str, Any], view: BookView, *, step: int, replaces: str | None, target: float, step_cap: str
) -> dict[str, Any]:
    """A liquidation event: the orders that bring the book to its target, replacing the step before."""
    return {**record, "step": step, "replaces": replaces, **liquidation_plan(view, target, rational(Decimal(step_cap)))}


def liquidation_plan(view: BookView, target: float, step_cap: Rational) -> dict[str, Any]:
    """Orders that bring a book to its target, and what they leave out because its price is stale or halted."""
    flat = not any(leg.quantity for leg in view.legs)
    orders = conversion_orders(view) if flat else closing_orders(view, target, step_cap)
    plan: dict[str, Any] = {"target": decimal_text(target), "orders": orders}
    left_out = withheld(view)
    return {**plan, "withheld": left_out} if left_out else plan


def shortfall(view: BookView) -> str:
    """The loss past zero equity of a bankrupt book, reporting currency, rounded up."""
    scale = 10**SHORTFALL_PRECISION
    return decimal_text(Decimal(ceiling(-view.equity() * scale)).scaleb(-SHORTFALL_PRECISION))


def refusal(account: str, record: Mapping[str, Any]) -> Output:
    """The dead letter of a row that ingest took and the shard refuses; its headers are those of all dead letters.

    What is not known of its source, since the block names none, is no header.
    """
    told = {name: value for name, value in record.items() if name != "journal" and value is not None}
    headers = tuple((name, str(value).encode()) for name, value in told.items())
    return output("dead-letters", account, record)._replace(headers=headers)
