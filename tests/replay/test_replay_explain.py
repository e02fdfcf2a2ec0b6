"""`crossmargin explain`: a decision made again agrees with `evaluate` on the same state."""

from __future__ import annotations

import json
import math
from collections import Counter
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from schemas.risk_terms import RiskUnit
from streams.engine.risk_factors import WARM_UP, told
from streams.engine.shard import Shard
from streams.evaluate.command import evaluate_command
from streams.ingest.term_rules import normalised
from streams.replay import snapshot
from streams.replay.explain import explain, missing
from streams.replay.explain_command import explain_command
from tests.builders import PRICES, STANDARD, Fill, Leg, Market, T, asset, instrument, of
from tests.journals import TERMS, journal
from tests.replay.recordings import MemoryRecording, crash_blocks, recorded, to_files
from tests.test_engine_portfolio import ETHER, GROUP, PORTFOLIO, short_two
from tests.test_engine_settlement import half_settled
from tests.test_engine_value_at_risk import RULES, wild

Json = dict[str, Any]
KINDS = {"called", "cleared", "liquidation", "liquidation_cleared", "bankrupt"}


@pytest.fixture(scope="module")
def crash() -> MemoryRecording:
    return recorded(crash_blocks())


def events(recording: MemoryRecording) -> list[Json]:
    return [
        orjson.loads(record.value or b"")
        for topic in ("margin-calls", "liquidations")
        for record in recording.topics[topic][0]
    ]


def evaluated(document: Json, bucket: str) -> Json:
    """The report of the book that `evaluate` prints."""
    result = CliRunner().invoke(evaluate_command, ["-"], input=json.dumps(document))
    assert result.exit_code == 0, result.output
    (account,) = json.loads(result.output)["accounts"]
    if bucket == "cross":
        return dict(account)
    (position,) = account["positions"]
    return dict(position)


def test_a_hundred_random_decisions_agree_with_evaluate(crash: MemoryRecording) -> None:
    """Same status, same numbers, same orders: the document is the state that the decision was made in."""
    dice = Random(7)
    found = dice.sample(events(crash), 100)
    check_all(crash, found)
    assert {event["kind"] for event in found} == KINDS


def check_all(recording: MemoryRecording, decisions: list[Json]) -> None:
    for event in decisions:
        found = explain(recording, event["id"])
        assert found.matches
        assert found.event == event
        report = evaluated(found.document, event["bucket"])
        wanted = event["report"]
        assert report["status"] == wanted["status"], event["id"]
        for name in ("equity", "adjusted_equity", "initial_equity", "margin_ratio", "free_margin"):
            assert report[name] == wanted[name], (event["id"], name)
        assert report.get("restrictions") == wanted.get("restrictions"), event["id"]
        if event["bucket"] == "cross":
            for name in ("initial_margin", "maintenance_margin", "positions"):
                assert report[name] == wanted[name], (event["id"], name)
        if event["kind"] == "liquidation":
            for name in ("orders", "withheld"):
                assert (report["liquidation"] or {}).get(name) == event.get(name), event["id"]


def test_decisions_by_portfolio_margin_agree_with_evaluate() -> None:
    """Units, correlations and indexes apart from marks are in the document: the same scenarios bind again."""
    market = short_two("30000", ETHER, GROUP, coins="0.05")
    market.fills(Fill("g", "alice", "ETH-PERP", "3", "2000"))
    market.collateral(Leg("w", "alice", "-12000", type="withdrawal"))
    market.marks({"BTC": 50_200.0, "ETH": 2_000.0}, {"BTC-PERP": 50_500.0}, after=1)
    market.marks({"BTC": 54_000.0, "ETH": 2_000.0}, {"BTC-PERP": 54_100.0}, after=1)
    recording = recorded(market.journal)
    found = events(recording)
    assert {event["kind"] for event in found} == {"called", "liquidation"}
    check_all(recording, found)
    for event in found:
        report = evaluated(explain(recording, event["id"]).document, "cross")
        assert report["portfolio"] == event["report"]["portfolio"]
        assert report["other_model"] == event["report"]["other_model"]


def check_portfolio(market: Market, kinds: set[str]) -> list[Json]:
    """All that was decided agrees with `evaluate`, portfolio sections too; the decisions."""
    recording = recorded(market.journal)
    found = events(recording)
    assert {event["kind"] for event in found} == kinds
    check_all(recording, found)
    for event in found:
        report = evaluated(explain(recording, event["id"]).document, "cross")
        assert report["portfolio"] == event["report"]["portfolio"]
        assert report["other_model"] == event["report"]["other_model"]
    return found


