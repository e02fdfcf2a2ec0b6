"""Rows of a batch to journal partitions and blocks: what stands where, by kernels over the rows' columns.

The rules of cutting are those of `blocks.BlockWriter`: rows keep their order in each journal partition, and a block
takes no further row once its estimated size has reached the limit.
This file stands alone: compiled code is kept by the file it comes from.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.compiled import inner, kernel

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]


class Routes(NamedTuple):
    """Where rows go.

    Parameters
    ----------
    account : per row: number of its account, by first use in the batch
    shard : per row: the journal partition, of `schemas.sharding.shard_of`
    weight : per account: what its name adds to the estimated size of a block
    start, end : per account: where its name stands in the text
    firsts : the rows that are the first of their instrument in their shard
    """

    account: I64
    shard: I64
    weight: I64
    start: I64
    end: I64
    firsts: I64


class Cut(NamedTuple):
    """Rows in blocks; blocks are ordered by shard, then as they were filled.

    Parameters
    ----------
    order : rows, block after block
    bound : where each block begins in `order`, and the last ends
    block : per row, its block
    account, instrument : per row of `order`: place in the block's list of names
    is_new_account, is_new_instrument : per row of `order`: it is the first of its block with that name
    """

    order: I64
    bound: I64
    block: I64
    account: I64
    instrument: I64
    is_new_account: Flags
    is_new_instrument: Flags


@kernel
def route(text: Bytes, start: I64, end: I64, instrument: I64, instruments: int, shards: int) -> Routes:
    """Number the accounts named at `start` to `end` of the text, and find their shards."""
    count = len(start)
    size = 16
    while size < 2 * count:
        size *= 2
    slots = np.full(size, -1, np.int64)
    account, shard = np.empty(count, np.int64), np.empty(count, np.int64)
    first, hashes = np.empty(count, np.int64), np.empty(count, np.int64)
    firsts, seen = np.empty(count, np.int64), np.zeros(shards * instruments, np.bool_)
    accounts, met = 0, 0
    for row in range(count):
        length = end[row] - start[row]
        found = _murmur2(text, start[row], length)
        slot = found & (size - 1)
        while slots[slot] >= 0:
            other = slots[slot]
            there = first[other]
            if (
                hashes[other] == found
                and end[there] - start[there] == length
                and _same(text, start[row], start[there], length)
            ):
                break
            slot = (slot + 1) & (size - 1)
        if slots[slot] < 0:
            slots[slot] = accounts
            first[accounts], hashes[accounts] = row, found
            accounts += 1
        account[row] = slots[slot]
        shard[row] = (found & 0x7FFFFFFF) % shards
        pair = shard[row] * instruments + instrument[row]
        if not seen[pair]:
            seen[pair] = True
            firsts[met] = row
            met += 1
    starts, ends, weight = np.empty(accounts, np.int64), np.empty(accounts, np.int64), np.empty(accounts, np.int64)
    for number in range(accounts):
        starts[number], ends[number] = start[first[number]], end[first[number]]
        weight[number] = _name_weight(text, starts[number], ends[number])
    return Routes(account, shard, weight, starts, ends, firsts[:met].copy())


@kernel
def cut(routes: Routes, instrument: I64, instrument_weight: I64, row_weight: I64, shards: int, bytes_max: int) -> Cut:
    """Cut the rows into blocks, which take no further row from `bytes_max` on.

    Parameters
    ----------
    instrument_weight : per instrument: what its name adds to the estimated size of a block
    row_weight : per row: what it adds besides names
    """
    count = len(instrument)
    block, size, blocks = np.full(shards, -1, np.int64), np.zeros(shards, np.int64), 0
    block_shard = np.empty(count, np.int64)
    block_of = np.empty(count, np.int64)
    # An account is of one shard, so its place is known by the last block that it was named in.
    accounts = len(routes.weight)
    named_in, place = np.full(accounts, -1, np.int64), np.empty(accounts, np.int64)
    used = len(instrument_weight)
    told_in, told_place = np.full((shards, used), -1, np.int64), np.empty((shards, used), np.int64)
    names = np.zeros((shards, 2), np.int64)
    row_account, row_instrument = np.empty(count, np.int64), np.empty(count, np.int64)
    new_account, new_instrument = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for row in range(count):
        shard = routes.shard[row]
        if block[shard] < 0 or size[shard] >= bytes_max:
            block[shard], size[shard] = blocks, 0
            names[shard, 0], names[shard, 1] = 0, 0
            block_shard[blocks] = shard
            blocks += 1
        here, account, of = block[shard], routes.account[row], instrument[row]
        block_of[row] = here
        size[shard] += row_weight[row]
        if named_in[account] != here:
            named_in[account], place[account] = here, names[shard, 0]
            names[shard, 0] += 1
            new_account[row] = True
            size[shard] += routes.weight[account]
        if told_in[shard, of] != here:
            told_in[shard, of], told_place[shard, of] = here, names[shard, 1]
            names[shard, 1] += 1
            new_instrument[row] = True
            size[shard] += instrument_weight[of]
        row_account[row], row_instrument[row] = place[account], told_place[shard, of]
    block_of = _ranks(block_shard[:blocks], shards)[block_of]
    order, bound = _order(block_of, blocks)
    return Cut(
        order, bound, block_of, row_account[order], row_instrument[order], new_account[order], new_instrument[order]
    )


@kernel
def _ranks(block_shard: I64, shards: int) -> I64:
    """The place of each block when they are ordered by shard."""
    counts = np.zeros(shards + 1, np.int64)
    for shard in block_shard:
        counts[shard + 1] += 1
    for shard in range(shards):
        counts[shard + 1] += counts[shard]
    ranks = np.empty(len(block_shard), np.int64)
    for number, shard in enumerate(block_shard):
        ranks[number] = counts[shard]
        counts[shard] += 1
    return ranks


@kernel
def _order(block_of: I64, blocks: int) -> tuple[I64, I64]:
    """Rows block by block, and where each block begins."""
    bound = np.zeros(blocks + 1, np.int64)
    for number in block_of:
        bound[number + 1] += 1
    for number in range(blocks):
        bound[number + 1] += bound[number]
    free = bound.copy()
    order = np.empty(len(block_of), np.int64)
    for row in range(len(block_of)):
        order[free[block_of[row]]] = row
        free[block_of[row]] += 1
    return order, bound


@kernel
def id_weights(text: Bytes, start: I64, end: I64, row_bytes: int) -> I64:
    """What rows with ids at `start` to `end` add to the estimated size of a block."""
    weights = np.empty(len(start), np.int64)
    for row in range(len(start)):
        size, characters = end[row] - start[row], _characters(text, start[row], end[row])
        weights[row] = row_bytes + (size if characters == size else 4 * characters)
    return weights


@kernel
def joined(text: Bytes, start: I64, end: I64, order: I64, between: int) -> tuple[Bytes, I64]:
    """The pieces of text at `order`, `between` bytes of newline after each; and where each piece ends without them."""
    ends = np.empty(len(order), np.int64)
    size = 0
    for at, row in enumerate(order):
        size += end[row] - start[row]
        ends[at] = size
    pieces = np.empty(size + between * len(order), np.uint8)
    size = 0
    for row in order:
        for at in range(start[row], end[row]):
            pieces[size] = text[at]
            size += 1
        for _ in range(between):
            pieces[size] = 10
            size += 1
    return pieces, ends


@inner
def _name_weight(text: Bytes, start: int, end: int) -> int:
    """See `blocks.name_weight`."""
    for at in range(start, end):
        if text[at] < 0x20 or text[at] >= 0x7F or text[at] == ord('"') or text[at] == ord("\\"):
            return 6 * _characters(text, start, end) + 3
    return end - start + 3


@inner
def _characters(text: Bytes, start: int, end: int) -> int:
    """How many characters the UTF-8 has: bytes that continue none."""
    count = 0
    for at in range(start, end):
        count += (text[at] & 0xC0) != 0x80
    return count


@inner
def _same(text: Bytes, one: int, other: int, size: int) -> bool:
    for step in range(size):
        if text[one + step] != text[other + step]:
            return False
    return True


@inner
def _murmur2(text: Bytes, at: int, size: int) -> int:
    """As `schemas.sharding.murmur2`; the multiplier is below 2**31, so that products stay in 64 bits."""
    mask, multiplier = 0xFFFFFFFF, 0x5BD1E995
    found = 0x9747B28C ^ size
    for position in range(at, at + (size & ~3), 4):
        k = int(text[position]) | int(text[position + 1]) << 8
        k |= int(text[position + 2]) << 16 | int(text[position + 3]) << 24
        k = (k * multiplier) & mask
        k = ((k ^ k >> 24) * multiplier) & mask
        found = ((found * multiplier) & mask) ^ k
    if size & 3:
        rest = 0
        for step in range(size & 3):
            rest |= int(text[at + (size & ~3) + step]) << (8 * step)
        found = ((found ^ rest) * multiplier) & mask
    found = ((found ^ found >> 13) * multiplier) & mask
    return found ^ found >> 15
