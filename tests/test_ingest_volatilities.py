"""Volatilities as they come in: what becomes of them, and why the others are refused."""

from __future__ import annotations

from typing import Any

import pytest

from streams.ingest.volatilities import POINTS_MAX, SMILES_MAX, SmileRow, VolatilityPartition, VolatilityResult
from tests.ingest_samples import BTC_PERP, BYTES_MAX, NOW_MS, USDC, encoded, published

DAY_MS = 86_400_000
EXPIRY = NOW_MS + 30 * DAY_MS
CALL = {
    "kind": "instrument",
    "id": "BTC-C",
    "type": "option",
    "underlying": "BTC",
    "settlement": "USDC",
    "price_precision": 1,
    "quantity_precision": 3,
    "expiry": EXPIRY,
    "option_type": "call",
    "strike": "60000",
}
SVI = {"a": "0.01", "b": "0.08", "rho": "-0.4", "m": "-0.1", "sigma": "0.13"}
SMILE = {"expiry": EXPIRY, "svi": SVI, "forward": "50500", "discount": "0.99"}
SURFACE = {"source": "desk", "time": NOW_MS, "underlying": "BTC", "index": "50000", "smiles": [SMILE]}
OWN = {"source": "desk", "time": NOW_MS, "instrument": "BTC-C", "volatility": "0.5"}
POINTS = {"expiry": EXPIRY, "points": [["-0.1", "0.6"], [0, "0.5"], ["0.1", "0.55"]]}


def take(record: Any, key: bytes | None, *, fault: str | None = None, final: bool = True) -> VolatilityResult:
    """What a fresh partition makes of one message."""
    reader = VolatilityPartition(
        topic="vols", partition=2, message_bytes_max=BYTES_MAX, max_future_ms=60_000, fault_of=lambda _: fault
    )
    return reader.take([(7, key, encoded(record), NOW_MS)], published(USDC, BTC_PERP, CALL), NOW_MS, final=final)


def test_a_surface_becomes_a_row() -> None:
    """Numbers become what the oracle computes with; points may be given in place of the formula."""
    (row,) = take(SURFACE | {"smiles": [SMILE, {**POINTS, "expiry": EXPIRY + 1}]}, b"BTC").rows
    assert (row.name, row.source, row.time, row.volatility, row.spot) == ("BTC", "desk", NOW_MS, None, 50_000.0)
    assert row.smiles == (
        SmileRow(EXPIRY, (0.01, 0.08, -0.4, -0.1, 0.13), (), 50_500.0, 0.99),
        SmileRow(EXPIRY + 1, None, ((-0.1, 0.6), (0.0, 0.5), (0.1, 0.55)), None, 1.0),
    )


def test_an_instrument_has_a_volatility_of_its_own() -> None:
    (row,) = take(OWN, b"BTC-C").rows
    assert (row.name, row.volatility, row.smiles) == ("BTC-C", 0.5, ())


def test_a_tombstone_takes_the_name_back() -> None:
    (row,) = take(None, b"BTC").rows
    assert (row.name, row.volatility, row.smiles) == ("BTC", None, ())


def test_an_unknown_option_is_looked_up_before_it_is_refused() -> None:
    """`instruments` may have been read less far than the option was used."""
    record = OWN | {"instrument": "NEW"}
    assert take(record, b"NEW", final=False) == VolatilityResult([], [], frozenset({"NEW"}))
    assert take(record, b"NEW").dead_letters[0].code == "unknown_instrument"


def test_a_surface_with_arbitrage_is_refused_in_one_line() -> None:
    letter = take(SURFACE, b"BTC", fault="smiles must hold no arbitrage, found some").dead_letters[0]
    assert (letter.code, letter.reason) == ("arbitrage", "smiles must hold no arbitrage, found some")


def smile(**fields: Any) -> dict[str, Any]:
    return SURFACE | {"smiles": [SMILE | fields]}


def points(*values: Any) -> dict[str, Any]:
    return SURFACE | {"smiles": [{"expiry": EXPIRY, "points": list(values)}]}


