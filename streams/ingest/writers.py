"""What the writers of all source topics have in common, and the three short ones: funding, accounts, instruments.

A writer turns one message into rows of journal blocks, or refuses it; it checks all before it writes any.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from schemas.accounts import AccountSettings
from schemas.codec import Reader
from schemas.dead_letters import Refused
from schemas.fields import Record, legal_account, scaled, shown
from schemas.funding import FundingRate
from streams.ingest.blocks import BlockWriter
from streams.ingest.checks import Shards, event_time, price_ticks
from streams.ingest.messages import Message
from streams.ingest.term_rules import settings_row
from streams.ingest.terms import Terms, check_size, key_text

#: Funding rates are counted in units of 1e-12.
_RATE_PLACES = 12


@dataclass(frozen=True, slots=True)
class Batch:
    """What the messages of one batch share.

    Parameters
    ----------
    terms : instruments and assets as far as they have been read
    latest_ms : the latest time a message may have, epoch ms
    bytes_max : longer values are refused
    blocks : where rows go
    changelog : records for the recovery of `terms`; of `instruments` only
    """

    terms: Terms
    latest_ms: int
    bytes_max: int
    blocks: BlockWriter
    changelog: list[tuple[bytes, bytes]] = field(default_factory=list)


class Written(NamedTuple):
    """What came of a batch besides its blocks.

    Parameters
    ----------
    newest_ms : the latest time in the accepted messages, epoch ms; 0 where there is none
    refused : the messages that were refused, in order, and why
    """

    newest_ms: int
    refused: list[tuple[Message, Refused]]


class Writer(ABC):
    """Turns the messages of one topic into rows.

    Attributes
    ----------
    kind : of the blocks it fills
    """

    kind: ClassVar[str]
    record: ClassVar[type[Record]]

    def __init__(self, shards: Shards) -> None:
        self.shards = shards
        self.reader: Reader[Any] = Reader(self.record)

    @property
    def unknown_fields(self) -> int:
        """Fields passed over so far because the record does not know them."""
        return self.reader.unknown_fields

    @abstractmethod
    def write(self, messages: Sequence[Message], batch: Batch) -> Written:
        """Put the rows of all messages that are accepted into the blocks."""


class RowWriter(Writer):
    """A writer that takes one message after the other."""

    def write(self, messages: Sequence[Message], batch: Batch) -> Written:
        newest_ms = 0
        refused: list[tuple[Message, Refused]] = []
        for message in messages:
            offset, key, value, _ = message
            try:
                if value is None:
                    self.write_tombstone(offset, key, batch)
                else:
                    check_size(value, batch.bytes_max)
                    newest_ms = max(newest_ms, self.write_row(offset, key, value, batch))
            except Refused as reason:
                refused.append((message, reason))
        return Written(newest_ms, refused)

    @abstractmethod
    def write_row(self, offset: int, key: bytes | None, value: bytes, batch: Batch) -> int:
        """Put the message's rows into the blocks; returns its time in epoch ms, 0 where it has none.

        Raises
        ------
        Refused
            nothing was written.
        """

    def write_tombstone(self, _offset: int, _key: bytes | None, _batch: Batch) -> None:
        """Put the meaning of a null value into the blocks; it has one on compacted topics only.

        Raises
        ------
        Refused
            nothing was written.
        """
        raise no_value()


def no_value() -> Refused:
    """What refuses a null value on a topic that is not compacted."""
    return Refused("tombstone", "the value must not be null on a topic that is not compacted, found null")


class FundingWriter(RowWriter):
    """`funding-rates` -> blocks of funding, every row in every journal partition."""

    kind = "funding"
    record = FundingRate

    def write_row(self, offset: int, _key: bytes | None, value: bytes, batch: Batch) -> int:
        funding: FundingRate = self.reader.read(value)
        time = event_time(funding.time, batch.latest_ms)
        instrument = batch.terms.find_instrument(funding.instrument)
        if not instrument.perpetual:
            raise Refused("bad_value", f"instrument must be a perpetual, found {shown(instrument.id)}")
        rate = scaled(funding.rate, _RATE_PLACES, "rate")
        if abs(rate) > 10**_RATE_PLACES:
            raise Refused("over_range", f"rate must be -1 to 1, found {shown(funding.rate)}")
        price = -1
        if funding.mark_price is not None:
            price = price_ticks(funding.mark_price, instrument, "mark_price")
        for shard in range(self.shards.count):
            draft = batch.blocks.draft(shard, offset)
            batch.blocks.tell(shard, draft, instrument.records)
            draft.add((draft.index("instruments", instrument.id), rate, price, time, offset))
        return time


class AccountWriter(RowWriter):
    """`accounts` -> blocks of settings, each in its account's journal partition."""

    kind = "accounts"
    record = AccountSettings

    def write_row(self, offset: int, key: bytes | None, value: bytes, batch: Batch) -> int:
        account = legal_account(key_text(key), "key")
        settings: AccountSettings = self.reader.read(value)
        if settings.account != account:
            raise Refused("bad_key", f"key must be the account {shown(settings.account)}, found {shown(account)}")
        self._put(settings, offset, batch)
        return 0

    def write_tombstone(self, offset: int, key: bytes | None, batch: Batch) -> None:
        self._put(AccountSettings(account=legal_account(key_text(key), "key")), offset, batch)

    def _put(self, settings: AccountSettings, offset: int, batch: Batch) -> None:
        row = {**settings_row(settings), "source_offset": offset}
        batch.blocks.draft(self.shards.of(settings.account), offset).add_settings(row)


class TermsWriter(RowWriter):
    """`instruments` -> blocks of terms, every record in every journal partition. Their reader is the table's."""

    kind = "terms"
    record = Record

    def write_row(self, offset: int, key: bytes | None, value: bytes, batch: Batch) -> int:
        self._put(offset, key, value, batch)
        return 0

    def write_tombstone(self, offset: int, key: bytes | None, batch: Batch) -> None:
        self._put(offset, key, None, batch)

    def _put(self, offset: int, key: bytes | None, value: bytes | None, batch: Batch) -> None:
        before = batch.terms.unknown_fields
        told = batch.terms.add(offset, key, value)
        self.reader.unknown_fields += batch.terms.unknown_fields - before
        for record in told:
            for shard in range(self.shards.count):
                batch.blocks.draft(shard, offset).add_terms([record])
        entry = batch.terms.entry(offset, key, value)
        if entry is not None:
            batch.changelog.append(entry)
