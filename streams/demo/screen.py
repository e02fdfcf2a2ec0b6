"""What the demo shows: a live page on a terminal, plain lines elsewhere, and the summary at the end."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from streams.demo.books import Book
from streams.demo.score import Score
from streams.demo.verify import Check

COLORS = {
    "ok": "green",
    "margin_call": "yellow",
    "liquidation": "red",
    "bankrupt": "magenta",
    "unpriced": "blue",
}
LIVE_SECONDS, PLAIN_SECONDS = 0.25, 2.0
SHOWN_ASSETS = ("BTC", "ETH", "SOL")


class Screen:
    """Shows a score now and then, as a live page or as plain lines.

    Parameters
    ----------
    console : where to
    live : a page that is drawn again and again; False: a line every two seconds
    """

    def __init__(self, console: Console, *, live: bool) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if live else None
        self._due = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """One line about the set-up."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def due(self) -> bool:
        """Whether it is time to show something again."""
        return monotonic() >= self._due

    def show(self, score: Score) -> None:
        """Draw the page or print the line."""
        self._due = monotonic() + (LIVE_SECONDS if self._live else PLAIN_SECONDS)
        if self._live:
            self._live.update(page(score), refresh=True)
        else:
            self.say(line(score))


def line(score: Score) -> str:
    """The score in one line."""
    prices = quoted(score)
    statuses = "  ".join(f"{name} {score.statuses[name]}" for name in COLORS if score.statuses[name])
    return (
        f"{score.step:>6}/{score.steps}  {clock(score.time)}  {prices}  |  {statuses}  |  "
        f"calls {score.count('margin-calls', 'called')}  "
        f"liquidations {score.count('liquidations', 'liquidation')}  "
        f"bankrupt {score.count('liquidations', 'bankrupt')}  |  "
        f"{rate(score):,.0f} events/s  p50 {milliseconds(score.latency(0.5))}"
    )


def page(score: Score) -> Group:
    """The score as a page."""
    head = Table.grid(expand=True)
    head.add_column(ratio=1)
    head.add_column(justify="right")
    head.add_row(
        ProgressBar(total=max(score.steps, 1), completed=score.step),
        f" step {score.step}/{score.steps}  {clock(score.time)}  {score.seconds:.0f} s",
    )
    numbers = Text(
        f"{quoted(score)}   price to liquidation p50 {milliseconds(score.latency(0.5))}  "
        f"p99 {milliseconds(score.latency(0.99))}\n{rate(score):,.0f} events/s   "
        f"in {score.into:,}  out {score.out:,}  journal {score.journal_blocks:,} blocks"
    )
    statuses = Table.grid(padding=(0, 3))
    statuses.add_row(
        *(Text(f"{name} {score.statuses[name]}", style=color) for name, color in COLORS.items()),
        f"shortfall {score.shortfall:,.2f} USD",
    )
    calls = Panel(events(score.calls), title="latest margin calls", border_style="yellow")
    liquidations = Panel(events(score.liquidations), title="latest liquidations", border_style="red")
    return Group(head, numbers, statuses, calls, liquidations)


def events(latest: Sequence[Mapping[str, Any]] | Any) -> Table:
    """Latest events, newest first."""
    table = Table.grid(padding=(0, 2))
    for event in latest:
        report = event["report"]
        table.add_row(
            clock(event["time"]), event["kind"], event["account"], event["bucket"],
            f"ratio {short(report['margin_ratio'])}", told(event),
        )  # fmt: skip
    return table


def told(event: Mapping[str, Any]) -> str:
    """What an event says beyond whom it is about."""
    if event["kind"] == "liquidation":
        orders = [
            f"{order['quantity']} {order['instrument']} at {order['limit_price']}"
            if order.get("instrument")
            else f"sell {order['amount']} {order['sell_asset']} for {order['buy_asset']}"
            for order in event["orders"]
        ]
        return f"step {event['step']}: {', '.join(orders)}"
    if event["kind"] == "bankrupt":
        return f"shortfall {short(event['shortfall'])}"
    return f"equity {short(event['report']['equity'])}"


def summary(score: Score, checks: Sequence[Check], twins: Sequence[tuple[Book, Book]], seconds: float) -> Group:
    """The tables at the end."""
    facts = Table(title="What happened", show_header=False)
    for name, value in facts_of(score, seconds).items():
        facts.add_row(name, value)
    held = Table(title="What must hold")
    for column in ("check", "", "detail"):
        held.add_column(column)
    for check in checks:
        held.add_row(check.name, Text("ok" if check.holds else "FAILED", style="green" if check.holds else "red"),
                     check.detail)  # fmt: skip
    return Group(facts, *([models(score.margins, twins)] if score.margins else []), held)


def models(margins: Mapping[str, str], twins: Sequence[tuple[Book, Book]]) -> Table:
    """What the same books require on portfolio margin and on the standard model."""
    table = Table(title="Initial margin of the same book, when it was opened")
    table.add_column("book")
    for column in ("portfolio", "standard", "saved"):
        table.add_column(column, justify="right")
    for own, twin in twins:
        portfolio, standard = float(margins[own.account]), float(margins[twin.account])
        saved = f"{1.0 - portfolio / standard:.0%}"
        table.add_row(f"{own.account}, {twin.account}", f"{portfolio:,.0f}", f"{standard:,.0f}", saved)
    return table


def facts_of(score: Score, seconds: float) -> dict[str, str]:
    """The summary's numbers, by name."""
    return {
        "event time": f"{score.step:,} steps to {clock(score.time)}",
        "wall time": f"{seconds:.1f} s",
        "messages in": f"{score.into:,}: {', '.join(f'{count:,} {topic}' for topic, count in score.sent.items())}",
        "journal": f"{score.journal_blocks:,} blocks, {score.journal_bytes / 1e6:.1f} MB",
        "decisions out": f"{score.out:,}",
        "margin calls": f"{score.count('margin-calls', 'called'):,} called, "
        f"{score.count('margin-calls', 'cleared'):,} cleared",
        "liquidations": f"{len(score.liquidated):,} buckets in "
        f"{score.count('liquidations', 'liquidation'):,} steps, "
        f"{score.count('liquidations', 'liquidation_cleared'):,} cleared",
        "bankruptcies": f"{score.count('liquidations', 'bankrupt'):,}, shortfall {score.shortfall:,.2f} USD",
        "price to liquidation": f"p50 {milliseconds(score.latency(0.5))}, p99 {milliseconds(score.latency(0.99))} "
        f"of {len(score.latencies):,}",
        "dead letters": f"{len(score.refused):,}",
    }


def quoted(score: Score) -> str:
    """The prices of the best known assets."""
    return "  ".join(f"{name} {score.prices[name]:,.6g}" for name in SHOWN_ASSETS if name in score.prices)


def rate(score: Score) -> float:
    """Messages in and decisions out, per second of wall time."""
    return (score.into + score.out) / max(score.seconds, 0.001)


def clock(time: int) -> str:
    """Epoch milliseconds as a UTC date and time."""
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def milliseconds(seconds: float | None) -> str:
    """Seconds as milliseconds; a dash for None."""
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def short(number: str | None) -> str:
    """A decimal string with six significant digits; a dash for None."""
    return "-" if number is None else f"{float(number):,.6g}"
