"""Portfolio margin in `crossmargin evaluate`: worked numbers, coins charged once, what is outside, liquidation.

If one of these failed, a hedged book would pay for a risk it has not, or an unhedged one would not pay for its own.
"""

import math
from typing import Any

import orjson
import pytest

from schemas.codec import decode
from schemas.margin import AccountReport
from streams.evaluate.document import BadDocument
from streams.evaluate.portfolio import read_portfolio
from streams.evaluate.reports import reports
from streams.margin.black76 import option_value

Json = dict[str, Any]
RATES = {"initial_margin": "0.10", "maintenance_margin": "0.05"}
PERP = {"type": "perpetual", "underlying": "BTC", "settlement": "USDC", "mark_price": "50000", **RATES}
ASSETS = {
    "USDC": {"price": "1"},
    "BTC": {"price": "50000", "haircut": "0.10", "borrow_haircut": "0.05"},
    "ETH": {"price": "2000", "haircut": "0.10", "borrow_haircut": "0.05"},
}
#: Scenarios without add-ons.
BARE = {"calendar": 0, "naked": 0, "delta_net": 0, "delta_hedged": 0, "expiries": {"basis_add": 0, "basis_multiply": 0}}


def evaluated(
    held: dict[str, tuple[str, str]],
    balances: dict[str, str],
    instruments: Json | None = None,
    *,
    units: Json | None = None,
    **more: Any,
) -> Json:
    """The report of a portfolio account that holds (quantity, entry price) by instrument."""
    document = {
        "time": 0,
        "assets": more.pop("assets", ASSETS),
        "instruments": {"BTC-PERP": PERP, **(instruments or {})},
        "risk_units": {"BTC": {}} if units is None else units,
        **{name: more.pop(name) for name in ("correlations", "risk_history") if name in more},
    }
    positions = [
        {"instrument": name, "quantity": quantity, "entry_price": entry} for name, (quantity, entry) in held.items()
    ]
    account = {"account": "a", "margin_model": "portfolio", "balances": balances, "positions": positions, **more}
    (report,) = reports(read_portfolio(orjson.dumps({**document, "accounts": [account]})))["accounts"]
    decode(AccountReport, orjson.dumps(report))
    return dict(report)


def numbers(report: Json, *names: str) -> tuple[float, ...]:
    return tuple(float(report[name]) for name in names)


def test_a_future_alone() -> None:
    """16 % of 100,000, and 2 % of its delta; of maintenance margin 0.8 of the first."""
    report = evaluated({"BTC-PERP": ("-2", "52000")}, {"USDC": "30000"})
    assert numbers(report, "equity", "initial_margin", "maintenance_margin") == (34000, 18000, 14800)
    portfolio, (unit,) = report["portfolio"], report["portfolio"]["units"]
    assert (portfolio["binds"], portfolio["core"], portfolio["additive_loss"]) == ("grid", "16000", "16000")
    assert unit["worst"] == {"move": "0.16", "volatility": "up", "dampening": "1"}
    assert (unit["delta"], unit["minimum_delta"]) == ("-100000", "2000")
    assert report["other_model"] == {"initial_margin": "10000", "maintenance_margin": "5000"}
    assert report["positions"][0]["maintenance_margin"] is None


def test_liquidation_price_and_distance() -> None:
    """34,000 - 100,000 (f - 1) = 14,800 f; the screen holds the requirement: 19,200 / 100,000."""
    report = evaluated({"BTC-PERP": ("-2", "52000")}, {"USDC": "30000"}, units={"BTC": {"daily_volatility": "0.04"}})
    (unit,) = report["portfolio"]["units"]
    prices = unit["liquidation_prices"]
    assert prices["below"] is None
    assert float(prices["above"]) == pytest.approx(50_000 * 134_000 / 114_800, rel=1e-12)
    assert float(unit["distance"]["up"]) == pytest.approx(0.192)
    assert float(unit["distance"]["sigmas"]) == pytest.approx(4.8)
    assert unit["distance"]["down"] is None


def test_coins_are_charged_once() -> None:
    """A coin held against a future sold loses nothing: no haircut, 1 % of the matched delta is all (cash and carry)."""
    report = evaluated({"BTC-PERP": ("-2", "50000")}, {"BTC": "2"})
    assert numbers(report, "adjusted_equity", "initial_margin", "maintenance_margin") == (100_000, 2000, 2000)
    alone = evaluated({}, {"BTC": "2"})
    # what the scenarios take of the coin stands in the place of its haircut
    assert numbers(alone, "adjusted_equity", "initial_margin", "maintenance_margin") == (100_000, 18_000, 14_800)
    owed = evaluated({}, {"BTC": "-1", "USDC": "80000"})
    assert numbers(owed, "adjusted_equity", "initial_margin") == (30_000, 9_000)


