"""Raw history: messages from files through ingest and oracle, in event time, the same journal each time."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from schemas.journal import PRICE_STATES
from streams.replay.command import replay_command
from streams.replay.raw import Message, RawFold, RawRules, Source

T0 = 1_760_000_000_000
INSTRUMENTS = [
    {"id": "USDC", "kind": "asset", "precision": 6},
    {
        "id": "BTC-PERP", "kind": "instrument", "type": "perpetual", "underlying": "BTC", "settlement": "USDC",
        "price_precision": 1, "quantity_precision": 3, "initial_margin": "0.10", "maintenance_margin": "0.05",
    },
]  # fmt: skip
DEPOSITS = [
    {"transfer_id": f"d{n}", "type": "deposit", "account": name, "asset": "USDC", "amount": amount, "time": T0}
    for n, (name, amount) in enumerate((("alice", "6000"), ("bob", "100000")))
]
FILLS = [
    {"fill_id": "f1", "account": "alice", "instrument": "BTC-PERP", "quantity": "1", "price": "50000", "time": T0 + 1},
    {"fill_id": "f1", "account": "bob", "instrument": "BTC-PERP", "quantity": "-1", "price": "50000", "time": T0 + 1},
]


def quotes() -> list[dict[str, Any]]:
    """USDC at 1 and BTC from 50,000 down to 46,000, one step a second."""
    out = []
    for step in range(9):
        time = T0 + 1 + 1000 * step
        out += [
            {"symbol": "USDC", "source": "x", "price": "1", "time": time},
            {"symbol": "BTC", "source": "x", "price": str(50_000 - 500 * step), "time": time},
        ]
    return out


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All of it as JSON lines."""
    here = tmp_path / "raw"
    here.mkdir()
    for topic, rows in (
        ("instruments", INSTRUMENTS),
        ("collateral", DEPOSITS),
        ("fills", FILLS),
        ("oracle-prices", quotes()),
    ):
        jsonl(here / f"{topic}.jsonl", rows)
    return here


def raw(folder: Path, *more: str) -> Result:
    return CliRunner().invoke(replay_command, [str(folder), "--raw", *more])


def decisions(result: Result) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def test_messages_become_decisions(folder: Path) -> None:
    """Long 1 from 50,000 on 6,000: equity 6,000 + mark - 50,000 against 5 % of the mark.

    1.25 x 0.05 x P > P - 44,000 below P = 46,933.3: called at 46,500; nothing below 46,315.8 is safe: liquidated at
    46,000.
    """
    result = raw(folder, "--decisions", "-")
    assert result.exit_code == 0, result.output
    told = [(event["kind"], event["account"], event["time"]) for event in decisions(result)]
    assert told == [("called", "alice", T0 + 7001), ("liquidation", "alice", T0 + 8001)]
    assert decisions(result)[0]["report"]["margin_ratio"] == "1.0752688172043"


def test_twice_the_same_and_however_files_are_written(folder: Path, tmp_path: Path) -> None:
    """CSV, gzip and Parquet say the same messages, so they give the same state."""
    wanted = [line for line in raw(folder).output.splitlines() if "state" in line]
    assert [line for line in raw(folder).output.splitlines() if "state" in line] == wanted
    other = tmp_path / "other"
    other.mkdir()
    jsonl(other / "instruments.jsonl", INSTRUMENTS)
    with gzip.open(other / "fills-2025.csv.gz", "wt", newline="") as file:
        writer = csv.DictWriter(file, FILLS[0])
        writer.writeheader()
        writer.writerows(FILLS)
    pq.write_table(pa.Table.from_pylist(DEPOSITS), other / "collateral.parquet")
    rows = quotes()
    jsonl(other / "oracle-prices-1.jsonl", rows[:7])
    jsonl(other / "oracle-prices-2.jsonl", rows[7:])
    assert [line for line in raw(other).output.splitlines() if "state" in line] == wanted


def test_facts_come_before_the_prices_of_their_moment(folder: Path) -> None:
    """A deposit of the very moment of the fatal price saves the account."""
    saved = {**DEPOSITS[0], "transfer_id": "late", "amount": "5000", "time": T0 + 7001}
    jsonl(folder / "collateral.jsonl", [*DEPOSITS, saved])
    assert decisions(raw(folder, "--decisions", "-")) == []


def test_prices_from_a_file_of_bars(folder: Path, tmp_path: Path) -> None:
    (folder / "oracle-prices.jsonl").unlink()
    bars = tmp_path / "bars.csv"
    hour = 3_600_000
    lines = ["ts,asset,open,high,low,close"]
    start = T0 - T0 % hour + hour
    for at, (high, low) in enumerate(((50_000, 49_000), (49_000, 45_900))):
        lines += [f"{start + at * hour},BTC,{high},{high},{low},{low}", f"{start + at * hour},USDC,1,1,1,1"]
    bars.write_text("\n".join(lines) + "\n")
    result = raw(folder, "--prices", str(bars), "--decisions", "-")
    assert result.exit_code == 0, result.output
    assert {event["kind"] for event in decisions(result)} == {"liquidation"}
    assert decisions(result)[0]["report"]["equity"] == "1900"


