"""A worker's hold on a partition, and the blocks of records that it is handed under it.

A `Lease` lasts from one rebalance to the next. It begins when the owner of the partition has said where to
read from, and a block is void when its lease has ended. Every block names the offsets it covers, ``[start,
end)``, and the next one starts where it ended: whoever applies blocks checks that, so a lost block stops the
worker instead of passing unseen. This module does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiokafka import ConsumerRecord, TopicPartition

#: Fewer offsets than these do not say that rows are to come: they may be markers of transactions.
LEFT_MIN = 100


@dataclass(slots=True, eq=False)
class Lease:
    """This worker's hold on one partition, from one rebalance to the next."""

    tp: TopicPartition
    wake: Callable[[], None] = field(repr=False)
    alive: bool = True
    position: int | None = None  #: the next offset to fetch; None until the owner has said where to begin
    delivered: int = 0  #: the end of the last block delivered
    in_flight: int = 0  #: blocks delivered and not yet released
    fetched: int = 0  #: fetches that took something, counted by who fetches alone; it may be another thread
    handed_over: int = 0  #: those of them that have arrived here
    left: int = 0  #: offsets of the log that were known to lie behind the last fetch delivered

    def begin(self, offset: int) -> None:
        """Set where reading begins."""
        self.position = self.delivered = offset

    @property
    def behind(self) -> bool:
        """Whether the log is known to hold more rows than were delivered."""
        return self.left > LEFT_MIN

    def has_room(self, blocks_max: int) -> bool:
        """Whether more may be fetched: no more than `blocks_max` blocks and fetches are on their way."""
        return self.alive and self.position is not None and self._on_their_way() < blocks_max

    def _on_their_way(self) -> int:
        return self.in_flight + self.fetched - self.handed_over

    def cut(self, records: Sequence[ConsumerRecord], end: int, size: int) -> Iterator[Block]:
        """Yield the blocks of one fetch that moved the position to ``end``, of ``size`` records at most.

        A fetch without records (markers, aborted or compacted data) yields nothing, and the next block covers
        it.
        """
        self.position = end
        for first in range(0, len(records), size):
            part = records[first : first + size]
            start = self.delivered
            self.delivered = end if first + size >= len(records) else part[-1].offset + 1
            self.in_flight += 1
            yield Block(self, part, start, self.delivered)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Records of one partition in order: all that there are at the offsets ``[start, end)``."""

    lease: Lease
    records: Sequence[ConsumerRecord]  #: of topics read as columns: `Messages`
    start: int
    end: int

    @property
    def tp(self) -> TopicPartition:
        """The partition."""
        return self.lease.tp

    def release(self) -> None:
        """Say that the block is applied, so that more may be fetched."""
        self.lease.in_flight -= 1
        self.lease.wake()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """How blocks are fetched.

    Attributes
    ----------
    client : mapping
        aiokafka's connection settings (``bootstrap_servers``, ``security_protocol``, ``ssl_context``,
        ``sasl_*``).
    column_topics : set of str
        Records of these come as `Messages`.
    block_records_max : int
        A fetch larger than this is cut into several blocks.
    blocks_in_flight_max : int
        A partition with so many blocks delivered and not yet released is not fetched.
    fetch_max_wait_ms : int
        The broker answers an empty fetch after this long. A partition that was left out of the fetch in
        flight (there is one per broker) waits for it, so this bounds that latency; Faust's own 1,500 ms are
        far too much.
    partition_fetch_bytes : int
        What one fetch takes of one partition at most.
    stop_seconds_max : float
        A worker that is told to stop and has not stopped after this long is stopped hard.
    """

    client: Mapping[str, Any]
    column_topics: frozenset[str] = frozenset()
    block_records_max: int = 4_000
    blocks_in_flight_max: int = 8
    fetch_max_wait_ms: int = 50
    partition_fetch_bytes: int = 512 << 10
    stop_seconds_max: float = 20.0


class Owner(Protocol):
    """Who decides where each partition is read from; set as ``app.block_owner``."""

    fetching: Fetching

    async def open(self, lease: Lease) -> int:
        """Take a partition over (fence, restore, decide) and return the offset to read from.

        It is cancelled when the group takes the partition away meanwhile; ``close`` is then called all the
        same.
        """

    async def close(self, leases: Sequence[Lease]) -> None:
        """Let partitions go: their leases have ended, blocks not yet applied are void."""


def partition_name(tp: TopicPartition) -> str:
    """Return ``topic[partition]``, for messages."""
    return f"{tp.topic}[{tp.partition}]"