def test_profit_in_coins_is_coins() -> None:
    """An inverse future bought at 40,000 has gained 0.5 BTC at 50,000, which falls with the coin as any other does."""
    inverse = PERP | {"type": "inverse_perpetual", "settlement": "BTC", "multiplier": "1"}
    units = {"BTC": {**BARE, "tails": []}}
    held = {"INV": ("100000", "40000")}
    report = evaluated(held, {}, {"INV": inverse}, units=units)
    assert report["equity"] == "25000"
    # 100,000 (1/0.84 - 1) / 50,000 coins fewer at 42,000: -16,000; and 0.5 x 8,000
    assert numbers(report, "initial_margin", "maintenance_margin") == pytest.approx((20_000, 16_000))
    sold = evaluated({**held, "BTC-PERP": ("-0.5", "50000")}, {}, {"INV": inverse}, units=units)
    assert float(sold["initial_margin"]) == pytest.approx(16_000), "the coins are hedged, the future is not"


def test_what_is_outside() -> None:
    """An instrument and a coin of no unit: the standard requirement on top, the haircut as ever."""
    ether = PERP | {"underlying": "ETH", "mark_price": "2000"}
    report = evaluated(
        {"BTC-PERP": ("-2", "50000"), "ETH-PERP": ("10", "2000")}, {"USDC": "30000", "ETH": "1"}, {"ETH-PERP": ether}
    )
    assert numbers(report, "adjusted_equity", "initial_margin", "maintenance_margin") == (31_800, 20_000, 15_800)
    assert report["portfolio"]["outside"] == {"initial_margin": "2000", "maintenance_margin": "1000"}


@pytest.mark.parametrize(
    ("group", "wanted"),
    [
        # 16,000 and 4,000 lost on moves of opposite direction: the largest of 12,800^2 and 12,166^2, at least half
        ({"low": "0.5", "high": "0.9"}, math.sqrt(16_000**2 + 4_000**2 - 16_000 * 4_000)),
        ({"low": "0.5", "high": "0.9", "share": "0.9"}, 18_000),
        ({"low": "0", "high": "0", "pairs": [{"units": ["ETH", "BTC"], "low": "1", "high": "1"}]}, 12_000),
        (None, 20_000),
    ],
)
def test_units_offset(group: Json | None, wanted: float) -> None:
    """Long one coin and short another: as the group says, pair by pair; without a group they are added up."""
    ether = PERP | {"underlying": "ETH", "mark_price": "2000"}
    unit = {**BARE, "group": "majors"}
    correlations = {"majors": group} if group else {}
    report = evaluated(
        {"BTC-PERP": ("-2", "50000"), "ETH-PERP": ("10", "2000")},
        {"USDC": "30000"},
        {"ETH-PERP": ether},
        units={"BTC": unit, "ETH": unit | {"price_range": "0.20", "steps": 2, "skew": False}},
        correlations=correlations,
    )
    assert float(report["initial_margin"]) == pytest.approx(wanted)
    assert numbers(report["portfolio"], "additive_loss") == (20_000,)
    assert [unit["scan"] for unit in report["portfolio"]["units"]] == ["16000", "4000"]


def test_the_other_model_beside_the_standard_one() -> None:
    """An account on the standard model sees what portfolio margin would ask, and nothing else of it."""
    report = evaluated({"BTC-PERP": ("-2", "52000")}, {"USDC": "30000"}, margin_model="standard")
    assert report["other_model"] == {"initial_margin": "18000", "maintenance_margin": "14800"}
    assert numbers(report, "initial_margin", "maintenance_margin") == (10_000, 5_000)
    assert "portfolio" not in report


def test_liquidation_closes_the_least_share() -> None:
    """12,000 = 1.1 x 14,800 x (1 - share); a limit may lose all of the equity."""
    report = evaluated({"BTC-PERP": ("-2", "52000")}, {"USDC": "8000"})
    assert report["status"] == "liquidation"
    (order,) = report["liquidation"]["orders"]
    assert float(order["quantity"]) == pytest.approx(2 * (1 - 12_000 / (1.1 * 14_800)), rel=1e-10)
    assert order["limit_price"] == "56000"


