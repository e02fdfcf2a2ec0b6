"""`crossmargin import` on a real broker: the same records at the same offsets, and workers that go on from them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from click.testing import CliRunner, Result

from streams.kafka.broker import LocalBroker
from streams.replay.cluster import ClusterRecording
from streams.replay.command import replay_command
from streams.replay.export_command import export_command
from streams.replay.import_command import import_command
from streams.replay.recording import Extent, Recorded
from streams.settings import load
from tests.replay.recordings import MemoryRecording, crash_blocks, recorded, to_files
from tests.worker.harness import Message, Worker, running, send_all, until

T0 = 1_760_000_000_000
TERMS = [
    {"id": "USDC", "kind": "asset", "precision": 6},
    {
        "id": "BTC-PERP", "kind": "instrument", "type": "perpetual", "underlying": "BTC", "settlement": "USDC",
        "price_precision": 1, "quantity_precision": 3, "initial_margin": "0.10", "maintenance_margin": "0.05",
    },
]  # fmt: skip


def run(command: Any, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def where(broker: LocalBroker, prefix: str) -> list[str]:
    return ["--broker", broker.bootstrap, "--topic-prefix", f"{prefix}."]


def with_terms() -> MemoryRecording:
    """A crash with an `instruments` topic that compaction has made holes in, and headers."""
    crash = recorded(crash_blocks()[:60])
    terms = [Recorded(at, 1_000 + at, b"T%d" % at, b"{}", (("from", b"here"),)) for at in (0, 1, 9, 30, 32)]
    return MemoryRecording({**crash.topics, "instruments": {0: terms}})


def records(broker: LocalBroker, prefix: str, topic: str) -> tuple[Extent, list[Recorded]]:
    with ClusterRecording(load({"broker": broker.bootstrap, "topic_prefix": f"{prefix}."})) as cluster:
        return cluster.extents(topic)[0], [record for part in cluster.read(topic, 0) for record in part]


@pytest.mark.kafka
def test_what_was_exported_is_there_again(broker: LocalBroker, tmp_path: Path) -> None:
    """Journal and instruments at their own offsets; of the others key, value, headers and time."""
    recording = with_terms()
    result = run(import_command, to_files(recording, tmp_path / "crash"), *where(broker, "imported"))
    assert result.exit_code == 0, result.output
    for topic, partitions in recording.topics.items():
        _, found = records(broker, "imported", topic)
        if topic in ("journal", "instruments"):
            assert found == partitions[0], topic
        assert [record[1:] for record in found] == [record[1:] for record in partitions[0]], topic
    result = run(replay_command, *where(broker, "imported"), "--verify")
    assert result.exit_code == 0, result.output
    assert "equal to the workers' own state" in result.output
    again = run(import_command, tmp_path / "crash", *where(broker, "imported"))
    assert again.exit_code == 2
    assert "topics must be empty, found imported." in again.output
    assert again.output.count("\n") == 1


@pytest.mark.kafka
def test_what_retention_took_is_not_there_either(broker: LocalBroker, tmp_path: Path) -> None:
    """Else a replay of the new topics would begin with nothing and take it for the beginning."""
    crash = recorded(crash_blocks()[:60])
    kept = [record for record in crash.topics["journal"][0] if record.offset >= 40]
    cut = MemoryRecording({"journal": {0: kept}}, {"journal": 40})
    result = run(import_command, to_files(cut, tmp_path / "cut"), *where(broker, "cut"))
    assert result.exit_code == 0, result.output
    extent, found = records(broker, "cut", "journal")
    assert extent.first == 40
    assert found == kept
    refused = run(replay_command, *where(broker, "cut"))
    assert refused.exit_code == 2
    assert "journal[0] must begin at 0, found 40" in refused.output


def messages(prefix: str, topic: str, rows: list[dict[str, Any]]) -> list[Message]:
    key = {"oracle-prices": "symbol", "instruments": "id"}.get(topic, "account")
    return [(f"{prefix}.{topic}", row[key].encode(), json.dumps(row).encode(), None) for row in rows]


def quotes(price: int, second: int) -> list[dict[str, Any]]:
    time = T0 + 1000 * second
    return [
        {"symbol": "USDC", "source": "x", "price": "1", "time": time},
        {"symbol": "BTC", "source": "x", "price": str(price), "time": time},
    ]


def held(worker: Worker) -> str | None:
    """Quantity of alice's position."""
    try:
        positions = worker.get("/accounts/alice")["positions"]
    except HTTPError:  # nobody has heard of her yet
        return None
    return str(positions[0]["quantity"]) if positions else None


