"""The rules one record of `instruments` must keep by itself, and the normal form in which the journal has it.

Normal form: all fields present, numbers as plain decimal strings, times as epoch ms, and `kind`.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from schemas.accounts import AccountSettings
from schemas.dead_letters import Refused
from schemas.fields import NAME_CHARS_MAX, epoch_ms, exact, legal_id, plain, scaled, shown
from schemas.instruments import (
    DATED_TYPES,
    Asset,
    Control,
    EngineRules,
    Instrument,
    MarginTier,
    OptionMargin,
    TermsMessage,
)
from schemas.oracle_terms import OracleRules, Source
from schemas.risk_terms import ClosesLoaded, Correlations, RiskHistory, RiskUnit
from streams.ingest.oracle_rules import oracle_record, source_record
from streams.ingest.risk_history_rules import closes_record, risk_history_record
from streams.ingest.risk_rules import correlations_record, risk_unit_record
from streams.ingest.term_checks import TermsRecord, few, fraction, integer, number, positive

TIERS_MAX = 100
PRECISION_MAX = 9
#: Longest time that an engine rule or a settlement window may name.
DAY_MS = 86_400_000
_DUPLICATE_WINDOW_MAX = 65536
_PUT_OFFSET_MAX = 10
_CONTROL_PREFIX = "~control:"


def normalised(record: TermsMessage) -> TermsRecord:
    """The record in normal form.

    Raises
    ------
    Refused
        bad_terms and the codes of single fields (see `schemas.dead_letters.REASONS`).
    """
    match record:
        case Instrument():
            return _instrument(record)
        case Asset():
            return _asset(record)
        case Control():
            return _control(record)
        case EngineRules():
            return _engine(record)
        case Source():
            return source_record(record)
        case OracleRules():
            return oracle_record(record)
        case RiskUnit():
            return risk_unit_record(record)
        case Correlations():
            return correlations_record(record)
        case RiskHistory():
            return risk_history_record(record)
        case ClosesLoaded():
            return closes_record(record)


def _instrument(record: Instrument) -> TermsRecord:
    _published_id(record.id)
    if record.id == "cross":
        raise Refused("illegal_id", "id must not be 'cross', the name of the cross bucket, found 'cross'")
    legal_id(record.underlying, "underlying", NAME_CHARS_MAX)
    legal_id(record.settlement, "settlement", NAME_CHARS_MAX)
    multiplier = exact(record.multiplier, "multiplier")
    if multiplier <= 0:
        raise Refused("bad_terms", f"multiplier must be above 0, found {shown(record.multiplier)}")
    price_precision = integer(record.price_precision, "price_precision", 0, PRECISION_MAX)
    quantity_precision = integer(record.quantity_precision, "quantity_precision", 0, PRECISION_MAX)
    return {
        "kind": "instrument",
        "id": record.id,
        "type": record.type,
        "underlying": record.underlying,
        "settlement": record.settlement,
        "multiplier": plain(multiplier),
        "price_precision": price_precision,
        "quantity_precision": quantity_precision,
        **(_no_rates(record) if record.type == "option" else _margin_rates(record)),
        "tier_method": record.tier_method,
        "size_premium_factor": plain(number(record.size_premium_factor, "size_premium_factor", 0)),
        "liquidation_fee": plain(_below_one(record.liquidation_fee, "liquidation_fee")),
        **_open_interest(record),
        **_expiry(record),
        **_option(record),
        "closed": record.closed,
    }


def _option(record: Instrument) -> TermsRecord:
    """The fields that only options have; nothing of other types."""
    if record.type != "option":
        for name in ("option_type", "strike", "option_margin"):
            found = getattr(record, name)
            if found is not None:
                what = "an object" if isinstance(found, OptionMargin) else shown(found)
                raise Refused("bad_terms", f"{name} must be null with type {record.type}, found {what}")
        if record.settlement_window_ms != 0:
            found = shown(record.settlement_window_ms)
            raise Refused("bad_terms", f"settlement_window_ms must be 0 with type {record.type}, found {found}")
        return {}
    for name in ("option_type", "strike"):
        if getattr(record, name) is None:
            raise Refused("missing_field", f"{name} must be given with type option, found null")
    strike = number(record.strike, "strike", 0)
    if strike == 0:
        raise Refused("bad_terms", "strike must be above 0, found 0")
    window = integer(record.settlement_window_ms, "settlement_window_ms", 0, DAY_MS)
    return {
        "option_type": record.option_type,
        "strike": plain(strike),
        "option_margin": _option_margin(record.option_margin or OptionMargin()),
        **({"settlement_window_ms": window} if window else {}),
    }


def _option_margin(rates: OptionMargin) -> TermsRecord:
    path = "option_margin."
    most = fraction(rates.most, f"{path}most")
    least = _at_most(rates.least, f"{path}least", "most", most)
    return {
        "most": plain(most),
        "least": plain(least),
        "call": plain(_at_most(rates.call, f"{path}call", "least", least)),
        "put": plain(_at_most(rates.put, f"{path}put", "least", least)),
        "put_value": plain(fraction(rates.put_value, f"{path}put_value")),
        "put_offset": plain(number(rates.put_offset, f"{path}put_offset", 1, _PUT_OFFSET_MAX)),
    }


def _at_most(value: object, field: str, other: str, limit: Decimal) -> Decimal:
    found = fraction(value, field)
    if found > limit:
        raise Refused("bad_terms", f"{field} must be at most {other} {plain(limit)}, found {plain(found)}")
    return found


def _no_rates(record: Instrument) -> TermsRecord:
    """What stands in the place of the rates of other types, which an option does not have."""
    for name in ("initial_margin", "maintenance_margin", "open_interest"):
        if getattr(record, name) is not None:
            raise Refused("bad_terms", f"{name} must be null with type option, found {shown(getattr(record, name))}")
    if record.tiers:
        raise Refused("bad_terms", f"tiers must be empty with type option, found {len(record.tiers)} of them")
    if number(record.size_premium_factor, "size_premium_factor", 0) != 0:
        raise Refused(
            "bad_terms", f"size_premium_factor must be 0 with type option, found {shown(record.size_premium_factor)}"
        )
    return {"initial_margin": "0", "maintenance_margin": "0", "tiers": []}


def _margin_rates(record: Instrument) -> TermsRecord:
    tiers = _margin_tiers(record.tiers)
    initial, maintenance = record.initial_margin, record.maintenance_margin
    if tiers and initial is None and maintenance is None:
        flat = {name: tiers[0][name] for name in ("initial_margin", "maintenance_margin")}
        return {**flat, "tiers": tiers}
    for name, value in (("initial_margin", initial), ("maintenance_margin", maintenance)):
        if value is None:
            raise Refused("missing_field", f"{name} must be given, found null")
    return {**_rates(initial, maintenance, ""), "tiers": tiers}


def _margin_tiers(tiers: Sequence[MarginTier]) -> list[TermsRecord]:
    few(tiers, "tiers", TIERS_MAX)
    rows = []
    for index, tier in enumerate(tiers):
        path = f"tiers[{index}]."
        start = number(tier.notional_from, f"{path}notional_from", 0)
        rows.append({"notional_from": plain(start)} | _rates(tier.initial_margin, tier.maintenance_margin, path))
    _ascending(rows, "tiers", "notional_from")
    for name in ("initial_margin", "maintenance_margin"):
        _never_falling(rows, "tiers", name)
    return rows


def _rates(initial: object, maintenance: object, path: str) -> TermsRecord:
    high = fraction(initial, f"{path}initial_margin")
    low = fraction(maintenance, f"{path}maintenance_margin")
    if high < low:
        raise Refused(
            "bad_terms",
            f"{path}initial_margin must be at least maintenance_margin {plain(low)}, found {high}",
        )
    return {"initial_margin": plain(high), "maintenance_margin": plain(low)}


def _open_interest(record: Instrument) -> TermsRecord:
    names = ("open_interest", "open_interest_lower", "open_interest_upper")
    values = {name: _optional(getattr(record, name), name) for name in names}
    lower, upper = values["open_interest_lower"], values["open_interest_upper"]
    if (lower is None) != (upper is None):
        raise Refused("bad_terms", "open_interest_lower and open_interest_upper must be given together, found one")
    if lower is not None and upper is not None and lower >= upper:
        raise Refused("bad_terms", f"open_interest_upper must be above {plain(lower)}, found {plain(upper)}")
    return {name: None if value is None else plain(value) for name, value in values.items()}


def _expiry(record: Instrument) -> TermsRecord:
    is_dated = record.type in DATED_TYPES
    if is_dated != (record.expiry is not None):
        raise Refused(
            "bad_terms",
            f"expiry must be given for futures and options and for nothing else, found {shown(record.expiry)} "
            f"with type {record.type}",
        )
    price = _optional(record.settlement_price, "settlement_price")
    if price is not None:
        if not is_dated:
            raise Refused("bad_terms", f"settlement_price must be null with type {record.type}, found {price}")
        if price == 0:
            raise Refused("non_positive_price", "settlement_price must be above 0, found 0")
        if record.type != "option":  # whose settlement price is its underlying's
            scaled(record.settlement_price, record.price_precision, "settlement_price")
    return {
        "expiry": None if record.expiry is None else epoch_ms(record.expiry, "expiry"),
        "settlement_price": None if price is None else plain(price),
    }


def _asset(record: Asset) -> TermsRecord:
    _published_id(record.id)
    haircut = fraction(record.haircut, "haircut")
    borrow_haircut = fraction(record.borrow_haircut, "borrow_haircut")
    return {
        "kind": "asset",
        "id": record.id,
        "precision": integer(record.precision, "precision", 0, PRECISION_MAX),
        "haircut": plain(haircut),
        "borrow_haircut": plain(borrow_haircut),
        "initial_haircut": _fraction_or(record.initial_haircut, "initial_haircut", haircut),
        "initial_borrow_haircut": _fraction_or(record.initial_borrow_haircut, "initial_borrow_haircut", borrow_haircut),
        "haircut_tiers": _haircut_tiers(record),
        "closed": record.closed,
    }


def _haircut_tiers(record: Asset) -> list[TermsRecord]:
    """Slices with both haircuts; one without its own initial haircut has the larger of its haircut and the asset's."""
    few(record.haircut_tiers, "haircut_tiers", TIERS_MAX)
    rows = []
    for index, tier in enumerate(record.haircut_tiers):
        path = f"haircut_tiers[{index}]."
        haircut = fraction(tier.haircut, f"{path}haircut")
        least = haircut
        if record.initial_haircut is not None:
            least = max(haircut, fraction(record.initial_haircut, "initial_haircut"))
        rows.append(
            {
                "from": plain(number(tier.quantity_from, f"{path}from", 0)),
                "haircut": plain(haircut),
                "initial_haircut": _fraction_or(tier.initial_haircut, f"{path}initial_haircut", least),
            }
        )
    _ascending(rows, "haircut_tiers", "from")
    for name in ("haircut", "initial_haircut"):
        _never_falling(rows, "haircut_tiers", name)
    return rows