def test_liquidation_pays_its_fees() -> None:
    """12,000 - fee x share x 100,000 = 1.1 x 14,800 x (1 - share)."""
    report = evaluated(
        {"BTC-PERP": ("-2", "52000")}, {"USDC": "8000"}, {"BTC-PERP": PERP | {"liquidation_fee": "0.01"}}
    )
    (order,) = report["liquidation"]["orders"]
    assert float(order["quantity"]) == pytest.approx(2 * (1.1 * 14_800 - 12_000) / (1.1 * 14_800 - 1_000), rel=1e-10)


#: S2: 5 calls sold 10 % above, 3 puts bought 10 % below, a little more than a perpetual bought; 14 days.
STRANGLE = {
    "C66": {"option_type": "call", "strike": "66000", "volatility": "0.55", "mark_price": "1000"},
    "P54": {"option_type": "put", "strike": "54000", "volatility": "0.6", "mark_price": "700"},
}
TWO_WEEKS = 14 * 86_400_000


def options(**more: Json) -> Json:
    common = {"type": "option", "underlying": "BTC", "settlement": "USDC", "expiry": TWO_WEEKS, "forward": "60000"}
    return {name: common | record for name, record in more.items()}


def test_a_grid_given_row_by_row() -> None:
    """S2: the base grid loses 17,947, but five times the price, of which 0.032 counts, 35,473."""
    rows = [(0.16, "up"), (-0.16, "up"), (0.0, "down"), (0.5, "up", 0.32), (5.0, "up", 0.032)]
    unit = BARE | {
        "scenarios": [{"move": row[0], "volatility": row[1], "dampening": row[2] if row[2:] else 1} for row in rows],
        "volatility": {"up": "0.4", "down": "0.22", "least": "0"},
        "delta_net": "0.02",
        "delta_hedged": "0.01",
    }
    held = {"C66": ("-5", "1000"), "P54": ("3", "700"), "PERP": ("1.2", "60000")}
    instruments = options(**STRANGLE) | {"PERP": PERP | {"mark_price": "60000"}}
    report = evaluated(held, {"USDC": "100000", "BTC": "0"}, instruments, units={"BTC": unit})
    (own,) = report["portfolio"]["units"]
    assert float(own["scan"]) == pytest.approx(35472.93491907738, rel=1e-8)
    assert own["worst"] == {"move": "5", "volatility": "up", "dampening": "0.032"}
    # 1,828.87 at a price of 60,000; the delta of options is of the forward, that of the perpetual of its mark
    assert float(own["minimum_delta"]) == pytest.approx(1828.8693234702296, rel=1e-8)
    assert float(report["equity"]) == 100_000
    # 5 x 13 % of 50,000; 10 % of 1.2 x 60,000
    assert float(report["other_model"]["initial_margin"]) == pytest.approx(32_500 + 7_200)


def test_options_bought_cost_what_they_are_worth() -> None:
    """A call bought can lose its value and no more, whatever is added up; equity has the value."""
    call = options(C=STRANGLE["C66"] | {"mark_price": "1173.98"})
    report = evaluated({"C": ("2", "1173.98")}, {"USDC": "5000"}, call)
    value = 2 * option_value(1.0, 60_000.0, 66_000.0, 0.55 * math.sqrt(14 / 365), 1.0)
    assert float(report["initial_margin"]) == pytest.approx(value)
    assert report["equity"] == "5000"
    capped = evaluated({"C": ("2", "1173.98")}, {"USDC": "5000"}, call, units={"BTC": {"minimum": "0.5"}})
    assert capped["initial_margin"] == report["initial_margin"]


def test_coin_settled_options() -> None:
    """A call sold in coins against as many coins is covered: what a rise loses, it has gained in coins."""
    call = options(C=STRANGLE["C66"] | {"mark_price": "0.02", "settlement": "BTC"})
    covered = evaluated({"C": ("-1", "0.02")}, {"BTC": "1"}, call)
    naked = evaluated({"C": ("-1", "0.02")}, {"USDC": "50000"}, call)
    assert covered["portfolio"]["units"][0]["worst"]["move"].startswith("-"), "only the fall of the coin is left"
    assert not naked["portfolio"]["units"][0]["worst"]["move"].startswith("-")


