"""The rules that the records of the market's past must keep by themselves, and their normal form."""

from decimal import Decimal

from schemas.dead_letters import Refused
from schemas.fields import plain, shown
from schemas.risk_terms import CLOSES_PREFIX, ClosesLoaded, RiskHistory
from streams.ingest.term_checks import TermsRecord, few, fraction, integer, named, number, positive

MINUTE_MS, YEAR_MS = 60_000, 366 * 86_400_000
#: Periods that a window may have; the least is twice what the volatility filter warms up on.
WINDOW_MIN, WINDOW_MAX = 100, 2000
CLOSES_MAX = WINDOW_MAX + 1
_PERIOD_MAX = 1 << 40


def risk_history_record(record: RiskHistory) -> TermsRecord:
    """How values at risk are made, in normal form.

    Raises
    ------
    Refused
        bad_terms and the codes of single fields.
    """
    return {
        "kind": "risk",
        "id": record.id,
        "period_ms": integer(record.period_ms, "period_ms", MINUTE_MS, YEAR_MS),
        "horizon_ms": integer(record.horizon_ms, "horizon_ms", MINUTE_MS, YEAR_MS),
        "window": integer(record.window, "window", WINDOW_MIN, WINDOW_MAX),
        "decay": plain(_below_one(positive(record.decay, "decay", 1), "decay")),
        "value_at_risk_level": _level(record.value_at_risk_level, "value_at_risk_level"),
        "shortfall_level": _level(record.shortfall_level, "shortfall_level"),
        **{name: plain(fraction(getattr(record, name), name)) for name in ("floor", "shrink", "fall", "rise")},
        "buffer": plain(number(record.buffer, "buffer", 0, 10)),
        "stress": plain(number(record.stress, "stress", -1, 1)),
        "closed": False,
    }


def closes_record(record: ClosesLoaded) -> TermsRecord:
    """Past closes of a unit in normal form.

    Raises
    ------
    Refused
        illegal_id, bad_terms and the codes of single fields.
    """
    few(record.closes, "closes", CLOSES_MAX)
    if not record.closes:
        raise Refused("bad_terms", "closes must have one entry at least, found none")
    return {
        "kind": "closes",
        "id": record.id,
        "underlying": named(record.id, CLOSES_PREFIX, "~closes: and an underlying"),
        "period_ms": integer(record.period_ms, "period_ms", MINUTE_MS, YEAR_MS),
        "period": integer(record.period, "period", 0, _PERIOD_MAX),
        "closes": [plain(_price(price, f"closes[{index}]")) for index, price in enumerate(record.closes)],
        "closed": False,
    }


def _level(value: object, field: str) -> str:
    level = _below_one(fraction(value, field), field)
    if level < Decimal("0.5"):
        raise Refused("bad_terms", f"{field} must be at least 0.5, found {shown(value)}")
    return plain(level)


def _below_one(value: Decimal, field: str) -> Decimal:
    if value == 1:
        raise Refused("bad_terms", f"{field} must be below 1, found 1")
    return value


def _price(value: object, field: str) -> Decimal:
    found = number(value, field, 0)
    if not found or float(found) in (0.0, float("inf")):
        raise Refused("bad_terms", f"{field} must be above 0 and a float64, found {shown(value)}")
    return found
