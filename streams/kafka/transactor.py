"""The requests of a transaction, in the fewest round trips that Kafka allows.

aiokafka's sender asks one thing after another, and sends data while the coordinator still adds the group's offsets: the
broker refuses that data once ("concurrent transactions") and has to be sent it again. Here data and offsets go out
together and then the end: two waits. Where the cluster doesn't speak the protocol of Kafka 4 for that, partitions and
group are added before, in two requests on one socket: three waits. What each answer means, and what may be asked again,
is as in aiokafka's sender.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import aiokafka.errors as errors
from aiokafka import TopicPartition
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.producer.transaction_manager import PidAndEpoch
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    TxnOffsetCommitRequest,
)

from streams.kafka import transactions_v2 as v2

#: Seconds until a question is put again while the broker settles the transaction before, which takes 1-5 ms
#: (KAFKA-5477), but not more often than this; and after any other fault that passes.
SETTLING_SECONDS = 0.002
SETTLING_ATTEMPTS = 10
FAULT_SECONDS = 0.02
ALL_REPLICAS = -1

#: What a broker says while it settles the transaction before, or checks data and offsets of this one at the same time:
#: the first, or by who answers and in which version one of the others.
_SETTLING = {
    errors.ConcurrentTransactions.errno,
    errors.NotEnoughReplicasError.errno,
    errors.CoordinatorLoadInProgressError.errno,
    errors.CoordinatorNotAvailableError.errno,
}
#: There is a newer producer of the same transactional id: in the words of older and newer answers.
_FENCED = {errors.InvalidProducerEpoch.errno, 90}
#: The coordinator is another one, or not ready.
_MOVED = {
    errors.CoordinatorNotAvailableError.errno,
    errors.NotCoordinatorError.errno,
    errors.RequestTimedOutError.errno,
}
_PASSING = _SETTLING | _MOVED | {errors.UnknownTopicOrPartitionError.errno}
#: Nothing was done because of another partition's error in the same request.
_NOT_ATTEMPTED = errors.OperationNotAttempted.errno


class Transactor:
    """Commits transactions of one started transactional producer, one at a time.

    Parameters
    ----------
    producer : AIOKafkaProducer
        Started: its id is the broker's latest of this transactional id. It must send nothing itself meanwhile.
    implicit : bool
        Whether the cluster speaks the protocol of `streams.kafka.transactions_v2`.
    data_seconds_max : float
        Data that no leader took for so long is given up; the transaction has timed out by then. A transaction whose
        coordinators have not decided it after twice that is given up too, whatever it waits for.
    """

    def __init__(self, producer: Any, *, implicit: bool, data_seconds_max: float) -> None:
        self._producer = producer
        self._client = producer.client
        self._state = producer._txn_manager
        self._implicit = implicit
        self._data_seconds_max = data_seconds_max
        self._coordinators: dict[Any, int] = {}
        self._open = False

    async def commit(
        self, batches: Mapping[TopicPartition, Sequence[Any]], offsets: Mapping[TopicPartition, int], group: str
    ) -> None:
        """Write batches and source offsets; when it returns, the broker has decided to commit them.

        Passing faults (no connection, another leader or coordinator) are waited out, within those limits.

        Raises
        ------
        KafkaError
            The transaction is not known to be committed, and no other can follow on this producer.
        """
        if self._open:
            raise errors.IllegalStateError("the transaction before must be ended, found it open")
        if not batches and not offsets:
            return
        self._open = True
        seconds_max = 2 * self._data_seconds_max
        try:
            async with asyncio.timeout(seconds_max):
                await self._steps(batches, offsets, group)
        except TimeoutError:
            raise errors.KafkaTimeoutError(f"a transaction must be decided within {seconds_max:g} s") from None
        self._open = False

    async def _steps(
        self, batches: Mapping[TopicPartition, Sequence[Any]], offsets: Mapping[TopicPartition, int], group: str
    ) -> None:
        if not self._implicit:  # one after the other on the coordinator's socket; data before both are added is refused
            steps = [self._add_partitions(batches)] if batches else []
            await asyncio.gather(*steps, *([self._add_group(group)] if offsets else []))
        steps = [self._send(batches)] if batches else []
        await asyncio.gather(*steps, *([self._commit_offsets(offsets, group)] if offsets else []))
        await self._end()

    # -- the coordinators' part

    async def _add_partitions(self, tps: Iterable[TopicPartition]) -> None:
        request = AddPartitionsToTxnRequest(**self._identity(), topics=_by_topic((tp, tp.partition) for tp in tps))
        await self._ask_own(request, _partition_codes)

    async def _add_group(self, group: str) -> None:
        await self._ask_own(AddOffsetsToTxnRequest(**self._identity(), group_id=group), _code)

    async def _commit_offsets(self, offsets: Mapping[TopicPartition, int], group: str) -> None:
        topics = _by_topic((tp, (tp.partition, offset, "")) for tp, offset in sorted(offsets.items()))
        kind: Any = v2.Offsets if self._implicit else TxnOffsetCommitRequest
        request = kind(**self._identity(), group_id=group, topics=topics)
        await self._ask(CoordinationType.GROUP, group, request, _partition_codes)

    async def _end(self) -> None:
        kind: Any = v2.End if self._implicit else EndTxnRequest
        answer = await self._ask_own(kind(**self._identity(), transaction_result=True), _code)
        if self._implicit:
            self._state._pid_and_epoch = PidAndEpoch(answer.producer_id, answer.producer_epoch)
            self._state._sequence_numbers.clear()  # they count within an epoch

    def _identity(self) -> dict[str, Any]:
        state = self._state
        return {
            "transactional_id": state.transactional_id,
            "producer_id": state.producer_id,
            "producer_epoch": state.producer_epoch,
        }

    async def _ask_own(self, request: Any, codes_of: Callable[[Any], Iterable[int]]) -> Any:
        return await self._ask(CoordinationType.TRANSACTION, self._state.transactional_id, request, codes_of)

    async def _ask(self, kind: Any, key: str, request: Any, codes_of: Callable[[Any], Iterable[int]]) -> Any:
        """The answer of a coordinator that did what is asked; each of these may be done twice."""
        attempts = 0
        while True:
            node = await self._coordinator(kind, key)
            try:
                answer = await self._client.send(node, request, group=ConnectionGroup.COORDINATION)
            except errors.IncompatibleBrokerVersion:
                raise
            except errors.KafkaError:  # no connection, or lost before the answer
                codes = {errors.NotCoordinatorError.errno}
            else:
                codes = set(codes_of(answer)) - {0}
            if not codes:
                return answer
            for code in codes - _PASSING - {_NOT_ATTEMPTED}:
                raise _refusal(code)
            attempts += 1
            if codes <= _SETTLING | {_NOT_ATTEMPTED} and attempts <= SETTLING_ATTEMPTS:
                await asyncio.sleep(SETTLING_SECONDS)
                continue
            if codes & _MOVED:
                self._coordinators.pop(kind, None)
            await asyncio.sleep(FAULT_SECONDS)

    async def _coordinator(self, kind: Any, key: str) -> int:
        """The node that coordinates, connected; aiokafka's sender gives up where a connection ends at the question."""
        while kind not in self._coordinators:
            try:
                node = await self._client.coordinator_lookup(kind, key)
                if await self._client.ready(node, group=ConnectionGroup.COORDINATION):
                    self._coordinators[kind] = node
                    break
            except errors.KafkaError as error:
                if not error.retriable:
                    raise
            await asyncio.sleep(FAULT_SECONDS)
            await self._client.force_metadata_update()
        return self._coordinators[kind]

    # -- the leaders' part

    async def _send(self, batches: Mapping[TopicPartition, Sequence[Any]]) -> None:
        """Send all batches to the leaders of their partitions, of each partition one after the other."""
        left = {tp: deque(self._numbered(tp, batch) for batch in own) for tp, own in batches.items()}
        until = time.monotonic() + self._data_seconds_max
        attempts = 0
        while left:
            led: defaultdict[int, dict[TopicPartition, bytes]] = defaultdict(dict)
            for tp, parts in left.items():
                await self._client._wait_on_metadata(tp.topic)
                led[self._client.cluster.leader_for_partition(tp)][tp] = parts[0]
            answers = await asyncio.gather(*(self._produce(node, data) for node, data in led.items()))
            faults = set()
            for tp, code in (pair for answer in answers for pair in answer.items()):
                if code in (0, errors.DuplicateSequenceNumber.errno):  # written now, or when the answer was lost
                    left[tp].popleft()
                elif code in _SETTLING or _error(code).retriable:
                    faults.add(code)
                else:
                    raise _refusal(code)
            left = {tp: parts for tp, parts in left.items() if parts}
            if not faults:
                continue
            if time.monotonic() > until:
                names = ", ".join(f"{tp.topic}[{tp.partition}]" for tp in left)
                raise errors.KafkaTimeoutError(f"data must be taken within {self._data_seconds_max:g} s: {names}")
            attempts += 1
            if faults <= _SETTLING and attempts <= SETTLING_ATTEMPTS:
                await asyncio.sleep(SETTLING_SECONDS)
            else:
                await asyncio.sleep(FAULT_SECONDS)
                await self._client.force_metadata_update()

    def _numbered(self, tp: TopicPartition, batch: Any) -> bytes:
        """A batch's bytes with the next sequence numbers of its partition, by which the broker knows a repetition."""
        state = self._state
        batch._set_producer_state(state.producer_id, state.producer_epoch, state.sequence_number(tp))
        state.increment_sequence_number(tp, batch.record_count())
        data: bytes = batch._build()
        return data

    async def _produce(self, node: int | None, data: Mapping[TopicPartition, bytes]) -> dict[TopicPartition, int]:
        """One request to a leader; the error code of each partition, 0 where it is written."""
        if node is None or node < 0:
            return dict.fromkeys(data, errors.LeaderNotAvailableError.errno)
        kind: Any = v2.Produce if self._implicit else ProduceRequest
        request = kind(
            transactional_id=self._state.transactional_id,
            required_acks=ALL_REPLICAS,
            timeout=int(self._data_seconds_max * 1000),
            topics=_by_topic((tp, (tp.partition, part)) for tp, part in data.items()),
        )
        try:
            answer = await self._client.send(node, request)
        except errors.KafkaError as error:
            if not error.retriable:
                raise
            return dict.fromkeys(data, errors.RequestTimedOutError.errno)
        return {TopicPartition(topic, row[0]): row[1] for topic, rows, *_ in answer.topics for row in rows}


def _by_topic(rows: Iterable[tuple[TopicPartition, Any]]) -> list[tuple[str, list[Any]]]:
    """Entries of partitions as requests have them."""
    topics: defaultdict[str, list[Any]] = defaultdict(list)
    for tp, entry in rows:
        topics[tp.topic].append(entry)
    return list(topics.items())


def _code(answer: Any) -> Iterable[int]:
    return (answer.error_code,)


def _partition_codes(answer: Any) -> Iterable[int]:
    return (row[1] for _, rows, *_ in answer.errors for row in rows)


def _error(code: int) -> Any:
    return errors.for_code(code)


def _refusal(code: int) -> Exception:
    error: Exception = errors.ProducerFenced() if code in _FENCED else _error(code)()
    return error
