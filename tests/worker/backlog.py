"""An hour of a market on four topics, in which reading the topics in another order than that of time misjudges.

BTC stands at 50,000 for 20 minutes, falls to 42,000 within ten, and is back at 46,500 ten minutes later. Every group of
accounts is one way to be misjudged; `NEVER` are those that, in order, are never near a call.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
QUOTE_EVERY_MS = 10_000
SOURCES = ("one", "two", "three")
MEMBERS = 8

TERMS: tuple[dict[str, Any], ...] = (
    {"id": "USDC", "kind": "asset", "precision": 6},
    {"id": "BTC-PERP", "kind": "instrument", "type": "perpetual", "underlying": "BTC", "settlement": "USDC",
     "price_precision": 1, "quantity_precision": 3, "initial_margin": "0.10", "maintenance_margin": "0.05"},
)  # fmt: skip

#: Group -> what its accounts do: (minute, what, number): deposit or withdraw USDC, into: an isolated bucket, buy at the
#: price of the minute (negative sells), buy_isolated.
STORY: dict[str, Sequence[tuple[float, str, float]]] = {
    # Safe only with the money that comes while prices begin to fall: 15,500 - 8,000 against 2,100 at the low.
    "rescued": [(1, "deposit", 5_500), (2, "buy", 1), (21, "deposit", 10_000)],
    "rescued_isolated": [(1, "deposit", 30_000), (1.5, "into", 5_500), (2, "buy_isolated", 1), (21, "into", 10_000)],
    # The money comes from an account of another shard, as the one row of a transfer.
    "relative": [(1, "deposit", 5_500), (2, "buy", 1), (21, "gift", 10_000)],
    # Sold before the fall; later books without the position, earlier ones with it.
    "gone": [(1, "deposit", 5_500), (2, "buy", 1), (21, "buy", -1)],
    # Fine then and fine now, but today's books at yesterday's low are not: 9,000 - 8,000 against 2,100.
    "withdrawn": [(1, "deposit", 20_000), (2, "buy", 1), (50, "withdraw", 11_000)],
    "came_late": [(44, "deposit", 4_500), (45, "buy", 1)],
    # Called at the low, 2,500 against 2,100, and cleared: over before anybody looks.
    "called_then": [(1, "deposit", 10_500), (2, "buy", 1)],
    # Short from the low: 2,800 against 2,325 in the end, and 2,000.
    "called_now": [(29, "deposit", 7_300), (30, "buy", -1)],
    "liquidated_now": [(29, "deposit", 6_500), (30, "buy", -1)],
    # Without equity at the low, so in order it is taken over.
    "bankrupt_then": [(1, "deposit", 6_300), (2, "buy", 1)],
}
NEVER = ("rescued", "rescued_isolated", "relative", "gone", "withdrawn", "came_late", "giver", "filler")
#: Deposits of others before the fall, so that `collateral` is long.
FILLERS = 2_000
#: What a message carries besides: with so much a fetch takes few of them, and its topic is read last.
MEMO = "m" * 20_000


@dataclass(frozen=True, slots=True)
class Event:
    """One message; `topic` is logical, `time` epoch ms."""

    time: int
    topic: str
    key: str
    record: dict[str, Any]

    def value(self, slow: str = "") -> bytes:
        """The message; of the topic `slow` a large one."""
        return json.dumps(self.record | {"memo": MEMO} if self.topic == slow else self.record).encode()


def price_at(minute: float) -> float:
    """BTC at a minute of the hour."""
    if minute <= 20:
        return 50_000.0
    if minute <= 30:
        return 50_000.0 - 800.0 * (minute - 20)
    return min(46_500.0, 42_000.0 + 450.0 * (minute - 30))


def backlog(start_ms: int, fillers: int = FILLERS) -> list[Event]:
    """Everything that happened in the hour from `start_ms`, in order of time; terms first."""
    events = [Event(start_ms, "instruments", record["id"], record) for record in TERMS]
    events += _quotes(start_ms)
    for group, deeds in STORY.items():
        for member in range(MEMBERS):
            for number, (minute, deed, amount) in enumerate(deeds):
                time = start_ms + int(minute * MINUTE_MS)
                account = f"{group}-{member}"
                events += _deed(time, account, f"{account}-{number}", deed, amount, price_at(minute))
    step_ms = 20 * MINUTE_MS / max(1, fillers)
    for number in range(fillers):
        events += _deed(int(start_ms + number * step_ms), f"filler-{number % 200}", f"f{number}", "deposit", 1, 0.0)
    return sorted(events, key=lambda event: (event.time, event.topic == "oracle-prices"))


def group_of(account: str) -> str:
    """The group of an account, or what else it is for."""
    return account.partition("-")[0]


def _quotes(start_ms: int) -> Iterator[Event]:
    for step in range(HOUR_MS // QUOTE_EVERY_MS + 1):
        for at, source in enumerate(SOURCES):
            time = start_ms + step * QUOTE_EVERY_MS + at
            for symbol, price in (("BTC", price_at(step * QUOTE_EVERY_MS / MINUTE_MS)), ("USDC", 1.0)):
                record = {"symbol": symbol, "source": source, "price": str(price), "time": time}
                yield Event(time, "oracle-prices", symbol, record)


def _deed(time: int, account: str, id: str, deed: str, amount: float, price: float) -> Iterator[Event]:
    move = {"transfer_id": id, "account": account, "asset": "USDC", "amount": str(amount), "time": time}
    if deed.startswith("buy"):
        fill = {"fill_id": id, "account": account, "instrument": "BTC-PERP", "quantity": str(amount), "time": time}
        fill |= {"price": str(price), "margin_mode": "isolated" if deed == "buy_isolated" else "cross"}
        yield Event(time, "fills", account, fill)
    elif deed == "gift":
        giver = f"giver-{id}"
        opening = {**move, "account": giver, "transfer_id": f"{id}-own", "type": "opening"}
        yield Event(time - 1, "collateral", giver, opening)
        yield Event(time, "collateral", giver, {**move, "account": giver, "type": "transfer", "to_account": account})
    elif deed == "into":
        yield Event(time, "collateral", account, {**move, "type": "transfer", "to_bucket": "BTC-PERP"})
    else:
        kind = {"deposit": "deposit", "withdraw": "withdrawal"}[deed]
        yield Event(time, "collateral", account, {**move, "type": kind})
