"""Files that commands write: there whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """A file to write that gets its name only at the end, so that a part is never taken for the whole; - is stdout."""
    if str(path) == "-":
        yield click.get_text_stream("stdout")
        return
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
