"""Sources and the oracle's rules on `instruments`: their normal form, what is refused, and what the table keeps."""

import pytest

from schemas.dead_letters import Refused
from streams.ingest.terms import Terms
from tests.ingest_samples import BTC_PERP, BYTES_MAX, NOW_MS, USDC, encoded, partition, published

PUBLIC_KEY = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
OTHER_KEY = "6kqFYx8D9F3Qv0rXK1yGv1eS4n3yVbAhqDbnnQyZwHM="
K1 = {"id": "k1", "public_key": PUBLIC_KEY, "valid_from": 0}
K2 = {"id": "k2", "public_key": OTHER_KEY, "valid_from": 0}
SOURCE = {"id": "~source:one", "kind": "source", "keys": [K1]}
DEFAULT = {"id": "~oracle", "kind": "oracle"}
ORACLE = {"id": "~oracle:BTC", "kind": "oracle"}

DEFAULTS = {
    "kind": "oracle",
    "method": "clamped_median",
    "clamp": "0.005",
    "sources_min": 2,
    "max_weight": "0.4",
    "sources": {},
    "max_age_ms": 3000,
    "stale_ms": 60000,
    "unsigned_sources": True,
    "check_source": None,
    "check_deviation": "0.01",
    "check_ms": 10000,
    "band_sigmas": "6",
    "band_min": "0.01",
    "band_max": "0.05",
    "band_volatility": "0.6",
    "band_ticks": 3,
    "band_sources": 2,
    "drift_interval_ms": 1000,
    "cusum_k": "0.5",
    "cusum_h": "5",
    "bias_half_life_ms": 3600000,
    "bias_max": "0.0025",
    "recovery_ticks": 5,
    "recovery_ms": 10000,
    "flaps_max": 3,
    "confidence_factor": "2",
    "degraded_haircut": "0.02",
    "age_haircut": "0.1",
    "index_half_life_ms": 0,
    "twap_ms": 0,
    "redemption": None,
    "marks": {},
    "closed": False,
}


def kept(record):
    """The record as the table keeps it."""
    terms = published(record)
    if record["kind"] == "source":
        return terms.sources[record["id"].removeprefix("~source:")]
    return terms.oracle_record(record["id"].removeprefix("~oracle").removeprefix(":"))


def code_of(terms, record):
    """The code with which the table refuses the record at its end."""
    with pytest.raises(Refused) as refused:
        terms.add(terms.next_offset, record["id"].encode(), encoded(record))
    return refused.value.code


@pytest.mark.parametrize("record", [ORACLE, DEFAULT])
def test_the_oracles_defaults(record):
    """They are what a symbol is priced by whose operator left a field out."""
    assert kept(record) == {**DEFAULTS, "id": record["id"], "version": 0}


def test_normal_form_of_the_oracles_rules():
    """One value, one text: the oracle compares records."""
    said = {
        **ORACLE,
        "method": "weighted_median",
        "clamp": 0.020,
        "max_weight": "1.0",
        "sources": {"two": {"weight": "2.50", "max_age_ms": 60000}, "one": {}},
        "check_source": "chain",
        "band_sigmas": 0,
        "redemption": {"of": "ETH", "rate_source": "vault"},
        "marks": {"BTC-PERP": {"method": "median_of_three"}, "BTC-DEC": {"basis_max": "0.10", "basis_half_life_ms": 5}},
        "later": "ignored",
    }
    changes = {
        "method": "weighted_median",
        "clamp": "0.02",
        "max_weight": "1",
        "sources": {"one": {"weight": "1", "max_age_ms": None}, "two": {"weight": "2.5", "max_age_ms": 60000}},
        "check_source": "chain",
        "band_sigmas": "0",
        "redemption": {"of": "ETH", "rate_source": "vault", "method": "min"},
        "marks": {
            "BTC-DEC": {"method": "index", "basis_half_life_ms": 5, "basis_max": "0.1"},
            "BTC-PERP": {"method": "median_of_three", "basis_half_life_ms": 60000, "basis_max": "0.05"},
        },
    }
    assert kept(said) == {**DEFAULTS, **changes, "id": "~oracle:BTC", "version": 0}


def test_normal_form_of_a_source():
    """Times in one unit, whatever the operator wrote; signed unless it says otherwise."""
    keys = [{**K1, "valid_from": "2025-10-10T21:15:00Z", "valid_until": NOW_MS + 1}, K2]
    assert kept({**SOURCE, "keys": keys}) == {
        "kind": "source",
        "id": "~source:one",
        "signed": True,
        "keys": [
            {"id": "k1", "public_key": PUBLIC_KEY, "valid_from": NOW_MS, "valid_until": NOW_MS + 1},
            {"id": "k2", "public_key": OTHER_KEY, "valid_from": 0, "valid_until": None},
        ],
        "closed": False,
        "version": 0,
    }
    assert kept({**SOURCE, "signed": False, "keys": []})["keys"] == []


