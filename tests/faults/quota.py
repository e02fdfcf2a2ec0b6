"""Kafka's own brake: a broker that takes no more than so many bytes a second of some clients."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from streams.kafka.broker import LocalBroker
from streams.kafka.jars import java_path, resolve_jars


def brake(broker: LocalBroker, client_ids: Sequence[str], bytes_s: int | None) -> None:
    """Set what these clients may write a second; None: as much as they like."""
    change = "--delete-config producer_byte_rate" if bytes_s is None else f"--add-config producer_byte_rate={bytes_s}"
    command = [java_path(), "-XX:TieredStopAtLevel=1", "-cp", f"{resolve_jars()}/*", "kafka.admin.ConfigCommand"]
    command += ["--bootstrap-server", broker.bootstrap, "--alter", *change.split()]
    for client_id in client_ids:
        command += ["--entity-type", "clients", "--entity-name", client_id]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        del command[-4:]