@pytest.mark.parametrize("scale", [10.0, math.sqrt(1440.0), math.sqrt(7 / 9)])
def test_decisions_by_value_at_risk_leg_by_leg_agree_with_evaluate(scale: float) -> None:
    """The past as it was told, at a horizon of whatever length, is in the document, and single legs go as they went."""
    unit = {**normalised(RiskUnit(id="~risk_unit:BTC", liquidation="legs")), "version": 5}
    future = instrument("BTC-DEC", "future", expiry=T + 30 * 86_400_000)
    market = Market((*STANDARD, future, unit), PRICES)
    market.settings(PORTFOLIO)
    market.collateral(Leg("d", "alice", "30000"), Leg("c", "alice", "0.1", "BTC"))
    market.fills(Fill("f", "alice", "BTC-PERP", "-2", "50000"), Fill("g", "alice", "BTC-DEC", "0.5", "50000"))
    tail = RULES.tail._replace(scale=scale, warm_up=WARM_UP)
    rules = RULES._replace(tail=tail, window=100, buffer=0.2)
    for step, (move, withdrawn) in enumerate(((0.4, "-1000"), (0.55, "-1000"))):
        market.collateral(Leg(f"w{step}", "alice", withdrawn, type="withdrawal"))
        market.apply(told(None, wild(move / scale, rules=rules, period=step), market.time))
    found = check_portfolio(market, {"called", "liquidation"})
    (order,) = (event for event in found if event["kind"] == "liquidation")
    assert order["report"]["portfolio"]["binds"] == "value_at_risk"
    assert [leg["instrument"] for leg in order["orders"]] == ["BTC-PERP"], "the hedge stays"


def test_decisions_inside_a_settlement_window_agree_with_evaluate() -> None:
    """What is settled of the mean follows from the document's time, index and forward."""
    market = half_settled()
    for index in (75_500.0, 80_000.0):
        forward = 25_500.0 + 0.5 * index
        made_of = {"BTC-A": (0.5, forward, 1.0)}
        market.marks({"BTC": index}, {"BTC-A": forward - 1_000.0}, made_of=made_of, after=1)
    found = check_portfolio(market, {"called", "liquidation"})
    for event, index in zip(found, (75_500.0, 80_000.0), strict=True):
        (unit,) = event["report"]["portfolio"]["units"]
        assert float(unit["delta"]) == pytest.approx(-0.5 * index, rel=1e-6)


def test_decisions_at_prices_of_every_state_agree_with_evaluate() -> None:
    """What was left undone for the state of a price is left undone again, and seen in the document."""
    seen: Counter[str] = Counter()
    for market in (half_halted(), doubtful(0), doubtful(40)):
        recording = recorded(market.journal)
        found = [event for event in events(recording) if event["bucket"] == "cross"]  # others hold several assets
        check_all(recording, found)
        for event in found:
            seen.update({event["kind"], *event["report"].get("restrictions", ())})
            seen.update(price["state"] for price in (*event["marks"].values(), *event["prices"].values()))
            seen["withheld"] += len(event.get("withheld", ()))
            seen["widened"] += any(price["widening"] != "0" for price in event["prices"].values())
    states = {"degraded", "suspect", "stale", "halted"}
    wanted = {"called", "liquidation", "bankrupt", "no_new_risk", "no_withdrawals", *states, "withheld", "widened"}
    assert {name for name in wanted if seen[name]} == wanted


def doubtful(first: int) -> Market:
    """A random journal with prices of every state."""
    market = Market(TERMS, None)
    for one in journal([[seed, seed + 1000, seed + 2000] for seed in range(first, first + 40)]):
        if one.kind != "settings":  # some levels that ingest would refuse
            one.play(market)
    return market


def half_halted() -> Market:
    """Bob has one leg halted and one to close; erin owes USDC against BTC, whose price is stale, and ETH."""
    market = Market((*STANDARD[:2], asset("ETH", 8, haircut="0.1"), *STANDARD[3:]))
    market.collateral(Leg("d", "bob", "3400"), Leg("e", "erin", "2", "ETH"), Leg("c", "erin", "0.1", "BTC"))
    market.collateral(Leg("w", "erin", "-8500", type="withdrawal"))
    market.fills(Fill("b", "bob", "BTC-PERP", "1", "50000"), Fill("e", "bob", "ETH-PERP", "10", "2000"))
    market.marks({"BTC": 50_000.0, "ETH": 1_940.0}, after=1, states={"BTC": "stale", "BTC-PERP": "halted"})
    assert [record["account"] for record in of(market.sent, "liquidations") if record.get("withheld")] == [
        "bob",
        "erin",
    ]
    return market


