"""The market's past as a document states it: `risk_history`, with the fields of the record ~risk.

Beside those it has `returns`, for each underlying as many as the window is long, oldest first; and `margined`, for each
the volatility with what is left of its buffer, where the whole buffer is not.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from fractions import Fraction
from typing import Any

import numpy as np
import orjson

from schemas.codec import Reader
from schemas.dead_letters import Refused
from schemas.risk_terms import RiskHistory
from streams.engine.risk_factors import Factors, factors, rules_of
from streams.evaluate.document import BadDocument, Node
from streams.ingest.risk_history_rules import MINUTE_MS, WINDOW_MAX, WINDOW_MIN, YEAR_MS
from streams.ingest.term_rules import normalised
from streams.margin.risk_parameters import refreshed

RULES = tuple(name for name in RiskHistory.__struct_fields__ if name not in ("id", "window"))


def read_risk_history(node: Node, units: Collection[str], unknown: list[str]) -> Factors | None:
    """What values at risk are made of; None where the document does not say.

    What is said of an underlying that is none of `units` counts nowhere: its path goes to `unknown`.

    Raises
    ------
    BadDocument
        with the path of the first field that is wrong.
    """
    if not node.given:
        return None
    field = node.record((*RULES, "returns", "margined"), unknown)
    found = {name: [_return(one) for one in own.items()] for name, own in field("returns").fields()}
    lengths = sorted({len(own) for own in found.values()})
    if len(lengths) != 1 or not WINDOW_MIN <= lengths[0] <= WINDOW_MAX:
        counts = " and ".join(map(str, lengths)) or "no underlying"
        raise BadDocument(
            f"{node.path}.returns must be {WINDOW_MIN} to {WINDOW_MAX} of each underlying, equally many, found {counts}"
        )
    past = tuple(sorted(found))
    returns = np.array([found[unit] for unit in past], dtype=np.float64).T.copy()
    given = {name: field(name).plain() for name in RULES if field(name).given}
    try:
        told: Any = {**given, "kind": "risk", "id": "~risk", "window": len(returns)}
        record = normalised(Reader(RiskHistory).read(orjson.dumps(told)))
    except Refused as refused:
        raise BadDocument(f"{node.path}.{refused.reason}") from None
    own = (
        {name: float(value.positive()) for name, value in field("margined").fields()} if field("margined").given else {}
    )
    unknown += [f"{node.path}.returns.{name}" for name in past if name not in units]
    unknown += [f"{node.path}.margined.{name}" for name in own if name not in found]
    rules, before = rules_of(record), np.array([own.get(unit, math.inf) for unit in past])
    return factors(past, 0, rules, refreshed(returns, before, rules), returns)


def stated(known: Factors) -> dict[str, Any]:
    """What `read_risk_history` reads these out of, to the bit: horizon and period are such as have the same root."""
    tail, rules, margined = known.rules.tail, known.rules, known.parameters.margined
    return {
        **_times(tail.scale),
        **{name: repr(getattr(tail, name)) for name in ("decay", "value_at_risk_level", "shortfall_level", "floor")},
        **{name: repr(getattr(rules, name)) for name in ("buffer", "shrink", "fall", "rise", "stress")},
        "returns": {unit: [repr(r) for r in known.returns[:, at].tolist()] for at, unit in enumerate(known.units)},
        "margined": {unit: repr(float(margined[at])) for at, unit in enumerate(known.units) if margined[at] > 0.0},
    }


def _times(scale: float) -> dict[str, int]:
    """A horizon and a period, both within what may be told, of whose ratio `scale` is the root.

    >>> _times(2.0), _times(math.sqrt(1440.0)), _times(math.sqrt(1 / 3))
    ({'period_ms': 60000, 'horizon_ms': 240000}, {'period_ms': 60000, 'horizon_ms': 86400000}, {'period_ms': 180000, \
'horizon_ms': 60000})
    """
    ratio = Fraction(scale * scale).limit_denominator(YEAR_MS // MINUTE_MS)
    times = math.ceil(MINUTE_MS / min(ratio.numerator, ratio.denominator))
    return {"period_ms": ratio.denominator * times, "horizon_ms": ratio.numerator * times}


def _return(node: Node) -> float:
    number = float(node.decimal())
    if not -1.0 < number < math.inf:
        raise node.refuse("be above -1 and a float64")
    return number
