"""Accounts in memory and back from their changelog: bytes, seconds and peak memory; the engine, then a worker.

Each account has one balance and four positions from as many fills. Of the engine one process folds the journal, in
blocks, and writes the changelog to a file in parts as large as a fetch; another one restores the shard from it and
reads nothing else. The worker and its broker: `benchmarks/restart.py`.
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

from numba import uint64

from benchmarks import restart
from benchmarks.books import POSITIONS, journal, names
from benchmarks.report import Report
from streams.compiled import kernel
from streams.engine import state
from streams.engine.remembered import Recent, remember, with_words, words
from streams.engine.shard import Shard
from streams.engine.warmup import warm_up
from streams.rows import Rows

PART_RECORDS = 20_000
IDS_MAX = 256  # that an account remembers, by the rules' default


def run(report: Report, *, quick: bool) -> None:
    """The engine alone with 1,000,000 accounts, and with fewer to see how it grows; then a worker and its broker."""
    for accounts in (10_000, 50_000) if quick else (100_000, 1_000_000):
        measure(report, accounts)
    measure(report, 10_000 if quick else 100_000, ids=IDS_MAX)
    restart.run(report, 20_000 if quick else 1_000_000)


def measure(report: Report, accounts: int, *, ids: int = 1 + POSITIONS) -> None:
    """Fold and restore so many accounts, each of which remembers so many ids."""
    under = f"{accounts:,} accounts x {POSITIONS} positions, {ids} ids remembered"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "changelog"
        folded, restored = child("fold", accounts, ids, path), child("restore", accounts, ids, path)
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


def child(what: str, accounts: int, ids: int, path: Path) -> dict[str, Any]:
    """What a process of its own found."""
    command = [sys.executable, "-m", "benchmarks.restore", what, str(accounts), str(ids), str(path)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def fold(accounts: int, ids: int, path: Path) -> dict[str, Any]:
    shard, apply_seconds, dirty_seconds, fills, size = Shard(0), 0.0, 0.0, 0, memory("VmRSS")
    with path.open("wb") as file:
        for offset, block in enumerate(journal(names(accounts))):
            data = block.encode()
            began = time.process_time()
            shard.apply(offset, data)
            if block.kind == "fills":
                apply_seconds += time.process_time() - began
                fills += len(block.columns["account"])
        ledger = shard.ledger
        ledger.recent = with_words(ledger.recent, accounts * words(ids))
        fill_rings(ledger.recent, accounts, ids, shard.window)
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


@kernel
def fill_rings(rings: Recent, accounts: int, ids: int, window: int) -> None:
    """Have each account remember so many ids, as fills that come later do."""
    for account in range(accounts):
        for number in range(rings.size[account], ids):
            remember(rings, account, uint64(account * ids + number) * uint64(0x9E3779B97F4A7C15), window)


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


if __name__ == "__main__":
    warm_up()
    gc.collect()
    what, number, remembered, changelog = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    print(json.dumps(fold(number, remembered, changelog) if what == "fold" else restore(changelog)))