def straddle_at(factor: float) -> Json:
    """The report of a straddle sold, with the underlying and its forwards at a multiple of 50,000."""
    deviation = 0.6 * math.sqrt(14 / 365)
    marks = {right: option_value(right, 50_000.0 * factor, 50_000.0, deviation, 1.0) for right in (1.0, -1.0)}
    common = {"strike": "50000", "volatility": "0.6", "forward": repr(50_000 * factor)}
    straddle = options(
        C=common | {"option_type": "call", "mark_price": repr(marks[1.0])},
        P=common | {"option_type": "put", "mark_price": repr(marks[-1.0])},
    )
    moved = {"USDC": {"price": "1"}, "BTC": {"price": repr(50_000 * factor)}}
    held = {"C": ("-1", "2500"), "P": ("-1", "2500")}
    return evaluated(held, {"USDC": "13000", "BTC": "0.01"}, straddle, assets=moved)


def test_both_liquidation_prices_of_a_straddle() -> None:
    """A straddle sold is closed out by a fall and by a rise: at each price the report itself says so."""
    prices = straddle_at(1.0)["portfolio"]["units"][0]["liquidation_prices"]
    below, above = float(prices["below"]), float(prices["above"])
    assert below < 50_000 < above
    for price, outward in ((below, -1e-6), (above, 1e-6)):
        assert float(straddle_at(price / 50_000)["margin_ratio"]) == pytest.approx(1.0, abs=1e-9)
        assert straddle_at(price / 50_000 * (1 + outward))["status"] == "liquidation"
        assert straddle_at(price / 50_000 * (1 - outward))["status"] != "liquidation"


def test_what_an_option_is_valued_by() -> None:
    """An option that the model cannot value is told, not margined as nothing; outside of all units none is needed."""
    call = options(C=STRANGLE["C66"] | {"volatility": None})
    with pytest.raises(BadDocument, match=r"positions\[0\].instrument must have its expiry given, an option its vol"):
        evaluated({"C": ("1", "1")}, {}, call)
    outside = evaluated({"C": ("-1", "1000")}, {"USDC": "20000"}, call, units={"ETH": {}})
    # 50,000 is 32 % out of the money: 13 % and 9 % of 50,000
    assert numbers(outside, "equity", "initial_margin", "maintenance_margin") == (20_000, 6_500, 4_500)
    bought = evaluated({"C": ("1", "1000")}, {"USDC": "20000"}, call, units={"ETH": {}})
    assert numbers(bought, "equity", "adjusted_equity", "initial_margin") == (20_000, 19_000, 0)


@pytest.mark.parametrize("without", ["time", "expiry"])
def test_how_long_a_future_has_is_given(without: str) -> None:
    """Else it would be as far away as 1970, and its basis charged for half a century."""
    future = {**PERP, "type": "future", "expiry": "2025-12-10T08:00:00Z"}
    document = {
        "time": "2025-10-10T21:15:00Z",
        "assets": ASSETS,
        "risk_units": {"BTC": {}},
        "instruments": {"F": {name: value for name, value in future.items() if name != without}},
        "accounts": [
            {
                "account": "a",
                "margin_model": "portfolio",
                "positions": [{"instrument": "F", "quantity": "1", "entry_price": "50000"}],
            }
        ],
    }
    assert read_portfolio(orjson.dumps({**document, "instruments": {"F": future}})).accounts
    document.pop(without, None)
    with pytest.raises(BadDocument, match=r"positions\[0\].instrument must have its expiry given"):
        read_portfolio(orjson.dumps(document))


PAST = {"period_ms": 3_600_000, "horizon_ms": 360_000_000}
UP_AND_DOWN = [str(0.02 * (-1) ** at) for at in range(100)]


def test_the_past_of_what_is_no_unit_counts_nowhere_and_is_told() -> None:
    """A misspelt underlying leaves the unit without a past; whoever reads a smaller margin must be told why."""
    for unit, wanted in (("BTC", 25_000.0), ("BTCUSD", 16_000.0)):
        history = {**PAST, "returns": {unit: UP_AND_DOWN}, "margined": {"XBT": "0.1"}}
        report = evaluated({"BTC-PERP": ("-2", "50000")}, {"USDC": "60000"}, risk_history=history)
        assert float(report["portfolio"]["value_at_risk"]) == pytest.approx(wanted)
        document = {"assets": ASSETS, "instruments": {}, "accounts": [], "risk_units": {"BTC": {}}}
        unknown = read_portfolio(orjson.dumps({**document, "risk_history": history})).unknown
        missing = [] if unit == "BTC" else ["risk_history.returns.BTCUSD"]
        assert unknown == [*missing, "risk_history.margined.XBT"]


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({"returns": {}}, "returns must be 100 to 2000 of each underlying, equally many, found no underlying"),
        ({"returns": {"BTC": UP_AND_DOWN[:99]}}, "equally many, found 99"),
        ({"returns": {"BTC": UP_AND_DOWN, "ETH": UP_AND_DOWN * 2}}, "equally many, found 100 and 200"),
        ({"returns": {"BTC": ["-0.99999999999999999999", *UP_AND_DOWN]}}, r"returns.BTC\[0\] must be above -1"),
        ({"returns": {"BTC": UP_AND_DOWN}, "horizon_ms": 5}, "risk_history.horizon_ms must be 60000 to"),
        ({}, "risk_history.returns must be given"),
    ],
)
def test_a_past_that_means_nothing_is_refused(history: Json, message: str) -> None:
    with pytest.raises(BadDocument, match=message):
        evaluated({}, {}, risk_history=history)