def named(*names):
    return {name: {} for name in names}


BROKEN = [
    ("illegal_id", {**SOURCE, "id": "one"}, "id must be ~source: and a name, found 'one'"),
    ("illegal_id", {**SOURCE, "id": "~source:"}, "id must be ~source: and a name, found '~source:'"),
    ("illegal_id", {**SOURCE, "id": "~source: one"}, "the name in id '~source: one' must be 1 to 64 visible"),
    ("illegal_id", {**SOURCE, "id": "~source:" + "x" * 65}, "must be 1 to 64 visible characters"),
    ("bad_terms", {**SOURCE, "keys": []}, "keys must have at least one entry where signed is true, found none"),
    ("bad_terms", {**SOURCE, "keys": [{**K1, "id": f"k{n}"} for n in range(17)]}, "keys must have at most 16 entries"),
    ("bad_terms", {**SOURCE, "keys": [K1, K2, K1]}, "keys[2].id must be another than those before, found 'k1'"),
    ("illegal_id", {**SOURCE, "keys": [{**K1, "id": "k\n"}]}, "keys[0].id must be 1 to 64 visible characters"),
    ("bad_terms", {**SOURCE, "keys": [{**K1, "public_key": "k"}]}, "keys[0].public_key must be 32 bytes in base64"),
    ("bad_terms", {**SOURCE, "keys": [{**K1, "public_key": "A" * 43 + "="}]}, "key under which anybody can sign"),
    (
        "bad_terms",
        {**SOURCE, "keys": [K2, {**K1, "valid_from": 5, "valid_until": 5}]},
        "keys[1].valid_until must be after valid_from 5, found 5",
    ),
    ("bad_time", {**SOURCE, "keys": [{**K1, "valid_from": -1}]}, "keys[0].valid_from must not be before 1970"),
    ("mistyped_field", {**SOURCE, "keys": [{**K1, "valid_from": "soon"}]}, "keys[0].valid_from must be epoch"),
    ("missing_field", {**SOURCE, "keys": [{"id": "k1"}]}, "public_key must be given in keys[0]"),
    ("illegal_id", {**ORACLE, "id": "~oracle:"}, "id must be ~oracle, or ~oracle: and a symbol, found '~oracle:'"),
    ("illegal_id", {**ORACLE, "id": "~oracles"}, "id must be ~oracle, or ~oracle: and a symbol, found '~oracles'"),
    ("illegal_id", {**ORACLE, "id": "BTC"}, "id must be ~oracle, or ~oracle: and a symbol, found 'BTC'"),
    ("bad_value", {**ORACLE, "method": "mean"}, "method must be a value the field may have, found 'mean'"),
    ("bad_terms", {**ORACLE, "clamp": "1.1"}, "clamp must be 0 to 1, found '1.1'"),
    ("bad_terms", {**ORACLE, "clamp": "-0.1"}, "clamp must be 0 to 1, found '-0.1'"),
    ("not_finite", {**ORACLE, "clamp": "NaN"}, "clamp must be finite"),
    ("bad_terms", {**ORACLE, "sources_min": 0}, "sources_min must be 1 to 64, found 0"),
    ("bad_terms", {**ORACLE, "sources_min": 65}, "sources_min must be 1 to 64, found 65"),
    ("mistyped_field", {**ORACLE, "sources_min": "2"}, "sources_min must be an integer, found '2'"),
    ("bad_terms", {**ORACLE, "max_weight": "0"}, "max_weight must be above 0, found 0"),
    ("bad_terms", {**ORACLE, "max_weight": "1.01"}, "max_weight must be 0 to 1, found '1.01'"),
    ("bad_terms", {**ORACLE, "max_age_ms": 0}, "max_age_ms must be 1 to 86400000, found 0"),
    ("bad_terms", {**ORACLE, "stale_ms": 0}, "stale_ms must be 1 to 86400000, found 0"),
    ("bad_terms", {**ORACLE, "check_deviation": "2"}, "check_deviation must be 0 to 1"),
    ("bad_terms", {**ORACLE, "check_ms": -1}, "check_ms must be 0 to 86400000, found -1"),
    ("bad_terms", {**ORACLE, "band_sigmas": "101"}, "band_sigmas must be 0 to 100"),
    ("bad_terms", {**ORACLE, "band_min": "0.06"}, "band_max must be at least band_min 0.06, found 0.05"),
    ("bad_terms", {**ORACLE, "band_max": "1.5"}, "band_max must be 0 to 1"),
    ("bad_terms", {**ORACLE, "band_volatility": "0"}, "band_volatility must be above 0, found 0"),
    ("bad_terms", {**ORACLE, "band_ticks": 0}, "band_ticks must be 1 to 1000, found 0"),
    ("bad_terms", {**ORACLE, "band_sources": 0}, "band_sources must be 1 to 64, found 0"),
    ("bad_terms", {**ORACLE, "drift_interval_ms": 0}, "drift_interval_ms must be 1 to 86400000, found 0"),
    ("bad_terms", {**ORACLE, "cusum_k": "-1"}, "cusum_k must be 0 to 100"),
    ("bad_terms", {**ORACLE, "cusum_h": "1001"}, "cusum_h must be 0 to 1000"),
    ("bad_terms", {**ORACLE, "bias_half_life_ms": 0}, "bias_half_life_ms must be 1 to 2592000000, found 0"),
    ("bad_terms", {**ORACLE, "bias_max": "1.1"}, "bias_max must be 0 to 1"),
    ("bad_terms", {**ORACLE, "recovery_ticks": -1}, "recovery_ticks must be 0 to 1000, found -1"),
    ("bad_terms", {**ORACLE, "recovery_ms": 86_400_001}, "recovery_ms must be 0 to 86400000, found 86400001"),
    ("bad_terms", {**ORACLE, "flaps_max": 1001}, "flaps_max must be 0 to 1000, found 1001"),
    ("bad_terms", {**ORACLE, "confidence_factor": "101"}, "confidence_factor must be 0 to 100"),
    ("bad_terms", {**ORACLE, "degraded_haircut": "1.1"}, "degraded_haircut must be 0 to 1"),
    ("bad_terms", {**ORACLE, "age_haircut": "-0.1"}, "age_haircut must be 0 to 1"),
    ("bad_terms", {**ORACLE, "index_half_life_ms": -1}, "index_half_life_ms must be 0 to 86400000, found -1"),
    ("bad_terms", {**ORACLE, "twap_ms": -1}, "twap_ms must be 0 to 86400000, found -1"),
    (
        "bad_terms",
        {**ORACLE, "twap_ms": 5, "index_half_life_ms": 5},
        "twap_ms must be 0 where index_half_life_ms is not, found 5",
    ),
    ("bad_terms", {**ORACLE, "sources": named("a")}, "sources_min must be at most the 1 sources named, found 2"),
    (
        "bad_terms",
        {**ORACLE, "sources": named("a"), "sources_min": 1},
        "band_sources must be at most the 1 sources named, found 2",
    ),
    ("bad_terms", {**ORACLE, "sources": named(*map(str, range(65)))}, "sources must have at most 64 entries, found 65"),
    ("illegal_id", {**ORACLE, "sources": named("a", "b\n")}, "a name in sources must be 1 to 64 visible characters"),
    (
        "illegal_id",
        {**ORACLE, "sources": named("a", "")},
        "a name in sources must be at least 1 characters, found a shorter one",
    ),
    (
        "illegal_id",
        {**ORACLE, "marks": named("x" * 65)},
        "a name in marks must be at most 64 characters, found a longer one",
    ),
    (
        "bad_terms",
        {**ORACLE, "sources": {"a": {"weight": "0"}, "b": {}}},
        "sources.a.weight must be above 0, found 0",
    ),
    (
        "bad_terms",
        {**ORACLE, "sources": {"a": {"max_age_ms": 0}, "b": {}}},
        "sources.a.max_age_ms must be 1 to 86400000, found 0",
    ),
    (
        "bad_terms",
        {**ORACLE, "sources": named("a", "b"), "check_source": "b"},
        "check_source must not be one of sources, found 'b'",
    ),
    ("illegal_id", {**ORACLE, "check_source": " b"}, "check_source must be 1 to 64 visible characters"),
    (
        "bad_terms",
        {**DEFAULT, "redemption": {"of": "ETH", "rate_source": "v"}},
        "redemption must be null in ~oracle, the rules of many symbols",
    ),
    (
        "bad_terms",
        {**ORACLE, "redemption": {"of": "BTC", "rate_source": "v"}},
        "redemption.of must be another symbol, found 'BTC'",
    ),
    (
        "bad_terms",
        {**ORACLE, "sources": named("a", "b"), "redemption": {"of": "ETH", "rate_source": "a"}},
        "redemption.rate_source must not be in sources or check_source, found 'a'",
    ),
    (
        "bad_terms",
        {**ORACLE, "check_source": "v", "redemption": {"of": "ETH", "rate_source": "v"}},
        "redemption.rate_source must not be in sources or check_source, found 'v'",
    ),
    ("bad_value", {**ORACLE, "redemption": {"of": "E", "rate_source": "v", "method": "max"}}, "redemption.method must"),
    ("bad_value", {**ORACLE, "marks": {"BTC-PERP": {"method": "last"}}}, "must be a value the field may have"),
    (
        "bad_terms",
        {**ORACLE, "marks": {"BTC-PERP": {"basis_half_life_ms": 0}}},
        "marks.BTC-PERP.basis_half_life_ms must be 1 to 86400000, found 0",
    ),
    ("bad_terms", {**ORACLE, "marks": {"BTC-PERP": {"basis_max": "2"}}}, "marks.BTC-PERP.basis_max must be 0 to 1"),
    ("illegal_id", {**ORACLE, "marks": {" ": {}}}, "a name in marks must be 1 to 64 visible characters"),
    ("bad_terms", {**ORACLE, "marks": named(*map(str, range(1001)))}, "marks must have at most 1000 entries"),
]


