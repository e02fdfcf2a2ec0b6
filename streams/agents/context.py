"""What the agents of one worker share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition

from streams.kafka.marks_reader import MarksReader
from streams.kafka.terms_reader import TermsReader
from streams.kafka.volatilities_reader import VolatilitiesReader
from streams.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Context:
    """Parameters
    ----------
    counts : partitions of each topic, by the broker's name
    terms : the table of instruments and assets, and how to read on in it
    marks : prices of symbols that other partitions' oracles made
    volatilities : those that were accepted
    progress_ms : up to when the sources are surely ingested, asked at an oracle time; None: all that is there
    backlog : whether the sources still hold unread what was there when this worker began to ask
    """

    settings: Settings
    counts: Mapping[str, int]
    terms: TermsReader
    marks: MarksReader
    volatilities: VolatilitiesReader
    progress_ms: Callable[[int], int | None]
    backlog: Callable[[], bool]

    def partition(self, logical: str, number: int) -> TopicPartition:
        """Partition `number` of a topic, wrapped to what there is."""
        topic = self.settings.topic(logical)
        return TopicPartition(topic, number % self.counts[topic])
