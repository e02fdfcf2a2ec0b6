"""A Faust transport, ``blocks://``, that hands an agent one message per fetched block of one partition.

Faust gives the group, the assignment, the agents and the queues between them. What decides whether every
record is seen once is ours (`streams.kafka.leases`): which partitions are fetched and from where. Nothing is
ever committed here: offsets are in the owner's transactions.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, OffsetOutOfRangeError
from faust.tables import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import ConsumerMessage

from streams.kafka import aiokafka_patches
from streams.kafka.assignor import EvenAssignor
from streams.kafka.fatal import fatal
from streams.kafka.leases import Block, Lease, Owner, partition_name
from streams.kafka.records import Columns, whole

aiokafka_patches.apply()

#: How long the consumer thread waits for data before it looks again at which partitions it may fetch, in ms.
POLL_MS = 20
#: How often the main thread looks whether the consumer thread still fetches, in seconds.
FETCH_SECONDS = 0.5
HEARTBEAT_SECONDS_MAX = 0.5
#: Faust must have its streams running so soon after an assignment; it has known ways to hang there.
RESUME_SECONDS_MAX = 60.0


class NoTables(TableManager):
    """Faust's tables, of which we have none: a start need not wait a second for them to be named."""

    async def sleep(self, n: Any) -> None:
        """Go on at once."""