@pytest.mark.parametrize("kind", ["called", "liquidation", "bankrupt"])
def test_the_missing_cash_would_have_prevented_it(crash: MemoryRecording, kind: str) -> None:
    """With that much more of the reporting currency the status is another; with a little less it is not."""
    event = next(event for event in events(crash) if event["kind"] == kind and event["bucket"] == "cross")
    found = explain(crash, event["id"])
    cash = missing(found)
    assert cash > 0
    document = found.document
    document["assets"]["CASH"] = {"price": "1"}
    statuses = []
    for amount in (cash * Decimal("0.999"), cash * Decimal("1.000001")):
        document["accounts"][0]["balances"]["CASH"] = format(amount, "f")
        document["accounts"][0]["previous_status"] = "ok"
        statuses.append(evaluated(document, "cross")["status"])
    worse = {"called": "margin_call", "liquidation": "liquidation", "bankrupt": "bankrupt"}[kind]
    assert statuses[0] == worse
    assert statuses[1] != worse


def test_the_command_tells_it(crash: MemoryRecording, tmp_path: Path) -> None:
    folder = str(to_files(crash, tmp_path / "crash"))
    event = next(event for event in events(crash) if event["kind"] == "liquidation")
    result = CliRunner().invoke(explain_command, [event["id"], folder])
    assert result.exit_code == 0, result.output
    for part in (
        f"liquidation of {event['account']}",
        "made again from the journal: what was sent",
        "would have prevented",
    ):
        assert part in result.output
    as_json = CliRunner().invoke(explain_command, [event["id"], folder, "--json"])
    assert json.loads(as_json.output)["event"] == event


def test_a_snapshot_stands_for_what_was_before(crash: MemoryRecording, tmp_path: Path) -> None:
    """Where retention has taken the beginning, it is the only way."""
    event = next(event for event in events(crash) if event["kind"] == "liquidation" and event["journal"]["offset"] > 30)
    journal = crash.topics["journal"][0]
    at = next(number for number, record in enumerate(journal) if record.offset >= 20)
    shard = Shard(0)
    for record in journal[:at]:
        shard.apply(record.offset, record.value or b"")
    snapshot.write(shard, tmp_path / "snapshots")
    cut = MemoryRecording({**crash.topics, "journal": {0: journal[at:]}}, {"journal": shard.next_offset})
    folder = str(to_files(cut, tmp_path / "cut"))
    start = ["--start", str(tmp_path / "snapshots")]
    result = CliRunner().invoke(explain_command, [event["id"], folder, *start])
    assert result.exit_code == 0, result.output
    for arguments, line in (
        ([event["id"]], f"journal[0] must begin at 0, found {shard.next_offset}"),
        (["0-3-a-cross-called", *start], "the snapshot must be of a state before record 3"),
    ):
        refused = CliRunner().invoke(explain_command, [arguments[0], folder, *arguments[1:]])
        assert (refused.exit_code, line in refused.output) == (2, True), refused.output


def test_a_decision_that_was_sent_otherwise_is_said(crash: MemoryRecording, tmp_path: Path) -> None:
    event = next(event for event in events(crash) if event["kind"] == "liquidation")
    records = [
        record._replace(value=(record.value or b"").replace(b'"step":1', b'"step":8'))
        for record in crash.topics["liquidations"][0]
    ]
    folder = to_files(MemoryRecording({**crash.topics, "liquidations": {0: records}}), tmp_path / "other")
    result = CliRunner().invoke(explain_command, [event["id"], str(folder)])
    assert result.exit_code == 1
    assert "NOT what was sent" in result.output


@pytest.mark.parametrize(
    ("identity", "line"),
    [
        ("nonsense", "an event id must begin with shard and journal offset"),
        ("9-4-a-cross-called", "journal[9] must be there, found no such partition"),
        ("0-9999999-a-cross-called", "journal[0] must have a record at 9999999"),
        ("0-30-nobody-cross-called", "must give 0-30-nobody-cross-called, found no such decision"),
    ],
)
def test_ids_that_name_nothing_are_refused(crash: MemoryRecording, tmp_path: Path, identity: str, line: str) -> None:
    folder = str(to_files(crash, tmp_path / "crash"))
    result = CliRunner().invoke(explain_command, [identity, folder])
    assert result.exit_code == 2
    assert line in result.output
    assert result.output.count("\n") == 1
