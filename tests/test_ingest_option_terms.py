"""Options among the instruments: which terms they have, and that they are nobody else's."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.dead_letters import Refused
from streams.ingest.terms import Terms
from tests.ingest_samples import BTC_PERP, ETH, NOW_MS, USDC, encoded, published

CALL = {
    "kind": "instrument",
    "id": "ETH-1JAN-2000-C",
    "type": "option",
    "underlying": "ETH",
    "settlement": "USDC",
    "price_precision": 2,
    "quantity_precision": 2,
    "expiry": NOW_MS,
    "option_type": "call",
    "strike": "2000.0",
}
#: What makes a perpetual of an option.
PERPETUAL = {**BTC_PERP, "expiry": None, "option_type": None, "strike": None}
DERIVE = {"most": "0.15", "least": "0.13", "call": "0.09", "put": "0.09", "put_value": "0.09", "put_offset": "1.05"}


def add(terms: Terms, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Put the record at the table's end."""
    return terms.add(terms.next_offset, record["id"].encode(), encoded(record))


def test_an_option_reaches_the_journal_with_its_rates_spelled_out() -> None:
    """The journal alone must say how it is margined: defaults of a later release must not change an old fold."""
    told = add(published(USDC, ETH), CALL)[-1]
    own = {name: told[name] for name in ("option_type", "strike", "expiry", "option_margin", "settlement_price")}
    assert own == {
        "option_type": "call",
        "strike": "2000",
        "expiry": NOW_MS,
        "option_margin": DERIVE,
        "settlement_price": None,
    }


def test_other_instruments_keep_their_normal_form() -> None:
    """Journals without options are the same bytes as before."""
    (told,) = (record for record in add(published(USDC), BTC_PERP) if record["kind"] == "instrument")
    assert not {"option_type", "strike", "option_margin"} & told.keys()


def test_an_option_may_settle_in_its_underlying() -> None:
    """Its price is then in coins, and its cash as exact as that of a linear instrument."""
    terms = published(USDC, ETH)
    add(terms, {**CALL, "settlement": "ETH", "price_precision": 4})
    found = terms.instruments[CALL["id"]]
    # a lot of 0.01 at a tick of 0.0001 ETH is 10**-6 ETH, of 8 decimals
    assert (found.unit, found.divisor, found.inverse) == (100, 1, False)


def test_the_settlement_price_of_an_option_is_its_underlyings() -> None:
    """It may have more decimals than the option's own price."""
    told = add(published(USDC, ETH), {**CALL, "settlement_price": "2100.123456"})[-1]
    assert told["settlement_price"] == "2100.123456"


@pytest.mark.parametrize(
    ("code", "change", "reason"),
    [
        ("missing_field", {"option_type": None}, "option_type must be given with type option"),
        ("missing_field", {"strike": None}, "strike must be given with type option"),
        ("bad_terms", {"strike": "0"}, "strike must be above 0"),
        ("bad_terms", {"settlement_window_ms": -1}, "settlement_window_ms must be"),
        ("bad_terms", {"settlement_window_ms": 86_400_001}, "settlement_window_ms must be"),
        ("mistyped_field", {"settlement_window_ms": "1h"}, "settlement_window_ms"),
        ("bad_terms", {"strike": "-1"}, "strike must be at least 0"),
        ("bad_value", {"option_type": "straddle"}, "option_type must be"),
        ("bad_terms", {"expiry": None}, "expiry must be given for futures and options"),
        ("bad_terms", {"initial_margin": "0.1"}, "initial_margin must be null with type option"),
        ("bad_terms", {"open_interest": "1"}, "open_interest must be null with type option"),
        ("bad_terms", {"size_premium_factor": "0.1"}, "size_premium_factor must be 0 with type option"),
        (
            "bad_terms",
            {"tiers": [{"notional_from": "0", "initial_margin": "1", "maintenance_margin": "1"}]},
            "tiers must be empty with type option, found 1 of them",
        ),
        ("bad_terms", {"option_margin": {"most": "0.1"}}, "option_margin.least must be at most most 0.1, found 0.13"),
        ("bad_terms", {"option_margin": {"call": "0.2"}}, "option_margin.call must be at most least 0.13"),
        ("bad_terms", {"option_margin": {"put": "0.2"}}, "option_margin.put must be at most least 0.13"),
        ("bad_terms", {"option_margin": {"put_value": "2"}}, "option_margin.put_value must be 0 to 1"),
        ("bad_terms", {"option_margin": {"put_offset": "0.9"}}, "option_margin.put_offset must be 1 to 10"),
        ("bad_terms", {**PERPETUAL, "strike": "1"}, "strike must be null with type perpetual"),
        ("bad_terms", {**PERPETUAL, "option_type": "put"}, "option_type must be null with type perpetual"),
        ("bad_terms", {**PERPETUAL, "option_margin": {}}, "option_margin must be null with type perpetual"),
    ],
)
def test_terms_that_make_no_option_are_refused(code: str, change: dict[str, Any], reason: str) -> None:
    """An initial rate below the maintenance rate, or a field that nothing would read, is a mistake of the sender."""
    with pytest.raises(Refused) as refused:
        add(published(USDC, ETH), {**CALL, **change})
    assert refused.value.code == code
    assert reason in refused.value.reason


@pytest.mark.parametrize("change", [{"strike": "2001"}, {"option_type": "put"}, {"expiry": NOW_MS + 1}])
def test_what_an_option_is_never_changes(change: dict[str, Any]) -> None:
    """Positions are held in it: another strike is another option."""
    terms = published(USDC, ETH)
    add(terms, CALL)
    with pytest.raises(Refused) as refused:
        add(terms, {**CALL, **change})
    assert refused.value.code == "identity_changed"
    assert add(terms, {**CALL, "strike": "2000.00", "closed": True})[-1]["closed"], "the same number, written otherwise"


def test_a_settlement_window_is_an_options_alone_and_never_changes() -> None:
    """A window that opened anew under open positions would settle at a mean of something else."""
    terms = published(USDC, ETH)
    assert "settlement_window_ms" not in add(terms, CALL)[-1]
    asian = {**CALL, "id": "ETH-A", "settlement_window_ms": 1_800_000}
    assert add(terms, asian)[-1]["settlement_window_ms"] == 1_800_000
    for changed in ({**asian, "settlement_window_ms": 0}, {**CALL, "settlement_window_ms": 60_000}):
        with pytest.raises(Refused, match=r"settlement_window_ms of .* must stay"):
            add(terms, changed)
    with pytest.raises(Refused, match="settlement_window_ms must be 0 with type perpetual"):
        add(terms, {**BTC_PERP, "settlement_window_ms": 60_000})
