"""A shard's ledger in fractions: every rule of posting as its sentence, one row and one bucket at a time.

Amounts are in units (not minor units), prices and marks are decimals made exact. It takes the rows of `tests.builders`.
"""

from collections import defaultdict, deque
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from schemas.journal import liquidation_offset
from tests.reference.margin import Json

ZERO = Fraction(0)


@dataclass
class Holding:
    """`index` is the funding index up to which funding is settled."""

    quantity: Fraction
    cost: Fraction
    index: int


@dataclass
class Bucket:
    """What is margined together, and where it stands."""

    balances: defaultdict[str, Fraction] = field(default_factory=lambda: defaultdict(lambda: ZERO))
    positions: dict[str, Holding] = field(default_factory=dict)
    taken_over: int = -1
    status: str = "ok"
    called: bool = False
    step: int = 0
    step_time: int = 0
    step_ratio: Fraction | None = None


@dataclass
class Account:
    """`recent` are the last ids, of fills, busts and both legs of transfers."""

    buckets: dict[str, Bucket]
    recent: deque[tuple[Any, ...]]
    settings: Json = field(default_factory=dict)

    def bucket(self, name: str) -> Bucket:
        return self.buckets.setdefault(name, Bucket())


class ReferenceLedger:
    """
    Parameters
    ----------
    funding_scale : how finely the funding index of an instrument is counted, per minor unit and lot: the one number
        that is the engine's own choice
    """

    def __init__(self, funding_scale: dict[str, int], *, partition: int = 0, window: int = 256) -> None:
        self.funding_scale = funding_scale
        self.partition = partition
        self.window = window
        self.terms: dict[str, Json] = {}
        self.accounts: dict[str, Account] = {}
        self.house: defaultdict[tuple[str, str], Fraction] = defaultdict(lambda: ZERO)
        self.prices: dict[str, Fraction] = {}
        self.marks: dict[str, Fraction] = {}
        self.time = 0
        self.offset = -1
        self.index: defaultdict[str, int] = defaultdict(int)
        self.funded: dict[str, int] = {}
        self.waiting: list[Any] = []
        self.settled: dict[str, Fraction] = {}

    # -- rows ------------------------------------------------------------------------------------------------------

    def account(self, name: str) -> Account:
        return self.accounts.setdefault(name, Account({"cross": Bucket()}, deque(maxlen=self.window)))

    def is_new(self, account: Account, identity: tuple[Any, ...]) -> bool:
        """Whether the id is none of the last ones; it is the newest now."""
        if identity in account.recent:
            return False
        account.recent.append(identity)
        return True

    def late(self, row: Any, bucket: str) -> bool:
        """Whether a row answers a liquidation of a bucket that was taken over since."""
        if row.answers is None:
            return False
        offset = liquidation_offset(row.answers, partition=self.partition, account=row.account, bucket=bucket)
        taken_over = self.account(row.account).bucket(bucket).taken_over
        return offset is not None and offset <= taken_over

    def fill(self, row: Any) -> None:
        account = self.account(row.account)
        mode = row.mode or account.settings.get("mode", "cross")
        name = row.instrument if mode == "isolated" else "cross"
        if not self.is_new(account, ("bust" if row.kind == "bust" else "fill", row.id)):
            return
        bucket = account.bucket(name)
        sign = -1 if row.kind == "bust" else 1
        quantity, price, fee = sign * Fraction(row.quantity), Fraction(row.price), sign * Fraction(row.fee)
        if self.late(row, name):
            self.post_to_house(row.instrument, quantity, price, fee)
            if row.instrument in self.settled:
                self.close_house(row.instrument, -quantity)
            return
        if bucket.status == "bankrupt":
            bucket.status, bucket.called, bucket.step = "ok", False, 0
        self.post(bucket, row.instrument, quantity, price, fee, opening=row.kind == "opening")
        if row.instrument in self.settled:
            self.close_at(bucket, row.instrument, self.settled[row.instrument])

    def leg(self, row: Any) -> None:
        account = self.account(row.account)
        if not self.is_new(account, ("leg", row.leg, row.id)):
            return
        bucket = account.bucket(row.bucket)
        amount = Fraction(row.amount)
        self.house["~external", row.asset] -= amount
        if self.late(row, row.bucket):
            self.house["~house", row.asset] += amount
            return
        if bucket.status == "bankrupt":
            bucket.status, bucket.called, bucket.step = "ok", False, 0
        bucket.balances[row.asset] += amount

    def rate(self, row: Any) -> None:
        name = row.instrument
        if row.time <= self.funded.get(name, -1):
            return
        waits = any(other.instrument == name for other in self.waiting)
        if waits or (row.price is None and name not in self.marks):
            self.waiting.append(row)
            return
        price = Fraction(row.price) if row.price is not None else self.in_ticks(name, self.marks[name])
        lot = Fraction(1, 10 ** self.terms[name]["quantity_precision"])
        value = abs(self.exact_value(name, lot, price)) * 10 ** self.precision(self.settlement(name))
        scale = self.funding_scale[name]
        if self.inverse(name):
            step = round(round(value * scale) * Fraction(row.rate))
        else:
            step = round(value * scale * Fraction(row.rate))
        self.index[name] += step
        self.funded[name] = row.time

    # -- the ledger --------------------------------------------------------------------------------------------------

    def settlement(self, instrument: str) -> str:
        return str(self.terms[instrument]["settlement"])

    def precision(self, asset: str) -> int:
        return int(self.terms[asset]["precision"])

    def inverse(self, instrument: str) -> bool:
        return str(self.terms[instrument]["type"]).startswith("inverse")

    def rounded(self, amount: Fraction, asset: str) -> Fraction:
        """To the minor unit, half to even."""
        unit = 10 ** self.precision(asset)
        return Fraction(round(amount * unit), unit)

    def in_ticks(self, instrument: str, price: Fraction) -> Fraction:
        scale = 10 ** self.terms[instrument]["price_precision"]
        return Fraction(max(1, round(price * scale)), scale)

    def exact_value(self, instrument: str, quantity: Fraction, price: Fraction) -> Fraction:
        size = quantity * Fraction(self.terms[instrument]["multiplier"])
        return -size / price if self.inverse(instrument) else size * price

    def cost(self, instrument: str, quantity: Fraction, price: Fraction) -> Fraction:
        return self.rounded(self.exact_value(instrument, quantity, price), self.settlement(instrument))

    def owed(self, instrument: str, held: Holding) -> Fraction:
        """Funding to be received since it was last settled, unrounded."""
        lots = held.quantity * 10 ** self.terms[instrument]["quantity_precision"]
        moved = Fraction(self.index[instrument] - held.index, self.funding_scale[instrument])
        return -lots * moved / 10 ** self.precision(self.settlement(instrument))

    def post(
        self, bucket: Bucket, instrument: str, quantity: Fraction, price: Fraction, fee: Fraction, *, opening: bool
    ) -> None:
        asset = self.settlement(instrument)
        held = bucket.positions.pop(instrument, Holding(ZERO, ZERO, self.index[instrument]))
        funding = self.rounded(self.owed(instrument, held), asset)
        cost = self.cost(instrument, quantity, price)
        left = held.quantity + quantity
        if held.quantity * quantity >= 0:
            cost_left = held.cost + cost
        elif abs(quantity) <= abs(held.quantity):
            cost_left = held.cost - self.rounded(held.cost * abs(quantity) / abs(held.quantity), asset)
        else:
            cost_left = self.cost(instrument, left, price)
        # what is not open any more was paid and received
        bucket.balances[asset] += funding - fee - cost - held.cost + cost_left
        if left:
            bucket.positions[instrument] = Holding(left, cost_left, self.index[instrument])
        self.house[f"~external:{instrument}" if opening else f"~market:{instrument}", "lots"] -= quantity
        self.house["~external" if opening else f"~market:{instrument}", asset] += cost
        self.house["~fees", asset] += fee
        self.house["~funding", asset] -= funding

    def post_to_house(self, instrument: str, quantity: Fraction, price: Fraction, fee: Fraction) -> None:
        asset, cost = self.settlement(instrument), self.cost(instrument, quantity, price)
        self.house["~house", asset] -= cost + fee
        self.house["~fees", asset] += fee
        self.house[f"~market:{instrument}", asset] += cost
        self.house[f"~market:{instrument}", "lots"] -= quantity
        self.house[f"~house:{instrument}", "lots"] += quantity

    def close_at(self, bucket: Bucket, instrument: str, price: Fraction) -> None:
        if instrument in bucket.positions:
            quantity = -bucket.positions[instrument].quantity
            self.post(bucket, instrument, quantity, price, ZERO, opening=False)
            self.leave_residue(instrument, quantity)

    def close_house(self, instrument: str, quantity: Fraction) -> None:
        self.post_to_house(instrument, quantity, self.settled[instrument], ZERO)
        self.leave_residue(instrument, quantity)

    def leave_residue(self, instrument: str, quantity: Fraction) -> None:
        """The market settles lot by lot; what the position's own rounding makes of it beyond that is ~rounding's."""
        asset, price = self.settlement(instrument), self.settled[instrument]
        lot = Fraction(1, 10 ** self.terms[instrument]["quantity_precision"])
        residue = self.cost(instrument, quantity, price) - quantity / lot * self.cost(instrument, lot, price)
        self.house[f"~market:{instrument}", asset] -= residue
        self.house["~rounding", asset] += residue

    def expire(self) -> None:
        for name, terms in self.terms.items():
            if terms.get("expiry") is None or name in self.settled or self.time < terms["expiry"]:
                continue
            if terms["settlement_price"] is not None:
                self.settled[name] = Fraction(terms["settlement_price"])
            elif name in self.marks:
                self.settled[name] = self.in_ticks(name, self.marks[name])
            else:
                continue
            for account in self.accounts.values():
                for bucket in account.buckets.values():
                    self.close_at(bucket, name, self.settled[name])
            self.close_house(name, -self.house[f"~house:{name}", "lots"])

    def take_over(self, bucket: Bucket) -> None:
        for asset, amount in bucket.balances.items():
            self.house["~house", asset] += amount
        for name, held in bucket.positions.items():
            asset = self.settlement(name)
            funding = self.rounded(self.owed(name, held), asset)
            self.house["~house", asset] += funding - held.cost
            self.house["~funding", asset] -= funding
            self.house[f"~house:{name}", "lots"] += held.quantity
        bucket.balances.clear()
        bucket.positions.clear()
        bucket.taken_over = self.offset
