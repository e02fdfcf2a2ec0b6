"""Portfolio margin in a shard: judged by what the whole book can lose, and only who can bear it goes over.

If one of these failed, a hedged account would be closed out for a risk it has not, or one that changes its model would
be in liquidation the moment after.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from schemas.codec import decode
from schemas.journal import Block
from schemas.liquidation import Liquidation
from schemas.risk_terms import Correlations, RiskUnit
from streams.engine import state
from streams.engine.judge import numbers_of
from streams.evaluate.portfolio import read_portfolio
from streams.evaluate.reports import reports
from streams.ingest.term_rules import normalised
from tests.builders import PRICES, STANDARD, Fill, Json, Leg, Market, Sent, T, events, instrument, of, rules
from tests.option_terms import option

UNIT = {**normalised(RiskUnit(id="~risk_unit:BTC")), "version": 5}
ETHER = {**normalised(RiskUnit(id="~risk_unit:ETH", price_range="0.2", group="g")), "version": 6}
GROUP = {**normalised(Correlations(id="~correlations:g", low="0.5", high="0.9")), "version": 7}
PORTFOLIO = {"account": "alice", "mode": "cross", "margin_model": "portfolio", "levels": {}, "source_offset": 17}
MONTH = {"expiry": T + 30 * 86_400_000}
STANDARD_AGAIN = {**PORTFOLIO, "margin_model": "standard", "source_offset": 18}


def short_two(balance: str, *more: Json, coins: str = "0") -> Market:
    """alice, on portfolio margin, short 2 BTC-PERP from 50,000: 18,000 initial and 14,800 maintenance at 50,000."""
    market = Market((*STANDARD, UNIT, *more), PRICES)
    market.settings(PORTFOLIO)
    market.collateral(Leg("d", "alice", balance), Leg("c", "alice", coins, "BTC"))
    market.fills(Fill("f", "alice", "BTC-PERP", "-2", "50000"))
    return market


def shown(market: Market) -> tuple[str, str]:
    found = market.bucket("alice")
    return found["initial_margin"], found["maintenance_margin"]


def refusals(sent: list[Sent]) -> list[Json]:
    return [letter for letter in of(sent, "dead-letters") if letter["reason_code"] == "model_refused"]


def test_a_book_is_judged_by_its_scenarios() -> None:
    """18,499.99 is below 1.25 x 14,800 = 18,500, and 14,799.99 below the line."""
    market = short_two("30000")
    assert shown(market) == ("18000", "14800")
    assert events(market.collateral(Leg("w", "alice", "-11500", type="withdrawal"))) == []
    assert events(market.collateral(Leg("x", "alice", "-0.01", type="withdrawal"))) == ["alice called"]
    (sent,) = market.collateral(Leg("y", "alice", "-3700", type="withdrawal"))[:1]
    assert sent.kind == "liquidation"
    decode(Liquidation, orjson.dumps(sent.record))
    # 14,799.99 / (1.1 x 14,800) of the book stays, shorts rounded up to a thousandth
    assert [order["quantity"] for order in sent.record["orders"]] == ["0.182"]
    assert sent.record["report"]["portfolio"]["units"][0]["worst"]["move"] == "0.16"


def test_marks_move_the_requirement() -> None:
    """Up 16.8 %: 30,000 - 16,800 = 13,200 against 0.148 x 116,800 = 17,286.4; at 16.7 % it is 13,300, 17,271.6."""
    market = short_two("30000")
    assert events(market.marks({"BTC": 55_000.0}, after=1)) == ["alice called"]
    # (30,000 - x) = 0.148 (100,000 + x): x = 13,240.4
    assert market.status("alice") == "margin_call"
    assert events(market.marks({"BTC": 56_620.0}, after=1)) == []
    assert events(market.marks({"BTC": 56_620.4}, after=1)) == ["alice liquidation"]


def test_coins_hedge() -> None:
    """Two coins against two sold: nothing to lose at any price, where the standard model would take them over."""
    market = short_two("0", coins="2")
    for price in (50_000.0, 100_000.0, 20_000.0, 500_000.0):
        assert events(market.marks({"BTC": price}, after=1)) == []
        assert float(market.bucket("alice")["equity"]) == pytest.approx(100_000.0)
    assert market.status("alice") == "ok"


def test_the_shard_says_what_evaluate_says() -> None:
    """One report, two ways to it."""
    market = short_two("9000", ETHER, GROUP, coins="0.05")
    (sent,) = [one for one in market.fills(Fill("g", "alice", "ETH-PERP", "3", "2000")) if one.kind == "liquidation"]
    terms = {name: record for name, record in market.terms.items() if record["kind"] in ("instrument", "asset")}
    document: dict[str, Any] = {
        "time": market.time,
        "assets": {n: {**t, "price": PRICES[n]} for n, t in terms.items() if t["kind"] == "asset"},
        "instruments": {
            n: {**t, "mark_price": PRICES[t["underlying"]]} for n, t in terms.items() if t["kind"] == "instrument"
        },
        "risk_units": {"BTC": {}, "ETH": {"price_range": "0.2", "group": "g"}},
        "correlations": {"g": {"low": "0.5", "high": "0.9"}},
        "accounts": [
            {
                "account": "alice",
                "margin_model": "portfolio",
                "balances": {"USDC": "9000", "BTC": "0.05"},
                "positions": [
                    {"instrument": "BTC-PERP", "quantity": "-2", "entry_price": "50000"},
                    {"instrument": "ETH-PERP", "quantity": "3", "entry_price": "2000"},
                ],
            }
        ],
    }
    for record in (*document["assets"].values(), *document["instruments"].values()):
        record.pop("version")
    (report,) = reports(read_portfolio(orjson.dumps(document)))["accounts"]
    plan = report.pop("liquidation")
    assert sent.record["report"] == {**report, "liquidation": None}
    assert sent.record["orders"] == plan["orders"]


def test_who_holds_nothing_goes_over_at_once() -> None:
    """A new account says how it wants to be margined before it has anything."""
    market = Market((*STANDARD, UNIT), None)
    assert refusals(market.settings(PORTFOLIO)) == []
    assert market.view("alice")["settings"]["margin_model"] == "portfolio"


@pytest.mark.parametrize(("balance", "refused"), [("18000", 0), ("17999.99", 1)])
def test_only_who_can_bear_it_goes_over(balance: str, refused: int) -> None:
    """Short 2 on the standard model (10,000 initial) may go over with 18,000, exactly, and not below."""
    market = Market((*STANDARD, UNIT), PRICES)
    market.deposit("alice", balance)
    market.fills(Fill("f", "alice", "BTC-PERP", "-2", "50000"))
    letters = refusals(market.settings(PORTFOLIO))
    assert len(letters) == refused
    assert shown(market) == (("10000", "5000") if refused else ("18000", "14800"))
    if letters:
        assert letters[0]["source_offset"] == 17
        assert letters[0]["reason"] == (
            "initial equity must be at least initial margin 18000 by margin_model portfolio, found 17999.99; "
            "by standard initial margin is 10000 (alice)"
        )


def test_back_only_who_can_bear_that() -> None:
    """Two coins hedge two sold; the standard model would ask 10,000 of coins cut by 10 %, and lets go over above it."""
    market = Market((*STANDARD, UNIT), PRICES)
    market.settings(PORTFOLIO)
    market.collateral(Leg("c", "alice", "2", "BTC"))
    market.fills(Fill("f", "alice", "BTC-PERP", "-2", "50000"))
    market.marks({"BTC": 1_000_000.0}, after=1)
    (letter,) = refusals(market.settings(STANDARD_AGAIN))
    assert "by margin_model standard" in letter["reason"]
    assert market.view("alice")["settings"]["margin_model"] == "portfolio"
    market.marks({"BTC": 50_000.0}, after=1)
    assert refusals(market.settings(STANDARD_AGAIN)) == []
    assert shown(market) == ("10000", "5000")


def test_the_rest_of_a_refused_message_holds() -> None:
    """Levels are not forgotten because the model was refused."""
    market = Market((*STANDARD, UNIT), PRICES)
    market.deposit("alice", "11000")
    market.fills(Fill("f", "alice", "BTC-PERP", "-2", "50000"))
    sent = market.settings({**PORTFOLIO, "levels": {"margin_call": "3", "margin_call_exit": "4"}})
    assert len(refusals(sent)) == 1
    assert events(sent) == ["alice called"], "11,000 / 5,000 is below 3"


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ((), "margin_model must be standard where no risk unit is published"),
        ((UNIT, rules(portfolio_equity_min="50000", version=8)), "equity must be at least 50000 for margin_model"),
    ],
)
def test_who_is_not_eligible(terms: tuple[Json, ...], reason: str) -> None:
    """Without units there is no model, and an operator may ask for a least equity."""
    market = Market((*STANDARD, *terms), PRICES)
    market.deposit("alice", "49999")
    (letter,) = refusals(market.settings(PORTFOLIO))
    assert letter["reason"].startswith(reason)


def test_what_has_no_price_stays() -> None:
    """A model cannot be chosen by numbers that nobody knows."""
    market = Market((*STANDARD, UNIT), {"USDC": 1.0})
    market.collateral(Leg("c", "alice", "2", "BTC"))
    (letter,) = refusals(market.settings(PORTFOLIO))
    assert letter["reason"] == "margin_model must stay while something held has no price, found 'portfolio' (alice)"


def test_a_switch_is_cautious_while_a_price_is_suspect() -> None:
    """A forged price must not let an account out of a requirement that it cannot bear at the true one."""
    market = Market((*STANDARD, UNIT), PRICES)
    market.deposit("alice", "18000")
    market.fills(Fill("f", "alice", "BTC-PERP", "-2", "50000"))
    suspect = {"states": {"BTC": "suspect"}, "check": {"BTC": 51_000.0}}
    market.marks({"BTC": 50_000.0}, after=1, **suspect)
    (letter,) = refusals(market.settings(PORTFOLIO))
    assert letter["reason"] == (
        "initial equity must be at least initial margin 18360 by margin_model portfolio, found 16000; "
        "by standard initial margin is 10200 (alice)"
    )
    market.marks({"BTC": 50_000.0}, after=1)
    assert refusals(market.settings(PORTFOLIO)) == []


@pytest.mark.parametrize(
    ("source", "place"),
    [
        (
            {"topic": "accounts", "partition": 3, "first": 17, "next": 18},
            {"source_topic": "accounts", "source_partition": "3"},
        ),
        (None, {}),
    ],
)
def test_a_refusal_names_its_source_as_far_as_it_is_known(source: Json | None, place: dict[str, str]) -> None:
    """Tools that send dead letters again read their headers: `None` is no topic."""
    market = Market((*STANDARD, UNIT), PRICES)
    market.deposit("alice", "100")
    market.fills(Fill("f", "alice", "BTC-PERP", "-2", "50000"))
    data = Block(kind="accounts", source=source, extra={"accounts": [PORTFOLIO]}).encode()
    (letter,) = market.shard.apply(len(market.journal), data).refused
    headers = {name: value.decode() for name, value in letter.headers}
    assert headers.pop("reason").startswith("initial equity must be at least")
    assert headers == {"reason_code": "model_refused", "source_offset": "17", **place}


def test_a_switch_waits_until_the_shard_is_live() -> None:
    """While books are half read nobody can tell, and the answer comes with the first block that can."""
    market = Market((*STANDARD, UNIT), None)
    market.marks(PRICES, mode="catching_up")
    market.deposit("alice", "17999")
    market.fills(Fill("f", "alice", "BTC-PERP", "-2", "50000"))
    assert market.settings(PORTFOLIO) == []
    market.shard = state.restore(0, state.records(market.shard))
    assert len(refusals(market.marks(after=1))) == 1
    assert refusals(market.marks(after=1)) == []
    assert "wanted" not in market.view("alice")["settings"]


def test_isolated_positions_stay_with_the_standard_model() -> None:
    """Their margin is their own."""
    market = short_two("30000")
    market.collateral(Leg("m", "alice", "6000", bucket="ETH-PERP"))
    market.fills(Fill("g", "alice", "ETH-PERP", "3", "2000", mode="isolated"))
    assert market.bucket("alice", "ETH-PERP")["maintenance_margin"] == "300"
    assert shown(market) == ("18000", "14800")


def test_it_survives_a_restart() -> None:
    """The same hash, and the same decisions after it."""
    market = short_two("30000", ETHER, GROUP)
    market.fills(Fill("g", "alice", "ETH-PERP", "3", "2000"))
    twin = Market((), None)
    twin.shard, twin.journal, twin.terms, twin.time = (
        state.restore(0, state.records(market.shard)),
        list(market.journal),
        market.terms,
        market.time,
    )
    assert twin.hash() == market.hash()
    for price in (52_000.0, 56_000.0, 58_000.0):
        assert twin.marks({"BTC": price}, after=1) == market.marks({"BTC": price}, after=1)
    assert twin.hash() == market.hash()
    assert "liquidation" in [one.kind for one in market.sent]


def test_a_unit_taken_back_and_published_again() -> None:
    """Accounts fall back to the standard model and return, judged at once."""
    market = short_two("14900")
    assert market.status("alice") == "margin_call"
    assert events(market.tell({**UNIT, "closed": True, "version": 8})) == ["alice cleared"]
    assert shown(market) == ("10000", "5000")
    assert events(market.tell({**UNIT, "version": 9})) == ["alice called"]


def test_only_rows_that_differ_are_written() -> None:
    """One table goes on from block to block: at the last prices it is what a new one is, to the bit."""
    market = short_two("300000", ETHER)
    market.fills(Fill("g", "alice", "ETH-PERP", "3", "2000"), Fill("h", "alice", "BTC-COIN", "300", "50000"))
    for at, price in enumerate((51_000.0, 52_000.0, 48_000.0)):
        market.marks({"BTC": price}, after=61_000)
        market.marks({"ETH": 2_000.0 + at}, after=1)
    again = state.restore(0, state.records(market.shard))
    assert again.portfolio.books().tolist() == market.shard.portfolio.books().tolist() == [0]
    market_numbers = market.bucket("alice")
    market.shard = again
    assert market.bucket("alice") == market_numbers


@pytest.mark.parametrize(("btc", "usdc"), [(51_000.0, None), (49_000.0, 0.99), (51_000.0, 1.01), (49_000.0, None)])
def test_summaries_are_cautious_as_decisions_are(btc: float, usdc: float | None) -> None:
    """Short perpetuals, coins, an inverse and a call of two assets: each leg on the side that is worse for it."""
    market = Market((*STANDARD, UNIT, ETHER, GROUP, option("BTC-C", "call", "55000", **MONTH)), None)
    market.settings(PORTFOLIO)
    known = {"made_of": {"BTC-C": (0.6, 50_000.0, 1.0)}}
    market.marks(PRICES, {"BTC-C": 1_500.0}, after=1, **known)
    market.collateral(Leg("d", "alice", "-3000"), Leg("c", "alice", "3", "BTC"), Leg("e", "alice", "20", "ETH"))
    market.fills(
        Fill("f", "alice", "BTC-PERP", "-2", "50000"),
        Fill("g", "alice", "BTC-COIN", "300", "50000"),
        Fill("h", "alice", "ETH-PERP", "5", "2000"),
        Fill("i", "alice", "BTC-C", "-1", "1500"),
    )
    plain = numbers_of(market.shard, np.zeros(1, dtype=np.int64))
    states = {"BTC": "suspect"} | ({"USDC": "suspect"} if usdc else {})
    check = {"BTC": btc} | ({"USDC": usdc} if usdc else {})
    market.marks(PRICES, {"BTC-C": 1_500.0}, after=1, states=states, check=check, **known)
    found = numbers_of(market.shard, np.zeros(1, dtype=np.int64))
    assert found.initial_equity[0] < plain.initial_equity[0] - 100.0
    shown = market.bucket("alice")
    assert float(shown["initial_equity"]) == pytest.approx(found.initial_equity[0], rel=1e-12)
    assert float(shown["initial_margin"]) == pytest.approx(found.initial[0], rel=1e-12)
    assert (found.equity[0], found.maintenance[0]) == (plain.equity[0], plain.maintenance[0])


CALLS = (option("BTC-A", "call", "50000", **MONTH), option("BTC-B", "call", "60000", **MONTH))
AGED = {**UNIT, "expiries": {**UNIT["expiries"], "long_multiply": "1", "short_multiply": "0.5"}}


def short_call(*priced: str) -> Market:
    """alice, on portfolio margin, short 2 BTC-B; it is known what the marks of these calls were made of."""
    market = Market((*STANDARD, AGED, *CALLS, instrument("BTC-FUT", "future", **MONTH)), None)
    market.settings(PORTFOLIO)
    made_of = dict.fromkeys(priced, (0.6, 50_000.0, 0.98))
    market.marks(PRICES, {"BTC-A": 3_500.0, "BTC-B": 800.0}, after=1, made_of=made_of)
    market.deposit("alice", "100000")
    market.fills(Fill("f", "alice", "BTC-B", "-2", "800"))
    return market


def judged(market: Market) -> tuple[float, float]:
    """Initial and maintenance margin as the kernels find them, of all books at once."""
    found = numbers_of(market.shard, np.zeros(1, dtype=np.int64))
    return float(found.initial[0]), float(found.maintenance[0])


def test_an_option_without_a_volatility_lends_its_expiry_nothing() -> None:
    """A strike newly listed beside one that is sold short must not make the latter cost nothing."""
    alone = short_call("BTC-B")
    assert judged(alone) == judged(short_call("BTC-A", "BTC-B"))
    assert judged(alone) == pytest.approx(tuple(map(float, shown(alone))))
    assert judged(alone)[1] > 10_000.0


def test_a_future_that_moves_leaves_the_discount_of_its_expiry() -> None:
    """Options are discounted alike before and after a restart, whatever was marked last."""
    market = short_call("BTC-A", "BTC-B")
    before = judged(market)
    market.marks({}, {"BTC-FUT": 50_100.0}, after=1)
    assert judged(market) == before
    market.shard = state.restore(0, state.records(market.shard))
    assert judged(market) == before
