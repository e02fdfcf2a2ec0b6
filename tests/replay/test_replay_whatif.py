"""`crossmargin what-if`: other parameters on a recorded journal, beside what happened."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from schemas.risk_terms import RiskUnit
from streams.ingest.term_rules import normalised
from streams.replay.recording import RecordingError
from streams.replay.whatif.changes import Changes
from streams.replay.whatif.command import whatif_command
from streams.replay.whatif.sides import CHANGED, RECORDED, Pair, Side
from tests.builders import Fill, Leg, Market, T, asset, instrument
from tests.option_terms import option
from tests.replay.recordings import MemoryRecording, crash_blocks, recorded, to_files

Json = dict[str, Any]
UNIT = {**normalised(RiskUnit(id="~risk_unit:BTC")), "version": 5}


def what_if(folder: Path, changes: Json, tmp_path: Path, *more: str) -> tuple[Result, Json]:
    params, out = tmp_path / "params.json", tmp_path / "report.json"
    params.write_bytes(orjson.dumps(changes))
    arguments = ["--params", str(params), "--json", str(out), str(folder), *more]
    result = CliRunner().invoke(whatif_command, arguments)
    return result, json.loads(out.read_bytes()) if result.exit_code == 0 else {}


@pytest.fixture(scope="module")
def crash() -> MemoryRecording:
    return recorded(crash_blocks())


@pytest.fixture(scope="module")
def folder(crash: MemoryRecording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_files(crash, tmp_path_factory.mktemp("whatif") / "crash")


def test_the_recorded_side_is_what_was_sent(folder: Path, crash: MemoryRecording, tmp_path: Path) -> None:
    _, report = what_if(folder, {}, tmp_path)
    sent = [orjson.loads(r.value or b"") for t in ("margin-calls", "liquidations") for r in crash.topics[t][0]]
    kinds = Counter(event["kind"] for event in sent)
    side = report["sides"]["recorded"]
    assert (side["called"], side["bankrupt"], side["steps"]) == (
        kinds["called"],
        kinds["bankrupt"],
        kinds["liquidation"],
    )
    shortfall = sum((Decimal(event["shortfall"]) for event in sent if event["kind"] == "bankrupt"), Decimal(0))
    assert Decimal(side["shortfall"]) == shortfall


def test_higher_rates_call_earlier_and_lock_more(folder: Path, tmp_path: Path) -> None:
    """Of the same positions exactly half as much again is locked."""
    higher = {"instruments": {"*": {"maintenance_margin": "x1.5"}}}
    _, report = what_if(folder, higher, tmp_path)
    was, now = report["sides"]["recorded"], report["sides"]["changed"]
    assert now["called"] + now["liquidated"] > was["called"] + was["liquidated"]
    _, report = what_if(
        to_files(recorded(three_accounts().journal), tmp_path / "three"), higher, tmp_path, "--sample", "1"
    )
    was, now = report["sides"]["recorded"], report["sides"]["changed"]
    assert (was["maintenance_margin"][1], now["maintenance_margin"][1]) == (3 * 2_450.0, 3 * 3_675.0)


def three_accounts() -> Market:
    """Each long 1 BTC from 50,000 on its cash; the mark falls to 44,000 in steps of 1,000."""
    market = Market((asset("USDC"), instrument("BTC-PERP")), {"USDC": 1.0, "BTC": 50_000.0})
    market.collateral(*(Leg(f"d-{name}", name, cash) for name, cash in CASH.items()))
    market.fills(*(Fill(f"f-{name}", name, "BTC-PERP", "1", "50000") for name in CASH))
    for price in range(49_000, 43_999, -1_000):
        market.marks({"USDC": 1.0, "BTC": float(price)}, after=1_000)
    return market


CASH = {"alice": "6000", "bob": "8000", "carol": "20000"}


def test_three_accounts_by_hand(tmp_path: Path) -> None:
    """Equity is cash + mark - 50,000, maintenance 5 % of the mark; changed: 7.5 %.

    Below 1.25 x 0.05 x mark a call, below 0.05 x mark a liquidation. Alice: equity 3,000 at 47,000 (call line 2,937.5,
    not called), 2,000 at 46,000 (line 2,300: liquidated). At 7.5 %: 4,000 at 48,000 (call line 4,500: called; 3,600 not
    reached), 3,000 at 47,000 (line 3,525: liquidated). Bob, 2,000 more: liquidated at 44,000 (2,000 < 2,200), called at
    45,000 (3,000 >= 2,812.5: no); at 7.5 %: called at 46,000 (4,000 < 4,312.5), liquidated at 45,000 (3,000 < 3,375).
    Carol never.
    """
    market = three_accounts()
    recording = recorded(market.journal)
    changes = {"instruments": {"BTC-PERP": {"maintenance_margin": "0.075"}}}
    _, report = what_if(to_files(recording, tmp_path / "three"), changes, tmp_path)
    fates = {row["account"]: row for row in report["accounts"]}
    assert set(fates) == {"alice", "bob"}
    at = {price: market.time - 1_000 * ((price - 44_000) // 1_000) for price in range(44_000, 51_000, 1_000)}
    assert [fates["alice"]["recorded"][kind] for kind in ("called", "liquidation")] == [None, at[46_000]]
    assert [fates["alice"]["changed"][kind] for kind in ("called", "liquidation")] == [at[48_000], at[47_000]]
    assert [fates["bob"]["recorded"][kind] for kind in ("called", "liquidation")] == [None, at[44_000]]
    assert [fates["bob"]["changed"][kind] for kind in ("called", "liquidation")] == [at[46_000], at[45_000]]


def test_liquidations_of_the_changed_side_are_filled(tmp_path: Path) -> None:
    """Filled at the mark less slippage, so the position shrinks and the liquidation ends."""
    market = three_accounts()
    changes = {"instruments": {"BTC-PERP": {"maintenance_margin": "0.075"}}, "slippage": "0"}
    _, report = what_if(to_files(recorded(market.journal), tmp_path / "three"), changes, tmp_path, "--sample", "1")
    assert report["sides"]["changed"]["bankrupt"] == 0
    assert report["sides"]["changed"]["statuses"]["liquidation"][-1] == 0
    assert report["sides"]["recorded"]["statuses"]["liquidation"][-1] == 2  # nobody filled them in the recording


def test_the_margin_model_may_change(tmp_path: Path) -> None:
    """Long 1 BTC: the scenario of -16 % asks 0.148 of the mark, not 0.05."""
    market = Market((asset("USDC"), instrument("BTC-PERP"), UNIT), {"USDC": 1.0, "BTC": 50_000.0})
    market.deposit("alice", "20000")
    market.fills(Fill("f-alice", "alice", "BTC-PERP", "1", "50000"))
    market.marks({"USDC": 1.0, "BTC": 50_000.0}, after=1_000)
    changes = {"accounts": {"*": {"margin_model": "portfolio"}}}
    _, report = what_if(to_files(recorded(market.journal), tmp_path / "one"), changes, tmp_path, "--sample", "1")
    sides = report["sides"]
    assert [sides[name]["maintenance_margin"][-1] for name in ("recorded", "changed")] == [2_500.0, 7_400.0]


def test_the_page_is_self_contained(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result, _ = what_if(folder, {"engine": {"margin_call": "1.3"}}, tmp_path, "--html", str(page))
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert "<script src=" not in text
    assert "<link" not in text
    assert "accounts fared differently" in text


def test_levels_and_accounts_may_change(tmp_path: Path) -> None:
    """Called below 1.35: alice already at 48,000 (4,000 / 2,400 = 1.67 no), 47,000 (3,000 / 2,350 = 1.277 yes)."""
    recording = recorded(three_accounts().journal)
    for changes in (
        {"engine": {"margin_call": "1.35", "margin_call_exit": "1.4"}},
        {"accounts": {"alice": {"levels": {"margin_call": "1.35", "margin_call_exit": "1.4"}}}},
        {"accounts": {"*": {"levels": {"margin_call": "1.35", "margin_call_exit": "1.4"}}}},
    ):
        _, report = what_if(to_files(recording, tmp_path / str(hash(str(changes)))), changes, tmp_path)
        alice = next(row for row in report["accounts"] if row["account"] == "alice")
        assert alice["recorded"]["called"] is None
        assert alice["changed"]["called"] is not None


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ([], "changes must be a JSON object"),
        ({"tiers": {}}, "changes must be of instruments, assets"),
        ({"instruments": {"*": 7}}, "instruments must be an object of changes"),
        ({"instruments": {"*": {"maintenance_margin": "x"}}}, "instruments.*.maintenance_margin must be a number"),
        ({"instruments": {"*": {"maintenance_margin": "3"}}}, "maintenance_margin must be 0 to 1"),
        ({"instruments": {"*": {"multiplier": "2"}}}, "instruments.*.multiplier must be a parameter that may change"),
        ({"instruments": {"DOGE-PERP": {"tiers": []}}}, "instruments.DOGE-PERP must be in the journal"),
        ({"slippage": "1"}, "slippage must be 0 to below 1"),
        ({"accounts": {"alice": {"age": 3}}}, "accounts.alice must change mode or margin_model or levels"),
        ({"accounts": {"*": {"margin_model": "weird"}}}, "accounts.*: margin_model must be"),
        ({"accounts": {"*": {"levels": {"margin_call": "abc"}}}}, "accounts.*: margin_call must be"),
        ({"accounts": {"*": {"levels": {"call": "2"}}}}, "accounts.*.levels must be of margin_call"),
        ({"accounts": {"nobody": {"mode": "cross"}}}, "accounts.nobody must be in the journal"),
    ],
)
def test_wrong_changes_are_refused(folder: Path, tmp_path: Path, changes: Any, line: str) -> None:
    result, _ = what_if(folder, changes, tmp_path)
    assert result.exit_code == 2
    assert line in result.output
    assert result.output.count("\n") == 1


def test_rates_are_multiplied_in_every_tier() -> None:
    tiers = [
        {"notional_from": "0", "initial_margin": "0.1", "maintenance_margin": "0.05"},
        {"notional_from": "100", "initial_margin": "0.2", "maintenance_margin": "0.16"},
    ]
    record = {**instrument("BTC-PERP"), "tiers": tiers, "version": 3}
    found = Changes({"instruments": {"*": {"maintenance_margin": "x1.5"}}}, "here").terms(record)
    assert [row["maintenance_margin"] for row in found["tiers"]] == ["0.075", "0.24"]
    assert [row["initial_margin"] for row in found["tiers"]] == ["0.1", "0.24"]
    assert found["version"] == 3
    with pytest.raises(RecordingError, match="must be 0 to 1"):
        Changes({"instruments": {"*": {"maintenance_margin": "x7"}}}, "here").terms(record)


def test_what_all_instruments_get_leaves_out_what_options_do_not_have() -> None:
    """A journal with one option in it could not be asked what higher rates would have done."""
    both = {"maintenance_margin": "x1.5", "option_margin": {"call": "x1.25", "most": "0.2"}, "liquidation_fee": "0.01"}
    changes = Changes({"instruments": {"*": both}}, "here")
    call = option("BTC-C", "call", "50000", expiry=T + 86_400_000) | {"version": 3}
    found = changes.terms(call)
    rates = call["option_margin"] | {"call": "0.1125", "most": "0.2"}
    assert found == {**call, "option_margin": rates, "liquidation_fee": "0.01"}
    perpetual = {**instrument("BTC-PERP"), "version": 3}
    assert changes.terms(perpetual)["maintenance_margin"] == format(
        (Decimal(perpetual["maintenance_margin"]) * Decimal("1.5")).normalize(), "f"
    )
    for record, field, value in ((call, "maintenance_margin", "0.1"), (perpetual, "option_margin", {"call": "0.1"})):
        with pytest.raises(RecordingError, match=rf"instruments.{record['id']}.{field} must be a rate of type"):
            Changes({"instruments": {record["id"]: {field: value}}}, "here").terms(record)
    with pytest.raises(RecordingError, match="call must be at most least"):
        Changes({"instruments": {"BTC-C": {"option_margin": {"call": "x2"}}}}, "here").terms(call)
    with pytest.raises(RecordingError, match=r"option_margin\.cal must be a number, found None"):
        Changes({"instruments": {"BTC-C": {"option_margin": {"cal": "x2"}}}}, "here").terms(call)


def test_both_sides_fold_by_the_rules_of_the_journal(crash: MemoryRecording) -> None:
    """Blocks of the changed side's own are not the journal's: they must not have it decided by newer rules."""
    told = {"engine": {"margin_call": "1.3"}, "accounts": {"user-01": {"levels": {"margin_call": "1.5"}}}}
    pair = Pair(0, Changes(told, "here"), {RECORDED: Side(), CHANGED: Side()}, 1_000)
    for record in crash.topics["journal"][0][:60]:
        pair.take(record, "crash")
    assert {name: shard.prices.rules_version for name, shard in pair.shards.items()} == {RECORDED: 1, CHANGED: 1}
    assert pair.shards[CHANGED].terms.rules.margin_call == 1.3
