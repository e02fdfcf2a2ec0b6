"""Who used the processor, and how much memory a process holds: from /proc, so on Linux only (nan elsewhere)."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_LINUX = (_PROC / "self" / "stat").exists()
_TICKS = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """Processor seconds so far of named processes, and of the machine; `at` monotonic seconds."""

    at: float
    seconds: Mapping[str, float]
    machine: float

    def cores(self, before: Usage) -> dict[str, float]:
        """Cores that each process used since then, and all `others`."""
        passed = self.at - before.at
        used = {name: (now - before.seconds[name]) / passed for name, now in self.seconds.items()}
        return used | {"others": (self.machine - before.machine) / passed - sum(used.values())}

    def since(self, before: Usage) -> str:
        """The same in words."""
        return "cores used: " + ", ".join(f"{name} {used:.2f}" for name, used in self.cores(before).items())


def usage(processes: Mapping[str, int | None], workers: Mapping[str, int]) -> Usage:
    """Usage until now of processes by name -> id, and of workers with all that descends from them.

    Processes with None (on another machine) are left out.
    """
    seconds = {name: tree_seconds(pid) for name, pid in workers.items()}
    seconds |= {name: process_seconds(pid) for name, pid in processes.items() if pid is not None}
    return Usage(time.monotonic(), seconds, _busy_seconds())


def process_seconds(pid: int) -> float:
    """Processor seconds of a process and its threads."""
    return _stat(pid)[1] if _LINUX else math.nan


def tree_seconds(pid: int) -> float:
    """Processor seconds of a process, of its children that ended, and of those that live, and so on down."""
    return sum(_stat(member)[2] for member in tree(pid)) if _LINUX else math.nan


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process and all that descend from it for a while; they must not miss it (sessions with brokers)."""
    for member in tree(pid):
        os.kill(member, signal.SIGSTOP)
    try:
        yield
    finally:
        for member in tree(pid):
            os.kill(member, signal.SIGCONT)


def tree(pid: int) -> list[int]:
    """A process and all that descend from it, parents first."""
    if not _LINUX:
        return [pid]
    children: dict[int, list[int]] = defaultdict(list)
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            children[_stat(int(folder.name))[0]].append(int(folder.name))
    family = [pid]
    for member in family:
        family += children[member]
    return family


def _stat(pid: int) -> tuple[int, float, float]:
    """Parent, processor seconds, and those with its children that ended; zeros where it has ended meanwhile."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, 0.0, 0.0
    user, system, user_ended, system_ended = map(int, fields[11:15])
    return int(fields[1]), (user + system) / _TICKS, (user + system + user_ended + system_ended) / _TICKS


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident memory of a process and all that descend from it now, and with the process at its most, MiB.

    What they share counts once.
    """
    if not _LINUX:
        return math.nan, math.nan
    own, *others = tree(pid)
    descended = sum(_kib(other, "smaps_rollup", "Pss") for other in others)
    shared = _kib(own, "smaps_rollup", "Rss") - _kib(own, "smaps_rollup", "Pss") if others else 0
    now = _kib(own, "status", "VmRSS") - shared + descended
    return now / 1024, (_kib(own, "status", "VmHWM") - shared + descended) / 1024


def _kib(pid: int, file: str, name: str) -> int:
    """A line of a file of /proc/PID."""
    for line in (_PROC / str(pid) / file).read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def _busy_seconds() -> float:
    """Time that the machine's cores did not idle, or were taken by the host."""
    if not _LINUX:
        return math.nan
    user, nice, system, _, _, irq, softirq, steal = map(int, (_PROC / "stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS
