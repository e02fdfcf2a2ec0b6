"""Rows of fills -> journal blocks: routed to the shards of their accounts, cut to size, each with the names it uses."""

from itertools import pairwise

import numpy as np

from schemas.journal import Column
from streams.ingest.blocks import BLOCK_BYTES, ROW_BYTES, BlockWriter, terms_weight
from streams.ingest.fill_rows import FillRows
from streams.ingest.instrument_table import InstrumentTable
from streams.ingest.layout import I64, Bytes, Cut, Routes, cut, id_weights, joined, route
from streams.ingest.term_checks import TermsRecord


def put_blocks(rows: FillRows, offset: I64, text: Bytes, table: InstrumentTable, blocks: BlockWriter) -> None:
    """Put the accepted rows into blocks.

    Parameters
    ----------
    offset : per row, of its message; the blocks cover the source up to the last
    text : where accounts and ids stand
    """
    taken = np.flatnonzero(rows.accepted)
    if not len(taken):
        return
    next_offset = int(offset[-1]) + 1
    if len(taken) < len(offset):
        rows, offset = FillRows._make(column[taken] for column in rows), offset[taken]
    routes = route(
        text, rows.account_start, rows.account_end, rows.instrument, len(table.instruments), len(blocks.told)
    )
    weight = id_weights(text, rows.id_start, rows.id_end, ROW_BYTES["fills"])
    told = _tell(rows, routes, table, blocks)
    for row, records in told.items():
        weight[row] += terms_weight(records)
    parts = cut(routes, rows.instrument, table.name_weight, weight, len(blocks.told), BLOCK_BYTES)
    columns = _columns(rows, offset, text, parts)
    names = _names(rows, routes, text, table, parts)
    shard = routes.shard[parts.order[parts.bound[:-1]]].tolist()
    first = columns["source_offset"][parts.bound[:-1]].tolist()
    for number, (start, end) in enumerate(pairwise(parts.bound.tolist())):
        is_first = number == 0 or shard[number - 1] != shard[number]
        is_last = number + 1 == len(shard) or shard[number + 1] != shard[number]
        block = {name: column[start:end] for name, column in columns.items() if name != "id_bytes"}
        ids_start = int(columns["id_end"][start - 1]) if start else 0
        block["id_end"] = block["id_end"] - ids_start
        block["id_bytes"] = columns["id_bytes"][ids_start : int(columns["id_end"][end - 1])]
        blocks.put(
            shard[number],
            first=None if is_first else first[number],
            next=next_offset if is_last else first[number + 1],
            names={table: part[number] for table, part in names.items()},
            columns=block,
            terms=[record for row, records in told.items() if parts.block[row] == number for record in records],
        )


def _tell(rows: FillRows, routes: Routes, table: InstrumentTable, blocks: BlockWriter) -> dict[int, list[TermsRecord]]:
    """Row -> the terms that its block is the first to tell its shard."""
    told = {}
    for row in routes.firsts.tolist():
        records = blocks.untold(int(routes.shard[row]), table.instruments[rows.instrument[row]].records)
        if records:
            told[row] = records
    return told


def _columns(rows: FillRows, offset: I64, text: Bytes, parts: Cut) -> dict[str, Column]:
    """The columns of all blocks, block after block; ids are not yet counted from the start of their block."""
    id_bytes, id_end = joined(text, rows.id_start, rows.id_end, parts.order, 0)
    return {
        "account": parts.account,
        "instrument": parts.instrument,
        **{name: getattr(rows, name)[parts.order] for name in FillRows._fields[6:]},
        "source_offset": offset[parts.order],
        "id_end": id_end,
        "id_bytes": id_bytes,
    }


def _names(
    rows: FillRows, routes: Routes, text: Bytes, table: InstrumentTable, parts: Cut
) -> dict[str, list[list[str]]]:
    """Per block the names it uses, in the order of first use."""
    named = routes.account[parts.order][parts.is_new_account]
    accounts, _ = joined(text, routes.start, routes.end, named, 1)
    instruments = rows.instrument[parts.order][parts.is_new_instrument].tolist()
    names = {
        "accounts": (accounts.tobytes().decode().split("\n"), parts.is_new_account),
        "instruments": ([table.instruments[number].id for number in instruments], parts.is_new_instrument),
    }
    found = {}
    for list_of, (all_names, is_new) in names.items():
        bounds = np.concatenate(([0], np.cumsum(is_new)))[parts.bound].tolist()
        found[list_of] = [all_names[start:end] for start, end in pairwise(bounds)]
    return found
