"""The records a shard sends: margin calls, liquidations, summaries. Built from a book's view, never from a clock."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Any, NamedTuple

import orjson

from schemas.journal import PRICE_STATES, liquidation_id
from streams.engine.book_view import BookView
from streams.engine.orders import closing_orders, conversion_orders
from streams.engine.report import decimal_text, margin_report, number_text
from streams.margin.parameters import I64
from streams.rows import Rows

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


def marks_of(view: BookView, index: Mapping[str, float], states: Mapping[str, int], underlying: Any) -> dict[str, Any]:
    """The marks that a book was valued with, by instrument."""
    return {
        leg.names.id: {
            "mark": number_text(view.marks[leg.index]),
            "index": number_text(index.get(underlying(leg.index), float("nan"))),
            "state": PRICE_STATES[states.get(leg.names.id, 0)],
        }
        for leg in view.legs
    }


def event(cause: Cause, kind: str, view: BookView, status: int, marks: dict[str, Any]) -> dict[str, Any]:
    """Fields that every decision has."""
    return {
        "id": cause.id(kind),
        "kind": kind,
        "account": cause.account,
        "bucket": cause.bucket,
        "report": {"account": cause.account, **margin_report(view, status), "liquidation": None},
        "marks": marks,
        "journal": {"partition": cause.partition, "offset": cause.offset},
        "time": cause.time,
    }


def liquidation_step(
    record: dict[str, Any], view: BookView, *, step: int, replaces: str | None, target: float, step_cap: str
) -> dict[str, Any]:
    """A liquidation event: the orders that bring the book to its target, replacing the step before."""
    orders = closing_orders(view, target, Fraction(step_cap)) if view.legs else conversion_orders(view)
    return {**record, "step": step, "replaces": replaces, "target": decimal_text(target), "orders": orders}


def shortfall(view: BookView) -> str:
    """The loss past zero equity of a bankrupt book, reporting currency, rounded up."""
    scale = 10**SHORTFALL_PRECISION
    return decimal_text(Decimal(ceil(-view.equity() * scale)).scaleb(-SHORTFALL_PRECISION))
