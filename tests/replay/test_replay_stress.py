"""`crossmargin stress`: shocks to accounts as they stand."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from schemas.journal import Block, pack_ids
from streams.engine import state
from streams.engine.shard import Shard
from streams.margin.black76 import option_value, settlement_forward
from streams.replay.raw import RawFold, RawRules
from streams.replay.recording import RecordingError
from streams.replay.stress.cascade import stress
from streams.replay.stress.command import stress_command
from streams.replay.stress.options import Options
from streams.replay.stress.scenarios import CRASHES, move_of, shock
from tests.builders import Fill, Leg, Market, T, asset, instrument
from tests.replay.recordings import crash_blocks, recorded, to_files
from tests.test_engine_option_marks import quote, source
from tests.test_engine_settlement import half_settled
from tests.test_engine_settlement import market as settling
from tests.test_ingest_volatilities import CALL, NOW_MS, USDC


def market(cash: dict[str, str], quantity: str = "1") -> Market:
    """Accounts long BTC from 50,000, maintenance 5 %, no fee."""
    found = Market((asset("USDC"), instrument("BTC-PERP")), {"USDC": 1.0, "BTC": 50_000.0})
    found.collateral(*(Leg(f"d-{name}", name, amount) for name, amount in cash.items()))
    found.fills(*(Fill(f"f-{name}", name, "BTC-PERP", quantity, "50000") for name in cash))
    return found


def test_losses_and_the_first_liquidation_by_hand() -> None:
    """A fall of 5 % in twenty equal ratios: step k at 50,000 x 0.95 ** (k / 20).

    Carol (20,000) loses 2,500 and stays. Alice (4,000) is liquidated where 4,000 + P - 50,000 < 0.05 P, P < 48,421.05:
    0.95 ** (k / 20) < 0.968421, k > 12.51: at step 13.
    """
    shard = market({"alice": "4000", "carol": "20000"}).shard
    before = state.state_hash(shard)
    found = stress([shard], {"BTC": -0.05}, impact=0.0, slippage=Decimal(0))
    assert found.fates["carol"].loss == pytest.approx(2_500.0)
    assert found.fates["carol"].fall is None
    assert found.fates["alice"].fall == 13 / 20
    assert not found.fates["alice"].bankrupt
    assert state.state_hash(shard) == before


def test_options_are_valued_anew() -> None:
    """At a forward that has doubled with its index, the volatility of before, and the time that is left."""
    own = {"source": "desk", "time": NOW_MS, "instrument": "BTC-C", "volatility": "0.5"}
    prices = source("oracle-prices", quote("50000", NOW_MS), quote("1", NOW_MS, "USDC"), keys=("symbol",))
    fold = RawFold(
        [source("instruments", USDC, CALL), source("volatilities", own, keys=("instrument",)), prices], RawRules()
    )
    shard = Shard(0)
    for offset, (_, block) in enumerate(fold.blocks()):
        shard.apply(offset, block.encode())
    columns = {
        "account": [0], "instrument": [0], "lots": [2_000], "ticks": [0], "fee": [0], "mode": [-1], "fill_kind": [0],
        "time": [NOW_MS], "liquidation": [-1], "source_offset": [0], **pack_ids(["f"]),
    }  # fmt: skip
    names = {"accounts": ["alice"], "instruments": ["BTC-C"]}
    shard.apply(shard.next_offset, Block(kind="fills", names=names, columns=columns).encode())
    alice = stress([shard], {"BTC": 1.0}, impact=0.0, slippage=Decimal(0)).fates["alice"]

    def worth(forward: float, seconds: int) -> float:
        """Two calls at 60,000; time counts in whole minutes."""
        at = NOW_MS + seconds * 1_000
        years = (CALL["expiry"] - at + at % 60_000) / (365 * 86_400_000)
        return 2.0 * option_value(1.0, forward, 60_000.0, 0.5 * years**0.5, 1.0)

    assert alice.before == pytest.approx(worth(50_000.0, 0))
    # twenty steps down the path and one after it, each a liquidation time-out of 5 s later
    assert alice.after == pytest.approx(worth(100_000.0, 21 * 5))


def test_in_a_settlement_window_a_fall_moves_only_the_rest_of_the_mean() -> None:
    """Short a call of 1,000 at 49,500, forward 50,500, of which a half, 25,500, is settled and the rest is the index:
    at half the price 25,500 + 12,500, so 20,000 + 49,500 - 37,000."""
    shard = half_settled().shard
    alice = stress([shard], {"BTC": -0.5}, impact=0.0, slippage=Decimal(0)).fates["alice"]
    assert alice.before == pytest.approx(20_000.0)
    assert alice.after == pytest.approx(32_500.0, rel=1e-6)


def test_an_option_that_expires_on_the_way_settles_at_its_mean() -> None:
    """A minute before its expiry nine tenths of the mean, 45,500, are settled; a minute is twelve steps of twenty, at
    which a price that doubles is 2 ** 0.6 times what it was: 45,500 + 5,000 x 1.5157 - 49,000 - 1,000 are won."""
    fates = stress([settling().shard], {"BTC": 1.0}, impact=0.0, slippage=Decimal(0)).fates
    won = 45_500.0 + 5_000.0 * 2.0**0.6 - 49_000.0 - 1_000.0
    assert fates["alice"].after == pytest.approx(20_000.0 + won)
    assert fates["bob"].after == pytest.approx(20_000.0 - won)


@pytest.mark.parametrize(("minutes", "factor", "strike"), [(5, 2.0, 75_500.0), (60, 1.02, 51_000.0)])
def test_a_mean_varies_less_than_its_end(minutes: int, factor: float, strike: float) -> None:
    """Inside the window and before it an option is valued as the oracle does: for a third of the time left of what
    still moves, for two thirds of the window less."""
    shard = settling(expiry=T + minutes * 60_000, strike=str(strike)).shard
    marks, made_of = Options.of(shard).moved({"BTC": factor}, shard.prices.time)
    settled, index = (25_500.0, 50_000.0) if minutes == 5 else (0.0, 50_500.0)
    left, window = minutes / 525_600, 10 / 525_600
    _, years = settlement_forward(index * factor, 2.0 * settled or 1.0, left, window)
    forward = settled + (50_500.0 - settled) * factor
    assert made_of["forward"]["BTC-A"] == pytest.approx(forward)
    worth = option_value(1.0, forward, strike, 0.5 * years**0.5, 1.0)
    assert marks["BTC-A"] == pytest.approx(worth, rel=1e-9)
    assert worth > 1.0 + max(forward - strike, 0.0), "time has a value"


def test_an_option_that_no_mean_has_settled_moves_whole() -> None:
    """Prices covered too little of its window: it waits for a stated price, and is paid at none of the shock's."""
    shard = settling(expiry=T + 60_000).shard
    shard.prices.time = T + 60_000
    _, made_of = Options.of(shard).moved({"BTC": 2.0}, T + 65_000)
    assert (made_of["forward"]["BTC-A"], made_of["volatility"]["BTC-A"]) == (101_000.0, 0.5)


