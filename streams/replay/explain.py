"""One decision made again from the journal: the state behind it, and what would have prevented it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import orjson

from schemas.journal import PRICE_STATES, Block
from schemas.risk_terms import Correlations, RiskUnit
from streams.engine import state
from streams.engine.book_view import BookView, Leg, exact
from streams.engine.decisions import Output
from streams.engine.judge import view_of
from streams.engine.ledger import CROSS
from streams.engine.shard import Shard
from streams.engine.standing import LevelSet
from streams.engine.trust import SUSPECT
from streams.engine.valuation import BANKRUPT, LIQUIDATION, MARGIN_CALL, OK, STATUSES
from streams.evaluate.risk_history import stated
from streams.margin.rational import Rational, quotient, rational
from streams.replay import snapshot
from streams.replay.bar import watched
from streams.replay.fold import apply
from streams.replay.recording import Recorded, Recording, RecordingError

Json = dict[str, Any]

#: Digits that a document's numbers may have at most.
_DIGITS = Context(prec=38)
_OPTION_TERMS = (
    *("option_type", "strike", "option_margin", "settlement_window_ms", "liquidation_fee"),
    *("multiplier", "price_precision", "quantity_precision"),
)
_RATES = (
    *("initial_margin", "maintenance_margin", "tiers", "tier_method", "size_premium_factor", "liquidation_fee"),
    *(
        "open_interest",
        "open_interest_lower",
        "open_interest_upper",
        "multiplier",
        "price_precision",
        "quantity_precision",
    ),
)
#: What a document says of units and correlations besides their names.
_RISK_FIELDS = {
    "risk_unit": tuple(name for name in RiskUnit.__struct_fields__ if name not in ("id", "closed")),
    "correlations": tuple(name for name in Correlations.__struct_fields__ if name not in ("id", "closed")),
}
_HAIRCUTS = ("precision", "haircut", "borrow_haircut", "initial_haircut", "initial_borrow_haircut", "haircut_tiers")


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One decision.

    Parameters
    ----------
    event : the decision as the engine makes it again
    sent : the same as it was sent, None where the recording does not have it
    view, levels, previous_status : the book, its levels, and the status it came from, when it was judged
    document : the same as a portfolio document, for `crossmargin evaluate`
    """

    event: Json
    sent: bytes | None
    made: bytes
    view: BookView
    levels: LevelSet
    previous_status: str
    document: Json

    @property
    def matches(self) -> bool:
        """Whether the same bytes were sent."""
        return self.made == self.sent


def explain(recording: Recording, identity: str, start: Path | None = None) -> Explained:
    """Fold the journal up to the decision `identity`, and make it again.

    Parameters
    ----------
    start : folder of snapshots to begin with; None: the journal's first record

    Raises
    ------
    RecordingError
        where it is no id of a decision, or the journal does not give it.
    """
    partition, offset = _place(identity)
    extent = recording.extents("journal").get(partition)
    if extent is None:
        raise RecordingError(f"journal[{partition}] must be there, found no such partition ({recording.name})")
    shard = Shard(partition) if start is None else snapshot.read(partition, start)
    if extent.first > shard.next_offset:
        raise RecordingError(
            f"journal[{partition}] must begin at {shard.next_offset}, found {extent.first}: start from a snapshot of a "
            f"state before the decision ({recording.name})"
        )
    if shard.next_offset > offset:
        raise RecordingError(
            f"the snapshot must be of a state before record {offset}, found one at {shard.next_offset} ({start})"
        )
    for part in watched(recording.read("journal", partition, shard.next_offset), extent, f"journal[{partition}]"):
        for record in part:
            if record.offset == offset:
                return _explained(recording, shard, record, identity)
            apply(shard, record, recording.name)
    raise RecordingError(f"journal[{partition}] must have a record at {offset}, found none ({recording.name})")


