"""A transaction's requests: their order, what is asked again, and what ends the writer; the broker is a script."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from types import SimpleNamespace
from typing import Any

import aiokafka.errors as errors
import pytest
from aiokafka import TopicPartition
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    TxnOffsetCommitRequest,
)

from streams.kafka import transactions_v2 as v2
from streams.kafka import transactor as module
from streams.kafka.transactor import Transactor

A, B = TopicPartition("out", 0), TopicPartition("out", 1)
SOURCE = TopicPartition("source", 7)
NAMES: dict[type, str] = {
    AddPartitionsToTxnRequest: "partitions",
    AddOffsetsToTxnRequest: "group",
    ProduceRequest: "data",
    TxnOffsetCommitRequest: "offsets",
    EndTxnRequest: "end",
    v2.Produce: "data",
    v2.Offsets: "offsets",
    v2.End: "end",
}
OLD = ["partitions", "group", "data", "offsets", "end"]
NEW = ["data", "offsets", "end"]
BOTH = [*((False, what) for what in OLD), *((True, what) for what in NEW)]
CONCURRENT = errors.ConcurrentTransactions.errno
LOST = -99  # the connection ends before the answer


class Batch:
    """Stands for a closed batch builder; its bytes are its first sequence number."""

    def __init__(self, count: int = 1) -> None:
        self._count = count

    def record_count(self) -> int:
        return self._count

    def _set_producer_state(self, _id: int, _epoch: int, sequence: int) -> None:
        self._bytes = b"%d" % sequence

    def _build(self) -> bytes:
        return self._bytes


class Broker:
    """Client, sender and state of a producer: answers each kind of request with the next code of its list, then 0."""

    def __init__(self, **answers: list[int]) -> None:
        self.answers = {name: deque(codes) for name, codes in answers.items()}
        self.asked: list[str] = []
        self.log: list[str] = []
        self.data: list[list[Any]] = []
        self.leaders: dict[TopicPartition, int] = {}
        self.refreshed = 0
        self.client = self
        self._sender = self
        self.cluster = self
        self.transactional_id, self.producer_id, self.producer_epoch = "writer", 5, 1
        self._txn_manager = self
        self._sequence_numbers: defaultdict[TopicPartition, int] = defaultdict(int)

    def sequence_number(self, tp: TopicPartition) -> int:
        return self._sequence_numbers[tp]

    def increment_sequence_number(self, tp: TopicPartition, count: int) -> None:
        self._sequence_numbers[tp] += count

    async def coordinator_lookup(self, _kind: Any, _key: str) -> int:
        self.asked.append("coordinator")
        codes = self.answers.get("coordinator")
        match codes.popleft() if codes else 0:
            case 0:
                return 1
            case code if code == LOST:
                raise errors.KafkaConnectionError("lost")
            case code:
                raise errors.for_code(code)()

    async def ready(self, _node: int, **_: Any) -> bool:
        return True

    async def _wait_on_metadata(self, _topic: str) -> None:
        pass

    def leader_for_partition(self, tp: TopicPartition) -> int:
        return self.leaders.get(tp, 1)

    async def force_metadata_update(self) -> None:
        self.refreshed += 1
        self.leaders.clear()

    async def send(self, _node: int, request: Any, **_: Any) -> Any:
        name = NAMES[type(request)]
        self.asked.append(name)
        self.log.append(f"{name} asked")
        await asyncio.sleep(0)
        codes = self.answers.get(name)
        code = codes.popleft() if codes else 0
        self.log.append(f"{name} answered")
        if code == LOST:
            raise errors.KafkaConnectionError("lost")
        if name == "data":
            self.data.append(request._topics)
        rows = [(topic, [row if isinstance(row, int) else row[0] for row in own])
                for topic, own in getattr(request, "_topics", [])]  # fmt: skip
        topics = [(topic, [(partition, code) for partition in own]) for topic, own in rows]
        return SimpleNamespace(error_code=code, errors=topics, topics=topics, producer_id=5, producer_epoch=2)


async def never(*_: Any, **__: Any) -> Any:
    """No answer."""
    await asyncio.Event().wait()


def commit(
    broker: Broker,
    implicit: bool = False,
    *,
    batches: dict[TopicPartition, list[Any]] | None = None,
    data_seconds_max: float = 30.0,
) -> None:
    transactor = Transactor(broker, implicit=implicit, data_seconds_max=data_seconds_max)
    asyncio.run(transactor.commit({A: [Batch()]} if batches is None else batches, {SOURCE: 9}, "group"))


def test_data_goes_out_when_all_is_added_and_the_end_comes_last() -> None:
    """Data that arrives while the group is being added is refused; an end before the data would commit without it."""
    broker = Broker()
    commit(broker, batches={A: [Batch()], B: [Batch()]})
    first, then, last = broker.log[:4], broker.log[4:8], broker.log[8:]
    assert first == ["partitions asked", "group asked", "partitions answered", "group answered"]
    assert set(then) == {"data asked", "data answered", "offsets asked", "offsets answered"}
    assert last == ["end asked", "end answered"]
    broker = Broker()
    commit(broker, implicit=True)
    assert broker.log[-2:] == last
    assert set(broker.log[:-2]) == set(then)


@pytest.mark.parametrize(("implicit", "what"), BOTH)
@pytest.mark.parametrize("fault", [CONCURRENT, LOST, errors.NotCoordinatorError.errno])
def test_a_fault_that_passes_is_waited_out(implicit: bool, what: str, fault: int) -> None:
    """A restart of the broker, or the transaction before still being settled, must not end a worker."""
    if (what, fault) == ("data", errors.NotCoordinatorError.errno):
        fault = errors.NotLeaderForPartitionError.errno
    broker = Broker(**{what: [fault, fault]})
    commit(broker, implicit)
    assert broker.asked.count(what) == 3
    assert broker.log[-1] == "end answered"
    assert broker.asked.count("end") == (3 if what == "end" else 1)


@pytest.mark.parametrize("fault", [LOST, errors.CoordinatorNotAvailableError.errno], ids=["lost", "not there yet"])
def test_a_coordinator_is_looked_for_until_it_is_found(fault: int) -> None:
    """The broker may go down at that very question; the worker is not to end for it."""
    broker = Broker(coordinator=[fault, fault, fault])
    commit(broker)
    assert broker.asked.count("coordinator") == 5  # of the transaction and of the group
    assert broker.log[-1] == "end answered"
    with pytest.raises(errors.GroupAuthorizationFailedError):
        commit(Broker(coordinator=[errors.GroupAuthorizationFailedError.errno]))


def test_a_coordinator_that_moved_is_looked_for_again() -> None:
    """The one that is known would say so for ever."""
    broker = Broker(offsets=[errors.NotCoordinatorError.errno])
    commit(broker, implicit=True)
    assert broker.asked.count("coordinator") == 3


@pytest.mark.parametrize(("implicit", "what"), [pair for pair in BOTH if pair[1] != "data"])
def test_a_transaction_that_is_never_decided_is_given_up(implicit: bool, what: str) -> None:
    """A writer that asks for ever looks alive, while the accounts of its shard are margined no more."""
    broker = Broker(**{what: [CONCURRENT] * 1000})
    with pytest.raises(errors.KafkaTimeoutError, match=r"a transaction must be decided within 0\.1 s"):
        commit(broker, implicit, data_seconds_max=0.05)
    silent = Broker()
    silent.ready = never  # type: ignore[method-assign]
    with pytest.raises(errors.KafkaTimeoutError):
        commit(silent, implicit, data_seconds_max=0.05)


@pytest.mark.parametrize(("implicit", "what"), BOTH)
@pytest.mark.parametrize("code", [47, 90], ids=["older answers", "newer answers"])
def test_a_fenced_writer_stops_at_once(implicit: bool, what: str, code: int) -> None:
    """Whoever lost the partition must not go on to the end of the transaction."""
    broker = Broker(**{what: [code]})
    with pytest.raises(errors.ProducerFenced):
        commit(broker, implicit)
    assert broker.asked.count(what) == 1
    assert what == "end" or "end" not in broker.asked


def test_data_is_repeated_with_the_same_numbers_and_in_order() -> None:
    """The broker knows a repetition by its sequence numbers: with new ones it would be written twice."""
    duplicate = errors.DuplicateSequenceNumber.errno
    broker = Broker(data=[LOST, duplicate, errors.NotEnoughReplicasError.errno, 0])
    commit(broker, batches={A: [Batch(3), Batch(2)]})
    assert broker.asked.count("data") == 4
    assert [topics[0][1][0] for topics in broker.data] == [(0, b"0"), (0, b"3"), (0, b"3")]
    commit(broker, batches={A: [Batch()]})
    assert broker.data[-1][0][1][0] == (0, b"5")


def test_a_new_epoch_counts_anew() -> None:
    """With numbers of the epoch before, the broker would refuse all data of the next transaction."""
    broker = Broker()
    commit(broker, implicit=True, batches={A: [Batch(3)]})
    assert broker._pid_and_epoch == (5, 2)  # type: ignore[attr-defined]
    commit(broker, implicit=True)
    assert broker.data[-1][0][1][0] == (0, b"0")


def test_data_without_a_leader_is_given_up_in_time() -> None:
    """The broker has ended the transaction by then; a writer that waits for ever would look alive and do nothing."""
    broker = Broker(data=[errors.NotLeaderForPartitionError.errno] * 1000)
    with pytest.raises(errors.KafkaTimeoutError, match=r"data must be taken within 0.3 s: out\[0\]"):
        commit(broker, data_seconds_max=0.3)
    assert broker.refreshed > 1
    assert "end" not in broker.asked
    leaderless = Broker()
    leaderless.leaders = {A: -1}
    commit(leaderless)
    assert leaderless.refreshed == 1


@pytest.mark.parametrize("what", ["data", "offsets"])
def test_a_broker_that_stays_busy_is_asked_less_often(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data and offsets are checked at the same time, which one of them loses for a moment; too few replicas stay."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep, gather=asyncio.gather, timeout=asyncio.timeout))
    busy = errors.NotEnoughReplicasError if what == "data" else errors.CoordinatorLoadInProgressError
    broker = Broker(**{what: [busy.errno] * 12})
    asyncio.run(Transactor(broker, implicit=True, data_seconds_max=1.0).commit({A: [Batch()]}, {SOURCE: 9}, "group"))
    assert waits == [module.SETTLING_SECONDS] * module.SETTLING_ATTEMPTS + [module.FAULT_SECONDS] * 2


def test_an_error_that_stays_is_raised_also_beside_one_that_passes() -> None:
    """A refused topic must end the worker, not have it ask for ever."""
    broker = Broker(offsets=[errors.GroupAuthorizationFailedError.errno])
    with pytest.raises(errors.GroupAuthorizationFailedError):
        commit(broker)


def test_no_transaction_follows_one_that_failed() -> None:
    """What was left open would be committed together with the next one."""
    broker = Broker(data=[errors.MessageSizeTooLargeError.errno])
    transactor = Transactor(broker, implicit=False, data_seconds_max=1.0)

    async def go() -> None:
        with pytest.raises(errors.MessageSizeTooLargeError):
            await transactor.commit({A: [Batch()]}, {}, "group")
        with pytest.raises(errors.IllegalStateError, match="found it open"):
            await transactor.commit({A: [Batch()]}, {}, "group")

    asyncio.run(go())


def test_only_what_there_is_is_asked() -> None:
    """An offset alone, or data alone, takes no request for the other; nothing at all takes none."""
    offsets, data, nothing = Broker(), Broker(), Broker()
    commit(offsets, batches={})
    asyncio.run(Transactor(data, implicit=False, data_seconds_max=1.0).commit({A: [Batch()]}, {}, "group"))
    asyncio.run(Transactor(nothing, implicit=True, data_seconds_max=1.0).commit({}, {}, "group"))
    assert offsets.asked == ["coordinator", "group", "coordinator", "offsets", "end"]
    assert data.asked == ["coordinator", "partitions", "data", "end"]
    assert nothing.asked == []
