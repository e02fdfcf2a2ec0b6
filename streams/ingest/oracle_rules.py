"""The rules that records of sources and of the oracle must keep by themselves, and their normal form.

In normal form they have `closed` too: what a tombstone sets.
"""

from collections.abc import Mapping
from decimal import Decimal

from schemas.dead_letters import Refused
from schemas.fields import NAME_CHARS_MAX, epoch_ms, legal_id, plain, shown
from schemas.oracle_terms import (
    ORACLE_ID,
    ORACLE_PREFIX,
    SOURCE_PREFIX,
    OracleRules,
    Redemption,
    Source,
    SourceKey,
    SourceWeight,
)
from schemas.signatures import check_public_key
from streams.ingest.term_checks import TermsRecord, few, fraction, integer, named, number, positive

KEYS_MAX = 16
#: As many sources as the oracle holds per symbol.
SOURCES_MAX = 64
MARKS_MAX = 1000

_DAY_MS = 86_400_000
_MONTH_MS = 30 * _DAY_MS

#: Least and most of every whole number.
_INTEGERS = {
    "sources_min": (1, SOURCES_MAX),
    "max_age_ms": (1, _DAY_MS),
    "stale_ms": (1, _DAY_MS),
    "check_ms": (0, _DAY_MS),
    "band_ticks": (1, 1000),
    "band_sources": (1, SOURCES_MAX),
    "drift_interval_ms": (1, _DAY_MS),
    "bias_half_life_ms": (1, _MONTH_MS),
    "recovery_ticks": (0, 1000),
    "recovery_ms": (0, _DAY_MS),
    "flaps_max": (0, 1000),
    "index_half_life_ms": (0, _DAY_MS),
    "twap_ms": (0, _DAY_MS),
    "volatility_age_ms_max": (1, _MONTH_MS),
}
#: Most of every number that is 0 or more; 1 is that of a fraction.
_NUMBERS = {
    "clamp": 1,
    "check_deviation": 1,
    "band_sigmas": 100,
    "band_min": 1,
    "band_max": 1,
    "cusum_k": 100,
    "cusum_h": 1000,
    "bias_max": 1,
    "confidence_factor": 100,
    "degraded_haircut": 1,
    "age_haircut": 1,
}
#: Most of every number that is above 0.
_POSITIVE = {"max_weight": 1, "band_volatility": 100}


def source_record(record: Source) -> TermsRecord:
    """A source in normal form.

    Raises
    ------
    Refused
        illegal_id, bad_terms and the codes of single fields.
    """
    named(record.id, SOURCE_PREFIX, "~source: and a name")
    few(record.keys, "keys", KEYS_MAX)
    if record.signed and not record.keys:
        raise Refused("bad_terms", "keys must have at least one entry where signed is true, found none")
    keys = [_key(key, f"keys[{index}].") for index, key in enumerate(record.keys)]
    ids = [key["id"] for key in keys]
    for index, id in enumerate(ids):
        if id in ids[:index]:
            raise Refused("bad_terms", f"keys[{index}].id must be another than those before, found {shown(id)}")
    return {"kind": "source", "id": record.id, "signed": record.signed, "keys": keys, "closed": False}


def _key(key: SourceKey, path: str) -> TermsRecord:
    legal_id(key.id, f"{path}id", NAME_CHARS_MAX)
    check_public_key(key.public_key, f"{path}public_key")
    valid_from = epoch_ms(key.valid_from, f"{path}valid_from")
    valid_until = None if key.valid_until is None else epoch_ms(key.valid_until, f"{path}valid_until")
    if valid_until is not None and valid_until <= valid_from:
        raise Refused("bad_terms", f"{path}valid_until must be after valid_from {valid_from}, found {valid_until}")
    return {"id": key.id, "public_key": key.public_key, "valid_from": valid_from, "valid_until": valid_until}


