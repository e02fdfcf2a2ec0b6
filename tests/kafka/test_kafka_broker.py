"""The local broker starts, says why it cannot, comes back after kill -9 and never outlives its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.kafka import broker as local
from streams.kafka.broker import LocalBroker
from streams.kafka.jars import BrokerError, resolve_jars

COMMAND = [sys.executable, "-c", "from streams.kafka.broker import broker_command; broker_command()"]


async def _write(bootstrap: str, topic: str, values: list[bytes]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic)
    async with producer, producer.transaction():
        for value in values:
            await producer.send(topic, value)


async def _read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    partition = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    async with consumer:
        consumer.assign([partition])
        return [(await asyncio.wait_for(consumer.getone(), 30)).value for _ in range(count)]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_dead(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not _alive(pid)


@pytest.mark.kafka
def test_a_transaction_is_written_and_read_back(broker: LocalBroker) -> None:
    """Without working transactions a crash would leave a margin call without the state behind it."""
    assert broker.kind == "kafka", broker.fallback_reason
    asyncio.run(_write(broker.bootstrap, "broker-round-trip", [b"1", b"2"]))
    assert asyncio.run(_read(broker.bootstrap, "broker-round-trip", 2)) == [b"1", b"2"]


@pytest.mark.kafka
@pytest.mark.skipif(sys.platform != "linux", reason="reads the command line of a process from /proc")
def test_a_broker_that_lives_long_has_both_compilers(broker: LocalBroker, tmp_path: Path) -> None:
    """With the first alone it takes half as much again of the processor, which latencies are then measured on."""

    def flags(one: LocalBroker) -> set[str]:
        return set(Path(f"/proc/{one.pid}/cmdline").read_text().split("\0"))

    with LocalBroker(tmp_path, long_lived=True) as other:
        assert "-XX:TieredStopAtLevel=1" in flags(broker) - flags(other)
        asyncio.run(_write(other.bootstrap, "long-lived", [b"1"]))


@pytest.mark.kafka
def test_committed_records_survive_kill_9_on_the_same_port(tmp_path: Path) -> None:
    """Fault tests rest on this: a killed broker comes back at its address with all that it acknowledged."""
    with LocalBroker(tmp_path) as broker:
        address = broker.bootstrap
        asyncio.run(_write(address, "survives", [b"1", b"2", b"3"]))
        broker.kill()
        assert broker.pid is None
        broker.start()
        assert broker.bootstrap == address
        assert asyncio.run(_read(address, "survives", 3)) == [b"1", b"2", b"3"]
        pid = broker.pid
    assert pid is not None
    assert not _alive(pid)


@pytest.mark.kafka
def test_a_broker_that_dies_at_start_shows_why(tmp_path: Path) -> None:
    """Data of another node must stop the start, and the cause must not hide below pages of log."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=7\n")
    broker = LocalBroker(tmp_path)
    with pytest.raises(BrokerError, match=r"must start, it ended with code 1; log .*\n(.*\n)*.*node id"):
        broker.start()
    assert broker.pid is None


@pytest.mark.kafka
def test_two_brokers_on_one_directory_are_refused(tmp_path: Path) -> None:
    """Two brokers on one data directory would tear it apart."""
    with LocalBroker(tmp_path) as first:
        with pytest.raises(BrokerError, match="must be free, another broker uses it"):
            LocalBroker(tmp_path).start()
        first.kill()
        LocalBroker(tmp_path).start().stop()


@pytest.mark.kafka
def test_a_bad_setting_is_named_in_one_line(tmp_path: Path) -> None:
    """A set-up error must be readable where it happens, not in a file nobody knows of."""
    with pytest.raises(BrokerError, match=r"must be formatted: .*num\.io\.threads.*$"):
        LocalBroker(tmp_path, settings={"num.io.threads": "0"}).start()


def test_a_taken_port_is_refused_in_one_line(tmp_path: Path) -> None:
    """A second broker on the port would show an operator the data of another one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [*COMMAND, "--port", str(port), "--data-dir", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"Error: port {port} must be free")
    assert "Traceback" not in done.stderr


@pytest.mark.kafka
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_command_takes_the_broker_along_when_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    """A broker left behind holds the port and answers the next run with old data."""
    command = subprocess.Popen(
        [*COMMAND, "--port", "0", "--data-dir", str(tmp_path)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )  # fmt: skip
    assert command.stdout is not None
    said = [command.stdout.readline() for _ in range(4)]
    assert any(line.startswith("bootstrap  127.0.0.1:") for line in said), said
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
    assert len(children) == 1
    os.kill(command.pid, number)
    assert command.wait(30) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert _wait_dead(int(children[0]), 10)


def test_without_java_the_fallback_runs_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first look must be possible without Java, and nobody may take that broker for the real one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with LocalBroker(tmp_path) as broker:
        assert broker.kind == "noida"
        assert "no java command found" in broker.fallback_reason
        assert any("static members" in limit for limit in broker.limits)
        assert local.answers_metadata(broker.port)


def test_failing_maven_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maven's pages of output hide the cause; no half-filled jar directory may be left for the next run."""
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho '[ERROR] Could not transfer artifact'\necho '[ERROR] more'\nexit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(BrokerError, match=r"^Maven must fetch .* it failed: Could not transfer artifact$"):
        resolve_jars(tmp_path / "jars" / "abc")
    assert [path.name for path in (tmp_path / "jars").iterdir()] == [".lock"]
