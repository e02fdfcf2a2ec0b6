"""`crossmargin bench`: measure one worker on this machine, with a broker of its own or on a cluster."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from streams.bench.backlog import Rate, fills, quotes
from streams.bench.live import Live, live, quantile
from streams.bench.worker import Bench
from streams.demo.stage import WorkerDied
from streams.kafka.broker import LocalBroker
from streams.kafka.jars import BrokerError
from streams.kafka.topics import TopicsUnfit
from streams.settings import SettingsError

#: A worker that needs longer than this after the last message did not keep up.
BEHIND_SECONDS_MAX = 3.0
#: Quotes wait in their topic while the backlog of fills is read.
QUOTE_AGE_MS_MAX = 3_600_000
#: Longer than the worker is ever frozen while its fills are written.
SESSION_SECONDS = 300

_count = click.IntRange(1, 100_000_000)
_rate = click.FloatRange(0.1, 1_000_000)


@click.command("bench")
@click.option("--broker", default="", help="Join this Kafka, host:port, under topic names of its own, deleted "
              "afterwards. Default: CROSSMARGIN_BROKER, else a broker is started.")  # fmt: skip
@click.option("--accounts", default=10_000, show_default=True, type=_count, help="Accounts of four positions each.")
@click.option("--partitions", default=4, show_default=True, type=click.IntRange(1, 1000), help="Shards.")
@click.option("--fills", "fill_count", default=300_000, show_default=True, type=_count, help="Fills that wait.")
@click.option("--quotes", "quote_count", default=50_000, show_default=True, type=_count, help="Quotes sent at once.")
@click.option("--fill-rate", default=2_000.0, show_default=True, type=_rate, help="Fills a second, live.")
@click.option("--quote-rate", default=50.0, show_default=True, type=_rate, help="Quotes a second, live.")
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(1, 86_400), help="Of the live part.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of the table.")
def bench_command(broker: str, as_json: bool, **sizes: Any) -> None:
    """Measure one worker, with all roles, on this machine.

    Three parts: fills that wait in their topic, until they are durable in the shards; quotes sent at once, until the
    shards have judged the last; then fills and quotes at set rates, while a falling price liquidates accounts: how
    soon is each liquidation with a consumer? Beside them cores used by worker and broker, and the worker's memory.

    Exit code 1 where the worker did not keep up with the rates, or a liquidation was not heard of.
    """
    logging.disable(logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        found = _measured(broker, **sizes)
    except (SettingsError, TopicsUnfit, BrokerError, KafkaError, OSError) as error:
        click.echo(f"Error: {_line(error)}", err=True)
        sys.exit(2)
    except (WorkerDied, TimeoutError) as error:
        click.echo(f"Error: {_line(error)}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    click.echo(json.dumps(found, indent=1)) if as_json else _print(found)
    wrong = _findings(found)
    for line in wrong:
        click.echo(f"Error: {line}", err=True)
    sys.exit(1 if wrong else 0)


def _measured(broker: str, **sizes: Any) -> dict[str, Any]:
    joined = broker or os.environ.get("CROSSMARGIN_BROKER", "")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crossmargin-bench-")))
        cluster = joined or stack.enter_context(LocalBroker(folder / "broker"))
        return asyncio.run(_parts(cluster, folder, **sizes))


async def _parts(
    cluster: LocalBroker | str,
    folder: Path,
    *,
    accounts: int,
    partitions: int,
    fill_count: int,
    quote_count: int,
    fill_rate: float,
    quote_rate: float,
    seconds: float,
) -> dict[str, Any]:
    settings = {
        "partitions": partitions,
        "quote_age_ms_max": QUOTE_AGE_MS_MAX,
        "session_seconds": SESSION_SECONDS,
    }
    async with Bench(cluster, folder, f"bench-{uuid.uuid4().hex[:8]}", **settings) as bench:
        try:
            began = time.monotonic()
            waiting = await fills(bench, fill_count, accounts)
            burst = await quotes(bench, quote_count)
            stream = await live(bench, seconds=seconds, fill_rate=fill_rate, quote_rate=quote_rate, accounts=accounts)
            memory, memory_most = bench.memory_mib()
        finally:
            if isinstance(cluster, str):
                await bench.drop()
    return {
        "broker": cluster if isinstance(cluster, str) else cluster.name,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "seconds": time.monotonic() - began,
        "accounts": accounts,
        "shards": partitions,
        "fills waiting": _rate_of(waiting),
        "quotes at once": _rate_of(burst),
        "live": _live_of(stream),
        "memory": {"resident_mib": memory, "most_mib": memory_most},
    }


def _rate_of(rate: Rate) -> dict[str, Any]:
    return {"per_second": rate.per_second, "messages": rate.messages, "seconds": rate.seconds, "cores": rate.cores}


def _live_of(found: Live) -> dict[str, Any]:
    latencies = found.latencies_ms
    return {
        "fills_per_second": found.fills / found.seconds,
        "quotes_per_second": found.quotes / found.seconds,
        "seconds": found.seconds,
        "behind_seconds": found.behind,
        "liquidations": len(latencies),
        "liquidations_missed": found.missed,
        "latency_ms": {name: quantile(latencies, share) for name, share in _SHARES.items()} if latencies else {},
        "cores": found.cores,
    }


_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "most": 1.0}


def _findings(found: Mapping[str, Any]) -> list[str]:
    stream = found["live"]
    wrong = []
    if stream["behind_seconds"] > BEHIND_SECONDS_MAX:
        wrong.append(
            f"the worker must be done within {BEHIND_SECONDS_MAX:g} s of the last message, "
            f"took {stream['behind_seconds']:.1f} s: rates too high for it here"
        )
    if stream["liquidations_missed"]:
        wrong.append(f"every liquidation must be heard of, missed {stream['liquidations_missed']}")
    return wrong


def _print(found: Mapping[str, Any]) -> None:
    stream, memory = found["live"], found["memory"]
    table = Table(title=f"one worker, {found['shards']} shards, {found['accounts']:,} accounts; {found['broker']}, "
                  f"{found['cores']} cores, load {found['load']:.1f}", title_justify="left")  # fmt: skip
    for name in ("what", "result", "cores used"):
        table.add_column(name)
    for name, per in (("fills waiting", "durable"), ("quotes at once", "taken")):
        part = found[name]
        rate = f"{part['per_second']:,.0f} a second {per} ({part['messages']:,} in {part['seconds']:.1f} s)"
        table.add_row(name, rate, _cores(part["cores"]))
    table.add_row(
        "live", f"{stream['fills_per_second']:,.0f} fills and {stream['quotes_per_second']:,.0f} quotes a second; "
        f"all durable {stream['behind_seconds']:.2f} s after the last", _cores(stream["cores"]),
    )  # fmt: skip
    latency = ", ".join(f"{name} {ms:.0f} ms" for name, ms in stream["latency_ms"].items())
    table.add_row("price to liquidation", f"{latency or 'none'} ({stream['liquidations']} liquidations)", "")
    table.add_row("memory of the worker", f"{memory['resident_mib']:.0f} MiB, {memory['most_mib']:.0f} at most", "")
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _cores(cores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {used:.2f}" for name, used in cores.items())


def _line(error: BaseException) -> str:
    """The first line that an error says, or what it is."""
    return (str(error).splitlines() or [type(error).__name__])[0]