def _control(record: Control) -> TermsRecord:
    legal_id(record.id, "id")
    if not record.id.startswith(_CONTROL_PREFIX) or record.id == _CONTROL_PREFIX:
        raise Refused("illegal_id", f"id must be ~control: and a name, found {shown(record.id)}")
    if record.action in ("halt", "resume") and record.symbol is None:
        raise Refused("missing_field", f"symbol must be given with action {record.action}, found null")
    if record.symbol is not None:
        legal_id(record.symbol, "symbol", NAME_CHARS_MAX)
    return {"kind": "control", "id": record.id, "action": record.action, "symbol": record.symbol}


def _engine(record: EngineRules) -> TermsRecord:
    legal_id(record.reporting_currency, "reporting_currency", NAME_CHARS_MAX)
    levels = checked_levels(record)
    cap = positive(record.liquidation_step_cap, "liquidation_step_cap", 1)
    window = integer(record.duplicate_window, "duplicate_window", 1, _DUPLICATE_WINDOW_MAX)
    return {
        "kind": "engine",
        "id": record.id,
        **levels,
        "liquidation_timeout_ms": integer(record.liquidation_timeout_ms, "liquidation_timeout_ms", 1, DAY_MS),
        "liquidation_step_cap": plain(cap),
        "duplicate_window": window,
        "summary_interval_ms": integer(record.summary_interval_ms, "summary_interval_ms", 1, DAY_MS),
        "reporting_currency": record.reporting_currency,
        "portfolio_equity_min": plain(number(record.portfolio_equity_min, "portfolio_equity_min", 0)),
    }


