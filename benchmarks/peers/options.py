"""The command line that all peers in Python share."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path


def options_of(peer: str) -> argparse.Namespace:
    """Parse ``--broker``, ``--prefix``, ``--partitions`` and ``--state-dir``, a folder that a restart finds again."""
    parser = argparse.ArgumentParser(description=f"The benchmarks' job in {peer}; runs until SIGTERM.")
    parser.add_argument("--broker", required=True, help="HOST:PORT")
    parser.add_argument("--prefix", required=True, help="reads PREFIX.fills and PREFIX.prices, writes PREFIX.breaches")
    parser.add_argument("--partitions", required=True, type=int, help="of each topic")
    parser.add_argument(
        "--state-dir", type=Path, help="default: a folder for this peer, prefix and port in the temp dir"
    )
    options = parser.parse_args()
    if options.state_dir is None:
        port = options.broker.rpartition(":")[2]
        options.state_dir = Path(tempfile.gettempdir()) / "crossmargin-peers" / f"{peer}-{options.prefix}-{port}"
    options.state_dir.mkdir(parents=True, exist_ok=True)
    return options
