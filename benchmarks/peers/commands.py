"""How each peer is started; add ``--broker HOST:PORT --prefix P --partitions N``."""

from __future__ import annotations

import sys

from benchmarks.peers import build_kafka_streams

PYTHON_PEERS = ("textbook_faust", "plain_aiokafka", "quix_streams", "bytewax_flow")
PEERS = (*PYTHON_PEERS, "kafka_streams")


def command_of(peer: str, python: str = sys.executable) -> list[str]:
    """Return the command of a peer without its options; the peer on the JVM is built where it was not yet."""
    if peer == "kafka_streams":
        return build_kafka_streams.command()
    return [python, "-m", f"benchmarks.peers.{peer}"]
