"""Chains of state hashes in a file, and where two of them part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import orjson

from streams.replay.files import whole_file
from streams.replay.fold import Chain
from streams.replay.recording import RecordingError

FORMAT_VERSION = 1


class Chains(NamedTuple):
    """State hashes of one run: a link after every so many journal records, as (offset, hash), by partition."""

    every: int
    links: dict[int, list[tuple[int, str]]]


def write_chains(path: Path, chains: Mapping[int, Chain]) -> None:
    """Write the links of each partition, one a line."""
    every = max((chain.every for chain in chains.values()), default=1)
    lines = [orjson.dumps({"format": FORMAT_VERSION, "every": every})]
    for partition, chain in sorted(chains.items()):
        lines += [orjson.dumps([partition, offset, link]) for offset, link in chain.links]
    with whole_file(path) as file:
        file.write((b"\n".join(lines) + b"\n").decode())


def read_chains(path: Path) -> Chains:
    """What `write_chains` wrote; raises RecordingError where the file is none."""
    try:
        head, *lines = path.read_bytes().splitlines()
        every = _every(orjson.loads(head), path)
        links: dict[int, list[tuple[int, str]]] = {}
        for line in lines:
            partition, offset, link = orjson.loads(line)
            links.setdefault(partition, []).append((offset, link))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RecordingError(f"state hashes must be a file of `replay --hashes`, found {error} ({path})") from None
    return Chains(every, links)


def _every(head: object, path: Path) -> int:
    if not isinstance(head, dict) or head.get("format") != FORMAT_VERSION:
        raise RecordingError(f"format of state hashes must be {FORMAT_VERSION}, found {head} ({path})")
    return int(head["every"])


def compared(expected: Chains, chains: Mapping[int, Chain]) -> Iterator[str]:
    """A line for each partition whose state parts from the other run's, with the first record after which it does."""
    for partition, chain in sorted(chains.items()):
        theirs = expected.links.get(partition, [])
        last = "the beginning"
        for (offset, link), (their_offset, their_link) in zip(chain.links, theirs, strict=False):
            if (offset, link) != (their_offset, their_link):
                at = f"at record {offset}" if expected.every == 1 else f"between {last} and record {offset}"
                yield f"state of journal[{partition}] {at}: hash must be {their_link}, found {link}"
                break
            last = f"record {offset}"
        else:
            if len(theirs) != len(chain.links):
                yield f"journal[{partition}] must have {len(theirs)} state hashes, found {len(chain.links)}"