def account(worker: Worker, name: str, seconds: int) -> dict[str, Any]:
    """What the worker holds of an account once its shard is at a second."""
    until(lambda: worker.get("/shards/0")["time"] >= T0 + 1000 * seconds)
    return dict(worker.get(f"/accounts/{name}"))


@pytest.mark.kafka
@pytest.mark.timeout(180)
def test_workers_go_on_from_an_import(broker: LocalBroker, tmp_path: Path) -> None:
    """A cluster is lost, and its recording is all there is: positions, terms and ids must hold on a new one."""
    settings = {"partitions": "1", "clock": "event", "max_source_skew_ms": str(10**14), "quote_age_ms_max": "3600000"}

    def worker(prefix: str) -> Worker:
        return Worker(broker.bootstrap, prefix, tmp_path / f"{prefix}.log", **settings)

    alice = {"account": "alice", "time": T0}
    deposit = {**alice, "transfer_id": "d1", "type": "deposit", "asset": "USDC", "amount": "6000"}
    fill = {**alice, "fill_id": "f1", "instrument": "BTC-PERP", "quantity": "1", "price": "50000"}
    with running(worker("lost")) as old:
        asyncio.run(send_all(broker.bootstrap, messages("lost", "instruments", TERMS)))
        sent = [*messages("lost", "collateral", [deposit]), *messages("lost", "fills", [fill])]
        asyncio.run(send_all(broker.bootstrap, sent))
        until(lambda: held(old), 60)
        asyncio.run(send_all(broker.bootstrap, messages("lost", "oracle-prices", quotes(50_000, 1))))
        before = account(old, "alice", 1)
    assert run(export_command, tmp_path / "lost", "--all", *where(broker, "lost")).exit_code == 0
    result = run(import_command, tmp_path / "lost", *where(broker, "found"))
    assert result.exit_code == 0, result.output
    with running(worker("found")) as new:
        # the new oracle has told the shard of itself by now
        assert {**new.get("/accounts/alice"), "journal": before["journal"]} == before
        again = [
            *messages("found", "fills", [fill, {**fill, "fill_id": "f2", "quantity": "0.1", "time": T0 + 2000}]),
            *messages("found", "instruments", [{**TERMS[1], "maintenance_margin": "0.06"}]),
        ]
        asyncio.run(send_all(broker.bootstrap, again))
        until(lambda: held(new) == "1.1", 30)
        asyncio.run(send_all(broker.bootstrap, messages("found", "oracle-prices", quotes(46_000, 3))))
        after = account(new, "alice", 3)
        assert after["status"] == "liquidation"
        assert float(after["positions"][0]["maintenance_margin"]) == pytest.approx(1.1 * 46_000 * 0.06)
    replayed = run(replay_command, *where(broker, "found"), "--verify")
    assert replayed.exit_code == 0, replayed.output
    assert "1 liquidations" in replayed.output
    assert "equal to the workers' own state" in replayed.output


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--topic", "fills"), "the recording must hold fills, found none"),
        (("--inputs",), "the recording must hold oracle-prices, volatilities, fills"),
        (("--broker", "127.0.0.1:1"), "Kafka must"),
    ],
)
def test_imports_that_cannot_be_are_refused(tmp_path: Path, arguments: tuple[str, ...], line: str) -> None:
    folder = to_files(recorded(crash_blocks()[:20]), tmp_path / "crash")
    result = run(import_command, folder, *arguments)
    assert result.exit_code == 2, result.output
    assert line in result.output
    assert result.output.count("\n") == 1
