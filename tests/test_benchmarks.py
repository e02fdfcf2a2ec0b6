"""The benchmarks' own arithmetic: what peers are told and must answer, and what a report makes of numbers."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.books import POSITIONS, journal, marks, names
from benchmarks.job import PARTITIONS, Breach, Job, Pool, differences, done_marks
from benchmarks.page import page
from benchmarks.peers.account import Account, fill_of
from benchmarks.plot import svg
from benchmarks.report import Report
from schemas.sharding import shard_of
from streams.engine.shard import Shard
from streams.engine.views import shard_view
from tests.tables import Row, rows


def test_a_part_breaches_whom_it_says_with_what_it_says() -> None:
    """Else a peer that keeps wrong positions would pass, or a right one would not."""
    job = Job(Pool(3_000, 200))
    parts = [job.part("check", 1_000, near=True)]
    fallen = job.fall()
    parts.append(job.part("measured", 2_000))
    prices = {"BTC": 50_000.0, "ETH": 2_000.0, "SOL": 100.0, "XRP": 1.0}
    accounts: dict[str, Account] = {}
    found: dict[str, Breach] = {}

    def value(name: str) -> None:
        if numbers := accounts[name].breach(prices):
            found[name] = Breach(**numbers)

    for part in parts:
        for row in (row for partition in part.rows.values() for row in partition):
            fill = fill_of(json.loads(row[1]))
            accounts.setdefault(fill.account, Account()).book(fill)
            value(fill.account)
        if part is parts[0]:
            assert list(differences(found, part.breaches)) == []
            prices["BTC"] = 49_000.0
            for name in accounts:
                value(name)
    assert list(differences(found, parts[0].breaches | fallen | parts[1].breaches)) == []
    assert parts[1].count == 2_000 + 20 + PARTITIONS


def test_done_marks_are_the_last_of_their_partition() -> None:
    """Else the clock would stop while fills wait."""
    part = Job(Pool(500, 50)).part("x", 500)
    last = [json.loads(part.rows[partition][-1][1])["account"] for partition in range(PARTITIONS)]
    assert last == done_marks("x")
    assert [shard_of(name, PARTITIONS) for name in last] == list(range(PARTITIONS))


def test_accounts_to_be_restored_hold_what_a_restore_is_said_to_bring_back() -> None:
    """Else bytes an account would be of smaller ones."""
    shard = Shard(0)
    for offset, block in enumerate([*journal(names(50)), marks(1_000)]):
        shard.apply(offset, block.encode())
    ledger = shard.ledger
    assert list(ledger.accounts) == names(50)
    assert ledger.positions.size[:50].tolist() == [POSITIONS] * 50
    assert ledger.balances.size[:50].tolist() == [1] * 50
    assert shard_view(shard)["statuses"]["ok"] == 50
    assert shard_view(shard)["live"]
    assert ledger.rows == {"applied": 50 * (1 + POSITIONS), "duplicate": 0, "out_of_range": 0, "to_house": 0}


@pytest.mark.parametrize(
    "row",
    rows("""
    case             | a  | b | wanted       | value | met
    as wanted        | 80 | 2 | at least 40  | 40    | yes
    below            | 79 | 2 | at least 40  | 39.5  | no
    above            | 7  | 2 | at most 3    | 3.5   | no
    in signs         | 6  | 2 | <= 3         | 3     | yes
    nothing is asked | 6  | 2 |              | 3     |
    """),
)
def test_ratios_know_what_was_wanted(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    """A report must not say "met" of what was missed."""
    report = Report()
    report.ratio("ours to theirs", float(row["a"] or 0), float(row["b"] or 0), row["wanted"] or "")
    assert Decimal(report.numbers[0].value) == Decimal(row["value"] or 0)
    assert report.numbers[0].met is {"yes": True, "no": False, None: None}[row["met"]]
    assert ("MISSED" in capsys.readouterr().out) == (row["met"] == "no")


def test_a_report_is_one_page_and_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a reader opens must hold all numbers, safely, and load nothing from elsewhere."""
    report = Report()
    report.begin("latency")
    report.add("p50 <of ours>", 20.25, "ms", "100 accounts")
    report.curve("growth", "accounts", "ms", {"p50": [(1, 2), (1_000, 4)], "p99": [(1, 20), (1_000, 4_000)]})
    report.bars("side by side", "fills/s", {"ours": 40_000.0, "<theirs>": 1_000.0})
    report.fail("a & b")
    report.write_json(tmp_path / "results.json")
    report.print_table()
    text = page(report)
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["numbers"][0]["value"] == 20.25
    assert document["failed"] == ["latency"]
    for wanted in (
        "p50 &lt;of ours&gt;",
        "20.2",
        "a &amp; b",
        "<svg",
        "growth",
        "&lt;theirs&gt;",
        report.machine["processor"],
    ):
        assert wanted in text
    for foreign in ("http:", "https:", "<theirs>", "<script", "src="):
        assert foreign not in text
    assert "p50 <of ours>" in capsys.readouterr().out


def test_a_plot_keeps_its_points_within_its_axes() -> None:
    """A curve that leaves its picture shows nothing."""
    lines = {"a": [(0.0, -3.0), (5.0, 8.0)], "b": [(2.0, 1.0)], "c": [(3.0, float("nan"))]}
    drawn = svg(lines, title="t", x_label="x", y_label="y")
    centres = [part.split('"')[1:4:2] for part in drawn.split("<circle ")[1:]]
    assert len(centres) == 3
    assert all(78 <= float(x) <= 624 and 16 <= float(y) <= 310 for x, y in centres)
    assert svg({}, title="t", x_label="x", y_label="y") == ""


def test_every_benchmark_is_there_and_told_of() -> None:
    """A number whose meaning is nowhere told is worth nothing."""
    root = Path(__file__).parent.parent
    told = (root / "docs" / "benchmarks.md").read_text()
    for name, module in BENCHMARKS.items():
        assert (root / f"{module.replace('.', '/')}.py").exists()
        assert f"| `{name}` |" in told
