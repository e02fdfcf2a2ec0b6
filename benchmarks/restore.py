"""Accounts in memory and back from their changelog: bytes, seconds and peak memory, engine only.

Each account has one balance and four positions from as many fills. One process folds the journal, in blocks, and writes
the changelog to a file in parts as large as a fetch; another one restores the shard from it and reads nothing else.
"""

from __future__ import annotations

import gc
import json
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Report
from schemas.journal import Block, pack_ids
from streams.engine import state
from streams.engine.shard import Shard
from streams.engine.warmup import warm_up
from streams.rows import Rows

POSITIONS = 4
BLOCK_ROWS = 4_000
PART_RECORDS = 20_000
PRICES = {"BTC": 50_000, "ETH": 2_000, "SOL": 100, "LTC": 80, "DOT": 6, "XRP": 1, "ADA": 2, "DOGE": 3}


def run(report: Report, *, quick: bool) -> None:
    """Measure 1,000,000 accounts, and fewer to see how it grows."""
    for accounts in (10_000, 50_000) if quick else (100_000, 1_000_000):
        measure(report, accounts)


def measure(report: Report, accounts: int) -> None:
    under = f"{accounts:,} accounts x {POSITIONS} positions"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "changelog"
        folded, restored = child("fold", accounts, path), child("restore", accounts, path)
        report.add("changelog", path.stat().st_size / accounts, "bytes/account", under)
    if folded["hash"] != restored["hash"]:
        raise RuntimeError(f"a restored shard must equal the one that was written, found another ({under})")
    report.add("fills applied", folded["fills"] / folded["apply_seconds"], "fills/s of CPU", f"{under}, not judged")
    report.add("changelog records made", accounts / folded["dirty_seconds"], "accounts/s of CPU", under)
    report.add("resident, folded", folded["resident_bytes"] / accounts, "bytes/account", under)
    report.add("restore", restored["seconds"], "s", under)
    report.add("restore, CPU", restored["cpu_seconds"], "s", under)
    report.add("resident, restored", restored["resident_bytes"] / accounts, "bytes/account", under)
    report.add("peak of the restore", restored["peak_bytes"] / 2**20, "MiB", f"{under}, above an empty engine")


def child(what: str, accounts: int, path: Path) -> dict[str, Any]:
    """What a process of its own found."""
    command = [sys.executable, "-m", "benchmarks.restore", what, str(accounts), str(path)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def fold(accounts: int, path: Path) -> dict[str, Any]:
    shard, apply_seconds, dirty_seconds, fills, size = Shard(0), 0.0, 0.0, 0, memory("VmRSS")
    with path.open("wb") as file:
        for offset, block in enumerate(journal(accounts)):
            data = block.encode()
            began = time.process_time()
            shard.apply(offset, data)
            if block.kind == "fills":
                apply_seconds += time.process_time() - began
                fills += len(block.columns["account"])
        began = time.process_time()
        changed = state.dirty(shard)
        dirty_seconds = time.process_time() - began
        pairs = list(changed)
        for first in range(0, len(pairs), PART_RECORDS):
            write_part(file, pairs[first : first + PART_RECORDS])
    del pairs, changed
    gc.collect()
    return {
        "hash": state.state_hash(shard),
        "apply_seconds": apply_seconds,
        "dirty_seconds": dirty_seconds,
        "fills": fills,
        "resident_bytes": memory("VmRSS") - size,
    }


def restore(path: Path) -> dict[str, Any]:
    size, began, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    restoring = state.Restoring(0)
    for part in read_parts(path):
        restoring.add(Rows.of(part))
    shard = restoring.finish()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = memory("VmHWM")
    del part
    gc.collect()
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_bytes": peak - size,
        "resident_bytes": memory("VmRSS") - size,
        "hash": state.state_hash(shard),
    }


def memory(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


def write_part(file: Any, pairs: list[tuple[bytes, bytes]]) -> None:
    file.write(struct.pack("<I", len(pairs)))
    for key, value in pairs:
        file.write(struct.pack("<HI", len(key), len(value)) + key + value)


def read_parts(path: Path) -> Iterator[list[tuple[bytes, bytes]]]:
    """The changelog as a consumer hands it over: an object for each key and value."""
    with path.open("rb") as file:
        while head := file.read(4):
            pairs = []
            for _ in range(*struct.unpack("<I", head)):
                key, value = struct.unpack("<HI", file.read(6))
                pairs.append((file.read(key), file.read(value)))
            yield pairs


def journal(accounts: int) -> Iterator[Block]:
    """Terms, a deposit for each account, then one fill for each in a random order, four times over."""
    generator = np.random.default_rng(1)
    yield Block(kind="terms", terms=terms())
    for first in range(0, accounts, BLOCK_ROWS):
        who = np.arange(first, min(accounts, first + BLOCK_ROWS))
        columns = {"asset": 0, "amount": 10**11, "bucket": -1, "transfer_type": 0, "leg": 0}
        yield Block(kind="collateral", **rows("d", who, first, columns, assets=["USDC"], instruments=[]))
    names = [f"{symbol}-PERP" for symbol in PRICES]
    ticks = np.array(list(PRICES.values())) * 10_000
    for turn in range(POSITIONS):
        order = generator.permutation(accounts)
        for first in range(0, accounts, BLOCK_ROWS):
            who = order[first : first + BLOCK_ROWS]
            instrument = (who + 2 * turn) % len(PRICES)
            lots = generator.integers(1, 50, len(who)) * generator.choice((-1, 1), len(who))
            columns = {"instrument": instrument, "lots": lots, "ticks": ticks[instrument], "fee": 10_000}
            columns |= {"mode": -1, "fill_kind": 0}
            yield Block(kind="fills", **rows("f", who, turn * accounts + first, columns, instruments=names))


def rows(prefix: str, who: Any, first: int, columns: dict[str, Any], **names: list[str]) -> dict[str, Any]:
    """Names and columns of a block with one row for each of `who`."""
    count = len(who)
    common = {"time": 1, "liquidation": -1, **columns}
    return {
        "names": {"accounts": [f"account-{number:07d}" for number in who.tolist()], **names},
        "columns": {
            "account": np.arange(count),
            "source_offset": np.arange(first, first + count),
            **{name: np.broadcast_to(column, count) for name, column in common.items()},
            **pack_ids([f"{prefix}-{number:09d}" for number in range(first, first + count)]),
        },
    }


def terms() -> list[dict[str, Any]]:
    asset = {"id": "USDC", "kind": "asset", "precision": 6, "haircut": "0", "borrow_haircut": "0", "version": 1}
    common = {
        "kind": "instrument",
        "type": "perpetual",
        "settlement": "USDC",
        "multiplier": "1",
        "price_precision": 4,
        "quantity_precision": 2,
        "initial_margin": "0.10",
        "maintenance_margin": "0.05",
        "tier_method": "marginal",
        "size_premium_factor": "0",
        "liquidation_fee": "0.005",
        "version": 1,
    }
    return [asset, *({**common, "id": f"{symbol}-PERP", "underlying": symbol} for symbol in PRICES)]


if __name__ == "__main__":
    warm_up()
    gc.collect()
    what, number, changelog = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    print(json.dumps(fold(number, changelog) if what == "fold" else restore(changelog)))