@pytest.mark.parametrize(("code", "record", "reason"), BROKEN)
def test_broken_records(code, record, reason):
    """A wrong rule prices a symbol wrongly for everybody who holds it; a wrong key lets a stranger do it."""
    with pytest.raises(Refused) as refused:
        published(record)
    found = refused.value
    assert (found.code, reason in found.reason) == (code, True), (found.code, found.reason)
    assert "\n" not in found.reason


AT_THE_EDGE = [
    {**SOURCE, "keys": [{**K1, "id": f"k{n}"} for n in range(16)]},
    {**SOURCE, "keys": [{**K1, "valid_from": 5, "valid_until": 6}]},
    {**SOURCE, "id": "~source:" + "x" * 64},
    {**ORACLE, "sources": named("a"), "sources_min": 1, "band_sigmas": "0"},
    {**ORACLE, "sources": named("a", "b")},
    {**ORACLE, "sources": named(*map(str, range(64))), "sources_min": 64, "band_sources": 64},
    {**ORACLE, "band_min": "0.05"},
    {**ORACLE, "max_weight": "0.01", "clamp": "0", "cusum_h": "0", "bias_max": "0", "check_ms": 0, "flaps_max": 0},
    {**ORACLE, "twap_ms": 86_400_000, "band_sigmas": 100, "recovery_ticks": 1000, "recovery_ms": 0},
]


