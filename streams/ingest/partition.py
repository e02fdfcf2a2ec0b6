"""Ingest of one source partition: messages in, journal blocks and dead letters out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.dead_letters import DeadLetter, Refused, dead_letter
from schemas.journal import Block
from streams.ingest.blocks import BlockWriter
from streams.ingest.checks import Shards
from streams.ingest.collateral import CollateralWriter
from streams.ingest.fills import FillWriter
from streams.ingest.messages import Message
from streams.ingest.terms import POSITION_KEY, Terms
from streams.ingest.writers import AccountWriter, Batch, FundingWriter, TermsWriter, Writer

#: Logical topic -> what writes its messages into blocks.
WRITERS: dict[str, type[Writer]] = {
    "fills": FillWriter,
    "collateral": CollateralWriter,
    "funding-rates": FundingWriter,
    "accounts": AccountWriter,
    "instruments": TermsWriter,
}


@dataclass(frozen=True, kw_only=True)
class IngestResult:
    """What a batch of messages came to. Every message is in `blocks` or in `dead_letters`, exactly once.

    Parameters
    ----------
    blocks : (journal partition, block), ordered; to be written in one transaction with the dead letters
    dead_letters : in order of source offset
    changelog : key and value of records for the recovery of the terms, for the same transaction; of `instruments`
    rows : messages taken
    unknown_fields : fields passed over because the record does not know them
    newest_ms : the latest time in the accepted messages, epoch ms; 0 where there is none
    unknown_ids : instruments and assets that were not published as far as `terms` has read. Where there are
        any, nothing was taken: read `instruments` to its end and take the batch again with final=True
    """

    blocks: list[tuple[int, Block]] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    changelog: list[tuple[bytes, bytes]] = field(default_factory=list)
    rows: int = 0
    unknown_fields: int = 0
    newest_ms: int = 0
    unknown_ids: frozenset[str] = frozenset()


class IngestPartition:
    """The fold over one partition of one source topic. It remembers which terms it has told which shard.

    Parameters
    ----------
    topic : logical name, one of WRITERS
    source_topic : the broker's name, for coordinates
    partition : of the source topic
    shards : number of journal partitions
    message_bytes_max : longer values are refused
    max_future_ms : how far a message's time may be ahead of `now_ms`
    """

    def __init__(
        self,
        *,
        topic: str,
        source_topic: str,
        partition: int,
        shards: int,
        message_bytes_max: int,
        max_future_ms: int,
    ) -> None:
        self.topic = topic
        self.source_topic = source_topic
        self.partition = partition
        self._message_bytes_max = message_bytes_max
        self._max_future_ms = max_future_ms
        self._writer = WRITERS[topic](Shards(shards))
        self._told: list[set[str]] = [set() for _ in range(shards)]

    def take(self, messages: Sequence[Message], terms: Terms, now_ms: int, *, final: bool = False) -> IngestResult:
        """Turn messages, in offset order, into blocks and dead letters.

        Parameters
        ----------
        terms : for `instruments` itself the fold goes on in it; it may have been read further already
        now_ms : the clock that times are held against, epoch ms
        final : unknown instruments and assets are refused instead of reported

        Examples
        --------
        >>> fills = IngestPartition(topic="fills", source_topic="fills", partition=0, shards=4,
        ...                         message_bytes_max=262144, max_future_ms=60000)
        >>> [letter.reason for letter in fills.take([Message(7, None, b"[]", 0)], Terms(262144), 0).dead_letters]
        ["the value must be a JSON object, found '[]'"]
        """
        if not messages:
            return IngestResult()
        blocks = BlockWriter(
            kind=self._writer.kind,
            topic=self.source_topic,
            partition=self.partition,
            first=messages[0][0],
            told=self._told,
        )
        batch = Batch(terms, now_ms + self._max_future_ms, self._message_bytes_max, blocks)
        unknown_fields = self._writer.unknown_fields
        newest_ms, refused = self._writer.write(messages, batch)
        unknown_ids = {reason.missing for _, reason in refused if reason.missing is not None}
        if unknown_ids and not final:
            blocks.abandon()
            return IngestResult(unknown_ids=frozenset(unknown_ids))
        next_offset = messages[-1][0] + 1
        if self.topic == "instruments":
            batch.changelog.append((POSITION_KEY, str(next_offset).encode()))
        return IngestResult(
            blocks=blocks.finish(next_offset),
            dead_letters=[self._dead_letter(reason, message) for message, reason in refused],
            changelog=batch.changelog,
            rows=len(messages),
            unknown_fields=self._writer.unknown_fields - unknown_fields,
            newest_ms=newest_ms,
        )

    def _dead_letter(self, refused: Refused, message: Message) -> DeadLetter:
        offset, key, value, timestamp = message
        return dead_letter(
            refused,
            topic=self.source_topic,
            partition=self.partition,
            offset=offset,
            timestamp=timestamp,
            key=key,
            value=value,
            value_bytes_max=self._message_bytes_max,
        )
