"""What portfolio margin reads of a document: risk units, correlations, and the market of options.

Units and correlations get the records they would have on the `instruments` topic, by the same rules.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from schemas.codec import Reader
from schemas.dead_letters import Refused
from schemas.fields import Record
from schemas.risk_terms import CORRELATIONS_PREFIX, RISK_UNIT_PREFIX, Correlations, RiskUnit
from streams.engine.risk_factors import Factors
from streams.engine.risk_model import RiskView, risk_model
from streams.engine.terms import TermsTable
from streams.evaluate.document import BadDocument, Field, Node
from streams.ingest.term_checks import TermsRecord
from streams.ingest.term_rules import normalised
from streams.margin.parameters import F64
from streams.margin.portfolio_tail import no_tails

#: Fields that say what the market of an option is.
OPTION_MARKET = ("volatility", "forward", "discount")


class OptionMarket(NamedTuple):
    """What an option is valued by besides its terms; nan where not given, and for what is no option.

    `forward` is in the reporting currency; where it is not given, the index of the underlying stands for it.
    """

    volatility: float
    forward: float
    discount: float


NO_OPTION = OptionMarket(np.nan, np.nan, np.nan)


def option_market(field: Field, time: int | None) -> OptionMarket:
    """The market of an option; without a volatility where the document does not say when the option expires.

    Raises
    ------
    BadDocument
        where a number is not above 0.
    """
    volatility, forward, discount = (field(name) for name in OPTION_MARKET)
    dated = time is not None and field("expiry").given
    return OptionMarket(
        volatility=float(volatility.positive()) if volatility.given and dated else np.nan,
        forward=float(forward.positive()) if forward.given else np.nan,
        discount=float(discount.positive()) if discount.given else 1.0,
    )


def read_risk_terms(units: Node, correlations: Node, unknown: list[str]) -> list[TermsRecord]:
    """Records of the objects `risk_units`, by underlying, and `correlations`, by group.

    Raises
    ------
    BadDocument
        with the path of the first field that is wrong.
    """
    of_units = _records(units, "risk_unit", RiskUnit, RISK_UNIT_PREFIX, unknown)
    return of_units + _records(correlations, "correlations", Correlations, CORRELATIONS_PREFIX, unknown)


def _records(table: Node, tag: str, kind: type[Record], prefix: str, unknown: list[str]) -> list[TermsRecord]:
    found = []
    for name, node in table.fields() if table.given else ():
        fields = {own: value for own, value in node.fields() if own not in ("id", "kind", "closed")}
        unknown += [value.path for own, value in fields.items() if own not in kind.__struct_fields__]
        given = {own: value.plain() for own, value in fields.items()}
        try:
            record: Any = Reader(kind).read(orjson.dumps({**given, "kind": tag, "id": prefix + name}))
            found.append(normalised(record))
        except Refused as refused:
            raise BadDocument(f"{node.path}.{refused.reason}") from None
    return found


def risk_view(
    terms: TermsTable,
    *,
    options: Sequence[OptionMarket],
    indexes: Mapping[str, float],
    time: int,
    widening: F64,
    factors: Factors | None,
) -> RiskView | None:
    """What portfolio margin reads of the document's market; None where it has no risk unit.

    Parameters
    ----------
    terms : of the document, its risk units among them
    options : by instrument
    indexes : price of each underlying that is known
    time : of the document, epoch ms
    widening : by asset
    factors : of the market's past; None where it is not known
    """
    model = risk_model(terms)
    if model is None:
        return None
    of_instrument = [indexes.get(terms.underlying(i), np.nan) for i in range(len(terms.instruments))]
    forward = [
        index if np.isnan(own.forward) else own.forward for own, index in zip(options, of_instrument, strict=True)
    ]
    return RiskView(
        model=model,
        volatility=np.array([own.volatility for own in options], dtype=np.float64),
        forward=np.array(forward, dtype=np.float64),
        discount=np.array([own.discount for own in options], dtype=np.float64),
        index_price=np.array([indexes.get(symbol, np.nan) for symbol in model.symbols], dtype=np.float64),
        time=time,
        widening=widening,
        tails=no_tails(len(model.symbols)) if factors is None else factors.tails(model.symbols),
    )
