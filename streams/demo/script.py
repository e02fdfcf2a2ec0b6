"""What one demo plays: bars, listings, accounts and pace, drawn from the seed beforehand. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from streams.demo.books import Book, Desk
from streams.demo.exchange import Exchange
from streams.demo.option_books import ONE_IN, OptionDesk
from streams.demo.options import Volatilities
from streams.demo.tally import Tally
from streams.demo.traffic import Traffic
from streams.demo.universe import CASH, Universe, universe
from streams.demo.venue import Message, Venue
from streams.replay.bars import Bars, Step, price_text, steps

#: The dated future expires after this part of the run.
EXPIRY_PART = 0.85
FUNDING_MS_MIN, FUNDINGS = 5 * 60_000, 12
SUMMARIES = 60
#: Ordinary trades and transfers come every fourth step, in a long run so often in all.
TRAFFIC_STEPS_MIN, TRAFFICS = 4, 240
#: A price nobody quotes: a dollar coin that the files do not have.
PEG = "peg"
CONFIDENCE = 0.0003  # half-width of a source's uncertainty, fraction of its price
STANDARD_STEP_MS = 5_000
#: The coin whose price says how far it is trusted, where so many sources quote it; others have the median.
JUDGED, JUDGED_SOURCES_MIN = "BTC", 3


@dataclass(kw_only=True)
class Script:
    """Everything that is known before the first message, and the parties that will act.

    Parameters
    ----------
    bars, step_ms : the market, and the longest step through it, milliseconds
    accounts : how many, market makers not counted
    """

    bars: Bars
    step_ms: int
    accounts: int
    universe: Universe
    books: list[Book]
    venue: Venue
    volatilities: Volatilities
    exchange: Exchange
    traffic: Traffic
    tally: Tally
    steps: int
    funding_ms: int
    traffic_steps: int

    def walk(self) -> Iterator[Step]:
        """The steps of the market, with the pegged quotes that no file has."""
        priced = {asset for asset, _ in next(steps(self.bars, self.step_ms)).quotes}
        pegged = {(name, PEG): 1.0 for name in (CASH, "USDT") if name not in priced}
        for step in steps(self.bars, self.step_ms):
            yield Step(step.time, step.quotes | pegged)

    def prices(self, step: Step) -> dict[str, float]:
        """What everything is worth: assets in dollars, options in what they settle in."""
        return self.volatilities.priced(step.prices(), step.time)

    def quotes(self, step: Step, sequence: int) -> list[Message]:
        """The records of `oracle-prices` of one step, and of `volatilities` where new ones are due."""
        told = self.volatilities.records(step.prices(), step.time)
        return [*quotes(step, sequence), *(Message("volatilities", record["underlying"], record) for record in told)]

    def twins(self) -> list[tuple[Book, Book]]:
        """Accounts that hold the same book, the first on portfolio margin, the second on the standard model."""
        own = {book.account: book for book in self.books}
        return [(own[book.twin], book) for book in self.books if book.twin is not None]

    def listings(self) -> list[Message]:
        """The records of `instruments`: assets, instruments, how a price is judged, and engine rules where the pace
        needs them."""
        values: list[dict[str, Any]] = self.universe.messages()
        duration = self.bars.end - self.bars.start
        rules: dict[str, Any] = {}
        if self.step_ms > STANDARD_STEP_MS:
            rules["liquidation_timeout_ms"] = self.step_ms
        if duration > 2 * SUMMARIES * 60_000:
            rules["summary_interval_ms"] = duration // SUMMARIES
        if rules:
            values.append({"id": "~engine", "kind": "engine", **rules})
        values += self._oracle_rules()
        return [Message("instruments", value["id"], value) for value in values]

    def _oracle_rules(self) -> list[dict[str, Any]]:
        sources = [source for asset, source in next(self.walk()).quotes if asset == JUDGED]
        if len(sources) < JUDGED_SOURCES_MIN:
            return []
        named: dict[str, Any] = {source: {} for source in sources}
        age_ms = 2 * max(self.step_ms, STANDARD_STEP_MS)
        return [{"id": f"~oracle:{JUDGED}", "kind": "oracle", "sources": named, "max_age_ms": age_ms}]


def prepare(bars: Bars, *, accounts: int, seed: int, step_ms: int, with_options: int | None = None) -> Script:
    """Draw the script of a demo; the same arguments give the same script.

    Parameters
    ----------
    with_options : how many of the accounts hold options; None: one in ONE_IN
    """
    first = next(steps(bars, step_ms))
    prices = {CASH: 1.0, "USDT": 1.0} | first.prices()
    expiry = bars.start + int((bars.end - bars.start) * EXPIRY_PART)
    listed = universe(prices, expiry, options=True)
    venue = Venue(listed)
    volatilities = Volatilities(listed.options(), prices)
    plain = accounts - (accounts // ONE_IN if with_options is None else with_options)
    books = Desk(listed, prices, seed).draw(plain)
    books += OptionDesk(listed, prices, seed).draw(plain + 1, accounts)
    return Script(
        bars=bars,
        step_ms=step_ms,
        accounts=accounts,
        universe=listed,
        books=books,
        venue=venue,
        volatilities=volatilities,
        exchange=Exchange(venue, seed),
        traffic=Traffic(venue, books, prices, seed),
        tally=Tally(),
        steps=bars.step_count(step_ms),
        traffic_steps=max(TRAFFIC_STEPS_MIN, bars.step_count(step_ms) // TRAFFICS),
        funding_ms=max(FUNDING_MS_MIN, (bars.end - bars.start) // FUNDINGS),
    )


def quotes(step: Step, sequence: int) -> list[Message]:
    """The records of `oracle-prices` of one step."""
    return [
        Message(
            "oracle-prices",
            asset,
            {
                "symbol": asset,
                "source": source,
                "price": price_text(price),
                "confidence": price_text(price * CONFIDENCE),
                "time": step.time,
                "sequence": sequence,
            },
        )
        for (asset, source), price in step.quotes.items()
    ]