def oracle_record(record: OracleRules) -> TermsRecord:
    """The oracle's rules for a symbol, or for all without their own, in normal form.

    Raises
    ------
    Refused
        illegal_id, bad_terms and the codes of single fields.
    """
    symbol = None if record.id == ORACLE_ID else named(record.id, ORACLE_PREFIX, "~oracle, or ~oracle: and a symbol")
    found: TermsRecord = {"kind": "oracle", "id": record.id, "method": record.method}
    found |= {name: integer(getattr(record, name), name, *bounds) for name, bounds in _INTEGERS.items()}
    found |= {name: plain(number(getattr(record, name), name, 0, most)) for name, most in _NUMBERS.items()}
    found |= {name: plain(positive(getattr(record, name), name, most)) for name, most in _POSITIVE.items()}
    found |= {
        "sources": _sources(record.sources),
        "unsigned_sources": record.unsigned_sources,
        "check_source": record.check_source,
        "redemption": None if record.redemption is None else _redemption(record.redemption, symbol),
        "marks": _marks(record),
        "closed": False,
    }
    _check_sources(found)
    if Decimal(found["band_min"]) > Decimal(found["band_max"]):
        raise Refused("bad_terms", f"band_max must be at least band_min {found['band_min']}, found {found['band_max']}")
    if found["index_half_life_ms"] and found["twap_ms"]:
        raise Refused("bad_terms", f"twap_ms must be 0 where index_half_life_ms is not, found {found['twap_ms']}")
    return found


def _sources(sources: Mapping[str, SourceWeight]) -> TermsRecord:
    few(sources, "sources", SOURCES_MAX)
    found = {}
    for name, source in sorted(sources.items()):
        legal_id(name, "a name in sources", NAME_CHARS_MAX)
        path = f"sources.{name}."
        age = source.max_age_ms
        found[name] = {
            "weight": plain(positive(source.weight, f"{path}weight", 1_000_000)),
            "max_age_ms": None if age is None else integer(age, f"{path}max_age_ms", 1, _DAY_MS),
        }
    return found


def _redemption(redemption: Redemption, symbol: str | None) -> TermsRecord:
    legal_id(redemption.of, "redemption.of", NAME_CHARS_MAX)
    legal_id(redemption.rate_source, "redemption.rate_source", NAME_CHARS_MAX)
    if symbol is None:
        raise Refused("bad_terms", "redemption must be null in ~oracle, the rules of many symbols, found an object")
    if redemption.of == symbol:
        raise Refused("bad_terms", f"redemption.of must be another symbol, found {shown(symbol)}")
    return {"of": redemption.of, "rate_source": redemption.rate_source, "method": redemption.method}


def _marks(record: OracleRules) -> TermsRecord:
    few(record.marks, "marks", MARKS_MAX)
    found = {}
    for name, mark in sorted(record.marks.items()):
        legal_id(name, "a name in marks", NAME_CHARS_MAX)
        path = f"marks.{name}."
        found[name] = {
            "method": mark.method,
            "basis_half_life_ms": integer(mark.basis_half_life_ms, f"{path}basis_half_life_ms", 1, _DAY_MS),
            "basis_max": plain(fraction(mark.basis_max, f"{path}basis_max")),
        }
    return found


def _check_sources(found: TermsRecord) -> None:
    """Refuse what the named sources could never give, and sources with two parts to play."""
    sources, check = found["sources"], found["check_source"]
    if check is not None and legal_id(check, "check_source", NAME_CHARS_MAX) in sources:
        raise Refused("bad_terms", f"check_source must not be one of sources, found {shown(check)}")
    if found["redemption"] is not None:
        rate = found["redemption"]["rate_source"]
        if rate in sources or rate == check:
            raise Refused(
                "bad_terms", f"redemption.rate_source must not be in sources or check_source, found {shown(rate)}"
            )
    needed = ["sources_min", "band_sources"] if Decimal(found["band_sigmas"]) else ["sources_min"]
    for name in needed:
        if sources and found[name] > len(sources):
            raise Refused("bad_terms", f"{name} must be at most the {len(sources)} sources named, found {found[name]}")
