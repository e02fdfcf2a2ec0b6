"""Recorded journals give the same decisions and the same state as ever, byte by byte."""

from collections import Counter
from pathlib import Path

import orjson
import pytest

from schemas.journal import Block
from streams.engine.shard import Shard
from tests.faults.met import ALWAYS, IN_EVENT_TIME, Met
from tests.golden.journals import HERE, decisions, read_journal

SCENARIOS = sorted(path.parent for path in HERE.glob("*/journal.bin"))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_a_recorded_journal_gives_what_it_always_gave(scenario: Path, request: pytest.FixtureRequest) -> None:
    """A decision that silently changed would only be noticed by the user who lost his position to it."""
    found = decisions(read_journal(scenario / "journal.bin"))
    expected = scenario / "decisions.jsonl"
    if request.config.getoption("--update-golden"):
        expected.write_bytes(found)
    lines = found.splitlines(), expected.read_bytes().splitlines()
    assert lines[0] == lines[1]
    assert found == expected.read_bytes()


@pytest.mark.parametrize("every", [1, 7])
def test_a_restart_gives_what_it_always_gave(every: int) -> None:
    """A worker that comes back with the other margin model of an account would close its book, or let it go on."""
    scenario = HERE / "portfolio"
    found = decisions(read_journal(scenario / "journal.bin"), restart_every=every)
    assert found == (scenario / "decisions.jsonl").read_bytes()


def test_the_portfolios_have_everything_in_them() -> None:
    """Without a share closed, a switch refused and an option paid out, the file would say nothing of them."""
    shard = Shard(0)
    met = Met(shard)
    for offset, data in enumerate(read_journal(HERE / "portfolio" / "journal.bin")):
        block = Block.decode(data)
        met.before(block)
        met.after(block, shard.apply(offset, data))
    counts = met.end()
    assert [what for what in (*ALWAYS, *IN_EVENT_TIME) if not counts[what]] == [], counts


def test_the_crash_has_everything_in_it() -> None:
    """A golden test that meets no take-over, no late fill and no restart of judging would prove little."""
    journal = list(read_journal(HERE / "crash" / "journal.bin"))
    blocks = Counter(Block.decode(data).kind for data in journal)
    assert set(blocks) == {"terms", "marks", "collateral", "accounts", "fills", "funding"}
    lines = [orjson.loads(line) for line in decisions(journal).splitlines()]
    told = [line["value"] for line in lines if "value" in line]
    kinds = Counter(value["kind"] for value in told)
    wanted = {"called": 20, "cleared": 10, "liquidation": 100, "liquidation_cleared": 20, "bankrupt": 20}
    assert all(kinds[kind] >= number for kind, number in wanted.items()), kinds
    orders = [order for value in told for order in value.get("orders", ())]
    assert {order.get("instrument") for order in orders} == {"BTC-PERP", "ETH-PERP", "BTC-COIN", "BTC-DEC", None}
    assert any(value["bucket"] != "cross" for value in told)
    assert len({value["account"] for value in told}) >= 30
    assert any(value.get("step", 0) > 2 for value in told)
    assert lines[-1]["rows"]["duplicate"] > 0
    assert lines[-1]["rows"]["to_house"] > 10
