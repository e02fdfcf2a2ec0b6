"""Journal blocks under construction: one source partition's rows, sorted by journal partition and cut to size."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from schemas.journal import COLUMNS, Block, Column, pack_ids
from streams.ingest.term_checks import TermsRecord

#: A block takes no further row from here on. What one row adds at most (legs, names and terms of two
#: instruments and four assets, each with all the tiers it may have) keeps every block below 512 KiB.
BLOCK_BYTES = 320 * 1024
#: What a row's columns take, by kind of block, without its id.
ROW_BYTES = {
    kind: sum(np.dtype(item).itemsize for name, item in columns.items() if name != "id_bytes")
    for kind, columns in COLUMNS.items()
}


def name_weight(name: str) -> int:
    """What a name adds at most to the size of the block that lists it, as JSON.

    >>> name_weight("BTC-PERP"), name_weight('"'), name_weight("é")
    (11, 9, 9)
    """
    plain = name.isascii() and name.isprintable() and '"' not in name and "\\" not in name
    return (1 if plain else 6) * len(name) + 3


def terms_weight(records: Sequence[TermsRecord]) -> int:
    """What terms add to the estimated size of the block that tells them."""
    return sum(len(orjson.dumps(record)) + 1 for record in records)


def in_pieces(records: Sequence[TermsRecord]) -> list[list[TermsRecord]]:
    """Terms in their order, in pieces that a block each can tell; one piece at least, and the last may be empty.

    >>> [len(piece) for piece in in_pieces([{"id": "x" * 100_000}] * 8)]
    [4, 4]
    """
    pieces: list[list[TermsRecord]] = [[]]
    size = 0
    for record in records:
        if size >= BLOCK_BYTES:
            pieces.append([])
            size = 0
        pieces[-1].append(record)
        size += terms_weight([record])
    return pieces


class Draft:
    """One block being filled.

    Attributes
    ----------
    kind : of the block
    first : source offset from which on this block covers the source
    last : source offset of the latest row
    size : upper estimate of its bytes
    """

    __slots__ = ("_cells", "_ids", "_names", "_settings", "_terms", "first", "kind", "last", "size")

    def __init__(self, kind: str, first: int, last: int) -> None:
        self.kind = kind
        self.first = first
        self.last = last
        self.size = 0
        self._cells: list[int] = []
        self._ids: list[str] = []
        self._names: dict[str, dict[str, int]] = {}
        self._terms: list[TermsRecord] = []
        self._settings: list[dict[str, Any]] = []

    def index(self, table: str, name: str) -> int:
        """Where `name` stands in the block's list `table`: accounts, instruments or assets."""
        names = self._names.get(table)
        if names is None:
            names = self._names[table] = {}
        index = names.get(name)
        if index is None:
            index = names[name] = len(names)
            self.size += name_weight(name)
        return index

    def add(self, row: tuple[int, ...], id: str | None = None) -> None:
        """Add a row of integers in the order of the kind's columns, id columns left out."""
        self._cells += row
        self.size += ROW_BYTES[self.kind]
        if id is not None:
            self._ids.append(id)
            self.size += len(id) if id.isascii() else 4 * len(id)

    def add_terms(self, records: Sequence[TermsRecord]) -> None:
        self._terms += records
        self.size += terms_weight(records)

    def add_settings(self, settings: dict[str, Any]) -> None:
        self._settings.append(settings)
        self.size += len(orjson.dumps(settings)) + 1

    def block(self, source: dict[str, Any]) -> Block:
        names = [name for name in COLUMNS[self.kind] if not name.startswith("id_")]
        cells = np.array(self._cells, dtype=np.int64).reshape(-1, max(len(names), 1))
        columns = dict(zip(names, cells.T, strict=False))
        return Block(
            kind=self.kind,
            source=source,
            names={table: list(index) for table, index in self._names.items()},
            columns=columns | pack_ids(self._ids) if self._ids else columns,
            terms=self._terms,
            extra={"accounts": self._settings} if self.kind == "accounts" else {},
        )


class BlockWriter:
    """The blocks of one batch of one source partition.

    Parameters
    ----------
    kind : of the blocks
    topic, partition : the source's coordinates, which every block names
    first : source offset at which the batch begins
    told : per journal partition the ids whose terms this source partition has sent before; added to
    """

    def __init__(self, *, kind: str, topic: str, partition: int, first: int, told: list[set[str]]) -> None:
        self.told = told
        self._kind = kind
        self._topic = topic
        self._partition = partition
        self._first = first
        self._newly_told: list[tuple[int, str]] = []
        self._drafts: dict[int, Draft] = {}
        self._blocks: list[tuple[int, Block]] = []

    def draft(self, shard: int, offset: int) -> Draft:
        """The block that takes the row at the source's `offset` for journal partition `shard`."""
        draft = self._drafts.get(shard)
        first = self._first
        if draft is not None:
            if draft.size < BLOCK_BYTES:
                draft.last = offset
                return draft
            # One source row with many terms may fill more than a block: then both cover it.
            self._close(shard, draft, offset + (draft.last == offset))
            first = offset
        draft = self._drafts[shard] = Draft(self._kind, first, offset)
        return draft

    def tell(self, shard: int, draft: Draft, records: Sequence[TermsRecord]) -> None:
        """Put terms into the block that this source partition has not yet sent to the journal partition."""
        draft.add_terms(self.untold(shard, records))

    def untold(self, shard: int, records: Sequence[TermsRecord]) -> list[TermsRecord]:
        """Those of the terms that this source partition has not yet sent to the journal partition; sent from now on.

        The last of `records` is told only after the others, so where it is known all are.
        """
        told = self.told[shard]
        if records[-1]["id"] in told:
            return []
        untold = [record for record in records if record["id"] not in told]
        for record in untold:
            told.add(record["id"])
            self._newly_told.append((shard, record["id"]))
        return untold

    def finish(self, next_offset: int) -> list[tuple[int, Block]]:
        """(journal partition, block) of the batch that ends before `next_offset`, in order."""
        for shard, draft in self._drafts.items():
            self._close(shard, draft, next_offset)
        self._drafts = {}
        return sorted(self._blocks, key=lambda entry: entry[0])

    def abandon(self) -> None:
        """Forget the batch: what it told counts as not told."""
        for shard, id in self._newly_told:
            self.told[shard].discard(id)

    def put(
        self,
        shard: int,
        *,
        first: int | None,
        next: int,
        names: dict[str, list[str]],
        columns: dict[str, Column],
        terms: list[TermsRecord],
    ) -> None:
        """Take a whole block of the source offsets from `first` (None: where the batch begins) to before `next`."""
        source = self._source(self._first if first is None else first, next)
        self._blocks.append((shard, Block(kind=self._kind, source=source, names=names, columns=columns, terms=terms)))

    def _close(self, shard: int, draft: Draft, next_offset: int) -> None:
        self._blocks.append((shard, draft.block(self._source(draft.first, next_offset))))

    def _source(self, first: int, next: int) -> dict[str, Any]:
        return {"topic": self._topic, "partition": self._partition, "first": first, "next": next}
