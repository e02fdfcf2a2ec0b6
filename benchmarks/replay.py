"""Replay from files, one core: fills and marks a second, and a year of hourly prices, without a broker.

The journal is what ingest makes of messages that it fetches from a backlog, and lies in Parquet files as `crossmargin
export` writes them. What `crossmargin replay` itself runs reads and folds it, and must end with the state of a shard
that met the blocks without files. Seconds are of the processor, reading, decompression and the hash of the state with
them; the state before the measured stretch comes from a snapshot.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from statistics import median

import numpy as np
import orjson

from benchmarks.population import Population, draw, fills, marks, name_of, ticks_of
from benchmarks.report import Report
from schemas.journal import Block, pack_ids
from streams.demo.market import ASSETS, START
from streams.demo.universe import Universe, universe
from streams.engine.shard import Shard
from streams.engine.state import state_hash
from streams.engine.warmup import warm_up
from streams.ingest.messages import Message
from streams.ingest.partition import IngestPartition
from streams.ingest.terms import Terms
from streams.kafka.leases import Fetching
from streams.margin.parameters import I64
from streams.replay import snapshot
from streams.replay.fold import Stretch
from streams.replay.parquet import ParquetRecording, export
from streams.replay.prices import read as read_prices
from streams.replay.raw import RawFold, RawRules
from streams.replay.raw_files import file_sources, price_source
from streams.replay.recording import Extent, Recorded
from streams.replay.run import Plan, Run, raw_items, recorded_items, replay

PRICES = {"USDC": 1.0, "USDT": 1.0} | {name: price for name, (price, _, _) in ASSETS.items()}
LEVERAGE = 3.0
FETCHING = Fetching(client={})
FILLS_A_MARKS = 20_000  # as at 300,000 fills a second, with marks 15 times a second
ROUNDS = 5  # of the journals: runs of seconds differ by a fifth here
LOTS = 1_000  # of a fill, at most: a few accounts in a thousand overreach themselves
TICK = 1e-4  # standard deviation of a price's move from marks to marks
HOUR_MS = 3_600_000
YEAR_ASSETS = {"BTC": 50_000.0, "ETH": 2_000.0, "XRP": 0.6, "LTC": 80.0, "ADA": 0.5}
YEAR_START = 1_600_000_000_000
YEAR_LEVERAGE = 1.5
YEAR_MOVE = 0.9 / np.sqrt(8_766)  # an hour's, of 90 % a year


class Made:
    """A recording of one journal partition that was made here."""

    name = "benchmark"

    def __init__(self, blocks: list[bytes], first: int) -> None:
        self._records = [Recorded(first + at, START, None, data) for at, data in enumerate(blocks)]

    def extents(self, topic: str) -> Mapping[int, Extent]:
        """See `Recording`."""
        return {0: Extent(self._records[0].offset, self._records[-1].offset + 1)} if topic == "journal" else {}

    def read(self, topic: str, partition: int, first: int = 0) -> Iterator[list[Recorded]]:
        """See `Recording`."""
        del topic, partition, first  # there is one, and it is read whole
        for at in range(0, len(self._records), 500):
            yield self._records[at : at + 500]


def run(report: Report, *, quick: bool) -> None:
    """All three."""
    warm_up()
    accounts = 10_000 if quick else 100_000
    with tempfile.TemporaryDirectory() as folder:
        _journal(report, Path(folder), accounts, rows=100_000 if quick else 1_000_000)
        _year(report, Path(folder) / "year", 500 if quick else 10_000, hours=200 if quick else 8_760)


def _journal(report: Report, folder: Path, accounts: int, rows: int) -> None:
    """Fills with marks between them, on accounts that hold positions and are live."""
    listed = universe(PRICES, START)
    shard = Shard(0)
    for block in _opening(draw(listed, PRICES, accounts=accounts, leverage=LEVERAGE, seed=1)):
        shard.apply(shard.next_offset, block.encode())
    snapshot.write(shard, folder / "start")
    first, under = shard.next_offset, f"{accounts:,} accounts"
    trades = [block.encode() for block in _trades(listed, accounts, rows)]
    updates = rows // 500
    moves = [block.encode() for block in _marks_only(listed, updates)]
    seconds, decided = _replayed(Made(trades, first), folder / "fills", folder / "start")
    told = f"{under}, blocks of {rows // len(trades):,}, marks after each {FILLS_A_MARKS:,}"
    report.add("fills", rows / median(seconds), "fills/s of CPU", f"{told}, median of {ROUNDS} runs")
    report.add("fills, quickest and slowest run", rows / min(seconds), "fills/s of CPU", f"{rows / max(seconds):,.0f}")
    report.add("decisions among them", decided, "records", told)
    took = median(_replayed(Made(moves, first), folder / "marks", folder / "start")[0])
    report.add("marks", updates * len(listed.instruments) / took, "marks/s of CPU", f"{under}, no fills between")
    report.add("marks updates", updates / took, "updates/s of CPU", f"{under}, {len(listed.instruments)} marks each")


def _opening(population: Population) -> Iterator[Block]:
    """Terms, what every account brings, its positions as fills, and the first marks."""
    listed = population.universe
    yield Block(kind="terms", terms=[{**message, "version": 1} for message in listed.messages()])
    who, asset, amount = population.balances
    yield Block(
        kind="collateral",
        names={"accounts": [name_of(number) for number in range(population.accounts)], "assets": list(listed.assets)},
        columns={
            "account": who,
            "asset": asset,
            "amount": amount,
            **{name: np.full(len(who), value) for name, value in (("bucket", -1), ("liquidation", -1))},
            **{name: np.zeros(len(who)) for name in ("transfer_type", "leg")},
            "time": np.full(len(who), START),
            "source_offset": np.arange(len(who)),
            **pack_ids([f"d{row}" for row in range(len(who))]),
        },
    )
    yield fills(listed, *population.positions, -1, PRICES, START - 1)
    yield marks(PRICES, dict.fromkeys(listed.instruments, 0.0), listed, START)


def _trades(listed: Universe, accounts: int, rows: int) -> Iterator[Block]:
    """Fills of accounts at random as ingest blocks them, and marks that walk."""
    rng = np.random.default_rng(2)
    linear = np.array([at for at, item in enumerate(listed.instruments.values()) if not item.inverse])
    limits = {"message_bytes_max": 262_144, "max_future_ms": 60_000}
    terms = Terms(limits["message_bytes_max"])
    for offset, record in enumerate(listed.messages()):
        terms.add(offset, record["id"].encode(), orjson.dumps(record))
    ingest = IngestPartition(topic="fills", source_topic="fills", partition=0, shards=1, **limits)
    prices, basis = dict(PRICES), dict.fromkeys(listed.instruments, 0.0)
    for first in range(0, rows, FILLS_A_MARKS):
        time_ms = START + 70 * (first // FILLS_A_MARKS)
        drawn = rng.integers(0, accounts, FILLS_A_MARKS), rng.choice(linear, FILLS_A_MARKS)
        lots = rng.integers(1, LOTS, FILLS_A_MARKS) * rng.choice((-1, 1), FILLS_A_MARKS)
        for messages in _fetches(_messages(listed, drawn[0], drawn[1], lots, prices, time_ms), first):
            yield from (block for _, block in ingest.take(messages, terms, time_ms).blocks)
        moves = np.exp(rng.normal(0.0, TICK, len(prices)))
        prices = {name: price * float(move) for (name, price), move in zip(prices.items(), moves, strict=True)}
        yield marks(prices, basis, listed, time_ms + 70)


def _messages(
    listed: Universe, account: I64, instrument: I64, lots: I64, prices: Mapping[str, float], time_ms: int
) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each fill, at the prices of the underlyings."""
    items = list(listed.instruments.values())
    at = [item.price_text(ticks) for item, ticks in zip(items, ticks_of(listed, prices).tolist(), strict=True)]
    for row, (who, number, size) in enumerate(_rows((account, instrument, lots))):
        item, name = items[number], name_of(who)
        yield (
            name.encode(),
            (
                f'{{"fill_id":"{time_ms}-{row}","account":"{name}","instrument":"{item.id}",'
                f'"quantity":"{item.quantity_text(size)}","price":"{at[number]}","fee":"0","time":{time_ms}}}'
            ).encode(),
        )


