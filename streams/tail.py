"""`crossmargin tail TOPIC`: the records of a topic, readable, as they come."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.journal import Block, CorruptBlock
from schemas.topics import TOPICS
from streams.settings import SettingsError, load

QUIET_MS = 500
VALUE_CHARS_MAX = 160
TERMS_SHOWN = 4


class Tailed(NamedTuple):
    """One record of a topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, str]


@click.command("tail")
@click.argument("topic", type=click.Choice(list(TOPICS)), metavar="TOPIC")
@click.option("--from-beginning", is_flag=True, help="From the first record; default: only what comes from now on.")
@click.option("--max", "count_max", type=click.IntRange(min=1), help="Stop after so many records.")
@click.option("--no-follow", is_flag=True, help="Stop at the present end of the topic.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: partition, offset, key, headers, value.")
@click.option("--broker", help="Kafka to ask, host:port; default: CROSSMARGIN_BROKER.")
@click.option("--topic-prefix", help="Put before the topic's name, as the worker's setting of that name.")
def tail_command(
    topic: str,
    from_beginning: bool,
    count_max: int | None,
    no_follow: bool,
    as_json: bool,
    broker: str | None,
    topic_prefix: str | None,
) -> None:
    """Print the records of a topic, committed ones only.

    TOPIC is a logical name: margin-calls, liquidations, margin-accounts, marks, dead-letters, journal, fills, ...
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters is raised, and told in one line
    show = json_line if as_json else readable(topic)
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        sys.exit(asyncio.run(_tail(topic, show, from_beginning, count_max, no_follow, broker, topic_prefix)))


async def _tail(
    topic: str,
    show: Callable[[Tailed], str],
    from_beginning: bool,
    count_max: int | None,
    no_follow: bool,
    broker: str | None,
    topic_prefix: str | None,
) -> int:
    try:
        settings = load({"broker": broker, "topic_prefix": topic_prefix})
    except SettingsError as error:
        click.echo(f"crossmargin tail: {error}", err=True)
        return 2
    name = settings.topic(topic)
    admin = AIOKafkaAdminClient(**settings.client())
    consumer = AIOKafkaConsumer(**settings.client(), isolation_level="read_committed", enable_auto_commit=False)
    try:
        await admin.start()
        await consumer.start()
        described = await admin.describe_topics([name])
        places = [TopicPartition(name, item["partition"]) for found in described for item in found["partitions"]]
        if not places:
            click.echo(f"crossmargin tail: topic {name} must exist, found none at {settings.broker}", err=True)
            return 2
        consumer.assign(places)
        await (consumer.seek_to_beginning if from_beginning else consumer.seek_to_end)(*places)
        left = count_max
        async for record in _records(consumer, places, follow=not no_follow):
            click.echo(show(record))
            left = None if left is None else left - 1
            if left == 0:
                break
    except KafkaError as error:
        click.echo(f"crossmargin tail: Kafka must answer at {settings.broker}, {type(error).__name__}", err=True)
        return 2
    finally:
        await consumer.stop()
        await admin.close()
    return 0


async def _records(consumer: AIOKafkaConsumer, places: list[TopicPartition], *, follow: bool) -> AsyncIterator[Tailed]:
    ends = {} if follow else await consumer.end_offsets(places)
    while follow or [place for place in places if await consumer.position(place) < ends[place]]:
        for found in (await consumer.getmany(timeout_ms=QUIET_MS)).values():
            for record in found:
                headers = {name: value.decode(errors="replace") for name, value in record.headers}
                yield Tailed(record.partition, record.offset, record.key, record.value, headers)


def json_line(record: Tailed) -> str:
    """The record as one JSON object; a journal block as its header, other bytes as text."""
    return orjson.dumps(
        {
            "partition": record.partition,
            "offset": record.offset,
            "key": None if record.key is None else record.key.decode(errors="replace"),
            "headers": dict(record.headers),
            "value": None if record.value is None else _plain(record.value),
        }
    ).decode()


def readable(topic: str) -> Callable[[Tailed], str]:
    """How a record of this topic is told in one line."""
    tell = _TELLERS.get(topic, _raw)

    def line(record: Tailed) -> str:
        where = f"{record.partition}@{record.offset}"
        return f"{where:<10} {tell(record) if record.value is not None else f'{_key(record)} deleted'}"

    return line


def describe_block(block: Block, size: int) -> str:
    """One line on a journal block.

    >>> extra = {"time": 0, "oracle": {"mode": "live"}}
    >>> describe_block(Block(kind="marks", names={"symbols": ["BTC"]}, extra=extra), 96)
    'marks        0 rows     96 bytes  1970-01-01 00:00:00.000 live  BTC'
    """
    first = next(iter(block.columns.values()), ())
    source, told = block.source, []
    if source:
        told.append(f"{source['topic']}[{source['partition']}] {source['first']}..{source['next'] - 1}")
    if "time" in block.extra:
        told.append(f"{_clock(block.extra['time'])} {block.extra['oracle']['mode']}")
    if block.terms:
        ids = list(dict.fromkeys(term["id"] for term in block.terms))
        more = f" and {len(ids) - TERMS_SHOWN} more" if len(ids) > TERMS_SHOWN else ""
        told.append(f"terms of {' '.join(ids[:TERMS_SHOWN])}{more}")
    told.append(" ".join(block.names.get("symbols", block.names.get("instruments", []))))
    rows = len(first) or len(block.extra.get("accounts", block.terms))
    return f"{block.kind:<10} {rows:>3} rows {size:>6} bytes  {'  '.join(filter(None, told))}"


def _journal(record: Tailed) -> str:
    value = record.value or b""
    try:
        return describe_block(Block.decode(value), len(value))
    except CorruptBlock as error:
        return f"corrupt: {error}"


def _margin_call(record: Tailed) -> str:
    event = orjson.loads(record.value or b"")
    return f"{_head(event)} level {event['level']}  {_margin(event['report'])}"


def _liquidation(record: Tailed) -> str:
    event = orjson.loads(record.value or b"")
    if event["kind"] == "liquidation":
        orders = ", ".join(_order(order) for order in event["orders"])
        return f"{_head(event)} step {event['step']}: {orders}  {_margin(event['report'])}"
    if event["kind"] == "bankrupt":
        return f"{_head(event)} shortfall {event['shortfall']}"
    return f"{_head(event)} {_margin(event['report'])}"


def _order(order: Mapping[str, Any]) -> str:
    if order.get("instrument"):
        return f"{order['quantity']} {order['instrument']} at {order['limit_price']}"
    return f"sell {order['amount']} {order['sell_asset']} for {order['buy_asset']} at {order['limit_price']}"


def _margin_account(record: Tailed) -> str:
    summary = orjson.loads(record.value or b"")
    parts = [f"{amount} {asset}" for asset, amount in summary["balances"].items()]
    parts += [f"{bucket['bucket']} {bucket['status']}" for bucket in summary["isolated"]]
    head = f"{_clock(summary['time'])} {summary['status']:<11} {summary['account']:<16}"
    return f"{head} {_margin(summary)}  {', '.join(parts)}"


def _mark(record: Tailed) -> str:
    mark = orjson.loads(record.value or b"")
    sources = " ".join(mark.get("sources", ()))
    return f"{_clock(mark['time'])} {mark['symbol']:<8} {mark['index'] or '-':>16} {mark['state']:<8} {sources}"


def _dead_letter(record: Tailed) -> str:
    head = record.headers
    place = f"{head.get('source_topic')}[{head.get('source_partition')}]@{head.get('source_offset')}"
    value = (record.value or b"").decode(errors="replace")[:VALUE_CHARS_MAX]
    return f"{head.get('reason_code'):<20} {place}  {head.get('reason')}  {value!r}"


def _raw(record: Tailed) -> str:
    value = (record.value or b"").decode(errors="backslashreplace")
    return f"{_key(record)} {value}"


def _head(event: Mapping[str, Any]) -> str:
    return f"{_clock(event['time'])} {event['kind']:<19} {event['account']:<16} {event['bucket']:<10}"


def _margin(report: Mapping[str, Any]) -> str:
    names = {"margin_ratio": "ratio", "equity": "equity", "maintenance_margin": "maintenance"}
    return "  ".join(f"{name} {_short(report[field])}" for field, name in names.items())


def _short(number: str | None) -> str:
    return "-" if number is None else f"{float(number):,.6g}"


def _key(record: Tailed) -> str:
    return "-" if record.key is None else record.key.decode(errors="backslashreplace")


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _plain(value: bytes) -> Any:
    """JSON as it is, a journal block as its header, anything else as text."""
    with contextlib.suppress(orjson.JSONDecodeError):
        return orjson.loads(value)
    with contextlib.suppress(CorruptBlock):
        block = Block.decode(value)
        rows = {name: len(column) for name, column in block.columns.items()}
        return {
            "kind": block.kind,
            "source": block.source,
            "names": block.names,
            "rows": rows,
            "terms": block.terms,
            "extra": block.extra,
        }
    return value.decode(errors="backslashreplace")


_TELLERS: dict[str, Callable[[Tailed], str]] = {
    "journal": _journal,
    "margin-calls": _margin_call,
    "liquidations": _liquidation,
    "margin-accounts": _margin_account,
    "marks": _mark,
    "dead-letters": _dead_letter,
}