def _place(identity: str) -> tuple[int, int]:
    partition, _, rest = identity.partition("-")
    offset, _, _ = rest.partition("-")
    if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
        raise RecordingError(
            f"an event id must begin with shard and journal offset, as 3-1811-alice-..., found {identity!r}"
        )
    return int(partition), int(offset)


def _explained(recording: Recording, shard: Shard, record: Recorded, identity: str) -> Explained:
    posted = _posted(shard, record, recording.name)
    step = apply(shard, record, recording.name)
    for output in step.folded.decisions:
        event = orjson.loads(output.value)
        if event["id"] == identity:
            return _told(recording, posted, output, event)
    raise RecordingError(
        f"journal record {record.offset} must give {identity}, found no such decision ({recording.name})"
    )


def _posted(shard: Shard, record: Recorded, name: str) -> Shard:
    """A copy of the shard with the record's rows and marks in it and nothing judged: what the decision was made on."""
    copy = state.restore(shard.partition, state.records(shard))
    block = Block.decode(record.value or b"")
    extra = block.extra
    if block.kind == "marks":
        extra = {**extra, "oracle": {**extra["oracle"], "mode": "catching_up"}}
    copy.prices.modes = {}
    apply(copy, record._replace(value=replace(block, extra=extra).encode()), name)
    return copy


def _told(recording: Recording, posted: Shard, output: Output, event: Json) -> Explained:
    ledger, standing = posted.ledger, posted.standing
    account = ledger.accounts.find(event["account"])
    bucket = CROSS if event["bucket"] == "cross" else posted.terms.instrument_index[event["bucket"]]
    book = ledger.book(account, bucket)
    was = LIQUIDATION if standing.step[book] > 0 else MARGIN_CALL if standing.called[book] else OK
    previous = STATUSES[BANKRUPT if standing.status[book] == BANKRUPT else was]
    view = view_of(posted, book)
    levels = standing.sets[int(standing.level_set[book])]
    return Explained(
        event=event,
        sent=_sent(recording, posted.partition, output, event["id"]),
        made=output.value,
        view=view,
        levels=levels,
        previous_status=previous,
        document=_document(posted, view, levels, previous, event),
    )


def _sent(recording: Recording, partition: int, output: Output, identity: str) -> bytes | None:
    if partition not in recording.extents(output.topic):
        return None
    wanted = orjson.dumps(identity)
    for part in recording.read(output.topic, partition):
        for record in part:
            if record.value is not None and wanted in record.value and orjson.loads(record.value)["id"] == identity:
                return record.value
    return None


def _document(posted: Shard, view: BookView, levels: LevelSet, previous: str, event: Json) -> Json:
    """The state as `crossmargin evaluate` reads it."""
    terms, prices = posted.terms, posted.prices
    assets = {}
    for index in sorted({*view.balances, *_coins(posted, view)}):
        name = view.asset_names[index]
        price = {"price": _text(exact(float(prices.prices[index])))}
        widening = {"widening": _text(exact(float(prices.widenings[index])))} if prices.widening else {}
        trust = _trust(view.trust and (view.trust.price_state[index], view.trust.check_prices[index]))
        assets[name] = {**price, **{field: terms.records[name][field] for field in _HAIRCUTS}, **widening, **trust}
    instruments = {}
    for leg in view.legs:
        record = terms.records[leg.names.id]
        kind = {"type": record["type"], "underlying": record["underlying"], "settlement": record["settlement"]}
        mark = {"mark_price": _text(exact(float(prices.marks[leg.index])))}
        fields = _OPTION_TERMS if record["type"] == "option" else _RATES
        given = {field: record[field] for field in (*fields, "expiry") if record.get(field) is not None}
        if record["underlying"] in prices.index and (record["type"] == "option" or view.risk is not None):
            given["index_price"] = _text(exact(prices.index[record["underlying"]]))
        given |= _option_market(posted, leg.index)
        trust = _trust(view.trust and (view.trust.mark_state[leg.index], view.trust.check_marks[leg.index]))
        instruments[leg.names.id] = {**kind, **mark, **given, **trust}
    isolated = event["bucket"] != "cross"
    balances = {view.asset_names[index]: _text(amount) for index, amount in view.balances.items()}
    positions = [_position(view, leg) for leg in view.legs]
    if isolated:
        margin = {"margin_mode": "isolated", "isolated_margin": next(iter(balances.values()), "0")}
        positions = [{**position, **margin, "previous_status": previous} for position in positions]
    account = {
        "account": event["account"],
        "levels": {name: repr(level) for name, level in zip(LevelSet._fields, levels, strict=True)},
        "balances": {} if isolated else balances,
        "positions": positions,
        **({} if isolated else {"previous_status": previous}),
        **({} if view.margin_model == "standard" else {"margin_model": view.margin_model}),
    }
    tables = {"assets": assets, "instruments": instruments, **_risk_terms(posted, view)}
    if view.risk is not None and (factors := posted.portfolio.factors) is not None:
        tables |= {"risk_history": stated(factors)}
    return {"time": event["time"], **tables, "accounts": [account]}


