"""Prices of other partitions: what is read of `marks`, and how often from its beginning."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest
from aiokafka import ConsumerRecord, TopicPartition

from schemas.sharding import shard_of
from streams.kafka import marks_reader
from streams.kafka.marks_reader import MarksReader

PARTITIONS = 2


def mark(symbol: str, index: str) -> dict[str, Any]:
    return {"symbol": symbol, "index": index, "confidence": "0", "state": "ok", "time": 8, "quote_time": 7}


class Broker:
    """The topic in memory, and a consumer of it; `begun` are the partitions read from the beginning, in order."""

    def __init__(self) -> None:
        self.logs: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]] = {
            TopicPartition("marks", number): [] for number in range(PARTITIONS)
        }
        self.begun: list[int] = []
        self._positions: dict[TopicPartition, int] = {}

    def say(self, symbol: str, index: str) -> None:
        tp = TopicPartition("marks", shard_of(symbol, PARTITIONS))
        log, value = self.logs[tp], orjson.dumps(mark(symbol, index))
        log.append(ConsumerRecord("marks", tp.partition, len(log), 0, 0, symbol.encode(), value, None, 0, 0, ()))

    def __call__(self, **_: Any) -> "Broker":
        return self

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def assign(self, places: Sequence[TopicPartition]) -> None:
        self._positions = dict.fromkeys(places, 0)

    def assignment(self) -> Sequence[TopicPartition]:
        return list(self._positions)

    async def seek_to_beginning(self, *places: TopicPartition) -> None:
        self.begun += [place.partition for place in places]

    async def end_offsets(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {place: len(self.logs[place]) for place in places}

    async def position(self, place: TopicPartition) -> int:
        return self._positions[place]

    async def getmany(self, *, timeout_ms: int) -> Mapping[TopicPartition, Sequence[ConsumerRecord[bytes, bytes]]]:
        assert timeout_ms
        found = {place: self.logs[place][position:] for place, position in self._positions.items()}
        self._positions = {place: len(self.logs[place]) for place in self._positions}
        return found


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    found = Broker()
    monkeypatch.setattr(marks_reader, "AIOKafkaConsumer", found)
    return found


def test_nothing_is_read_until_something_is_wanted(broker: Broker) -> None:
    """Most operators' prices are in the reporting currency: they must not pay for what they do not use."""
    broker.say("BTC", "1")
    reader = MarksReader({}, "marks", PARTITIONS)
    asyncio.run(reader.refresh())
    assert (broker.begun, reader.rows, reader.edition) == ([], {}, 0)


def test_the_latest_of_what_is_wanted(broker: Broker) -> None:
    """A rate that moved must be the one that quotes are converted by."""

    async def check() -> None:
        reader = MarksReader({}, "marks", PARTITIONS)
        broker.say("BTC", "1")
        broker.say("BTC", "2")
        reader.want(["BTC"])
        await reader.refresh()
        assert (reader.rows["BTC"].price, reader.edition) == (2.0, 1)
        await reader.refresh()
        assert reader.edition == 1
        broker.say("BTC", "3")
        await reader.refresh()
        assert (reader.rows["BTC"].price, reader.rows["BTC"].quote_time, reader.edition) == (3.0, 7, 2)

    asyncio.run(check())


def test_invented_symbols_cost_nothing(broker: Broker) -> None:
    """A source that states each quote in another asset must not have `marks` read anew each time, nor fill memory with
    their names: a partition is read from its beginning when the first symbol of it is wanted, or another partition."""

    async def check() -> None:
        reader = MarksReader({}, "marks", PARTITIONS)
        broker.say("BTC", "1")
        broker.say("ETH", "2")
        for number in range(100):
            reader.want(["BTC", f"INVENTED-{number}"])
            await reader.refresh()
        assert len(broker.begun) <= 1 + PARTITIONS
        assert set(reader.rows) == {"BTC", "ETH"}
        known = [name for name, value in vars(reader).items() if "INVENTED" in repr(value)]
        assert known == []

    asyncio.run(check())
