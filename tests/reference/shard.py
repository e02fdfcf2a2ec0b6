"""A shard in fractions: its ledger, and every rule of judging as its sentence, one bucket at a time.

Sizes and limits of liquidation orders are left out.
"""

from dataclasses import replace
from fractions import Fraction
from typing import Any

from tests.reference.ledger import ZERO, Bucket, ReferenceLedger
from tests.reference.margin import LEVELS, Book, Json, Numbers, Position, net_assets, numbers, status

STATES = ("ok", "degraded", "suspect", "stale", "halted")


class UnpricedError(Exception):
    """A mark or price that counts was never seen."""


class NearError(Exception):
    """A number is so near to a line that float64 may see it on the other side."""


def clear_of(value: Fraction, line: Fraction, size: Fraction) -> None:
    """Raise NearError where `value`, made of terms of about `size`, is at `line` but for float64's error."""
    if size and abs(value - line) <= size / 10**11:
        raise NearError


class ReferenceShard(ReferenceLedger):
    """Blocks are told to it as to a `tests.builders.Market`."""

    def __init__(self, funding_scale: dict[str, int], *, partition: int = 0, window: int = 256) -> None:
        super().__init__(funding_scale, partition=partition, window=window)
        self.live = False
        self.states: dict[str, str] = {}  # of symbols and of instruments
        self.check: dict[str, Fraction] = {}
        self.widening: dict[str, Fraction] = {}

    # -- blocks: each returns its decisions as (account, bucket, kind, step) ---------------------------------------

    def tell(self, *terms: Json) -> list[tuple[Any, ...]]:
        for record in terms:
            if record["id"] not in self.terms or self.terms[record["id"]]["version"] < record["version"]:
                self.terms[record["id"]] = record
        return self.after_block()

    def settings(self, *settings: Json) -> list[tuple[Any, ...]]:
        for record in settings:
            self.account(record["account"]).settings = record
        return self.after_block()

    def fills(self, *rows: Any) -> list[tuple[Any, ...]]:
        for row in rows:
            self.fill(row)
        return self.after_block()

    def collateral(self, *rows: Any) -> list[tuple[Any, ...]]:
        for row in rows:
            self.leg(row)
        return self.after_block()

    def funding(self, *rows: Any) -> list[tuple[Any, ...]]:
        for row in rows:
            self.rate(row)
        return self.after_block()

    def marked(
        self,
        index: dict[str, float],
        marks: dict[str, float],
        *,
        time: int,
        live: bool,
        states: dict[str, str],
        check: dict[str, float],
        widening: dict[str, float],
    ) -> list[Any]:
        self.states.update((name, states.get(name, "ok")) for name in (*index, *marks))
        for name in index:
            self.check.pop(name, None)
        self.check.update((name, Fraction(repr(price))) for name, price in check.items())
        self.widening.update((name, Fraction(repr(widening.get(name, 0.0)))) for name in index)
        self.prices.update((name, Fraction(repr(price))) for name, price in index.items())
        self.marks.update((name, Fraction(repr(price))) for name, price in marks.items())
        self.time, self.live = max(self.time, time), live
        waiting, self.waiting = self.waiting, []
        for row in waiting:
            self.rate(row)
        return self.after_block()

    def after_block(self) -> list[tuple[Any, ...]]:
        self.offset += 1
        self.expire()
        decisions = []
        if self.live:
            for name, account in self.accounts.items():
                for bucket in account.buckets:
                    decisions += [(name, bucket, *what) for what in self.judge(name, bucket)]
        return decisions

    # -- judging -----------------------------------------------------------------------------------------------------

    def state(self, name: str) -> str:
        """The worst of what is said of an instrument, its symbol, and by operators; or of an asset."""
        symbols = {name, self.terms[name].get("underlying", name)}
        halted = set()
        orders = [terms for terms in self.terms.values() if terms["kind"] == "control"]
        for order in sorted(orders, key=lambda order: int(order["version"])):
            (halted.add if order["action"] == "halt" else halted.discard)(order["symbol"])
        if symbols & halted:
            return "halted"
        return max((self.states.get(symbol, "ok") for symbol in symbols), key=STATES.index)

    def holds(self, bucket: Bucket) -> set[str]:
        """States of all that the bucket has."""
        names = {asset for asset, amount in bucket.balances.items() if amount}
        names |= {*bucket.positions, *(self.settlement(name) for name in bucket.positions)}
        return {self.state(name) for name in names}

    def checked(self, name: str) -> Fraction:
        """What a suspect instrument's mark, or asset's price, would be by the check oracle; raises UnpricedError."""
        price = self.marks[name] if name in self.marks else self.prices[name]
        if self.state(name) != "suspect":
            return price
        symbol = self.terms[name].get("underlying", name)
        if symbol not in self.check:
            raise UnpricedError
        return price * self.check[symbol] / self.prices[symbol]

    def numbers(self, bucket: Bucket, *, prices: str = "index") -> Numbers:
        """Raises UnpricedError.

        Parameters
        ----------
        prices : `index`; `check`: suspect ones as the check oracle has them; `cautious`: on the side of the two that is
            worse for the bucket
        """
        book = self.book(bucket)
        if prices == "index":
            return numbers(book)
        marks = {held.instrument: self.mark_at(held.instrument, prices, held.quantity) for held in book.positions}
        instruments = {
            name: terms | {"mark_price": str(marks[name])} for name, terms in book.document["instruments"].items()
        }
        book = replace(book, document=book.document | {"instruments": instruments})
        net = net_assets(book)
        counts = {asset for asset, amount in net.items() if amount} | {self.settlement(name) for name in marks}
        assets = {
            name: terms | ({"price": str(self.mark_at(name, prices, net[name]))} if name in counts else {})
            for name, terms in book.document["assets"].items()
        }
        return numbers(replace(book, document=book.document | {"assets": assets}))

    def mark_at(self, name: str, prices: str, amount: Fraction) -> Fraction:
        own = self.marks[name] if name in self.marks else self.prices[name]
        if prices == "check":
            return self.checked(name)
        try:
            return (min if amount >= 0 else max)(own, self.checked(name))
        except UnpricedError:
            return own

    def widened(self, asset: str) -> Json:
        """The asset's terms, every haircut larger by its widening."""
        terms, more = self.terms[asset], self.widening.get(asset, ZERO)
        cuts = {name: str(min(Fraction(terms[name]) + more, Fraction(1))) for name in ("haircut", "initial_haircut")}
        charges = {name: str(Fraction(terms[name]) + more) for name in ("borrow_haircut", "initial_borrow_haircut")}
        return {**terms, **cuts, **charges}

    def book(self, bucket: Bucket) -> Book:
        """Raises UnpricedError."""
        positions = []
        assets: Json = {}
        instruments: Json = {}
        for name, held in sorted(bucket.positions.items()):
            if name not in self.marks or self.settlement(name) not in self.prices:
                raise UnpricedError
            instruments[name] = {**self.terms[name], "mark_price": str(self.marks[name])}
            positions.append(
                Position(instrument=name, quantity=held.quantity, cost=held.cost, accrued=self.owed(name, held))
            )
        for asset in {*bucket.balances, *(self.settlement(name) for name in bucket.positions)}:
            assets[asset] = {**self.widened(asset), "price": str(self.prices.get(asset, ZERO))}
            if asset not in self.prices and bucket.balances[asset]:
                raise UnpricedError
        document = {"assets": assets, "instruments": instruments}
        return Book(document=document, balances=dict(bucket.balances), positions=tuple(positions))

    def check_clear(self, bucket: Bucket, found: Numbers, levels: Json) -> None:
        """Raises NearError."""
        several = len(bucket.positions) + sum(amount != 0 for amount in bucket.balances.values()) > 1
        size = sum((abs(held.cost) * self.prices[self.settlement(i)] for i, held in bucket.positions.items()), ZERO)
        size += sum((abs(amount) * self.prices.get(a, ZERO) for a, amount in bucket.balances.items()), ZERO)
        size = (size + found.maintenance_margin) if several else ZERO
        clear_of(found.equity, ZERO, size)
        for level in ("1", *(levels.get(name) or text for name, text in LEVELS.items())):
            clear_of(found.adjusted_equity, Fraction(level) * found.maintenance_margin, size)
        if bucket.step_ratio is not None and found.maintenance_margin:
            ratio = found.adjusted_equity / found.maintenance_margin
            if ratio != bucket.step_ratio:
                clear_of(ratio, bucket.step_ratio, size / found.maintenance_margin)

    def judge(self, account: str, name: str) -> list[tuple[str, int]]:
        """Kind and step of each decision."""
        bucket = self.accounts[account].buckets[name]
        if bucket.status == "bankrupt":
            return []
        try:
            found = self.numbers(bucket)
        except UnpricedError:
            bucket.status = "unpriced"
            return []
        self.check_clear(bucket, found, self.accounts[account].settings.get("levels") or {})
        previous = "liquidation" if bucket.step else "margin_call" if bucket.called else "ok"
        now = status(found, self.accounts[account].settings.get("levels"), previous)
        required = found.maintenance_margin
        ratio = found.adjusted_equity / required if required else None
        if now in ("liquidation", "bankrupt"):
            now = self.restrained(account, bucket, now, previous)
        if now == "held":
            if bucket.step:
                bucket.status = "liquidation"
                return []
            now = "margin_call"
        if now == "bankrupt":
            self.take_over(bucket)
            bucket.status, bucket.called, bucket.step = "bankrupt", False, 0
            return [("bankrupt", 0)]
        decisions = []
        if now == "liquidation":
            worse = ratio is not None and bucket.step_ratio is not None and ratio < bucket.step_ratio
            if bucket.step == 0 or worse or self.time - bucket.step_time >= 5000:
                bucket.step += 1
                bucket.step_time, bucket.step_ratio = self.time, ratio
                decisions.append(("liquidation", bucket.step))
        else:
            if bucket.step:
                decisions.append(("liquidation_cleared", 0))
                bucket.step = 0
            if bucket.called != (now == "margin_call"):
                bucket.called = not bucket.called
                decisions.append(("called" if bucket.called else "cleared", 0))
        bucket.status = now
        return decisions

    def restrained(self, account: str, bucket: Bucket, now: str, previous: str) -> str:
        """What becomes of a bucket that would be liquidated or taken over, when not all prices are trusted."""
        levels = self.accounts[account].settings.get("levels") or {}
        states = self.holds(bucket)
        if "suspect" in states:
            try:
                found = self.numbers(bucket, prices="check")
            except UnpricedError:
                return "held"
            self.check_clear(bucket, found, levels)
            at_check = status(found, levels, previous)
            if at_check not in ("liquidation", "bankrupt"):
                return "held"
            now = now if at_check == "bankrupt" else "liquidation"
        if "halted" in states and now == "bankrupt":
            now = "liquidation"
        return now if now == "bankrupt" or self.can_order(bucket) else "held"

    def can_order(self, bucket: Bucket) -> bool:
        """Whether a position may be closed, or where there is none, an asset converted into another that is owed."""
        if bucket.positions:
            return any(self.state(name) != "halted" for name in bucket.positions)
        fresh = [amount for asset, amount in bucket.balances.items() if self.state(asset) not in ("stale", "halted")]
        return any(amount > 0 for amount in fresh) and any(amount < 0 for amount in fresh)
