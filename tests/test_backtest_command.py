"""`crossmargin backtest`: files and options in, table, JSON and page out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from streams.backtest.books import books
from streams.backtest.command import backtest_command
from streams.backtest.panel import BacktestError, read

HOURS = [f"2021-05-{1 + at // 24:02}T{at % 24:02}:00:00Z" for at in range(400)]


def lines(count: int = 400) -> list[str]:
    draw = np.random.default_rng(2)
    price = 100.0 * np.exp(np.cumsum(0.01 * draw.standard_t(4.0, (count, 2)), axis=0))
    return ["ts,BTC,ETH", *(f"{HOURS[at]},{a!r},{b!r}" for at, (a, b) in enumerate(price.tolist()))]


def write(folder: Path, found: list[str], name: str = "panel.csv") -> Path:
    path = folder / name
    data = "\n".join(found).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(backtest_command, [str(one) for one in arguments])


def test_table_json_and_page(tmp_path: Path) -> None:
    """One panel in three formats gives one answer; the table shows what the JSON says, the page needs no network."""
    found = lines()
    path = write(tmp_path, found, "panel.csv.gz")
    options = ("--horizons", "1h,2h", "--window", "100")
    told = run(path, *options, "--json")
    assert told.exit_code == 0, told.output
    document = json.loads(told.stdout)
    assert (document["from"], document["to"]) == ("2021-05-01T00:00Z", "2021-05-17T15:00Z")
    assert [line["book"] for line in document["rows"][::4]] == 2 * ["long", "short", "neutral", "pair"]
    assert {line["times"] for line in document["rows"] if line["horizon_rows"] == 2} == {400 - 2 - 200}
    parquet = tmp_path / "panel.parquet"
    cells = [line.split(",") for line in found[1:]]
    columns = {name: [float(line[at]) for line in cells] for at, name in ((1, "BTC"), (2, "ETH"))}
    seconds = [1_619_827_200 + 3600 * at for at in range(400)]
    for time in (pa.array(seconds), pa.array([second * 1_000_000 for second in seconds], pa.timestamp("us"))):
        pq.write_table(pa.table({"time": time, **columns}), parquet)
        again = json.loads(run(parquet, *options, "--json").stdout)
        assert again.pop("file") == "panel.parquet"
        assert again == {key: value for key, value in document.items() if key != "file"}
    page = tmp_path / "page.html"
    own = tmp_path / "own.json"
    own.write_text('{"mine": {"ETH": -1.5}}')
    shown = run(path, *options, "--books", own, "--out", page)
    assert shown.exit_code == 0, shown.output
    first = document["rows"][0]
    text = next(line for line in shown.stdout.splitlines() if line.startswith("long 1h"))
    assert f"{first['breaches']:.2%}" in text.split()
    assert f"{1e4 * first['pinball']:.2f}" in text.split()
    assert "mine 2h" in shown.stdout
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
    html = page.read_text()
    assert "mine 2h" in html
    assert "<script src=" not in html


def test_a_panel_of_returns(tmp_path: Path) -> None:
    """Returns stand for the prices that have them, one row more at the front; a late asset begins at its first."""
    found = ["ts,A,B", f"{HOURS[0]},0.1,", f"{HOURS[1]},-0.5,0.25"]
    panel = read(write(tmp_path, found), returns=True)
    assert panel.price[:, 0] == pytest.approx([1.0, 1.1, 0.55])
    assert panel.price[:, 1].tolist()[1:] == [1.0, 1.25]
    assert np.isnan(panel.price[0, 1])
    assert (panel.time[0], panel.step_ms) == (panel.time[1] - 3_600_000, 3_600_000)


def test_late_assets_and_chosen_ones(tmp_path: Path) -> None:
    """Blanks above an asset's first price are its time before listing; --assets leaves columns with holes out."""
    found = ["ts,A,B", f"{HOURS[0]},1,", f"{HOURS[1]},2,3", f"{HOURS[2]},3,"]
    path = write(tmp_path, found)
    assert read(path, assets=["A"]).price[:, 0].tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(BacktestError, match=r"prices of B .* found a blank at 2021-05-01T02:00Z, 1 such rows"):
        read(path)


BAD = {
    "no such column": (["ts,A", f"{HOURS[0]},1", f"{HOURS[1]},2"], ["--assets", "B"], "columns B, found"),
    "a price of 0": (["ts,A", f"{HOURS[0]},1", f"{HOURS[1]},0"], [], "found 0 at 2021-05-01T01:00Z"),
    "words": (["ts,A", f"{HOURS[0]},1", f"{HOURS[1]},x"], [], "column A must be numbers, found string"),
    "never a price": (["ts,A,B", f"{HOURS[0]},1,", f"{HOURS[1]},2,"], [], "B must have a price, found none"),
    "a missing hour": (
        ["ts,A", *(f"{HOURS[at]},1" for at in (0, 1, 3, 4))], [],
        r"equally far apart \(3600 s\), found 7200 s after 2021-05-01T01:00Z, 1 such gaps",
    ),
    "time runs back": (["ts,A", *(f"{HOURS[at]},1" for at in (0, 2, 1))], [], "times must ascend, found 2021-05-01T01"),
    "no time": (["A,B", "x,1", "y,2"], [], "the first column must be the time"),
    "one row": (["ts,A", f"{HOURS[0]},1"], [], "two rows at least, found 1"),
    "too short": (lines(50), [], "must have 1,003 rows for a window of 1,000 periods"),
    "half a row": (lines(50), ["--horizons", "90m"], "in whole rows of 3600 s, found '90m'"),
    "no duration": (lines(50), ["--period", "hour"], "must be like 30m, 8h or 1d"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said(case: str, tmp_path: Path) -> None:
    """A hole is never filled in silence: one line says what must be, what was found and where."""
    found, options, message = BAD[case]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(refused(run(write(tmp_path, found), *options)))


def test_no_file() -> None:
    """A file that is not there, in one line."""
    assert "must be a readable CSV or Parquet file" in refused(run("nowhere.csv"))


BAD_BOOKS = {
    "[]": "must be an object by name",
    "{": "must be a readable JSON file",
    '{"a": 1}': r"must be weights by asset, found 1 \(.*: a\)",
    '{"a": {"XRP": 1}}': "must be one of BTC, ETH, found XRP",
    '{"a": {"BTC": "1"}}': r"must be a finite number, found '1' \(.*: a.BTC\)",
    '{"a": {"BTC": 0}}': "must have a weight other than 0",
}


@pytest.mark.parametrize("text", BAD_BOOKS)
def test_wrong_books(text: str, tmp_path: Path) -> None:
    """An own book that cannot be is named with its place."""
    own = tmp_path / "own.json"
    own.write_text(text)
    with pytest.raises(AssertionError, match=BAD_BOOKS[text]):
        raise AssertionError(refused(run(write(tmp_path, lines(50)), "--books", own)))


def refused(found: Result) -> str:
    assert found.exit_code == 2, found.output
    assert found.stderr.startswith("crossmargin backtest: ")
    assert found.stderr.count("\n") == 1
    return found.stderr


def test_the_four_books() -> None:
    """Each has a gross weight of 1, the last two no net weight; one asset has only two."""
    for count in (2, 3, 5):
        for name, book in books([f"A{at}" for at in range(count)]).items():
            assert sum(map(abs, book.values())) == pytest.approx(1.0)
            assert sum(book.values()) == pytest.approx({"long": 1.0, "short": -1.0}.get(name, 0.0))
    assert list(books(["A"])) == ["long", "short"]
