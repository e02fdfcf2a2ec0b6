"""Hostile documents: whatever JSON comes, the answer is a report or one line."""

import copy
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from streams.evaluate.document import BadDocument
from streams.evaluate.portfolio import read_portfolio
from streams.evaluate.reports import reports
from tests.test_evaluate_document import GOOD

NUMBERS = st.sampled_from(
    ["0", "-0", "1e-40", "-1e-40", "9.999e39", "-1e39", "0.1", "1", "-1", "1e15", "123456789.123456789123456789", "NaN"]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, width=32)
    | st.text()
    | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values of a document."""
    found = [path] if path else []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in items:
        found += places(value, (*path, name))
    return found


def put(document: Any, path: tuple[Any, ...], value: Any) -> None:
    for name in path[:-1]:
        document = document[name]
    document[path[-1]] = value


def isolated(document: dict[str, Any]) -> dict[str, Any]:
    """The same document with a second instrument, settled in a coin, and an isolated position in it."""
    document = copy.deepcopy(document)
    terms = document["instruments"]["BTC-PERP"]
    document["instruments"]["ETH-COIN"] = {
        **terms,
        "type": "inverse_perpetual",
        "underlying": "ETH",
        "settlement": "ETH",
        "mark_price": "2000",
        "size_premium_factor": "0.001",
        "liquidation_fee": "0.005",
        "open_interest": "3",
        "open_interest_lower": "2",
        "open_interest_upper": "5",
    }
    position = {"instrument": "ETH-COIN", "quantity": "-500", "entry_price": "1900", "accrued_funding": "0.01"}
    position |= {"margin_mode": "isolated", "isolated_margin": "0.01", "previous_status": "ok"}
    document["accounts"][0]["positions"] += [position, {**position, "margin_mode": "cross"}]
    for name in ("isolated_margin", "previous_status"):
        del document["accounts"][0]["positions"][2][name]
    return document


def leaf(document: Any, path: tuple[Any, ...]) -> bool:
    for name in path:
        document = document[name]
    return isinstance(document, str) and document.lstrip("-")[0].isdigit()


FULL = isolated(GOOD)
LEAVES = [path for path in places(FULL) if leaf(FULL, path)]


def answered(document: Any) -> None:
    """Assert that a document is refused in one line, or that its report holds numbers that are some."""
    refusal = None
    try:
        report = reports(read_portfolio(orjson.dumps(document)))
    except BadDocument as error:
        refusal = str(error)
    if refusal is None:
        for account in report["accounts"]:
            account.pop("account")
        assert b'nan"' not in orjson.dumps(report)
        assert b'inf"' not in orjson.dumps(report)
    else:
        assert "\n" not in refusal
        assert " must " in refusal


@given(path=st.sampled_from(places(FULL)), value=JSON)
def test_any_value_anywhere(path: tuple[Any, ...], value: Any) -> None:
    """One wrong value gives a line or a report, never a stack trace or a number that is none."""
    document = copy.deepcopy(FULL)
    put(document, path, value)
    answered(document)


@given(changes=st.lists(st.tuples(st.sampled_from(LEAVES), NUMBERS), min_size=1, max_size=6))
def test_any_numbers_anywhere(changes: list[tuple[tuple[Any, ...], str]]) -> None:
    """Extreme numbers are refused or margined: the smallest, the largest, zero and negative ones together."""
    document = copy.deepcopy(FULL)
    for path, value in changes:
        put(document, path, value)
    answered(document)


@given(document=JSON)
def test_any_json(document: Any) -> None:
    """Whatever is no portfolio is said to be none."""
    answered(document)
