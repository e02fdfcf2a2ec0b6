"""The demo as a whole, and the documented consumer of what it makes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from streams.demo.market import SOURCES, market
from streams.demo.run import _bars
from streams.kafka.broker import LocalBroker
from streams.replay.bars import Bars, steps
from streams.replay.prices import epoch_ms, read

CROSSMARGIN = [sys.executable, "-c", "from streams.cli import main; main()"]
DOWNSTREAM = Path(__file__).parent.parent / "docs" / "downstream.md"
CRASH_BARS = 6


def crash_file(folder: Path) -> Path:
    """A short file of the seeded market: a minute of calm, then every asset down to its lowest and half back."""
    full = [bar for bar in market(5, count=3 * CRASH_BARS).bars if bar.source == SOURCES[0]]
    lines = ["ts,asset,open,high,low,close"]
    times = sorted({bar.time for bar in full})[CRASH_BARS : 2 * CRASH_BARS]
    lines += [f"{b.time},{b.asset},{b.open},{b.high},{b.low},{b.close}" for b in full if b.time in times]
    path = folder / "crash.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.kafka
@pytest.mark.timeout(180)
def test_demo_plays_a_file_and_the_books_balance(broker: LocalBroker, tmp_path: Path) -> None:
    """The one command a newcomer types: calls, liquidations, and every unit accounted for."""
    asked = [
        "demo",
        "--no-live",
        "--accounts",
        "80",
        "--prices",
        str(crash_file(tmp_path)),
        "--broker",
        broker.bootstrap,
    ]
    done = subprocess.run(
        [*CROSSMARGIN, *asked], cwd=tmp_path, capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
    assert re.search(r"72 steps from 2025-10-10 21:06:00", done.stdout)
    called = re.search(r"margin calls .*?(\d+) called", done.stdout)
    liquidated = re.search(r"liquidations .*?(\d+) buckets", done.stdout)
    assert called
    assert int(called[1]) > 0
    assert liquidated
    assert int(liquidated[1]) > 0
    assert list((tmp_path / ".kafka").iterdir()) == []

    prefix = _topic_prefix(broker)
    _consumer_of_the_docs_prints(broker, f"{prefix}liquidations", tmp_path)
    _replay_gives_the_same_bytes(broker, prefix, tmp_path)


def _topic_prefix(broker: LocalBroker) -> str:
    """What the demo put before its topics."""
    asked = [sys.executable, "-c", LIST_TOPICS, broker.bootstrap]
    listed = subprocess.run(asked, capture_output=True, text=True, check=True)
    topic = next(name for name in listed.stdout.split() if name.startswith("demo-") and name.endswith(".liquidations"))
    return topic.removesuffix("liquidations")


def _replay_gives_the_same_bytes(broker: LocalBroker, prefix: str, folder: Path) -> None:
    """What the demo left on the broker, exported and folded from files, gives every decision again."""
    history = str(folder / "history")
    for asked in (["export", history, "--broker", broker.bootstrap, "--topic-prefix", prefix], ["replay", history]):
        verify = ["--verify"] if asked[0] == "replay" else []
        done = subprocess.run([*CROSSMARGIN, *asked, *verify], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    equal = re.findall(
        r"equal to the recording: (\d+) liquidations, (\d+) margin-accounts, (\d+) margin-calls", done.stdout
    )
    assert equal
    assert all(int(count) > 0 for shard in equal for count in shard)
    assert done.stdout.count("equal to the workers' own state") == len(equal)


def _consumer_of_the_docs_prints(broker: LocalBroker, topic: str, folder: Path) -> None:
    """The example in docs/downstream.md, pointed at this broker and the demo's topic, prints its first event."""
    example = re.search(r"```python\n(.*?)```", DOWNSTREAM.read_text(), re.DOTALL)
    assert example
    assert len(example[1].split("asyncio.run")[0].strip().splitlines()) <= 10
    code = example[1].replace('"liquidations"', f'"{topic}"').replace("127.0.0.1:9092", broker.bootstrap)
    script = folder / "consumer.py"
    script.write_text(code)
    with subprocess.Popen([sys.executable, "-u", str(script)], stdout=subprocess.PIPE, text=True) as consumer:
        assert consumer.stdout is not None
        first = consumer.stdout.readline()
        consumer.kill()
    assert re.match(r"(liquidation|bankrupt) [a-z]+-\d+ \S+ ", first)


LIST_TOPICS = """
import asyncio, sys
from aiokafka.admin import AIOKafkaAdminClient
async def main():
    admin = AIOKafkaAdminClient(bootstrap_servers=sys.argv[1])
    await admin.start()
    print(*await admin.list_topics())
    await admin.close()
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--prices", "nowhere.csv"], "prices must be a readable CSV file"),
        (["--from", "yesterday"], "Invalid isoformat"),
        (["--accounts", "3"], "3 is not in the range"),
        (["--from", "2020-01-01"], "--from and --to must cut out some of"),
    ],
)
def test_wrong_input_is_a_usage_error(asked: list[str], message: str, tmp_path: Path) -> None:
    """Wrong input must fail before a broker is started, with exit code 2."""
    done = subprocess.run([*CROSSMARGIN, "demo", *asked], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / ".kafka").exists()


def test_long_files_are_cut_to_their_worst_day(tmp_path: Path) -> None:
    """A month of minutes would run for hours: the default must be the day that matters."""
    lines = ["ts,BTC"]
    for hour in range(72):
        price = 100.0 if hour < 30 or hour >= 40 else 100.0 - 3 * (hour - 29)
        lines.append(f"2021-05-{17 + hour // 24}T{hour % 24:02}:00:00Z,{price}")
    path = tmp_path / "closes.csv"
    path.write_text("\n".join(lines) + "\n")

    def cut(since: str | None = None, until: str | None = None) -> tuple[int, int]:
        bars: Bars = _bars((path,), since, until, seed=1)
        start = read([path]).start
        return (bars.start - start) // 3_600_000, (bars.end - start) // 3_600_000

    assert cut() == (24, 48)
    assert cut(since="2021-05-17T12:00:00Z") == (12, 36)
    assert cut(since="2021-05-17T12:00:00Z", until="2021-05-17T18:00:00Z") == (12, 18)
    assert cut(until="2021-05-17T18:00:00Z") == (0, 18)
    assert len(list(steps(_bars((path,), None, None, 1), 5_000))) == 17_280


REAL = Path(__file__).parents[2] / "shared" / "data"  # real market data beside the checkout, not part of it


@pytest.mark.skipif(not REAL.exists(), reason="the folder of real market data is not here")
@pytest.mark.parametrize(
    ("name", "day", "assets", "sources"),
    [
        ("crash_2021-05-19_binance_spot_1m", "2021-05-19", 10, 1),
        ("crash_2025-10-10_binance_5m", "2025-10-10", 7, 3),
        ("usdc_depeg_2023-03_multivenue_1m", "2023-03-11", 6, 5),
        ("binance_um_mark_1h_close_2019-12_2023-12", "2020-03-12", 5, 1),
    ],
)
def test_real_files_are_read_and_cut(name: str, day: str, assets: int, sources: int) -> None:
    """The days everyone remembers are the ones that must be found."""
    bars = _bars((REAL / f"{name}.csv.gz",), None, None, seed=1)
    assert bars.start == epoch_ms(day)
    assert len(bars.assets()) == assets
    assert len({bar.source for bar in bars.bars}) == sources