def test_refused_messages_are_counted(folder: Path) -> None:
    jsonl(folder / "fills.jsonl", [*FILLS, {**FILLS[0], "quantity": "NaN"}])
    with (folder / "fills.jsonl").open("ab") as file:
        file.write(b"{nonsense\n")
    result = raw(folder)
    assert result.exit_code == 0, result.output
    assert "refused 1 not_finite, 1 not_json" in result.output


def test_all_of_a_source_refused_is_an_error(folder: Path) -> None:
    """A file of another topic under this name: what is left is no history."""
    jsonl(folder / "fills.jsonl", DEPOSITS)
    result = raw(folder)
    assert result.exit_code == 2
    assert "messages must be of fills, found all 2 refused, most as" in result.output
    assert "(fills.jsonl)" in result.output
    assert result.output.count("\n") == 1


def test_answers_of_the_live_run_count_as_fills(folder: Path) -> None:
    """Their ids name another journal, and perhaps another shard: neither refused nor taken for an answer."""
    answer = {
        "fill_id": "f2", "account": "alice", "instrument": "BTC-PERP", "quantity": "-1", "price": "46500.5",
        "time": T0 + 7500, "liquidation_id": "3-1811-alice-cross-liquidation",
    }  # fmt: skip
    jsonl(folder / "fills.jsonl", [*FILLS, answer])
    result = raw(folder, "--shards", "2", "--decisions", "-")
    assert result.exit_code == 0, result.output
    assert "refused none" in result.stderr + result.stdout
    assert [event["kind"] for event in decisions(result)] == ["called", "cleared"]


def test_a_replay_may_fill_its_own_liquidations(folder: Path) -> None:
    """At 46,000 alice has 2,000 against 2,300: closed at the mark less a thousandth, up to 1.1 times the need.

    The recorded answer of the live run is left out.
    """
    answer = {
        "fill_id": "f2", "account": "alice", "instrument": "BTC-PERP", "quantity": "-1", "price": "46500.5",
        "time": T0 + 7500, "liquidation_id": "0-1811-alice-cross-liquidation",
    }  # fmt: skip
    jsonl(folder / "fills.jsonl", [*FILLS, answer])
    more = [{**row, "time": T0 + 9001} for row in quotes()[-2:]]
    jsonl(folder / "oracle-prices.jsonl", [*quotes(), *more])
    result = raw(folder, "--decisions", "-", "--fill-liquidations", "0.001")
    assert result.exit_code == 0, result.output
    told = decisions(result)
    assert [event["kind"] for event in told] == ["called", "liquidation", "liquidation_cleared"]
    closed = -float(told[1]["orders"][0]["quantity"])
    equity = 6_000 - 4_000 - closed * 46
    assert float(told[2]["report"]["equity"]) == pytest.approx(equity)
    assert float(told[2]["report"]["maintenance_margin"]) == pytest.approx((1 - closed) * 46_000 * 0.05)


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("fills.jsonl", orjson.dumps(FILLS[0]) + b"\n" + orjson.dumps(FILLS[1])[:-9], "the last line must be whole"),
        ("fills.csv", b"fill_id,account,instrument\nf1,alice,BTC-PERP\nf2,ali", "a row must have 3 cells, found 2"),
        ("fills.xlsx", b"PK", "files of fills must end in .jsonl"),
        ("fills.jsonl.gz", gzip.compress(orjson.dumps(FILLS[0]) * 99, mtime=0)[:-60], "the file must be readable"),
        ("fills.jsonl.gz", gzip.compress(b"x" * 999, mtime=0)[:10] + b"\xff" * 40, "the file must be readable"),
        (
            "fills.jsonl",
            orjson.dumps({**FILLS[0], "time": T0 + 9}) + b"\n" + orjson.dumps(FILLS[1]),
            "times must ascend",
        ),
        ("fills.csv.gz", b"no gzip", "the file must be readable"),
        ("collateral.parquet", b"no parquet", "the file must be readable"),
        ("fills.csv", b"fill_id,account\n\xff\xfe,a\n", "the file must be readable"),
    ],
)
def test_files_that_are_not_whole_are_refused(folder: Path, name: str, data: bytes, line: str) -> None:
    for path in folder.glob(f"{name.split('.')[0]}*"):
        path.unlink()
    (folder / name).write_bytes(data)
    result = raw(folder)
    assert result.exit_code == 2, result.output
    assert line in result.output
    assert name in result.output
    assert result.output.count("\n") == 1


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    result = raw(tmp_path)
    assert result.exit_code == 2
    assert "files must be called after their topics" in result.output