def _fetches(rows: Iterable[tuple[bytes, bytes]], first: int) -> Iterator[list[Message]]:
    """Messages as a worker that is behind fetches them: as many as one answer of the broker holds."""
    held: list[Message] = []
    size = 0
    for offset, (key, value) in enumerate(rows, first):
        held.append(Message(offset, key, value, 0))
        size += len(key) + len(value)
        if size >= FETCHING.partition_fetch_bytes or len(held) == FETCHING.block_records_max:
            yield held
            held, size = [], 0
    if held:
        yield held


def _marks_only(listed: Universe, count: int) -> Iterator[Block]:
    """Marks that walk, of all instruments."""
    rng = np.random.default_rng(3)
    prices, basis = dict(PRICES), dict.fromkeys(listed.instruments, 0.0)
    for number in range(1, count + 1):
        moves = np.exp(rng.normal(0.0, TICK, len(prices)))
        prices = {name: price * float(move) for (name, price), move in zip(prices.items(), moves, strict=True)}
        yield marks(prices, basis, listed, START + 70 * number)


def _replayed(made: Made, folder: Path, start: Path) -> tuple[list[float], int]:
    """Processor seconds of replays of the blocks, from files and from a snapshot, and how many decisions each makes."""
    for _ in export(made, ["journal"], folder):
        pass
    recording = ParquetRecording(folder)
    plan = Plan(stretch=Stretch(), wait=lambda _: None, start=start)
    met_first = snapshot.read(0, start)
    for part in made.read("journal", 0):
        for record in part:
            met_first.fold(record.offset, Block.decode(record.value or b""))
    took = []
    for _ in range(ROUNDS):
        runs = {0: Run(0, plan, recording)}
        began = time.process_time()
        for _ in replay(recorded_items(recording, [0], runs), runs, plan.stretch, recording.name):
            pass
        took.append(time.process_time() - began)
        if runs[0].state != state_hash(met_first):
            raise ValueError(f"the state must be {state_hash(met_first)}, found {runs[0].state} ({folder})")
    return took, runs[0].outputs["margin-calls"] + runs[0].outputs["liquidations"]


