"""Worker processes and their supervisor: what stops itself is started again, what ends otherwise is a failure."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from faults.evidence import Evidence, collect
from faults.schedule import Fault
from worker.harness import Worker

from streams.engine.invariants import InvariantViolation
from streams.kafka.broker import LocalBroker
from streams.kafka.fatal import EXIT_CODE
from streams.settings import Settings

#: Partitions that workers hold: six sources and the journal by shard, `instruments` has one.
PER_SHARD, SINGLE = 7, 1


class BrokenBooks(Exception):
    """A worker refuses the books it restored: no start will mend them."""


class Squad:
    """The workers of one run.

    Parameters
    ----------
    command : what to run in place of `crossmargin worker`
    restarts_max : workers that are started again more often than this loop for ever

    Attributes
    ----------
    stopped : names of workers that stopped themselves and were started again
    struck : how many faults of each kind struck
    """

    def __init__(
        self,
        settings: Settings,
        log_dir: Path,
        command: list[str] | None = None,
        *,
        restarts_max: int = 6,
    ) -> None:
        self.settings = settings
        self.stopped: list[str] = []
        self.struck: Counter[str] = Counter()
        self._restarts_max = restarts_max
        self._log_dir = log_dir
        self.command = command
        self._tended: dict[str, Worker] = {}
        self._all: list[Worker] = []
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """A line with the time of the run; pytest shows it where the test fails, or with -s."""
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)

    def start(self, name: str, **settings: Any) -> Worker:
        """Start a worker, and tend it from now on."""
        given = {key: value for key, value in asdict(self.settings).items() if value != getattr(Settings(), key)}
        given.pop("broker"), given.pop("prefix")
        given["fate"] = self._fate(name)  # of workers that can be told to crash
        worker = Worker(self.settings.broker, self.settings.prefix, self._log_dir / f"{name}.log", **given | settings)
        if self.command:
            worker.command = self.command
        self._all.append(worker)
        self.restart(name, worker)
        return worker

    def restart(self, name: str, worker: Worker) -> None:
        """Start a worker that has ended, and tend it from now on."""
        worker.start()
        self._tended[name] = worker

    def kill(self, name: str) -> Worker:
        """Kill -9."""
        worker = self.release(name)
        worker.signal(signal.SIGKILL)
        assert worker.process is not None
        worker.process.wait()
        return worker

    def release(self, name: str) -> Worker:
        """Tend a worker no longer: its end is the test's to expect."""
        return self._tended.pop(name)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a worker, where it still runs."""
        self._tended[name].signal(number)

    def terminate(self, name: str, codes: tuple[int, ...] = (0,)) -> Worker:
        """SIGTERM; it must end with one of these codes."""
        worker = self.release(name)
        began = time.monotonic()
        code = worker.stop()
        assert code in codes, f"{name} must end with {codes} when told to stop, ended with {code}:\n{worker.log()}"
        self.say(f"{name} stopped in {time.monotonic() - began:.1f} s")
        return worker

    def tend(self) -> None:
        """Start again what stopped itself.

        Raises
        ------
        BrokenBooks
            a worker found its books broken
        """
        for name, worker in self._tended.items():
            assert worker.process is not None
            code = worker.process.poll()
            if code is None:
                continue
            assert code == EXIT_CODE, f"{name} ended with {code}:\n{worker.log()}"
            self.stopped.append(name)
            why = reason(worker)
            self.say(f"{name} stopped itself: {why}")
            if InvariantViolation.__name__ in why:
                raise BrokenBooks(f"{name}: {why}")
            assert len(self.stopped) <= self._restarts_max, f"{name} must not stop itself for ever:\n{worker.log()}"
            worker.start()

    # -- faults

    def strike(self, fault: Fault, broker: LocalBroker) -> None:
        """Do what a schedule says, and have everybody started again."""
        self.struck[fault.kind] += 1
        match fault.kind:
            case "kill":
                self.restart(fault.name, self.kill(fault.name))
            case "crash":
                self.crash(fault)
            case "leave":
                self.restart(fault.name, self.terminate(fault.name, codes=(0, EXIT_CODE, -signal.SIGTERM)))
            case "pause":
                self.signal(fault.name, signal.SIGSTOP)
                self.sleep(fault.seconds)
                self.signal(fault.name, signal.SIGCONT)
            case "freeze":
                self.fence(fault.name)
            case "broker":
                broker.kill()
                self.sleep(fault.seconds)
                broker.start()
                self.say(f"broker back in {broker.start_seconds:.1f} s")

    def crash(self, fault: Fault, seconds: float = 120.0) -> None:
        """Have a worker of `crashing_worker` kill itself inside a transaction."""
        point, step = fault.where
        fate = {"role": "", "point": point, "step": step, "turn": fault.turn, "seconds": fault.seconds}
        new = self._fate(fault.name).with_suffix(".new")
        new.write_text(json.dumps(fate))
        new.rename(self._fate(fault.name))
        worker = self.release(fault.name)
        process = worker.process
        assert process is not None
        self.until(lambda: process.poll() is not None, seconds, f"the crash of {fault.name}")
        self._fate(fault.name).unlink()
        assert process.returncode == -signal.SIGKILL, f"{fault.name} ended with {process.returncode}:\n{worker.log()}"
        self.restart(fault.name, worker)

    def fence(self, name: str) -> None:
        """Freeze a worker until the others hold its partitions; thawed, it must find out and end, or join anew.

        It ends where it has anything to write for a partition that it lost. Where it has not (the event clock stands
        still while nobody sends), its next heartbeat tells it, and it takes over what the group gives it then.
        """
        frozen = self.release(name)
        frozen.signal(signal.SIGSTOP)
        self.until_held(*self._tended)
        self.sleep(1.0)
        began, logged = time.monotonic(), frozen.log_path.stat().st_size
        frozen.signal(signal.SIGCONT)
        process = frozen.process
        assert process is not None

        def over() -> bool:
            opened = b" opened at " in frozen.log_path.read_bytes()[logged:]
            return process.poll() is not None or (opened and _health(frozen)["ready"])

        self.until(over, 30, "the end of the thawed worker")
        what = "has joined anew" if process.poll() is None else f"ended with {process.returncode}"
        self.say(f"{name} thawed, {what} after {time.monotonic() - began:.2f} s")
        if process.poll() is None:
            self._tended[name] = frozen
        else:
            assert process.returncode == EXIT_CODE, frozen.log()
            self.restart(name, frozen)

    def _fate(self, name: str) -> Path:
        return self._log_dir / f"{name}.fate"

    # -- waiting

    def until(self, condition: Callable[[], Any], seconds: float, what: str) -> None:
        """Tend the workers until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            self.tend()
            assert time.monotonic() < end, f"{what} must be within {seconds:g} s\n{self.logs()}"
            time.sleep(0.05)

    def sleep(self, seconds: float) -> None:
        """Tend the workers for a while."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end, seconds + 1, "time")

    def until_held(self, *names: str, seconds: float = 60.0) -> None:
        """Until these workers hold all partitions between them, restored."""
        wanted = PER_SHARD * self.settings.partitions + SINGLE

        def held() -> bool:
            health = [_health(self._tended[name]) for name in names]
            return all(one["ready"] for one in health) and sum(one["partitions"] for one in health) == wanted

        began = time.monotonic()
        self.until(held, seconds, f"all {wanted} partitions held by {' and '.join(names)}")
        self.say(f"{' and '.join(names)} ready after {time.monotonic() - began:.1f} s")

    def evidence(self) -> Evidence:
        """Stop all workers and read what they left.

        On the wall clock the oracle never falls silent, so a worker without one may have to read the rest of the
        journal.
        """
        for name in list(self._tended):
            self.terminate(name)
        if self.settings.clock == "wall" and not self.journal_read():
            self.start("finisher", roles="ingest,margin")
            self.until(self.journal_read, 60, "the journal read to its end")
            self.terminate("finisher")
        return collect(self.settings)

    def journal_read(self) -> bool:
        """Whether the shards have committed all that the journal holds."""
        left = collect(self.settings)
        return all(
            left.committed["margin"].get(("journal", partition), 0) > records[-1].offset
            for partition, records in left.records["journal"].items()
        )

    def logs(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"--- {worker.log_path.name}\n{worker.log()[-3000:]}" for worker in self._all)

    def end(self) -> None:
        """Kill what still runs."""
        for worker in self._all:
            if worker.process is not None and worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()


def reason(worker: Worker) -> str:
    """The line in which a worker last said why it stopped itself."""
    lines = [line for line in worker.log_path.read_text(errors="replace").splitlines() if "stopped: " in line]
    return lines[-1].split("stopped: ", 1)[1] if lines else "nothing said"


def _health(worker: Worker) -> dict[str, Any]:
    try:
        found: dict[str, Any] = worker.get("/health")
        return found
    except OSError:
        return {"ready": False, "partitions": 0}
