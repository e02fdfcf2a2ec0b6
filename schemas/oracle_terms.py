"""Who may publish prices, and how prices are made and trusted: the records of `instruments` that are the oracle's.

They are told to no shard: what came of them is in the marks.
"""

from typing import Literal

import msgspec

from schemas.fields import Id, Name, Number, Record, Time

SOURCE_PREFIX = "~source:"
ORACLE_ID = "~oracle"
ORACLE_PREFIX = "~oracle:"


class SourceKey(Record, frozen=True, kw_only=True):
    """A public key that a source signs its quotes with. What an id names never changes: a new key has a new id.

    Parameters
    ----------
    id : what a quote names by key_id
    public_key : ed25519, its 32 bytes in base64
    valid_from : the first quote time it holds for
    valid_until : the first quote time it no longer holds for; null: no end
    """

    id: Name
    public_key: str
    valid_from: Time
    valid_until: Time | None = None


class Source(Record, frozen=True, kw_only=True, tag_field="kind", tag="source"):
    """A source of quotes and the keys it signs with, replacing those before; a tombstone forgets the source.
    Keys rotate by overlapping: publish the new one beside the old one, sign with it, then let the old one end.

    Parameters
    ----------
    kind : always source
    id : ~source: and the source's name, as its quotes have it
    signed : true: each quote must carry a valid signature; false: one that carries a signature must carry a valid one
    keys : at most 16, and at least one where signed
    """

    id: Id
    signed: bool = True
    keys: tuple[SourceKey, ...] = ()


class SourceWeight(Record, frozen=True, kw_only=True):
    """How much one source counts.

    Parameters
    ----------
    weight : beside the other sources, above 0
    max_age_ms : a quote older than this is left out, in ms; null: the symbol's
    """

    weight: Number = "1"
    max_age_ms: int | None = None


class Redemption(Record, frozen=True, kw_only=True):
    """What a wrapped or staked asset is redeemed for.

    Parameters
    ----------
    of : symbol that one unit of it is redeemed for, times the rate
    rate_source : source whose quotes of the asset are the redemption rate; never a source of its market price
    method : min: the index is the lower of market and redemption value; check: the market price is checked against the
        redemption value where no check source does it
    """

    of: Name
    rate_source: Name
    method: Literal["min", "check"] = "min"


class MarkMethod(Record, frozen=True, kw_only=True):
    """How the mark price of one instrument comes from the index and the instrument's own quotes.

    Parameters
    ----------
    method : index; median_of_three (index with funding, index with mean basis, last trade); smoothed_basis
    basis_half_life_ms : half-life of the smoothed basis, in ms
    basis_max : largest basis either way, as a fraction of the index
    """

    method: Literal["index", "median_of_three", "smoothed_basis"] = "index"
    basis_half_life_ms: int = 60_000
    basis_max: Number = "0.05"


class OracleRules(Record, frozen=True, kw_only=True, tag_field="kind", tag="oracle"):
    """How the price of a symbol is made of its sources, and how far it is trusted; replaces the record before. A
    tombstone takes it back: the symbol then follows ~oracle, or where there is none, the median of all live sources.

    Parameters
    ----------
    kind : always oracle
    id : ~oracle: and a symbol, or ~oracle for all symbols without a record of their own
    method : median; weighted_median; confidence (three votes a source: price and price +- confidence);
        clamped_median (weighted mean of the prices, each clamped to the median)
    clamp : of clamped_median: how far from the median a price counts, as a fraction
    sources_min : with fewer live sources the price is suspect, and after stale_ms stale; 1 to 64
    max_weight : most of the whole that one source weighs, a fraction above 0
    sources : the sources of the index by name; empty: any, at weight 1
    max_age_ms : a quote older than this is left out, in ms
    stale_ms : time without enough sources after which the price is stale, in ms
    unsigned_sources : false: only quotes with a valid signature are taken
    check_source : source that is never in the index, only held against it; null: none
    check_deviation : how far off the check source may be, as a fraction
    check_ms : how long it may be further off before the price is suspect, in ms
    band_sigmas : width of the price band in standard deviations since the last price; 0: no band
    band_min : least width of the band, as a fraction of the price
    band_max : greatest width of the band, as a fraction of the price
    band_volatility : annual volatility that the band begins with and never goes below, above 0
    band_ticks : prices outside of the band that confirm each other until the band moves
    band_sources : different sources that these must come from
    drift_interval_ms : how often each source is held against the others, in ms
    cusum_k : deviation that the drift detector passes over, in standard deviations
    cusum_h : sum of deviations at which a source is drifting, in standard deviations; 0: off
    bias_half_life_ms : half-life of the mean gap between a source and the others, in ms
    bias_max : mean gap at which a source is drifting, as a fraction; 0: off
    recovery_ticks : clean looks before a better state is told
    recovery_ms : and the time they must span, in ms
    flaps_max : times a source is lost within 10 minutes after which it is left out until it is steady; 0: any
    confidence_factor : what haircuts widen by, per confidence / price
    degraded_haircut : what haircuts widen by, a fraction, while the price is suspect or worse, or degraded with no more
        live sources than sources_min
    age_haircut : what haircuts widen by as the price goes stale, a fraction
    index_half_life_ms : half-life of the mean that assets are valued at, in ms; 0: the index itself
    twap_ms : window of the time-weighted mean that assets are valued at instead, in ms; 0: none
    volatility_age_ms_max : age above which a volatility is old and the options valued by it are stale, in ms
    redemption : of a wrapped or staked asset: what it is redeemed for
    marks : by instrument how its mark is made; those that are not named have the index
    """

    id: Id
    method: Literal["median", "weighted_median", "confidence", "clamped_median"] = "clamped_median"
    clamp: Number = "0.005"
    sources_min: int = 2
    max_weight: Number = "0.4"
    sources: dict[Name, SourceWeight] = msgspec.field(default_factory=dict)
    max_age_ms: int = 3_000
    stale_ms: int = 60_000
    unsigned_sources: bool = True
    check_source: Name | None = None
    check_deviation: Number = "0.01"
    check_ms: int = 10_000
    band_sigmas: Number = "6"
    band_min: Number = "0.01"
    band_max: Number = "0.05"
    band_volatility: Number = "0.6"
    band_ticks: int = 3
    band_sources: int = 2
    drift_interval_ms: int = 1_000
    cusum_k: Number = "0.5"
    cusum_h: Number = "5"
    bias_half_life_ms: int = 3_600_000
    bias_max: Number = "0.0025"
    recovery_ticks: int = 5
    recovery_ms: int = 10_000
    flaps_max: int = 3
    confidence_factor: Number = "2"
    degraded_haircut: Number = "0.02"
    age_haircut: Number = "0.10"
    index_half_life_ms: int = 0
    twap_ms: int = 0
    volatility_age_ms_max: int = 300_000
    redemption: Redemption | None = None
    marks: dict[Name, MarkMethod] = msgspec.field(default_factory=dict)