def test_coins_alone_with_a_past() -> None:
    """A coin of 50,000, every move 2 %, ten times, a full buffer of a quarter."""
    report = evaluated({}, {"BTC": "1"}, risk_history={**PAST, "returns": {"BTC": UP_AND_DOWN}})
    assert float(report["portfolio"]["value_at_risk"]) == pytest.approx(12_500.0)
    assert float(report["maintenance_margin"]) == pytest.approx(0.8 * 12_500.0 + 0.02 * 50_000.0)
    assert evaluated({}, {}, risk_history={**PAST, "returns": {"BTC": UP_AND_DOWN}})["maintenance_margin"] == "0"


def test_a_liquidity_horizon_in_a_document() -> None:
    """Four of them double 25,000; a document says so of each underlying."""
    history = {**PAST, "returns": {"BTC": UP_AND_DOWN}}
    units = {"BTC": {"liquidity_horizon": "4"}}
    report = evaluated({"BTC-PERP": ("-2", "50000")}, {"USDC": "90000"}, risk_history=history, units=units)
    assert float(report["portfolio"]["value_at_risk"]) == pytest.approx(50_000.0)
    with pytest.raises(BadDocument, match=r"liquidity_horizon must be 1 to 100, found"):
        evaluated({}, {}, units={"BTC": {"liquidity_horizon": "0"}})


def test_inside_a_settlement_window_with_a_past() -> None:
    """Of a forward of 50,500 a half, 25,500, is settled: a move of 20 %, by the buffer 25 %, moves the rest only."""
    call = {
        "type": "option", "underlying": "BTC", "settlement": "USDC", "mark_price": "49500", "option_type": "call",
        "strike": "1000", "expiry": 300_000, "settlement_window_ms": 600_000, "volatility": "0.5", "forward": "50500",
        "index_price": "50000",
    }  # fmt: skip
    history = {**PAST, "returns": {"BTC": UP_AND_DOWN}}
    report = evaluated({"C": ("-1", "49500")}, {"USDC": "20000"}, {"C": call}, risk_history=history)
    # the curve's move: e to the log of each, at 20 % x 1.25 of volatility, whose own is about as large
    moved = math.exp(math.log(1.02) / 0.02 * 0.25) - 1.0
    assert float(report["portfolio"]["value_at_risk"]) == pytest.approx(25_000.0 * moved, rel=1e-3)
    assert float(report["portfolio"]["units"][0]["delta"]) == pytest.approx(-25_000.0)


def test_options_by_the_standard_model() -> None:
    """What the other model would ask of a call sold: 13 % and 9 % of 50,000."""
    report = evaluated({"C": ("-1", "1000")}, {"USDC": "20000"}, options(C=STRANGLE["C66"]))
    assert report["other_model"] == {"initial_margin": "6500", "maintenance_margin": "4500"}


def test_what_may_not_be_portfolio() -> None:
    """Without units there is nothing to be margined by."""
    with pytest.raises(BadDocument, match=r"accounts\[0\].margin_model must be standard where"):
        evaluated({}, {}, units={})


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"BTC": {"price_range": "2"}}, r"risk_units.BTC.price_range must be 0 to 1, found '2'"),
        ({"BTC": {"steps": "many"}}, r"risk_units.BTC.steps must be"),
        ({"BTC": 5}, r"risk_units.BTC must be an object, found 5"),
    ],
)
def test_faults_name_the_field(units: Json, message: str) -> None:
    """A wrong unit is told by its path."""
    with pytest.raises(BadDocument, match=message):
        evaluated({}, {}, units=units)


def test_unknown_fields_are_told() -> None:
    """A misspelt field of a unit must not pass for its default."""
    document = {"assets": ASSETS, "instruments": {}, "accounts": [], "risk_units": {"BTC": {"range": "0.2"}}}
    assert read_portfolio(orjson.dumps(document)).unknown == ["risk_units.BTC.range"]