def test_oracle_records_and_halts_hold_in_raw_history_too() -> None:
    """What a worker would have told of a price on one source, and after a halt, a replay of the messages tells.

    49,500 is in the band about 50,000; 49,000 and 48,500 are held at its edge, 1 % below, since one source confirms
    nothing.
    """
    rules = {"id": "~oracle:BTC", "kind": "oracle", "sources_min": 2}
    halt = {"id": "~control:btc", "kind": "control", "action": "halt", "symbol": "BTC"}
    rows = [*INSTRUMENTS, rules, halt]
    messages = [Message(T0, at, row["id"].encode(), orjson.dumps(row), T0) for at, row in enumerate(rows)]
    messages[-1] = messages[-1]._replace(time_ms=T0 + 3_500)
    prices = [
        Message(row["time"], at, row["symbol"].encode(), orjson.dumps(row), row["time"])
        for at, row in enumerate(quotes())
    ]
    fold = RawFold([Source("instruments", "i", 0, messages), Source("oracle-prices", "p", 0, prices)], RawRules())
    told = [block for _, block in fold.blocks() if block.kind == "marks"]
    found: list[tuple[float, str]] = []
    for block in told:
        rows = zip(block.names["symbols"], block.columns["index"], block.columns["symbol_state"], strict=True)
        found += [(float(index), PRICE_STATES[state]) for name, index, state in rows if name == "BTC"]
    assert found[0] == (50_000.0, "suspect")
    assert found[-1] == (pytest.approx(49_005.0), "halted")


def past(window: int) -> list[dict[str, Any]]:
    """Value at risk of BTC over minutes; its closes of the last 101 before T0."""
    closes = [str(50_000 + at % 2 * 100) for at in range(101)]
    return [
        {"id": "~risk", "kind": "risk", "period_ms": 60_000, "horizon_ms": 60_000, "window": window},
        {"id": "~risk_unit:BTC", "kind": "risk_unit"},
        {"id": "~closes:BTC", "kind": "closes", "period_ms": 60_000, "period": T0 // 60_000 - 1, "closes": closes},
    ]


def slow_quotes() -> list[dict[str, Any]]:
    """The quotes, ten seconds apart: a minute ends on the way, however fast they are folded."""
    return [{**row, "time": T0 + 1 + 10 * (row["time"] - T0 - 1)} for row in quotes()]


def test_the_past_is_told_by_the_clock_of_events() -> None:
    """Once with the first price, which the published closes go before, and once when the minute of the events ends:
    with the return over it, not over that of whoever replays."""
    rows = [*INSTRUMENTS, *past(100)]
    messages = [Message(T0, at, row["id"].encode(), orjson.dumps(row), T0) for at, row in enumerate(rows)]
    prices = [
        Message(row["time"], at, row["symbol"].encode(), orjson.dumps(row), row["time"])
        for at, row in enumerate(slow_quotes())
    ]
    sources = [Source("instruments", "i", 0, messages), Source("oracle-prices", "p", 0, prices)]
    fold = RawFold(sources, RawRules(shards=2))
    blocks = list(fold.blocks())
    for shard in range(2):
        first, second = (block for at, block in blocks if at == shard and block.kind == "risk_parameters")
        assert (len(first.columns["returns"]), len(second.columns["returns"])) == (100, 1)
        minute_ends = T0 - T0 % 60_000 + 60_000
        assert minute_ends <= second.extra["time"] < minute_ends + 10_000
        last = max(row["time"] for row in slow_quotes() if row["time"] < minute_ends)
        (close,) = (float(row["price"]) for row in slow_quotes() if (row["time"], row["symbol"]) == (last, "BTC"))
        assert second.columns["returns"][0] == close / 50_000 - 1.0
        kinds = [block.kind for at, block in blocks if at == shard]
        assert kinds[kinds.index("risk_parameters") - 1] == "marks"


@pytest.mark.parametrize(("window", "times"), [(100, "2"), (200, "0")])
def test_the_output_says_whether_value_at_risk_was_told(folder: Path, window: int, times: str) -> None:
    """A window that the closes do not fill: 0 times, and nobody should read the result as if margins had counted it."""
    assert "value at risk" not in raw(folder).output
    jsonl(folder / "instruments.jsonl", [*INSTRUMENTS, *past(window)])
    jsonl(folder / "oracle-prices.jsonl", slow_quotes())
    result = raw(folder)
    assert result.exit_code == 0, result.output
    assert f"refused none; value at risk told {times} times" in result.output
