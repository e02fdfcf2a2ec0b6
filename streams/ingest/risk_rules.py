"""The rules that records of risk units and correlations must keep by themselves, and their normal form.

In normal form they have `closed` too, which a tombstone sets, and what they are of: `underlying`, or `group`.
"""

from collections.abc import Sequence
from decimal import Decimal

from schemas.dead_letters import Refused
from schemas.fields import NAME_CHARS_MAX, legal_id, plain, shown
from schemas.risk_terms import (
    CORRELATIONS_PREFIX,
    RISK_UNIT_PREFIX,
    Correlations,
    PairCorrelation,
    RiskUnit,
    Scenario,
)
from streams.ingest.term_checks import TermsRecord, few, fraction, integer, named, number, positive

STEPS_MAX = 20
SCENARIOS_MAX = 100
PAIRS_MAX = 1000
#: Largest upward move: to a thousand times the price.
MOVE_MAX = 999
HORIZON_MAX = 100

#: Most of every number that is 0 or more; 1 is that of a fraction.
_UNIT = {
    "calendar": 1,
    "naked": 1,
    "delta_net": 1,
    "delta_hedged": 1,
    "spread": 1,
    "impact": 100,
    "daily_volatility": 10,
    "minimum": 1,
}
_VOLATILITY = {"up": 10, "down": 1, "short_power": 1, "long_power": 1, "least": 10}
_EXPIRIES = {
    "long_base": 1,
    "long_multiply": 10,
    "long_add": 10,
    "short_multiply": 10,
    "short_add": 10,
    "basis_add": 10,
    "basis_multiply": 100,
}
#: Least and most of the numbers of a skew; `least` is above 0 too.
_SMILE = {
    "linear_cap": (0, 1),
    "linear_slope": (-1, 1),
    "absolute_cap": (0, 1),
    "absolute_slope": (-1, 1),
    "width": (0, 100),
    "static": (0, 10),
    "scale": (-10, 10),
}


def risk_unit_record(record: RiskUnit) -> TermsRecord:
    """A risk unit in normal form.

    Raises
    ------
    Refused
        illegal_id, bad_terms and the codes of single fields.
    """
    underlying = named(record.id, RISK_UNIT_PREFIX, "~risk_unit: and an underlying")
    price_range = positive(record.price_range, "price_range", 1)
    if price_range == 1:
        raise Refused("bad_terms", f"price_range must be below 1, found {shown(record.price_range)}")
    basis = record.basis_move
    volume = record.daily_volume
    horizon = number(record.liquidity_horizon, "liquidity_horizon", 1, HORIZON_MAX)
    smile = {name: plain(number(getattr(record.smile, name), f"smile.{name}", *b)) for name, b in _SMILE.items()}
    volatility, expiries = record.volatility, record.expiries
    return {
        "kind": "risk_unit",
        "id": record.id,
        "underlying": underlying,
        "price_range": plain(price_range),
        "steps": integer(record.steps, "steps", 1, STEPS_MAX),
        "tails": _tails(record.tails),
        "skew": record.skew,
        "scenarios": _scenarios(record.scenarios),
        "basis_move": plain(price_range / 4 if basis is None else fraction(basis, "basis_move")),
        "volatility": {
            **{
                name: plain(number(getattr(volatility, name), f"volatility.{name}", 0, m))
                for name, m in _VOLATILITY.items()
            },
            "days_least": plain(positive(volatility.days_least, "volatility.days_least", 365)),
        },
        "smile": {**smile, "least": plain(positive(record.smile.least, "smile.least", 10))},
        "expiries": {
            **{name: plain(number(getattr(expiries, name), f"expiries.{name}", 0, m)) for name, m in _EXPIRIES.items()},
            "short_base": plain(number(expiries.short_base, "expiries.short_base", 1, 10)),
        },
        **{name: plain(number(getattr(record, name), name, 0, most)) for name, most in _UNIT.items()},
        "daily_volume": None if volume is None else plain(_above_zero(volume, "daily_volume")),
        "group": None if record.group is None else legal_id(record.group, "group", NAME_CHARS_MAX),
        **({"liquidity_horizon": plain(horizon)} if horizon != 1 else {}),
        **({"liquidation": record.liquidation} if record.liquidation != "share" else {}),
        "closed": False,
    }


def correlations_record(record: Correlations) -> TermsRecord:
    """Correlations of a group in normal form.

    Raises
    ------
    Refused
        illegal_id, bad_terms and the codes of single fields.
    """
    group = named(record.id, CORRELATIONS_PREFIX, "~correlations: and a group")
    return {
        "kind": "correlations",
        "id": record.id,
        "group": group,
        **_bounds(record.low, record.high, ""),
        "pairs": _pairs(record.pairs),
        "share": plain(fraction(record.share, "share")),
        "closed": False,
    }


def _tails(tails: Sequence[object]) -> list[str]:
    few(tails, "tails", SCENARIOS_MAX)
    return [plain(_move(tail, f"tails[{index}]", zero=False)) for index, tail in enumerate(tails)]


def _scenarios(rows: Sequence[Scenario]) -> list[TermsRecord]:
    few(rows, "scenarios", SCENARIOS_MAX)
    skewed = [row.volatility.endswith("skew") for row in rows]
    if skewed != sorted(skewed):
        raise Refused(
            "bad_terms",
            f"scenarios that skew the smile must come last, found one at {skewed.index(True)} of {len(rows)}",
        )
    return [
        {
            "move": plain(_move(row.move, f"scenarios[{index}].move", zero=True)),
            "volatility": row.volatility,
            "dampening": plain(fraction(row.dampening, f"scenarios[{index}].dampening")),
        }
        for index, row in enumerate(rows)
    ]


def _move(value: object, field: str, *, zero: bool) -> Decimal:
    move = number(value, field, -1, MOVE_MAX)
    if move == -1 or (not zero and not move):
        raise Refused("bad_terms", f"{field} must be above -1{'' if zero else ' and not 0'}, found {shown(value)}")
    return move


def _pairs(pairs: Sequence[PairCorrelation]) -> list[TermsRecord]:
    few(pairs, "pairs", PAIRS_MAX)
    found: list[TermsRecord] = []
    for index, pair in enumerate(pairs):
        path = f"pairs[{index}]."
        units = sorted(legal_id(unit, f"{path}units", NAME_CHARS_MAX) for unit in pair.units)
        if units[0] == units[1]:
            raise Refused("bad_terms", f"{path}units must be two, found {shown(units[0])} twice")
        if any(units == before["units"] for before in found):
            raise Refused("bad_terms", f"{path}units must be other ones than those before, found {shown(units)}")
        found.append({"units": units, **_bounds(pair.low, pair.high, path)})
    return found


def _bounds(low: object, high: object, path: str) -> TermsRecord:
    least, most = number(low, f"{path}low", -1, 1), number(high, f"{path}high", -1, 1)
    if most < least:
        raise Refused("bad_terms", f"{path}high must be at least low {plain(least)}, found {plain(most)}")
    return {"low": plain(least), "high": plain(most)}


def _above_zero(value: object, field: str) -> Decimal:
    found = number(value, field, 0)
    if not found:
        raise Refused("bad_terms", f"{field} must be above 0, found 0")
    return found
