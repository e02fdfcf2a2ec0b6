"""The exchange's part where there is none: liquidation orders are filled at the marks of their moment.

Whole, at the mark less slippage, where the order's limit allows it; else they stay until they are replaced or later
marks allow it. It is a rule that a user can check, not a forecast: depth and other people's behaviour are not modelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import orjson

from schemas.journal import FILL_KINDS, RULES_OLDEST, TRANSFER_TYPES, Block, liquidation_offset, pack_ids
from streams.engine.decisions import Output
from streams.engine.shard import Shard

Json = dict[str, Any]


class Execution:
    """Open liquidation orders of one shard, and the blocks that fill them.

    Attributes
    ----------
    filled : orders filled so far
    """

    def __init__(self, slippage: Decimal) -> None:
        self._slippage = slippage
        self._open: dict[tuple[str, str], Json] = {}
        self.filled = 0

    def hear(self, outputs: list[Output]) -> None:
        """Take in decisions: a step replaces the one before, the end of a liquidation withdraws it."""
        for sent in outputs:
            if sent.topic == "liquidations":
                event = orjson.loads(sent.value)
                place = event["account"], event["bucket"]
                if event["kind"] == "liquidation":
                    self._open[place] = event
                else:
                    self._open.pop(place, None)

    def blocks(self, shard: Shard) -> list[Block]:
        """Fills and conversions of the open orders at the shard's marks, as journal blocks; in order of account."""
        fills: list[Json] = []
        legs: list[Json] = []
        for place in sorted(self._open):
            event = self._open[place]
            left = []
            for order in event["orders"]:
                made = self._convert(shard, event, order) if "sell_asset" in order else self._fill(shard, event, order)
                if made:
                    (legs if "sell_asset" in order else fills).extend(made)
                    self.filled += 1
                else:
                    left.append(order)
            event["orders"] = left
            if not left:
                del self._open[place]
        return [_fills(fills, shard)] * bool(fills) + [_legs(legs, shard)] * bool(legs)

    def _fill(self, shard: Shard, event: Json, order: Json) -> list[Json]:
        terms = shard.terms
        index = terms.instrument_index[order["instrument"]]
        record = terms.records[order["instrument"]]
        quantity, limit = Decimal(order["quantity"]), Decimal(order["limit_price"])
        mark = Decimal(repr(float(shard.prices.marks[index])))
        side = 1 if quantity > 0 else -1
        tick = Decimal(1).scaleb(-record["price_precision"])
        price = (mark * (1 + side * self._slippage)).quantize(tick)
        if not mark.is_finite() or price <= 0 or index in shard.settled or (limit - price) * side < 0:
            return []
        asset = terms.records[record["settlement"]]
        value = abs(quantity) * Decimal(record["multiplier"])
        value = value / price if record["type"].startswith("inverse") else value * price
        fee = (value * Decimal(record["liquidation_fee"])).quantize(Decimal(1).scaleb(-asset["precision"]))
        return [
            {
                "account": event["account"],
                "instrument": order["instrument"],
                "lots": int(quantity.scaleb(record["quantity_precision"])),
                "ticks": int(price.scaleb(record["price_precision"])),
                "fee": int(fee.scaleb(asset["precision"])),
                "mode": 0 if event["bucket"] == "cross" else 1,
                "liquidation": _offset(shard, event),
                "id": f"{event['id']}-{order['instrument']}",
            }
        ]

    def _convert(self, shard: Shard, event: Json, order: Json) -> list[Json]:
        terms, prices = shard.terms, shard.prices.prices
        sell, buy = terms.records[order["sell_asset"]], terms.records[order["buy_asset"]]
        worth = float(prices[terms.asset_index[sell["id"]]]) / float(prices[terms.asset_index[buy["id"]]])
        price = Decimal(repr(worth)) * (1 - self._slippage)
        if not price.is_finite() or price < Decimal(order["limit_price"]):
            return []
        amount = Decimal(order["amount"])
        bought = int((amount * price).scaleb(buy["precision"]))
        common = {"account": event["account"], "bucket": event["bucket"], "liquidation": _offset(shard, event)}
        sold = int(amount.scaleb(sell["precision"]))
        identity = f"{event['id']}-{sell['id']}"
        return [
            {**common, "asset": sell["id"], "amount": -sold, "leg": 0, "id": identity},
            {**common, "asset": buy["id"], "amount": bought, "leg": 1, "id": identity},
        ]


def unanswering(block: Block) -> Block:
    """The block whose rows answer no liquidation."""
    answered = block.columns.get("liquidation")
    if answered is None or (answered < 0).all():
        return block
    return replace(block, columns={**block.columns, "liquidation": np.full(len(answered), -1)})


def without_answers(block: Block) -> Block:
    """The block without the fills and conversions that answer a liquidation."""
    keep = np.asarray(block.columns.get("liquidation", ())) < 0
    if keep.all():
        return block
    ids = [identity for identity, kept in zip(block.ids(), keep.tolist(), strict=True) if kept]
    kept = {name: column[keep] for name, column in block.columns.items() if name not in ("id_end", "id_bytes")}
    return replace(block, columns={**kept, **pack_ids(ids)})


def _offset(shard: Shard, event: Json) -> int:
    found = liquidation_offset(event["id"], partition=shard.partition, account=event["account"], bucket=event["bucket"])
    return -1 if found is None else found


def _numbered(rows: list[Json], field: str) -> tuple[list[str], list[int]]:
    """The names in a field, each once, and the place of each row's name among them."""
    names = list(dict.fromkeys(row[field] for row in rows))
    index: Mapping[str, int] = {name: at for at, name in enumerate(names)}
    return names, [index[row[field]] for row in rows]


def _block(kind: str, names: Mapping[str, list[str]], rows: list[Json], columns: Mapping[str, list[int]]) -> Block:
    """A block of the replay's own, which raises nobody's rules."""
    arrays = {name: np.array(column, dtype=np.int64) for name, column in columns.items()}
    arrays |= pack_ids([row["id"] for row in rows])
    return Block(kind=kind, names=names, columns=arrays, rules_version=RULES_OLDEST)


def _fills(rows: list[Json], shard: Shard) -> Block:
    accounts, account = _numbered(rows, "account")
    instruments, instrument = _numbered(rows, "instrument")
    columns = {name: [row[name] for row in rows] for name in ("lots", "ticks", "fee", "mode", "liquidation")}
    columns |= {
        "account": account,
        "instrument": instrument,
        "time": [shard.prices.time] * len(rows),
        "fill_kind": [FILL_KINDS.index("trade")] * len(rows),
        "source_offset": list(range(len(rows))),
    }
    return _block("fills", {"accounts": accounts, "instruments": instruments}, rows, columns)


def _legs(rows: list[Json], shard: Shard) -> Block:
    accounts, account = _numbered(rows, "account")
    assets, asset = _numbered(rows, "asset")
    instruments, _ = _numbered([row for row in rows if row["bucket"] != "cross"], "bucket")
    columns = {name: [row[name] for row in rows] for name in ("amount", "leg", "liquidation")}
    columns |= {
        "account": account,
        "asset": asset,
        "time": [shard.prices.time] * len(rows),
        "bucket": [-1 if row["bucket"] == "cross" else instruments.index(row["bucket"]) for row in rows],
        "transfer_type": [TRANSFER_TYPES.index("conversion")] * len(rows),
        "source_offset": [at - row["leg"] for at, row in enumerate(rows)],
    }
    names = {"accounts": accounts, "assets": assets, "instruments": instruments}
    return _block("collateral", names, rows, columns)
