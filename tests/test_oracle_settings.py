"""The oracle's rules from a record in normal form."""

from dataclasses import replace

from streams.oracle.settings import MarkRule, Redemption, SourceRule, SymbolRules, rules_of
from tests.ingest_samples import published


def test_without_a_record_nothing_is_judged() -> None:
    """An installation that publishes no oracle record must not change its prices by an upgrade."""
    rules = rules_of(None, 7_000)
    assert (rules.judged, rules.method, rules.sources_min, rules.stale_ms) == (False, "median", 1, 0)
    assert (rules.band_sigmas, rules.cusum_h, rules.bias_max, rules.flaps_max) == (0.0, 0.0, 0.0, 0)
    assert (rules.confidence_factor, rules.degraded_haircut, rules.age_haircut) == (0.0, 0.0, 0.0)
    assert rules.age_ms_max("any") == 7_000


def test_empty_record_has_the_defaults() -> None:
    """Fields added later must mean the same to old records."""
    assert rules_of({}, 7_000) == SymbolRules()


def test_published_record_with_nothing_in_it_has_the_same_defaults() -> None:
    """The contract states the defaults that users read; these must be the ones that hold."""
    record = published({"kind": "oracle", "id": "~oracle:BTC"}).oracle_record("BTC")
    assert record is not None
    assert replace(rules_of(record, 7_000), version=0) == SymbolRules()


def test_each_kind_of_field() -> None:
    """Decimal strings become floats, counts stay integers, nested rules become their own."""
    rules = rules_of(
        {
            "kind": "oracle",
            "id": "~oracle:BTC",
            "method": "weighted_median",
            "max_weight": "0.5",
            "sources_min": 3,
            "max_age_ms": 2_000,
            "sources": {"a": {"weight": "2", "max_age_ms": None}, "b": {"weight": "0.5", "max_age_ms": 60_000}},
            "confidence_factor": "1",
            "degraded_haircut": "0.03",
            "age_haircut": "0.2",
            "redemption": {"of": "ETH", "rate_source": "lido", "method": "min"},
            "marks": {"BTC-PERP": {"method": "smoothed_basis", "basis_half_life_ms": 1_000, "basis_max": "0.01"}},
        },
        7_000,
    )
    assert (rules.method, rules.max_weight, rules.sources_min, rules.judged) == ("weighted_median", 0.5, 3, True)
    assert rules.sources == {
        "a": SourceRule(weight=2.0, max_age_ms=2_000),
        "b": SourceRule(weight=0.5, max_age_ms=60_000),
    }
    assert (rules.age_ms_max("a"), rules.age_ms_max("b"), rules.age_ms_max("c")) == (2_000, 60_000, 2_000)
    assert (rules.confidence_factor, rules.degraded_haircut, rules.age_haircut) == (1.0, 0.03, 0.2)
    assert rules.redemption == Redemption(of="ETH", rate_source="lido")
    assert rules.marks == {"BTC-PERP": MarkRule(method="smoothed_basis", basis_half_life_ms=1_000, basis_max=0.01)}


def test_what_each_source_is_for() -> None:
    """A check source that moved the index would check itself; an unlisted one must not price anything."""
    rules = rules_of(
        {
            "sources": {"a": {}},
            "check_source": "chk",
            "redemption": {"of": "ETH", "rate_source": "lido", "method": "min"},
        },
        7_000,
    )
    assert [rules.role(name) for name in ("a", "b", "chk", "lido")] == ["index", "", "check", "redemption"]
    assert [rules_of({}, 7_000).role(name) for name in ("a", "b")] == ["index", "index"]