def faust_settings(
    bootstrap_servers: str, *, session_seconds: float = 6.0, instance_id: str | None = None
) -> dict[str, Any]:
    """Return the arguments of ``faust.App`` that the transport relies on.

    Parameters
    ----------
    session_seconds : float
        A worker that is not heard of for this long loses its partitions.
    instance_id : str or None
        Makes the worker a static member: a restart within ``session_seconds`` causes no rebalance.
    """
    servers = [server.strip() for server in bootstrap_servers.split(",")]
    return {
        "broker": ";".join(f"blocks://{server}" for server in servers),
        "consumer_group_instance_id": instance_id,
        "PartitionAssignor": EvenAssignor,
        "TableManager": NoTables,
        "broker_session_timeout": session_seconds,
        # A member learns of a rebalance by its heartbeat, and all the others wait for it.
        "broker_heartbeat_interval": min(session_seconds / 4, HEARTBEAT_SECONDS_MAX),
        # A JoinGroup lasts as long as a rebalance may; a shorter request time-out leaves phantom members
        # behind.
        "broker_rebalance_timeout": max(session_seconds, 30.0),
        "broker_request_timeout": max(session_seconds, 30.0) + 10.0,
        "stream_wait_empty": False,  # the owner drains, within a bounded time
        "stream_publish_on_commit": False,
        "broker_commit_interval": 10.0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "store": "memory://",
        "autodiscover": False,
        "datadir": tempfile.gettempdir() + "/crossmargin-faust",  # Faust makes it; nothing of ours is in it
    }


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one fetch took of one partition: the position before and after, the records, and how much more there is."""

    lease: Lease
    before: int
    after: int
    records: Sequence[ConsumerRecord]
    left: int


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread with aiokafka's consumer: heartbeats go on while the main thread computes."""

    def _create_worker_consumer(self, _transport: Any) -> AIOKafkaConsumer:
        conf, fetching = self.app.conf, self.app.block_owner.fetching
        self._assignor = self.app.assignor
        return AIOKafkaConsumer(
            **fetching.client,
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            partition_assignment_strategy=[self._assignor],
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            enable_auto_commit=False,
            # A position is always set by us; that the broker no longer has it is an error, not a reason to
            # jump.
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=fetching.fetch_max_wait_ms,
            max_partition_fetch_bytes=fetching.partition_fetch_bytes,
            value_deserializer=Columns(fetching.column_topics),
            check_crcs=conf.broker_check_crcs,
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
        )

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Run a coroutine in this thread; in order, and cancelled with the future."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.thread_loop))

    async def seek_to(self, tp: TopicPartition, offset: int) -> None:
        """Set the position of a partition (to be run in this thread)."""
        self._ensure_consumer().seek(tp, offset)

    async def fetch(
        self,
        wanted: Callable[[], Mapping[TopicPartition, Lease]],
        hand_over: Callable[[Sequence[Fetched]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Fetch while anything is wanted, and hand what moved over to the other loop, as soon as something did.

        The broker is asked again without waiting for the main thread; `wanted` says each time what may be asked for.
        """
        consumer = self._ensure_consumer()
        while leases := wanted():  # to aiokafka no partitions means all partitions
            before, _ = _positions(consumer, leases)
            records = await consumer.getmany(*leases, timeout_ms=POLL_MS)
            after, ends = _positions(consumer, leases)
            fetched = [
                Fetched(lease, before[tp], after[tp], whole(records.get(tp, ())), ends[tp] - after[tp])
                for tp, lease in leases.items()
                if before[tp] != after[tp]
            ]
            if fetched:
                for part in fetched:
                    part.lease.fetched += 1
                loop.call_soon_threadsafe(hand_over, fetched)


def _positions(
    consumer: Any, tps: Iterable[TopicPartition]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """The positions of partitions that are assigned and were sought, and the ends of what the broker had to read.

    aiokafka's own way to the positions is a coroutine for each.
    """
    subscription = consumer._subscription.subscription
    assignment = None if subscription is None else subscription.assignment
    found = {} if assignment is None else {tp: assignment.state_value(tp) for tp in tps if tp in assignment.tps}
    if not found.keys() >= set(tps) or not all(state.has_valid_position for state in found.values()):
        raise IllegalStateError("partitions must be assigned and have a position")
    positions = {tp: state.position for tp, state in found.items()}
    return positions, {tp: state.lso or positions[tp] for tp, state in found.items()}


class Consumer(driver.Consumer):
    """Faust's consumer with our delivery: leases, blocks, and no commit."""

    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._owner: Owner = self.app.block_owner
        self._leases: dict[TopicPartition, Lease] = {}  # replaced, never changed: the consumer thread reads it
        self._opening: list[asyncio.Task[None]] = []
        self._fetch: asyncio.Future[None] | None = None
        self._fetched: deque[Fetched] = deque()  # handed over, to be delivered
        self._wake = asyncio.Event()
        # Faust's steps of a rebalance can be late and belong to the one before: they are told apart by this
        # number.
        self._rebalance = 0
        self._resuming = -1
        self._fetching = -1
        self._assigned: frozenset[TopicPartition] | None = None  # while the group is settling it

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- the life of a lease

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """End all leases (an eager rebalance takes everything), then let Faust stop its streams."""
        self._rebalance += 1
        self._assigned = None
        leases = await self._end_leases()
        try:
            await super().on_partitions_revoked(revoked)
            await self._owner.close(leases)
        except Exception as error:  # aiokafka would log it and go on
            fatal(f"partitions must be let go, found {error!r}", error)

    async def on_partitions_assigned(self, assigned: Any, generation_id: int = 0) -> None:
        """Remember what we were given; leases begin when Faust's queues are open again."""
        self._rebalance += 1
        self._assigned = frozenset(TopicPartition(*tp) for tp in assigned)
        self.loop.call_later(RESUME_SECONDS_MAX, self._check_resumed, self._rebalance)
        try:
            await super().on_partitions_assigned(assigned, generation_id)
        except Exception as error:  # aiokafka would log it and go on
            fatal(f"partitions must be taken over, found {error!r}", error)

    def _check_resumed(self, rebalance: int) -> None:
        if rebalance == self._rebalance and self._assigned and not self._leases and not self.should_stop:
            fatal(f"streams must run within {RESUME_SECONDS_MAX:g} s of an assignment, Faust has not resumed them")

    async def perform_seek(self) -> None:
        """Faust would seek to its own committed offsets here; positions are the owner's."""
        self._resuming = self._rebalance

    def resume_flow(self) -> None:
        """Begin the leases, unless this is a late step of an earlier rebalance.

        Faust clears its queues for the last time just before it calls this, so nothing delivered later is
        lost.
        """
        super().resume_flow()
        assigned = self._assigned
        if self._resuming != self._rebalance or assigned is None or self._leases or self.should_stop:
            return
        self._leases = {tp: Lease(tp, self._wake.set) for tp in sorted(assigned)}
        self._opening = [asyncio.create_task(self._begin(lease)) for lease in self._leases.values()]

    async def _begin(self, lease: Lease) -> None:
        try:
            offset = await self._owner.open(lease)
            await self._thread.submit(self._thread.seek_to(lease.tp, offset))
        except IllegalStateError:  # not ours any more: the consumer thread is already in the next rebalance
            return
        except Exception as error:
            fatal(f"{partition_name(lease.tp)} must open, found {error!r}", error)
        if lease.alive:
            lease.begin(offset)
            self._wake.set()

    async def _end_leases(self) -> list[Lease]:
        leases, self._leases = list(self._leases.values()), {}
        for lease in leases:
            lease.alive = False
        if self._fetch is not None:
            # It must not take records of the next lease. Cancelling is queued before any seek of that lease.
            self._fetch.cancel()
        opening, self._opening = self._opening, []
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        return leases

    async def on_stop(self) -> None:
        """Let everything go while the group still counts us in, and never take longer than we may."""
        seconds = self._owner.fetching.stop_seconds_max
        timer = threading.Timer(seconds, fatal, [f"a worker told to stop must stop within {seconds:g} s"])
        timer.daemon = True
        timer.start()
        self._rebalance += 1
        self._assigned = None
        await self._owner.close(await self._end_leases())
        await super().on_stop()

    @property
    def settled(self) -> bool:
        """Whether the group has said what we hold, be it nothing, and all of that is open."""
        leases = self._leases
        return leases.keys() == self._assigned and all(lease.position is not None for lease in leases.values())

    # -- delivery

    def wanted(self) -> dict[TopicPartition, Lease]:
        """Return the partitions to fetch now; called from the consumer thread too."""
        limit = self._owner.fetching.blocks_in_flight_max
        return {tp: lease for tp, lease in self._leases.items() if lease.has_room(limit)}

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch and deliver until stopped (Faust's fetcher runs this)."""
        try:
            await self._fetch_and_deliver(fetcher)
        except asyncio.CancelledError:
            # Faust takes a cancelled fetcher in a rebalance for one to start again, even when the worker stops.
            if not self.app.should_stop:
                raise

    async def _fetch_and_deliver(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                self._wake.clear()
                while self._fetched:
                    await self._deliver(self._fetched.popleft())
                await self._keep_fetching()
                if not self._fetched:
                    timer = self.loop.call_later(FETCH_SECONDS, self._wake.set)
                    await self._wake.wait()
                    timer.cancel()
        finally:
            if self._fetch is not None:
                self._fetch.cancel()

    async def _keep_fetching(self) -> None:
        """See that the consumer thread fetches if there is anything to fetch, and why it stopped if it did."""
        fetch, rebalance = self._fetch, self._rebalance
        if fetch is not None and fetch.done():
            self._fetch = None
            if not fetch.cancelled() and (error := fetch.exception()) is not None and rebalance == self._fetching:
                await self._fetch_failed(error)
        if self._fetch is None and self.wanted():
            self._fetching = rebalance
            self._fetch = self._thread.submit(self._thread.fetch(self.wanted, self._hand_over, self.loop))
            self._fetch.add_done_callback(lambda _: self._wake.set())

    def _hand_over(self, fetched: Sequence[Fetched]) -> None:
        self._fetched += fetched
        self._wake.set()

    async def _fetch_failed(self, error: BaseException) -> None:
        if isinstance(error, OffsetOutOfRangeError):
            gone = ", ".join(f"{partition_name(tp)} offset {offset}" for tp, offset in error.args[0].items())
            fatal(f"the broker must still have what was not read yet, it has not: {gone}")
        if not isinstance(error, ConsumerStoppedError) and not self.app.rebalancing:
            fatal(f"fetching must work, found {error!r}", error)
        await asyncio.sleep(POLL_MS / 1000)

    async def _deliver(self, fetched: Fetched) -> None:
        lease = fetched.lease
        lease.handed_over += 1
        if not lease.alive:
            return
        if fetched.before != lease.position:
            fatal(f"{partition_name(lease.tp)} must be read from {lease.position}, was from {fetched.before}")
        lease.left = fetched.left
        for block in lease.cut(fetched.records, fetched.after, self._owner.fetching.block_records_max):
            if not lease.alive:  # a rebalance came while the queue was closed
                return
            await self.callback(self._block_message(block))

    def _block_message(self, block: Block) -> ConsumerMessage:
        """What Faust takes for one message: the block, under the offset of its last record."""
        topic, partition = block.tp
        last = block.records[-1]
        return ConsumerMessage(
            topic,
            partition,
            last.offset,
            last.timestamp / 1000.0,
            0,
            [],
            None,
            block,
            None,
            tp=cast(Any, block.tp),
            generation_id=self.app.consumer_generation_id,
        )

    # -- what Faust must not do

    def _filter_tps_with_pending_acks(self, _topics: Any = None) -> Iterator[Any]:
        """Nothing is ever committed by Faust; forget what its streams noted down for that."""
        self._acked.clear()
        self._acked_index.clear()
        return iter(())

    def on_buffer_full(self, tp: Any) -> None:
        """Leases bound what is in the queues."""

    def on_buffer_drop(self, tp: Any) -> None:
        """Leases bound what is in the queues."""

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Faust's watchdog takes a partition whose offset it doesn't commit for a hanging one."""


class Producer(driver.Producer):
    """Faust's own producer, which we send nothing with, connected as everything else is."""

    def _new_producer(self, _transactional_id: str | None = None) -> AIOKafkaProducer:
        return AIOKafkaProducer(**self.app.block_owner.fetching.client)


class Transport(driver.Transport):
    """``blocks://host:port``, found by Faust through the entry point group ``faust.transports``."""

    Consumer: ClassVar[Any] = Consumer
    Producer: ClassVar[Any] = Producer
