"""How far a command is, how fast it goes and how long it still takes: a bar on a terminal's standard error."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from streams.replay.recording import Extent, Recorded

#: Seconds between two looks at the clock; a bar that moves at every record costs more than applying it.
SHOW_S = 0.1


class _Rate(ProgressColumn):
    """Records a second, over the last while."""

    def render(self, task: Task) -> Text:
        """`12,345/s`."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


def progress() -> Progress:
    """Shown on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), _Rate(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def watched(parts: Iterable[list[Recorded]], extent: Extent, name: str) -> Iterator[list[Recorded]]:
    """The same lists of records of one partition, while a bar shows how far they are."""
    with progress() as bar:
        task = bar.add_task(name, total=extent.end)
        for part in parts:
            yield part
            if part:
                bar.update(task, completed=part[-1].offset + 1)


def followed(items: Iterable[tuple[int, Recorded]], total: int | None) -> None:
    """Go through a replay of one or more partitions; `total` is the number of offsets, None where it is not known."""
    with progress() as bar:
        task = bar.add_task("replay", total=total)
        done, shown, reached = 0, time.monotonic(), dict[int, int]()
        for partition, record in items:
            done += record.offset + 1 - reached.get(partition, record.offset)
            reached[partition] = record.offset + 1
            if time.monotonic() - shown > SHOW_S:
                shown = time.monotonic()
                bar.update(task, completed=done, description=f"journal[{partition}]")
