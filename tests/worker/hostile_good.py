"""Good messages of every input topic, of shapes that a strict reader might trip over, whose final ledger does not
depend on the order between topics: nobody comes near a margin call, and funding has positions of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec

from schemas.prices import Quote
from schemas.signatures import sign
from tests.worker.hostile_terms import BTC_PERP, KEY, TERMS

ACCOUNTS = (
    *(f"acct-{number}" for number in range(180)),
    *("Ω", "счёт", "账户-9", "حساب", "e\u0301", "\u00e9", "😀", "two words", "a~", "-", "'; drop"),
    *('"quoted"', "\\", "NaN", "null", "0", "x" * 128, "é" * 128),
)
MORE_OF_A_FILL: tuple[dict[str, Any], ...] = (
    {}, {}, {}, {"fee": "-0.000001"}, {"fee": 12.5}, {"margin_mode": "cross"}, {"kind": "bust"},
    {"liquidation_id": None}, {"memo": {"deep": [[["x"]]]}, "v": 2**70},
)  # fmt: skip
SOURCES = ("one", "two", "three")
#: Almost 2**62 minor units of USDC: one fits an account, two do not.
WHOLE = "4611686018427.387903"


@dataclass(frozen=True, slots=True)
class Good:
    """One message that must be taken.

    Parameters
    ----------
    repeated : the books have it already: it is in the journal and changes nothing
    over_range : it is in the journal, and the shard finds that the ledger cannot hold it
    """

    topic: str
    key: bytes
    value: bytes | None
    repeated: bool = False
    over_range: bool = False


def published() -> list[Good]:
    """Terms of all instruments and assets; Kafka must have them before it is sent what names one."""
    return [_good("instruments", record["id"], record) for record in TERMS]


def opening(now_ms: int) -> list[Good]:
    """Money for everyone, and the positions that funding is paid on; to be taken before what follows."""
    sent = []
    for number, account in enumerate(ACCOUNTS):
        for asset, amount in (("USDC", "1e9"), ("ETH", 100_000)):
            sent.append(_move(f"open-{asset}", "opening", account, asset, amount, now_ms))
        sent.append(_fill(f"open-{number}", account, "FUND-PERP", number - 90.5, "100.5", now_ms))
    return sent


class Traffic:
    """An endless stream of good messages; the generator's seed decides it."""

    def __init__(self, random: Random, now_ms: int) -> None:
        self._random = random
        self._now_ms = now_ms
        self._count = 0
        self._whales = 0
        self._makers: list[tuple[Callable[[], Good], int]] = [
            (self._trade, 56),
            (self._moved, 22),
            (self._quoted, 12),
            (self._rated, 2),
            (self._set, 4),
            (self._published, 2),
        ]

    def __iter__(self) -> Iterator[Good]:
        makers, weights = [maker for maker, _ in self._makers], [weight for _, weight in self._makers]
        while True:
            self._count += 1
            good = self._random.choices(makers, weights)[0]()
            yield good
            if good.topic in ("fills", "collateral") and self._random.random() < 0.02:
                yield Good(good.topic, good.key, good.value, repeated=True)
            if self._random.random() < 0.002:
                yield from self._whale()

    def _account(self) -> str:
        return self._random.choice(ACCOUNTS)

    def _time(self) -> Any:
        late_ms = self._random.randrange(60_000)
        if self._random.random() < 0.9:
            return self._now_ms - late_ms
        return "2025-10-10T23:15:00.123456789+02:00"

    def _trade(self) -> Good:
        random, number = self._random, self._count
        more: dict[str, Any] = random.choice(MORE_OF_A_FILL)
        sign = random.choice((-1, 1))
        if random.random() < 0.1:
            isolated = {"margin_mode": "isolated"}
            return self._changed("fills", self._account(), _signed("1", sign), "DARK-PERP", "7", isolated, number)
        if random.random() < 0.7:
            lots = random.choice(("0.001", "1e-3", "0.5", 2, "00.250", 0.125))
            price = random.choice(("50000", "5.1e4", 49999.5))
            return self._changed("fills", self._account(), _signed(lots, sign), "BTC-PERP", price, more, number)
        return self._changed("fills", self._account(), _signed("7", sign), "ETH-INV", "2000.5", more, number)

    def _changed(
        self, topic: str, account: str, quantity: Any, instrument: str, price: Any, more: dict[str, Any], number: int
    ) -> Good:
        record = {"fill_id": f"t{number}", "account": account, "instrument": instrument, "quantity": quantity}
        record |= {"price": price, "time": self._time()} | more
        return Good(topic, account.encode(), self._text(record))

    def _text(self, record: dict[str, Any]) -> bytes:
        """JSON of one of the looks that producers give it."""
        look = self._random.randrange(4)
        if look == 0:
            return json.dumps(record, indent=3).encode()
        if look == 1:
            return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
        if look == 2:
            return b" \r\n" + json.dumps(dict(reversed(record.items()))).encode() + b"\n"
        return json.dumps(record).encode()

    def _moved(self) -> Good:
        random, account = self._random, self._account()
        kind = random.choice(("deposit", "withdrawal", "transfer", "adjustment", "conversion"))
        more: dict[str, Any] = {}
        if kind == "transfer":
            more = {"to_account": random.choice([name for name in ACCOUNTS if name != account])}
        elif kind == "conversion":
            more = {"to_asset": "ETH", "to_amount": "0.00000001"}
        amount = random.choice(("0.000001", "10", 3.25, "1E1"))
        record = _record(f"m{self._count}", kind, account, "USDC", amount, self._now_ms) | more
        return Good("collateral", account.encode(), self._text(record))

    def _quoted(self) -> Good:
        symbol, source = self._random.choice(("BTC", "ETH", "USDC")), self._random.choice(SOURCES)
        price = round({"BTC": 50_000, "ETH": 2_000, "USDC": 1}[symbol] * (1 + self._random.randrange(-9, 10) / 1e4), 4)
        record = {"symbol": symbol, "source": source, "price": price, "time": self._now_ms, "sequence": self._count}
        if source == "two":
            quote = sign(msgspec.convert(record | {"price": str(price)}, Quote), key_id="k1", private_key=KEY)
            record |= {"key_id": quote.key_id, "signature": quote.signature}
        return _good("oracle-prices", symbol, record)

    def _rated(self) -> Good:
        record = {"instrument": "FUND-PERP", "rate": f"{self._random.randrange(-9, 10)}e-6", "mark_price": "100.5"}
        return _good("funding-rates", "FUND-PERP", record | {"time": self._now_ms - 10_000_000 + self._count})

    def _set(self) -> Good:
        account = f"set-{self._random.randrange(50)}"
        if self._random.random() < 0.2:
            return Good("accounts", account.encode(), None)
        mode = self._random.choice(("cross", "isolated"))
        return _good("accounts", account, {"account": account, "mode": mode, "levels": {"margin_call": "1.4"}})

    def _published(self) -> Good:
        id = f"NEW-{self._random.randrange(20)}"
        rate = f"0.{self._random.randrange(10, 99)}"
        return _good("instruments", id, BTC_PERP | {"id": id, "initial_margin": rate, "maintenance_margin": "0.05"})

    def _whale(self) -> Iterator[Good]:
        self._whales += 1
        account = f"whale-{self._whales}"
        yield _move("all", "deposit", account, "USDC", WHOLE, self._now_ms)
        second = _move("again", "deposit", account, "USDC", WHOLE, self._now_ms)
        yield Good(second.topic, second.key, second.value, over_range=True)


def _signed(quantity: Any, sign: int) -> Any:
    if isinstance(quantity, str):
        return quantity if sign > 0 else f"-{quantity}"
    return sign * quantity


def _fill(id: str, account: str, instrument: str, quantity: Any, price: Any, now_ms: int) -> Good:
    record = {"fill_id": id, "account": account, "instrument": instrument, "quantity": quantity, "price": price}
    return Good("fills", account.encode(), json.dumps(record | {"time": now_ms}).encode())


def _record(id: str, kind: str, account: str, asset: str, amount: Any, now_ms: int) -> dict[str, Any]:
    record = {"transfer_id": id, "type": kind, "account": account, "asset": asset, "amount": amount}
    return record | {"time": now_ms}


def _move(id: str, kind: str, account: str, asset: str, amount: Any, now_ms: int) -> Good:
    return Good("collateral", account.encode(), json.dumps(_record(id, kind, account, asset, amount, now_ms)).encode())


def _good(topic: str, key: str, record: dict[str, Any]) -> Good:
    return Good(topic, key.encode(), json.dumps(record).encode())