def settings_row(record: AccountSettings) -> dict[str, Any]:
    """Settings of an account in normal form, as they stand in the journal. Raises as `checked_levels`."""
    return {
        "account": record.account,
        "mode": record.mode,
        "margin_model": record.margin_model,
        "levels": checked_levels(record.levels),
        **({"shadow": True} if record.shadow else {}),
    }


def checked_levels(record: Any) -> dict[str, str]:
    """The margin levels that `record` gives, as plain decimals; they are between 1 and 1000 and in order.

    Raises
    ------
    Refused
        bad_terms.
    """
    levels = {}
    for name in ("margin_call", "margin_call_exit", "liquidation_exit", "liquidation_target"):
        value = getattr(record, name)
        if value is not None:
            levels[name] = plain(number(value, name, 1, 1000))
    for low, high in (("margin_call", "margin_call_exit"), ("liquidation_exit", "liquidation_target")):
        if low in levels and high in levels and Decimal(levels[high]) < Decimal(levels[low]):
            raise Refused("bad_terms", f"{high} must be at least {low} {levels[low]}, found {levels[high]}")
    return levels


def _published_id(text: str) -> None:
    if legal_id(text, "id", NAME_CHARS_MAX)[0] == "~":
        raise Refused("illegal_id", f"id must not begin with ~, found {shown(text)}")


def _below_one(value: object, field: str) -> Decimal:
    found = fraction(value, field)
    if found == 1:
        raise Refused("bad_terms", f"{field} must be below 1, found {shown(value)}")
    return found


def _fraction_or(value: object, field: str, default: Decimal) -> str:
    return plain(default if value is None else fraction(value, field))


def _optional(value: object, field: str) -> Decimal | None:
    return None if value is None else number(value, field, 0)


def _ascending(rows: Sequence[TermsRecord], field: str, name: str) -> None:
    starts = [Decimal(row[name]) for row in rows]
    if starts and starts[0] != 0:
        raise Refused("bad_terms", f"{field}[0].{name} must be 0, found {starts[0]}")
    for index in range(1, len(starts)):
        if starts[index] <= starts[index - 1]:
            raise Refused(
                "bad_terms",
                f"{field}[{index}].{name} must be above {starts[index - 1]}, found {starts[index]}",
            )


def _never_falling(rows: Sequence[TermsRecord], field: str, name: str) -> None:
    for index in range(1, len(rows)):
        before, here = rows[index - 1][name], rows[index][name]
        if Decimal(here) < Decimal(before):
            raise Refused("bad_terms", f"{field}[{index}].{name} must not be below tier {before}, found {here}")