@pytest.mark.parametrize("record", AT_THE_EDGE)
def test_records_at_the_edge(record):
    """A bound that is one too narrow refuses what the page allows."""
    assert kept(record)["id"] == record["id"]


def test_no_shard_is_told():
    """A shard that met a record of another kind would stop; and its journal is the record of what margined."""
    for record in (SOURCE, ORACLE, DEFAULT):
        key = record["id"].encode()
        result = partition("instruments").take(
            [(7, key, encoded(record), 0), (8, key, None, 0)], Terms(BYTES_MAX), NOW_MS, final=True
        )
        assert result.blocks == []
        assert result.dead_letters == []
        assert [key for key, _ in result.changelog] == [key, key, b"~position"]


def test_a_symbols_own_rules_go_before_those_of_all():
    """Rules of another symbol would judge a price by another market's noise."""
    terms = published(DEFAULT | {"sources_min": 3}, ORACLE | {"sources_min": 5})

    def found(symbol):
        record = terms.oracle_record(symbol)
        return None if record is None else record["sources_min"]

    assert (found("BTC"), found("ETH")) == (5, 3)
    terms.add(2, b"~oracle", None)
    assert (found("BTC"), found("ETH")) == (5, None)
    terms.add(3, b"~oracle", encoded(DEFAULT))
    terms.add(4, b"~oracle:BTC", None)
    assert (found("BTC"), found("ETH")) == (2, 2)


def test_a_tombstone_forgets_a_source():
    """And nothing else: what it said once still binds its keys' ids."""
    terms = published(SOURCE, SOURCE | {"id": "~source:two"})
    assert terms.add(2, b"~source:one", None) == []
    assert list(terms.sources) == ["two"]
    assert code_of(terms, {**SOURCE, "keys": [{**K1, "public_key": OTHER_KEY}]}) == "identity_changed"
    terms.add(terms.next_offset, b"~source:one", encoded(SOURCE))
    assert sorted(terms.sources) == ["one", "two"]
    with pytest.raises(Refused, match="a null value must close a published id, found '~source:three'"):
        terms.add(terms.next_offset, b"~source:three", None)


