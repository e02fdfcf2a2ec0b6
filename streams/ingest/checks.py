"""Checks that writers of several topics share: times, accounts and their shards, amounts, liquidation ids."""

from schemas.dead_letters import Refused
from schemas.fields import epoch_ms, legal_account, scaled, shown
from schemas.journal import liquidation_offset
from schemas.sharding import shard_of
from streams.ingest.terms import AssetTerms, InstrumentTerms

#: Amounts of minor units and products are below this, so that sums of a few fit 64 bits.
AMOUNT_MAX = 1 << 62
#: Lots of one fill are below this.
LOTS_MAX = 1 << 31
_ACCOUNTS_REMEMBERED = 1 << 18


class Shards:
    """Account -> journal partition, remembered; refuses names that no account of a user may have."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._known: dict[str, int] = {}

    def of(self, account: str, field: str = "account") -> int:
        """The journal partition of `account`; raises `Refused` illegal_id or reserved_account."""
        shard = self._known.get(account)
        if shard is None:
            shard = shard_of(legal_account(account, field), self.count)
            if len(self._known) >= _ACCOUNTS_REMEMBERED:
                self._known.clear()
            self._known[account] = shard
        return shard


def event_time(value: int | str, latest_ms: int) -> int:
    """The field `time` in epoch ms, from 1970 to `latest_ms`; raises `Refused` future_time and as `epoch_ms`."""
    time = epoch_ms(value, "time")
    if time > latest_ms:
        raise Refused("future_time", f"time must be at most {latest_ms}, found {shown(value)}")
    return time


def price_ticks(value: object, instrument: InstrumentTerms, field: str) -> int:
    """A price in ticks, above zero; raises `Refused` non_positive_price, over_range and as `scaled`."""
    ticks = scaled(value, instrument.price_precision, field)
    if ticks <= 0:
        raise Refused("non_positive_price", f"{field} must be above 0, found {shown(value)}")
    if ticks * instrument.divisor >= AMOUNT_MAX:
        bound = "2**62" if instrument.divisor == 1 else f"2**62 / {instrument.divisor}"
        raise Refused("over_range", f"{field} must be below {bound} ticks, found {shown(value)}")
    return ticks


def minor_units(value: object, asset: AssetTerms, field: str) -> int:
    """An amount in the asset's minor units; raises `Refused` over_range and as `scaled`."""
    amount = scaled(value, asset.precision, field)
    if not -AMOUNT_MAX < amount < AMOUNT_MAX:
        raise Refused(
            "over_range",
            f"{field} must be below 2**62 minor units of {shown(asset.id)}, found {shown(value)}",
        )
    return amount


def answered(identity: str, *, shard: int, account: str, buckets: tuple[str, ...]) -> tuple[str, int]:
    """The bucket and journal offset in a liquidation id.

    Raises
    ------
    Refused
        bad_liquidation_id where it was not issued by this shard for this account and one of `buckets`.
    """
    for bucket in buckets:
        offset = liquidation_offset(identity, partition=shard, account=account, bucket=bucket)
        if offset is not None:
            return bucket, offset
    raise Refused(
        "bad_liquidation_id",
        f"liquidation_id must be one issued for account {shown(account)}, bucket "
        f"{' or '.join(map(shown, buckets))}, shard {shard}, found {shown(identity)}",
    )