def _coins(posted: Shard, view: BookView) -> list[int]:
    """Assets whose price is that of a risk unit, where the book is margined by units."""
    if view.risk is None:
        return []
    index = posted.terms.asset_index
    return [index[symbol] for symbol in view.risk.model.symbols if symbol in index]


def _option_market(posted: Shard, instrument: int) -> Json:
    """What an option's mark was made of; nothing for other instruments."""
    prices = posted.prices
    told = {"volatility": prices.volatility, "forward": prices.forward, "discount": prices.discount}
    found = {name: float(column[instrument]) for name, column in told.items()}
    return {name: _text(exact(value)) for name, value in found.items() if value == value}


def _risk_terms(posted: Shard, view: BookView) -> Json:
    """Risk units and correlations as they stand, where the book is margined by them."""
    if view.risk is None:
        return {}
    kinds = {"risk_unit": ("risk_units", "underlying"), "correlations": ("correlations", "group")}
    tables: dict[str, Json] = {table: {} for table, _ in kinds.values()}
    for record in posted.terms.records.values():
        if record["kind"] in kinds and not record["closed"]:
            table, key = kinds[record["kind"]]
            fields = _RISK_FIELDS[record["kind"]]
            tables[table][record[key]] = {name: record[name] for name in fields if record.get(name) is not None}
    return tables


def _trust(found: tuple[int, float] | None) -> Json:
    """State of a price, and where it is suspect what it is checked against; nothing where all prices are trusted."""
    if found is None:
        return {}
    state, check = found
    known = state == SUSPECT and check == check
    return {"state": PRICE_STATES[state], **({"check_price": _text(exact(float(check)))} if known else {})}


def _position(view: BookView, leg: Leg) -> Json:
    size = rational(leg.quantity) * leg.names.multiplier
    inverse = bool(view.parameters.inverse[leg.index])
    entry = -size / leg.cost if inverse else leg.cost / size
    return {
        "instrument": leg.names.id,
        "quantity": format(leg.quantity, "f"),
        "entry_price": _text(entry),
        "accrued_funding": _text(leg.accrued),
    }


def _text(number: Rational) -> str:
    """A plain decimal, of at most 38 digits where it has no end."""
    return format(quotient(number, _DIGITS).normalize(_DIGITS), "f")


def missing(found: Explained) -> Decimal:
    """Cash in the reporting currency, without haircut, that would have prevented the decision; 0 for the end of one."""
    report, kind = found.event["report"], found.event["kind"]
    if kind == "bankrupt":
        return max(Decimal(0), -Decimal(report["equity"]))
    level = {"called": Decimal(repr(found.levels.margin_call)), "liquidation": Decimal(1)}.get(kind)
    if level is None:
        return Decimal(0)
    return max(Decimal(0), level * Decimal(report["maintenance_margin"]) - Decimal(report["adjusted_equity"]))
