"""What the agents of one worker share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition

from streams.kafka.terms_reader import TermsReader
from streams.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Context:
    """Parameters
    ----------
    counts : partitions of each topic, by the broker's name
    terms : the table of instruments and assets, and how to read on in it
    progress_ms : time of the oldest source record that is not ingested yet, None where all are
    """

    settings: Settings
    counts: Mapping[str, int]
    terms: TermsReader
    progress_ms: Callable[[], int | None]

    def partition(self, logical: str, number: int) -> TopicPartition:
        """Partition `number` of a topic, wrapped to what there is."""
        topic = self.settings.topic(logical)
        return TopicPartition(topic, number % self.counts[topic])
