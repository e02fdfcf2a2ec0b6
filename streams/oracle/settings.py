"""How the oracle makes and trusts the price of one symbol, read from its oracle record in normal form."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

#: How the index is made of its live sources.
METHODS = ("median", "weighted_median", "confidence", "clamped_median")
#: How an instrument's mark is made of the index.
MARK_METHODS = ("index", "median_of_three", "smoothed_basis")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRule:
    """`weight` (> 0) of a source beside the others, and the age in ms above which it is left out."""

    weight: float = 1.0
    max_age_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Redemption:
    """A wrapped or staked asset, worth rate x index of symbol `of`; `rate_source` tells the rate.

    `method` min: its price is never above that; check: that is what its price is checked against.
    """

    of: str
    rate_source: str
    method: str = "min"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkRule:
    """How one instrument's mark is made; the basis is a fraction of the index, capped at +-`basis_max`."""

    method: str = "index"
    basis_half_life_ms: int = 60_000
    basis_max: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolRules:
    """The oracle's rules for one symbol. Ages and times in ms, rates and deviations as fractions.

    Parameters
    ----------
    version : of the record
    judged : whether an oracle record says how to trust the price; without one it is ok or stale only
    method : one of METHODS
    clamp : each source is clamped to median x (1 +- clamp), where the method is clamped_median
    sources_min : with fewer live sources the price is suspect, and stale after `stale_ms`
    max_weight : most of the whole that one source may weigh
    sources : the only ones that count, by name; empty: any, at weight 1
    max_age_ms : a source whose latest quote is older is left out
    check_source : the source that is never in the index and only checks it
    check_deviation, check_ms : further off than that for so long: suspect
    band_sigmas : width of the price band in standard deviations; 0: no band
    band_min, band_max : least and most width, as a fraction of the price
    band_volatility : least annual volatility, and the one to begin with
    band_ticks, band_sources : prints, and sources, that confirm a price out of the band
    drift_interval_ms : grid of oracle time on which sources are compared with the others
    cusum_k, cusum_h : slack and limit of the CUSUM in standard deviations; h = 0: no drift detection
    bias_half_life_ms, bias_max : slow bias of a source against the index; 0: not looked for
    recovery_ticks, recovery_ms : clean evaluations, and over how long, before a better state is told
    flaps_max : times a source may be lost and come back before it is left out until it is steady; 0: any
    confidence_factor, degraded_haircut, age_haircut : what haircuts widen by
    index_half_life_ms : half-life of the EMA of the index; 0: none
    twap_ms : window of the time-weighted mean of the index; 0: none
    volatility_age_ms_max : age above which options are stale for their volatility
    redemption : how a wrapped or staked asset is redeemed
    marks : by instrument; those without a rule have the index as mark
    """

    version: int = 0
    judged: bool = True
    method: str = "clamped_median"
    clamp: float = 0.005
    sources_min: int = 2
    max_weight: float = 0.4
    sources: Mapping[str, SourceRule] = field(default_factory=dict)
    max_age_ms: int = 3_000
    stale_ms: int = 60_000
    unsigned_sources: bool = True
    check_source: str | None = None
    check_deviation: float = 0.01
    check_ms: int = 10_000
    band_sigmas: float = 6.0
    band_min: float = 0.01
    band_max: float = 0.05
    band_volatility: float = 0.6
    band_ticks: int = 3
    band_sources: int = 2
    drift_interval_ms: int = 1_000
    cusum_k: float = 0.5
    cusum_h: float = 5.0
    bias_half_life_ms: int = 3_600_000
    bias_max: float = 0.0025
    recovery_ticks: int = 5
    recovery_ms: int = 10_000
    flaps_max: int = 3
    confidence_factor: float = 2.0
    degraded_haircut: float = 0.02
    age_haircut: float = 0.10
    index_half_life_ms: int = 0
    twap_ms: int = 0
    volatility_age_ms_max: int = 300_000
    redemption: Redemption | None = None
    marks: Mapping[str, MarkRule] = field(default_factory=dict)

    def age_ms_max(self, source: str) -> int:
        """The age above which this source's quote is left out."""
        rule = self.sources.get(source)
        return self.max_age_ms if rule is None else rule.max_age_ms

    def silence_ms_max(self) -> int:
        """How old the newest quote of a price that is not stale may be."""
        return max([self.max_age_ms, *(rule.max_age_ms for rule in self.sources.values())]) + self.stale_ms

    @property
    def checked(self) -> bool:
        """Whether the index is held against another price."""
        return self.check_source is not None or (self.redemption is not None and self.redemption.method == "check")

    def weight(self, source: str) -> float:
        """What this source weighs beside the others, before the cap."""
        rule = self.sources.get(source)
        return 1.0 if rule is None else rule.weight

    def role(self, source: str) -> str:
        """What this source's quotes of the symbol are for: index, check, redemption, or empty: nothing."""
        if source == self.check_source:
            return "check"
        if self.redemption is not None and source == self.redemption.rate_source:
            return "redemption"
        return "index" if not self.sources or source in self.sources else ""


_NESTED = ("judged", "sources", "redemption", "marks")
_PLAIN = {entry.name: entry.type for entry in fields(SymbolRules) if entry.name not in _NESTED}


def rules_of(record: Mapping[str, Any] | None, quote_age_ms_max: int) -> SymbolRules:
    """The rules that an oracle record states; without a record: median of the live sources, ok or stale.

    A field that the record lacks has the default of `SymbolRules`. What the fields may be is checked where the
    record is taken in.

    Examples
    --------
    >>> rules_of({"method": "median", "clamp": "0.02", "sources": {"a": {"weight": "2"}}}, 10_000).sources
    {'a': SourceRule(weight=2.0, max_age_ms=3000)}
    >>> rules_of(None, 10_000).max_age_ms
    10000
    """
    if record is None:
        return _unjudged(quote_age_ms_max)
    given = {name: _number(record[name], kind) for name, kind in _PLAIN.items() if name in record}
    plain = SymbolRules(**given)
    return SymbolRules(
        **given,
        sources={
            name: SourceRule(
                weight=float(rule.get("weight", 1)),
                max_age_ms=plain.max_age_ms if rule.get("max_age_ms") is None else rule["max_age_ms"],
            )
            for name, rule in record.get("sources", {}).items()
        },
        redemption=_redemption(record.get("redemption")),
        marks={name: _mark_rule(rule) for name, rule in record.get("marks", {}).items()},
    )


def _unjudged(quote_age_ms_max: int) -> SymbolRules:
    return SymbolRules(
        judged=False,
        method="median",
        sources_min=1,
        max_weight=1.0,
        max_age_ms=quote_age_ms_max,
        stale_ms=0,
        band_sigmas=0.0,
        cusum_h=0.0,
        bias_max=0.0,
        recovery_ticks=0,
        recovery_ms=0,
        flaps_max=0,
        confidence_factor=0.0,
        degraded_haircut=0.0,
        age_haircut=0.0,
    )


def _number(value: Any, kind: Any) -> Any:
    return float(value) if kind is float else value


def _redemption(record: Mapping[str, Any] | None) -> Redemption | None:
    return None if record is None else Redemption(**record)


def _mark_rule(record: Mapping[str, Any]) -> MarkRule:
    plain = MarkRule()
    return MarkRule(
        method=record.get("method", plain.method),
        basis_half_life_ms=record.get("basis_half_life_ms", plain.basis_half_life_ms),
        basis_max=float(record.get("basis_max", plain.basis_max)),
    )
