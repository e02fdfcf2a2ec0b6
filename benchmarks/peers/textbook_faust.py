"""The peers' job in Faust, as its documentation teaches: agents on topics, records, a table with its changelog.

One event at a time, at-least-once (its default; its exactly-once mode loses and doubles events), state in memory and in
the table's changelog topic. A price scans all accounts of the worker, since a table knows no index.
"""

from __future__ import annotations

import sys
from typing import Any

import faust

from benchmarks.peers.account import INITIAL_CASH, Account, fill_of, price_of
from benchmarks.peers.options import options_of


class Fill(faust.Record, serializer="json"):  # type: ignore[call-arg]  # a keyword of __init_subclass__; mypy skips Faust
    """A record of `fills`."""

    fill_id: str
    account: str
    instrument: str
    quantity: str
    price: str
    fee: str
    time: int


class Price(faust.Record, serializer="json"):  # type: ignore[call-arg]  # a keyword of __init_subclass__; mypy skips Faust
    """A record of `prices`."""

    symbol: str
    source: str
    price: str
    time: int


class Breach(faust.Record, serializer="json"):  # type: ignore[call-arg]  # a keyword of __init_subclass__; mypy skips Faust
    """A record of `breaches`."""

    account: str
    equity: float
    maintenance_margin: float


class Holding(faust.Record, serializer="json"):  # type: ignore[call-arg]  # a keyword of __init_subclass__; mypy skips Faust
    """What the table holds of an account; see `Account` for the fields."""

    cash: float = INITIAL_CASH
    positions: dict[str, list[float]] = {}  # noqa: RUF012 - Faust copies the default of a field
    breached: bool = False


def app_of(broker: str, prefix: str, partitions: int, state_dir: str) -> faust.App:
    """Return the app with its two agents."""
    app = faust.App(
        f"{prefix}-faust",
        broker=f"kafka://{broker}",
        store="memory://",
        topic_partitions=partitions,
        topic_replication_factor=1,
        web_enabled=False,
        datadir=state_dir,
    )
    fills = app.topic(f"{prefix}.fills", key_type=str, value_type=Fill)
    prices = app.topic(f"{prefix}.prices", value_type=Price)
    breaches = app.topic(f"{prefix}.breaches", key_type=str, value_type=Breach)
    accounts = app.Table("accounts", default=Holding, key_type=str, value_type=Holding, partitions=partitions)
    latest: dict[str, float] = {}

    async def value(name: str, account: Account) -> bool:
        """Emit the account's breach where it has one, once."""
        breach = account.breach(latest)
        if breach is not None:
            await breaches.send(key=name, value=Breach(account=name, **breach))
        return breach is not None

    @app.agent(fills)
    async def on_fill(stream: Any) -> None:
        async for record in stream:
            try:
                fill = fill_of(record.asdict())
            except ValueError as error:
                app.log.warning("dropped a fill: %s", error)
                continue
            account = account_of(accounts[fill.account])
            account.book(fill)
            await value(fill.account, account)
            accounts[fill.account] = holding_of(account)

    @app.agent(prices)
    async def on_price(stream: Any) -> None:
        async for record in stream:
            try:
                symbol, price = price_of(record.asdict())
            except ValueError as error:
                app.log.warning("dropped a price: %s", error)
                continue
            if latest.get(symbol) == price:  # it comes in every partition, and one worker has them all
                continue
            latest[symbol] = price
            for name, holding in list(accounts.items()):
                account = account_of(holding)
                if account.holds(symbol) and await value(name, account):
                    accounts[name] = holding_of(account)

    return app


def account_of(holding: Holding) -> Account:
    """Return the account that a table's value stands for; its positions are its own."""
    positions = {name: list(position) for name, position in holding.positions.items()}
    return Account(holding.cash, positions, holding.breached)


def holding_of(account: Account) -> Holding:
    """Return what the table holds of an account."""
    return Holding(cash=account.cash, positions=account.positions, breached=account.breached)


def main() -> None:
    """Run until SIGTERM."""
    options = options_of("textbook-faust")
    app = app_of(options.broker, options.prefix, options.partitions, str(options.state_dir))
    sys.argv[1:] = []
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()


if __name__ == "__main__":
    main()
