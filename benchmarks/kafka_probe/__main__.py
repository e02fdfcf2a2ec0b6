"""Measure how aiokafka and Apache Kafka behave where the engine's exactly-once design leans on them.

``python -m benchmarks.kafka_probe [--only NAME]`` starts brokers of its own and prints one table per probe.
What the numbers mean is in docs/kafka-measurements.md.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks.kafka_probe import failures, flushes, members, positions
from benchmarks.kafka_probe.clients import out
from streams.kafka.broker import LocalBroker

PROBES: dict[str, Callable[[str], Coroutine[Any, Any, None]]] = {
    "start_up": flushes.start_up,
    "latency": flushes.latency,
    "writers": flushes.writers,
    "hanging": failures.hanging,
    "hanging_default": failures.hanging_default,
    "crash": failures.crash,
    "groups": members.groups,
    "tails": positions.tails,
    "offsets": positions.offsets,
}
CHILDREN: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "open": failures.child_open,
    "member": members.child_member,
}


def main() -> None:
    """Run all probes, or one."""
    logging.disable(logging.ERROR)
    if sys.argv[1:2] == ["--child"]:
        asyncio.run(CHILDREN[sys.argv[2]](*sys.argv[3:]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PROBES, help="run one probe")
    only = parser.parse_args().only
    for name in [only] if only else PROBES:
        with tempfile.TemporaryDirectory() as directory, LocalBroker(directory) as broker:
            out(f"\n== {name} ({broker.name})")
            asyncio.run(PROBES[name](broker.bootstrap))


if __name__ == "__main__":
    main()
