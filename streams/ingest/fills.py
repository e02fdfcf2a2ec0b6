"""`fills` -> blocks of fills, each row in its account's journal partition."""

from schemas.dead_letters import Refused
from schemas.fields import legal_id, scaled, shown
from schemas.fills import Fill
from schemas.journal import FILL_KINDS
from streams.ingest.checks import AMOUNT_MAX, answered, event_time, minor_units, price_ticks
from streams.ingest.terms import InstrumentTerms
from streams.ingest.writers import Batch, Writer

_LOTS_MAX = 1 << 31
_KIND = {kind: code for code, kind in enumerate(FILL_KINDS)}
_MODE = {None: -1, "cross": 0, "isolated": 1}


class FillWriter(Writer):
    """Scales a fill to lots, ticks and minor units."""

    kind = "fills"
    record = Fill

    def write(self, offset: int, _key: bytes | None, value: bytes, batch: Batch) -> int:
        fill: Fill = self.reader.read(value)
        legal_id(fill.fill_id, "fill_id")
        shard = self.shards.of(fill.account)
        time = event_time(fill.time, batch.latest_ms)
        instrument = batch.terms.find_instrument(fill.instrument)
        if instrument.closed and fill.kind == "opening":
            raise Refused("closed_instrument", f"instrument must be open, found {shown(instrument.id)} closed")
        lots, ticks, fee = _amounts(fill, instrument)
        mode, liquidation = _MODE[fill.margin_mode], -1
        if fill.liquidation_id is not None:
            mode, liquidation = _answer(fill, fill.liquidation_id, shard)

        draft = batch.blocks.draft(shard, offset)
        batch.blocks.tell(shard, draft, instrument.records)
        draft.add(
            (
                draft.index("accounts", fill.account),
                draft.index("instruments", instrument.id),
                lots,
                ticks,
                fee,
                time,
                mode,
                _KIND[fill.kind],
                liquidation,
                offset,
            ),
            fill.fill_id,
        )
        return time


def _amounts(fill: Fill, instrument: InstrumentTerms) -> tuple[int, int, int]:
    """Lots, ticks and fee in minor units, each and together in range."""
    lots = scaled(fill.quantity, instrument.quantity_precision, "quantity")
    if lots == 0:
        raise Refused("zero_quantity", f"quantity must not be 0, found {shown(fill.quantity)}")
    if not -_LOTS_MAX < lots < _LOTS_MAX:
        raise Refused("over_range", f"quantity must be below 2**31 lots, found {shown(fill.quantity)}")
    ticks = price_ticks(fill.price, instrument, "price")
    fee = minor_units(fill.fee, instrument.asset, "fee")
    # The largest number a fill becomes: the cash of a linear one, the coin numerator of an inverse one.
    factor = max(ticks, instrument.unit) if instrument.inverse else ticks * instrument.unit
    if abs(lots) * factor >= AMOUNT_MAX:
        raise Refused(
            "product_over_range",
            f"quantity x price must be below 2**62 minor units of {shown(instrument.asset.id)}, "
            f"found {shown(fill.quantity)} x {shown(fill.price)}",
        )
    return lots, ticks, fee


def _answer(fill: Fill, identity: str, shard: int) -> tuple[int, int]:
    """Mode and journal offset of the liquidation that a fill answers: the bucket in its id gives the mode."""
    if fill.margin_mode is None:
        buckets: tuple[str, ...] = ("cross", fill.instrument)
    else:
        buckets = ("cross",) if fill.margin_mode == "cross" else (fill.instrument,)
    bucket, offset = answered(identity, shard=shard, account=fill.account, buckets=buckets)
    return _MODE["cross" if bucket == "cross" else "isolated"], offset