def test_what_a_key_id_names_never_changes():
    """With the key swapped under its id, quotes signed before would be a stranger's, and a stranger's good."""
    terms = published(SOURCE)
    assert code_of(terms, {**SOURCE, "keys": [K2, {**K1, "public_key": OTHER_KEY}]}) == "identity_changed"
    assert terms.sources["one"]["keys"][0]["public_key"] == PUBLIC_KEY
    terms.add(terms.next_offset, b"~source:one", encoded({**SOURCE, "keys": [{**K1, "valid_until": 9}, K2]}))
    assert [key["valid_until"] for key in terms.sources["one"]["keys"]] == [9, None]


def test_a_key_id_that_was_left_out_names_its_key_still():
    """A lost key is left out; who has it must not come back under the id that others remember, restart or not."""
    terms, restored = Terms(BYTES_MAX), Terms(BYTES_MAX)
    records = [{**SOURCE, "keys": keys} for keys in ([K1], [K2], [K2])]
    rows = [(offset, b"~source:one", encoded(record), 0) for offset, record in enumerate(records)]
    restored.restore(partition("instruments").take(rows, terms, NOW_MS, final=True).changelog)
    for table in (terms, restored):
        assert code_of(table, {**SOURCE, "keys": [K2, {**K1, "public_key": OTHER_KEY}]}) == "identity_changed"
        assert table.add(table.next_offset, b"~source:one", encoded({**SOURCE, "keys": [K2, K1]})) == []


def test_kinds_keep_their_ids():
    """An id that was a source cannot become a rule, nor the other way round."""
    assert code_of(published(), {**SOURCE, "id": "~oracle:BTC"}) == "illegal_id"
    assert code_of(published(), {**ORACLE, "id": "~source:one"}) == "illegal_id"
    assert code_of(published(USDC), {**BTC_PERP, "id": "~source:one"}) == "illegal_id"


def test_a_table_restored_from_its_changelog():
    """A worker that starts anew must not take unsigned quotes for the time until somebody publishes again."""
    messages = [
        *(SOURCE, SOURCE | {"id": "~source:two"}, ORACLE, DEFAULT, USDC, BTC_PERP),
        ("~source:two", None),
        ("~oracle:BTC", None),
        {**SOURCE, "keys": [K1, K2]},
        {**SOURCE, "keys": []},  # refused
    ]
    rows = [
        (offset, *((one[0].encode(), None) if isinstance(one, tuple) else (one["id"].encode(), encoded(one))), 0)
        for offset, one in enumerate(messages)
    ]
    unbroken, restored = Terms(BYTES_MAX), Terms(BYTES_MAX)
    result = partition("instruments").take(rows, unbroken, NOW_MS, final=True)
    restored.restore(result.changelog)
    assert [letter.code for letter in result.dead_letters] == ["bad_terms"]
    assert restored.next_offset == len(messages)
    assert (list(restored.sources), list(unbroken.sources)) == (["one"], ["one"])
    assert restored.sources == unbroken.sources
    for symbol in ("BTC", "ETH"):
        assert restored.oracle_record(symbol) == unbroken.oracle_record(symbol)
    assert restored.oracle_record("BTC")["id"] == "~oracle"
    assert code_of(restored, {**SOURCE, "keys": [{**K2, "public_key": PUBLIC_KEY}]}) == "identity_changed"


def test_halts_in_the_order_of_their_records():
    """A symbol is halted by the last order on it, whatever the orders are called; pauses name no symbol."""
    order = {"kind": "control", "action": "halt", "symbol": "BTC"}
    terms = published(
        {**order, "id": "~control:1"},
        {**order, "id": "~control:2", "symbol": "ETH"},
        {"kind": "control", "id": "~control:3", "action": "pause_liquidations"},
        {**order, "id": "~control:4", "action": "resume"},
    )
    assert terms.halted() == {"ETH"}
    terms.add(4, b"~control:1", encoded({**order, "id": "~control:1"}))
    assert terms.halted() == {"BTC", "ETH"}


def test_reporting_currency_of_the_rules():
    """A quote stated in it needs no rate."""
    assert published().reporting_currency() == "USD"
    assert published({"kind": "engine", "id": "~engine", "reporting_currency": "EUR"}).reporting_currency() == "EUR"