REFUSED = [
    ("neither", {"source": "a", "time": 1}, "contradiction", "one of instrument and underlying must be given"),
    ("both", SURFACE | {"instrument": "BTC-C"}, "contradiction", "one of instrument and underlying must be given"),
    ("key", SURFACE | {"underlying": "ETH"}, "bad_key", "key must be 'ETH', found 'BTC'"),
    ("future", SURFACE | {"time": NOW_MS + 60_001}, "future_time", "time must be at most"),
    ("no smile", SURFACE | {"smiles": []}, "bad_value", "smiles must be 1 to 64, found 0"),
    ("smiles", SURFACE | {"smiles": [SMILE] * (SMILES_MAX + 1)}, "bad_value", "smiles must be 1 to 64, found 65"),
    ("volatility", SURFACE | {"volatility": "0.5"}, "contradiction", "volatility must be left out"),
    ("expired", smile(expiry=NOW_MS), "bad_value", f"smiles[0].expiry must be after {NOW_MS}, found {NOW_MS}"),
    ("twice", SURFACE | {"smiles": [SMILE, SMILE]}, "bad_value", f"smiles[1].expiry must be after {EXPIRY}"),
    ("no index", SURFACE | {"index": None}, "missing_field", "index must be given with smiles[0].forward, found null"),
    ("index 0", SURFACE | {"index": "0"}, "non_positive_price", "index must be above 0, found '0'"),
    ("forward", smile(forward="-1"), "non_positive_price", "smiles[0].forward must be above 0, found '-1'"),
    ("far forward", smile(forward="1e19"), "over_range", "smiles[0].forward must be between 1e-18 and 1e+18"),
    ("discount", smile(discount="3"), "over_range", "smiles[0].discount must be between 0.001 and 2, found '3'"),
    ("svi alone", smile(points=[[0, 1], [1, 1]]), "contradiction", "one of smiles[0].svi and smiles[0].points"),
    ("no svi", smile(svi=None), "contradiction", "one of smiles[0].svi and smiles[0].points must be given"),
    ("svi", smile(svi=SVI | {"rho": "1e9"}), "over_range", "smiles[0].svi.rho must be between -100 and 100"),
    ("nan", smile(svi=SVI | {"a": "NaN"}), "not_finite", "smiles[0].svi.a must be finite, found 'NaN'"),
    ("one point", points([0, "0.5"]), "bad_value", "smiles[0].points must be 2 to 200, found 1"),
    ("points", points(*[[0, 1]] * (POINTS_MAX + 1)), "bad_value", "smiles[0].points must be 2 to 200, found 201"),
    ("descending", points([0, 1], [-1, 1]), "bad_value", "smiles[0].points[1][0] must be 0.0001 above the one before"),
    ("near", points([0, 1], ["0.00001", 1]), "bad_value", "smiles[0].points[1][0] must be 0.0001 above"),
    ("flat", points([0, 0], [1, 1]), "over_range", "smiles[0].points[0][1] must be between 0.001 and 100, found 0"),
    ("no array", points([0], [1, 1]), "mistyped_field", "smiles[0].points[0]"),
]


@pytest.mark.parametrize(("record", "code", "reason"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_refused_surfaces(record: dict[str, Any], code: str, reason: str) -> None:
    result = take(record, b"BTC")
    assert result.rows == []
    assert (result.dead_letters[0].code, result.dead_letters[0].reason[: len(reason)]) == (code, reason)


REFUSED_OWN = [
    ("none", OWN | {"volatility": None}, "missing_field", "volatility must be given with instrument, found null"),
    ("zero", OWN | {"volatility": "0"}, "over_range", "volatility must be between 0.001 and 100, found '0'"),
    ("smiles", OWN | {"smiles": [SMILE]}, "contradiction", "smiles must be left out where instrument is given"),
    ("index", OWN | {"index": "1"}, "contradiction", "index must be left out where instrument is given"),
]


@pytest.mark.parametrize(("record", "code", "reason"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED_OWN])
def test_refused_volatilities_of_instruments(record: dict[str, Any], code: str, reason: str) -> None:
    letter = take(record, b"BTC-C").dead_letters[0]
    assert (letter.code, letter.reason[: len(reason)]) == (code, reason)


def test_only_options_have_a_volatility() -> None:
    letter = take(OWN | {"instrument": "BTC-PERP"}, b"BTC-PERP").dead_letters[0]
    assert letter.reason == "instrument must be an option, found 'perpetual' ('BTC-PERP')"