def _year(report: Report, folder: Path, accounts: int, hours: int) -> None:
    """Hourly closes of five assets and what accounts hold, from files, by ingest, oracle and engine."""
    prices = {"USDC": 1.0, "USDT": 1.0, **YEAR_ASSETS}
    listed = universe(prices, START)
    population = draw(listed, prices, accounts=accounts, leverage=YEAR_LEVERAGE, seed=4)
    folder.mkdir()
    _write_messages(folder, population, prices)
    closes = folder.parent / "closes.csv"
    _write_closes(closes, hours)
    plan = Plan(stretch=Stretch(), wait=lambda _: None, slippage=Decimal("0.001"))
    runs = {0: Run(0, plan, None)}
    began = time.process_time()
    bars = read_prices([closes])
    fold = RawFold([*file_sources(folder), price_source(bars, HOUR_MS)], RawRules(quote_age_ms_max=HOUR_MS))
    for _ in replay(raw_items(fold, runs), runs, plan.stretch, "year"):
        pass
    took = time.process_time() - began
    under = f"{accounts:,} accounts, {hours:,} hours of 5 assets, {bars.step_count(HOUR_MS):,} moments of quotes"
    report.add("a year of hourly marks", took, "s of CPU", under)
    report.add("liquidations in it", runs[0].outputs["liquidations"], "records", "filled by the replay itself")


def _write_messages(folder: Path, population: Population, prices: Mapping[str, float]) -> None:
    """What the accounts bring and open in the hour before the first close, as JSON lines."""
    listed = population.universe
    assets, instruments = list(listed.assets.values()), list(listed.instruments.values())
    ticks = ticks_of(listed, prices)
    deposits = (
        {"transfer_id": f"d{row}", "type": "deposit" if amount > 0 else "withdrawal", "account": name_of(who),
         "asset": assets[asset].id, "amount": assets[asset].text(abs(amount)), "time": YEAR_START}
        for row, (who, asset, amount) in enumerate(_rows(population.balances))
    )  # fmt: skip
    opened = (
        {"fill_id": f"f{row}", "account": name_of(who), "instrument": instruments[at].id,
         "quantity": instruments[at].quantity_text(lots), "price": instruments[at].price_text(int(ticks[at])),
         "time": YEAR_START}
        for row, (who, at, lots) in enumerate(_rows(population.positions))
    )  # fmt: skip
    for name, rows in (("instruments", listed.messages()), ("collateral", deposits), ("fills", opened)):
        with (folder / f"{name}.jsonl").open("wb") as file:
            file.writelines(orjson.dumps(row) + b"\n" for row in rows)


def _rows(columns: tuple[I64, I64, I64]) -> Iterator[tuple[int, int, int]]:
    return zip(*(column.tolist() for column in columns), strict=True)


def _write_closes(path: Path, hours: int) -> None:
    """A walk of all assets, with half of each move in common."""
    rng = np.random.default_rng(5)
    moves = (rng.normal(size=(hours, 1)) + rng.normal(size=(hours, len(YEAR_ASSETS)))) * YEAR_MOVE / np.sqrt(2)
    walk = np.array(list(YEAR_ASSETS.values())) * np.exp(np.cumsum(moves, axis=0))
    lines = [",".join(("ts", *YEAR_ASSETS, "USDC", "USDT"))]
    lines += [
        ",".join((str(YEAR_START + (hour + 1) * HOUR_MS), *(f"{price:.9g}" for price in walk[hour]), "1", "1"))
        for hour in range(hours)
    ]
    path.write_text("\n".join(lines) + "\n")
