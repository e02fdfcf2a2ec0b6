"""What a run of benchmarks found: measured numbers, ratios, curves and notes, each with its conditions.

Knows nothing of what is measured. Numbers are printed as they come, so that a run that is broken off has said what it
found. `benchmarks/page.py` makes the page of a report.
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.machine import described, load_averages

WIDTH = 160  # of the table where it goes to a file
_WANTED = re.compile(r"(at least|at most|>=|<=)\s*([0-9.]+)")


@dataclass(frozen=True, kw_only=True)
class Number:
    """One measured number.

    Parameters
    ----------
    benchmark, what : which benchmark measured it, and what it is
    value, unit : the number
    under : the conditions it holds under
    wanted : what a ratio should be, "" where nothing is asked
    met : whether it is so; None where nothing is asked, and in a quick run
    load : load average of the last minute when it was taken
    """

    benchmark: str
    what: str
    value: float
    unit: str
    under: str
    wanted: str
    met: bool | None
    load: float


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Lines of (x, y) points with the names of the lines and axes."""

    benchmark: str
    title: str
    x_label: str
    y_label: str
    lines: dict[str, list[tuple[float, float]]]


@dataclass(frozen=True, kw_only=True)
class Bars:
    """One value for each name, ours first."""

    benchmark: str
    title: str
    unit: str
    values: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Note:
    """A sentence that a reader of the numbers must know."""

    benchmark: str
    text: str


@dataclass
class Report:
    """Everything that a run found; benchmarks call `add`, `ratio`, `curve`, `bars` and `note`."""

    quick: bool = False
    machine: dict[str, str] = field(default_factory=described)
    numbers: list[Number] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    bar_plots: list[Bars] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    benchmark: str = ""
    console: Console = field(default_factory=lambda: Console(width=None if sys.stdout.isatty() else WIDTH))

    # -- for benchmarks

    def add(self, what: str, value: float, unit: str, under: str = "") -> None:
        """Take one measured number, and print it with the load average."""
        self._take(what, value, unit, under, "")

    def ratio(self, what: str, a: float, b: float, wanted: str = "") -> None:
        """Take a / b, both measured in this run.

        Parameters
        ----------
        wanted : "at least 40" or "at most 3" (or >=, <=) decides whether it is met; other text is only shown
        """
        self._take(what, a / b if b else float("nan"), "times", f"{shown(a)} to {shown(b)}", wanted)

    def curve(self, title: str, x_label: str, y_label: str, lines: dict[str, list[tuple[float, float]]]) -> None:
        """Take points for a plot: name of a line -> (x, y) in ascending x."""
        points = {name: [(float(x), float(y)) for x, y in line] for name, line in lines.items()}
        self.curves.append(Curve(benchmark=self.benchmark, title=title, x_label=x_label, y_label=y_label, lines=points))

    def bars(self, title: str, unit: str, values: dict[str, float]) -> None:
        """Take values to be shown side by side as bars, by name, ours first."""
        self.bar_plots.append(Bars(benchmark=self.benchmark, title=title, unit=unit, values=dict(values)))

    def note(self, text: str) -> None:
        """Take a sentence that a reader of the numbers must know."""
        self.notes.append(Note(benchmark=self.benchmark, text=text))
        self.console.print(f"{self.benchmark}: note: {text}", markup=False, highlight=False, soft_wrap=True)

    def _take(self, what: str, value: float, unit: str, under: str, wanted: str) -> None:
        number = Number(
            benchmark=self.benchmark, what=what, value=float(value), unit=unit, under=under, wanted=wanted,
            met=None if self.quick else _met(value, wanted), load=os.getloadavg()[0],
        )  # fmt: skip
        self.numbers.append(number)
        line = f"{self.benchmark}: {what}: {shown(value)} {unit}{_verdict(number)}"
        self.console.print(f"{line}  ({under}; load {number.load:.1f})", markup=False, highlight=False, soft_wrap=True)

    # -- for the runner

    def begin(self, benchmark: str) -> None:
        """What comes now is this benchmark's."""
        self.benchmark = benchmark
        self.console.rule(f"{benchmark} (load averages {load_averages()})")

    def fail(self, why: str) -> None:
        """The present benchmark did not come to its end."""
        self.failed.append(self.benchmark)
        self.note(f"did not finish: {why}")

    def print_table(self) -> None:
        """Print all numbers as a table."""
        table = Table(title="crossmargin benchmarks", title_justify="left", caption_justify="left")
        table.caption = ", ".join(f"{name} {text}" for name, text in self.machine.items())
        for name in ("benchmark", "what", "value", "unit", "under", "load"):
            table.add_column(name, justify="right" if name in ("value", "load") else "left")
        last = ""
        for number in self.numbers:
            table.add_row(
                "" if number.benchmark == last else number.benchmark, number.what, shown(number.value),
                number.unit + _verdict(number), number.under, f"{number.load:.1f}",
            )  # fmt: skip
            last = number.benchmark
        self.console.print(table)

    def write_json(self, path: Path) -> None:
        """Write everything as one JSON document."""
        document = {
            "quick": self.quick,
            "machine": self.machine,
            "failed": self.failed,
            "numbers": [asdict(number) for number in self.numbers],
            "curves": [asdict(curve) for curve in self.curves],
            "bars": [asdict(bars) for bars in self.bar_plots],
            "notes": [asdict(note) for note in self.notes],
        }
        path.write_text(json.dumps(document, indent=1) + "\n")


def shown(value: float) -> str:
    """A number for people: three to four digits that count.

    >>> shown(28412.3), shown(3.14159), shown(0.0123456), shown(171.4)
    ('28,412', '3.14', '0.0123', '171')
    """
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _met(value: float, wanted: str) -> bool | None:
    found = _WANTED.match(wanted)
    if found is None:
        return None
    bound = float(found[2])
    return value >= bound if found[1] in ("at least", ">=") else value <= bound


def _verdict(number: Number) -> str:
    if not number.wanted:
        return ""
    return f" (wanted: {number.wanted}{ {True: ', met', False: ', MISSED', None: ''}[number.met] })"