def test_a_gap_is_a_shortfall() -> None:
    """Alice has 100 left at 50,000 x 0.98 (cash 1,100, loss 1,000): her line lies above the first step already."""
    shard = market({"alice": "1100"}).shard
    found = stress([shard], {"BTC": -0.9}, impact=0.0, slippage=Decimal(0))
    alice = found.fates["alice"]
    assert alice.bankrupt
    # the first step is 50,000 x 0.1 ** 0.05 = 44,562.5; equity 1,100 - 5,437.5
    assert alice.shortfall == pytest.approx(Decimal("4337.45"), abs=Decimal("0.1"))
    assert alice.loss == pytest.approx(1_100.0)


def test_impact_pulls_others_down() -> None:
    """Long 10 each, so the lines are (500,000 - cash) / 9.5: alice's 49,894.7, bob's 49,473.7; the fall ends at 49,850.

    Alice closes about 1.06 BTC, 53,000: with an impact of 20 % a million that is 1.06 %, to 49,321.
    """
    shard = market({"alice": "26000", "bob": "30000"}, "10").shard
    calm = stress([shard], {"BTC": -0.003}, impact=0.0, slippage=Decimal(0))
    assert [calm.fates[name].fall is not None for name in ("alice", "bob")] == [True, False]
    storm = stress([shard], {"BTC": -0.003}, impact=2e-7, slippage=Decimal(0))
    assert [storm.fates[name].fall is not None for name in ("alice", "bob")] == [True, True]
    assert storm.impacts["BTC"] < 1.0
    assert storm.closed["BTC"] > calm.closed["BTC"]
    assert storm.rounds < 200


def test_shocks_are_read() -> None:
    assert shock("BTC=-0.3, *=-0.5") == {"BTC": -0.3, "*": -0.5}
    assert shock("2021-05-19") == CRASHES["2021-05-19"]
    moves = {"BTC": -0.3, "*": -0.5}
    assert [move_of(symbol, moves) for symbol in ("BTC", "DOGE", "USDC")] == [-0.3, -0.5, 0.0]


@pytest.mark.parametrize("text", ["", "BTC", "BTC=-1", "BTC=nan", "BTC=x", "=-0.3", "1987-10-19"])
def test_shocks_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(RecordingError, match="a shock must be"):
        shock(text)


def test_the_command_on_the_last_state_and_on_a_past_one(tmp_path: Path) -> None:
    folder = str(to_files(recorded(crash_blocks()), tmp_path / "crash"))
    now = CliRunner().invoke(stress_command, ["--shock", "BTC=-0.3,*=-0.4", "--json", folder])
    past = CliRunner().invoke(stress_command, ["--shock", "BTC=-0.3,*=-0.4", "--json", "--at", "40", folder])
    assert now.exit_code == past.exit_code == 0, now.output + past.output
    reports = [next(iter(json.loads(result.output).values())) for result in (now, past)]
    losses = [sum(row["loss"] for row in report["accounts"].values()) for report in reports]
    assert all(loss > 0 for loss in losses)
    assert losses[0] != losses[1]
    table = CliRunner().invoke(stress_command, [folder])
    assert table.exit_code == 0
    assert "capital lost" in table.output


def test_without_a_changelog_a_moment_must_be_named(tmp_path: Path) -> None:
    recording = recorded(crash_blocks())
    del recording.topics["margin-changelog"]  # type: ignore[attr-defined]
    folder = str(to_files(recording, tmp_path / "crash"))
    result = CliRunner().invoke(stress_command, [folder])
    assert result.exit_code == 2
    assert "name a moment with --at" in result.output


def test_a_shock_to_a_symbol_that_nobody_prices_is_refused(tmp_path: Path) -> None:
    """A slip of the pen would otherwise say that nothing is lost."""
    folder = str(to_files(recorded(crash_blocks()), tmp_path / "crash"))
    result = CliRunner().invoke(stress_command, ["--shock", "BTC=-0.3,BCT=-0.4,*=-0.1", folder])
    assert result.exit_code == 2
    assert re.search(r"^crossmargin stress: a shock must move .*BTC.* or \*, found BCT$", result.output, re.MULTILINE)
