"""`crossmargin risk-history`: a file becomes the records that a market's history begins with."""

from __future__ import annotations

from pathlib import Path

import orjson
from click.testing import CliRunner

from streams.cli import main
from streams.ingest.terms import Terms

DAY = 86_400_000


def run(path: Path, *more: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["risk-history", str(path), *more])
    return result.exit_code, result.output


def test_the_last_price_of_each_period(tmp_path: Path) -> None:
    """Half days: closes are the second of each; the day that has begun is left out; ETH came later."""
    path = tmp_path / "prices.csv"
    rows = [(0, 1, ""), (1, 2, ""), (2, 3, ""), (3, 4, 7), (4, 5, 8)]
    lines = [f"{20_000 * 86_400 + half * 43_200},{btc},{eth}" for half, btc, eth in rows]
    path.write_text("\n".join(["time,BTC,ETH", *lines]))
    code, output = run(path)
    assert code == 0, output
    found = dict(line.split("\t") for line in output.splitlines())
    btc, eth = orjson.loads(found["~closes:BTC"]), orjson.loads(found["~closes:ETH"])
    assert (btc["period"], btc["closes"], eth["closes"]) == (20_001, ["2.0", "4.0"], ["7.0"])
    terms = Terms(262_144)
    terms.read((at, key.encode(), value.encode()) for at, (key, value) in enumerate(found.items()))
    kept = terms.closes_of("BTC")
    assert kept is not None
    assert kept["closes"] == ["2", "4"]


def test_what_is_no_history_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(f"time,BTC\n{20_000 * 86_400},1\n{20_001 * 86_400},1\n")
    code, output = run(path, "--period-ms", "3600000")
    assert (code, output) == (2, "rows must be at most 3600000 ms apart, found 86400000\n")
    path.write_text(f"time,BTC\n{20_000 * 86_400},1\n{20_000 * 86_400 + 60},1\n")
    assert run(path)[0] == 2
