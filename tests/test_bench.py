"""`crossmargin bench`: what a user sees of it."""

import asyncio
import json
import os
import subprocess
import sys
import time

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from streams.bench.usage import process_seconds, tree, tree_seconds
from streams.kafka.broker import LocalBroker
from tests.tables import Row, rows

CROSSMARGIN = [sys.executable, "-c", "from streams.cli import main; main()"]
SMALL = {
    "accounts": 200,
    "partitions": 2,
    "fills": 5000,
    "quotes": 500,
    "seconds": 2,
    "fill-rate": 200,
    "quote-rate": 40,
}


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command."""
    command = [*CROSSMARGIN, "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)


@pytest.mark.kafka
def test_bench_on_a_cluster_measures_and_leaves_nothing(broker: LocalBroker) -> None:
    """Whoever sizes a cluster by these numbers must get all of them, and no topic of ours afterwards."""
    done = bench("--json", "--broker", broker.bootstrap, *(f"--{name}={size}" for name, size in SMALL.items()))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["fills waiting"]["per_second"] > 0
    assert found["quotes at once"]["messages"] == 500
    assert 50 < found["live"]["fills_per_second"] < 210
    assert found["live"]["liquidations"] > 6
    assert 0 < found["live"]["latency_ms"]["p50"] <= found["live"]["latency_ms"]["p99"]
    assert 50 < found["memory"]["resident_mib"] <= found["memory"]["most_mib"]
    assert found["live"]["cores"]["worker"] > 0
    assert "broker" not in found["live"]["cores"]  # it may run anywhere
    assert [topic for topic in asyncio.run(_topics(broker.bootstrap)) if topic.startswith("bench-")] == []


async def _topics(bootstrap: str) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return list(await admin.list_topics())
    finally:
        await admin.close()


@pytest.mark.parametrize(
    "row",
    rows("""
    case               | arguments             | said
    no such flag       | --fast                | No such option
    no accounts        | --accounts 0          | Invalid value for '--accounts'
    no number          | --fill-rate many      | Invalid value for '--fill-rate'
    nobody answers     | --broker 127.0.0.1:9  | Error: Unable to bootstrap
    """),
)
def test_bench_says_what_is_wrong_in_one_line(row: Row) -> None:
    """A user who mistypes must see the mistake, not a stack trace."""
    done = bench(*(row["arguments"] or "").split())
    assert done.returncode == 2
    assert (row["said"] or "") in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_tree_of_a_process_is_charged_for_its_children() -> None:
    """Else a peer that works in child processes would seem to cost nothing."""
    burn = "import sys, time\nwhile time.process_time() < 0.4: pass\nsys.stdin.read()"
    shell = subprocess.Popen(["sh", "-c", f"{sys.executable} -c '{burn}'; true"], stdin=subprocess.PIPE)
    try:
        while tree_seconds(shell.pid) < 0.3:
            time.sleep(0.05)
        assert len(tree(shell.pid)) == 2
        assert process_seconds(shell.pid) < 0.1
        assert os.getpid() not in tree(shell.pid)
    finally:
        shell.communicate(b"")
