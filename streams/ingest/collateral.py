"""`collateral` -> blocks of legs: what each bucket receives, in its account's journal partition.

A transfer or conversion is two legs of one source row. Two legs of one journal partition stand in one block.
"""

from typing import NamedTuple

from schemas.collateral import Transfer
from schemas.dead_letters import Refused
from schemas.fields import legal_id, shown
from schemas.journal import TRANSFER_TYPES
from streams.ingest.checks import answered, event_time, minor_units
from streams.ingest.terms import AssetTerms, InstrumentTerms, Terms
from streams.ingest.writers import Batch, RowWriter

_TYPE = {type: code for code, type in enumerate(TRANSFER_TYPES)}
_SIGNED = ("adjustment", "opening")
_CROSS = "cross"


class _Leg(NamedTuple):
    """What one bucket receives, in minor units; `bucket` None is the cross bucket."""

    shard: int
    account: str
    asset: AssetTerms
    amount: int
    bucket: InstrumentTerms | None


class CollateralWriter(RowWriter):
    """Splits a movement of collateral into its legs."""

    kind = "collateral"
    record = Transfer

    def write_row(self, offset: int, _key: bytes | None, value: bytes, batch: Batch) -> int:
        transfer: Transfer = self.reader.read(value)
        legal_id(transfer.transfer_id, "transfer_id")
        time = event_time(transfer.time, batch.latest_ms)
        legs = self._legs(transfer, batch.terms)
        liquidation = -1
        if transfer.liquidation_id is not None:
            liquidation = _answer(transfer, transfer.liquidation_id, legs[0].shard)
        self._put(transfer, legs, time=time, liquidation=liquidation, offset=offset, batch=batch)
        return time

    def _legs(self, transfer: Transfer, terms: Terms) -> list[_Leg]:
        shard = self.shards.of(transfer.account)
        _check_fields(transfer)
        asset = terms.find_asset(transfer.asset)
        if asset.closed and transfer.type == "opening":
            raise Refused("closed_asset", f"asset must be open, found {shown(asset.id)} closed")
        bucket = _bucket(transfer.bucket, "bucket", terms)
        amount = _amount(transfer.amount, asset, "amount", signed=transfer.type in _SIGNED)
        sign = -1 if transfer.type in ("withdrawal", "transfer", "conversion") else 1
        legs = [_Leg(shard, transfer.account, asset, sign * amount, bucket)]
        if transfer.type == "transfer":
            account = transfer.account if transfer.to_account is None else transfer.to_account
            to_bucket = _bucket(transfer.to_bucket, "to_bucket", terms)
            legs.append(_Leg(self.shards.of(account, "to_account"), account, asset, amount, to_bucket))
        elif transfer.type == "conversion":
            to_asset = terms.find_asset(transfer.to_asset or "", "to_asset")
            to_amount = _amount(transfer.to_amount, to_asset, "to_amount", signed=False)
            legs.append(_Leg(shard, transfer.account, to_asset, to_amount, bucket))
        return legs

    def _put(
        self, transfer: Transfer, legs: list[_Leg], *, time: int, liquidation: int, offset: int, batch: Batch
    ) -> None:
        drafts = {leg.shard: batch.blocks.draft(leg.shard, offset) for leg in legs}
        for number, leg in enumerate(legs):
            draft = drafts[leg.shard]
            batch.blocks.tell(leg.shard, draft, [leg.asset.record])
            bucket = -1
            if leg.bucket is not None:
                batch.blocks.tell(leg.shard, draft, leg.bucket.records)
                bucket = draft.index("instruments", leg.bucket.id)
            draft.add(
                (
                    draft.index("accounts", leg.account),
                    draft.index("assets", leg.asset.id),
                    leg.amount,
                    time,
                    bucket,
                    _TYPE[transfer.type],
                    number,
                    liquidation,
                    offset,
                ),
                transfer.transfer_id,
            )


def _bucket(name: str, field: str, terms: Terms) -> InstrumentTerms | None:
    return None if name == _CROSS else terms.find_instrument(name, field)


def _amount(value: object, asset: AssetTerms, field: str, *, signed: bool) -> int:
    amount = minor_units(value, asset, field)
    if amount == 0 or (amount < 0 and not signed):
        bound = "not be 0" if signed else "be above 0"
        raise Refused("non_positive_amount", f"{field} must {bound}, found {shown(value)}")
    return amount


def _check_fields(transfer: Transfer) -> None:
    """Fields that only some types have must be absent from the others."""
    type = transfer.type
    if type == "transfer":
        same_account = transfer.to_account in (None, transfer.account)
        if same_account and transfer.to_bucket == transfer.bucket:
            raise Refused(
                "contradiction",
                "to_account or to_bucket of a transfer must differ from account and bucket, found both the same",
            )
    elif transfer.to_account is not None or transfer.to_bucket != _CROSS:
        field, value = ("to_account", transfer.to_account) if transfer.to_account else ("to_bucket", "")
        raise Refused(
            "contradiction", f"{field} must be left out of a {type}, found {shown(value or transfer.to_bucket)}"
        )
    for field in ("to_asset", "to_amount"):
        value = getattr(transfer, field)
        if type == "conversion" and value is None:
            raise Refused("missing_field", f"{field} must be given with a conversion, found null")
        if type != "conversion" and value is not None:
            raise Refused("contradiction", f"{field} must be left out of a {type}, found {shown(value)}")
    if type == "conversion" and transfer.to_asset == transfer.asset:
        raise Refused(
            "contradiction", f"to_asset of a conversion must differ from asset, found {shown(transfer.to_asset)}"
        )
    if type != "conversion" and transfer.liquidation_id is not None:
        raise Refused(
            "contradiction",
            f"liquidation_id must be left out of a {type}, found {shown(transfer.liquidation_id)}",
        )


def _answer(transfer: Transfer, identity: str, shard: int) -> int:
    _, offset = answered(identity, shard=shard, account=transfer.account, buckets=(transfer.bucket,))
    return offset
