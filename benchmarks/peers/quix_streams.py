"""The peers' job in Quix Streams: stateful apply, exactly-once, RocksDB state with a changelog topic.

The streams of fills and prices are concatenated, so both share the state store of their partition, and Quix reads them
in the order of their timestamps. State is keyed by the message's key and Quix documents no way to go through all keys
of a partition; so the accounts are also held as objects in memory, beside the durable state. They are rebuilt from it
when the partition is first seen: the one place where this peer reaches below the documented interface (`stored`).

Killed three times with -9 under load: state right, no breach twice, up to date again 7 to 59 s after each kill (the
dead member's session is 45 s).
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from quixstreams import Application, State, message_context
from quixstreams.dataframe import StreamingDataFrame

from benchmarks.peers.account import Account, fill_of, price_of
from benchmarks.peers.options import options_of

log = logging.getLogger(__name__)
Breaches = list[dict[str, Any]]


class Partition:
    """The accounts and prices of one partition as objects; the truth is in the state store."""

    def __init__(self) -> None:
        self.accounts: defaultdict[str, Account] = defaultdict(Account)
        self.prices: dict[str, float] = {}

    def restore(self, key: str | None, name: str, value: Any) -> None:
        """Take one value of the state store: the account ``key``, or what the prices' messages (no key) keep."""
        if key is not None:
            account = self.accounts[key]
            account.cash, account.positions = value["cash"], value["positions"]
            account.breached = account.breached or value["breached"]
        elif name.startswith("price "):
            self.prices[name.removeprefix("price ")] = value
        else:
            self.accounts[name.removeprefix("breached ")].breached = True

    def on_fill(self, record: Any, state: State) -> Breaches:
        fill = fill_of(record)
        account = self.accounts[fill.account]
        account.book(fill)
        breach = account.breach(self.prices)
        state.set("account", {"cash": account.cash, "positions": account.positions, "breached": account.breached})
        return [{"account": fill.account, **breach}] if breach else []

    def on_price(self, record: Any, state: State) -> Breaches:
        symbol, price = price_of(record)
        self.prices[symbol] = price
        state.set(f"price {symbol}", price)
        breaches = []
        for name, account in self.accounts.items():
            if account.holds(symbol) and (breach := account.breach(self.prices)):
                state.set(f"breached {name}", True)  # this state is of the price's key, not of the account's
                breaches.append({"account": name, **breach})
        return breaches


class Margin:
    """The stateful function of the concatenated stream."""

    def __init__(self) -> None:
        self.partitions: dict[int, Partition] = {}
        self.events: StreamingDataFrame | None = None

    def __call__(self, record: Any, key: str | None, _timestamp: int, _headers: Any, state: State) -> Breaches:
        number = message_context().partition
        partition = self.partitions.get(number)
        if partition is None:
            partition = self.partitions[number] = Partition()
            for entry in stored(self.events, number):
                partition.restore(*entry)
        try:
            return partition.on_price(record, state) if key is None else partition.on_fill(record, state)
        except ValueError as error:
            log.warning("dropped a record of partition %d: %s", number, error)
            return []


def stored(events: StreamingDataFrame, partition: int) -> Iterator[tuple[str | None, str, Any]]:
    """Yield (message key, name, value) of all that the partition's state store holds."""
    transaction = events.processing_context.checkpoint.get_store_transaction(events.stream_id, partition)
    for path, value in transaction._partition.iter_items(lower_bound=b""):
        key, _, name = path.rpartition(b"|")
        yield json.loads(key), json.loads(name), json.loads(value)


def main() -> None:
    """Run until SIGTERM, which Quix handles: it commits and leaves the group."""
    options = options_of("quix-streams")
    app = Application(
        broker_address=options.broker,
        consumer_group=f"{options.prefix}-quix",
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        state_dir=options.state_dir,
        loglevel="WARNING",
    )
    fills = app.dataframe(app.topic(f"{options.prefix}.fills", key_deserializer="str"))
    prices = app.dataframe(app.topic(f"{options.prefix}.prices"))
    breaches = app.topic(f"{options.prefix}.breaches", key_serializer="str")
    margin = Margin()
    margin.events = fills.concat(prices)
    margined = margin.events.apply(margin, stateful=True, metadata=True, expand=True)
    margined.to_topic(breaches, key=lambda breach: breach["account"])
    app.run()


if __name__ == "__main__":
    main()
