"""Marks of the options on one symbol: forwards from its index and futures, volatilities, Black-76.

The time to expiry counts in whole minutes, so that marks stand still where nothing but a moment has passed. A mark is
in the reporting currency, that of a coin-settled option in coins.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from streams.margin.black76 import settlement_forward, values
from streams.margin.elementary import log
from streams.margin.forwards import forward_at
from streams.margin.parameters import F64
from streams.margin.surface import between
from streams.oracle.legs import PRICE_MIN
from streams.oracle.settlement import SettlementMeans, Window
from streams.oracle.volatilities import LIMITS, YEAR_MS, Curve, Volatility, curves

STEP_MS = 60_000
#: After its expiry an option is told of for so long: whoever settles it needs one mark.
EXPIRED_MS = 86_400_000
#: A forward is at most so many times the index, or so many times less.
FORWARD_MOST = 4.0
#: A future says nothing of other expiries in its last day: what is left of its basis is divided by too short a time.
FUTURE_LEAST_MS = 86_400_000


class Listed(NamedTuple):
    """A future (`right` 0) or an option (1 call, -1 put) on a symbol; `expiry` in epoch ms. With a `window_ms` it
    settles at the mean of the index over so long before its expiry.
    """

    instrument: str
    symbol: str
    expiry: int
    right: int
    strike: float
    in_coins: bool
    window_ms: int = 0

    @property
    def window(self) -> Window:
        """Of its settlement."""
        return Window(self.expiry, self.window_ms)


class OptionMark(NamedTuple):
    """What an option is valued at, and what the value was made of; `stale`: its volatility is old.

    A volatility of 0 says that the forward is the price at which the option settles.
    """

    instrument: str
    price: float
    stale: bool
    volatility: float
    forward: float
    discount: float


class Expiry(NamedTuple):
    """What options of one expiry share."""

    years: float
    forward: float
    discount: float


@dataclass(slots=True)
class OptionBook:
    """The options and futures on one symbol.

    `told` are the latest volatilities by name, of all symbols; `made` are the smiles of the surface last used; `means`
    are those of the index told, which options with a window settle at.
    """

    symbol: str
    told: Mapping[str, Volatility]
    options: dict[str, Listed] = field(default_factory=dict)
    futures: dict[str, Listed] = field(default_factory=dict)
    made: tuple[Volatility, list[Curve]] | None = None
    means: SettlementMeans = field(default_factory=SettlementMeans)

    def add(self, listed: Listed) -> bool:
        """Learn of an instrument; whether it is new. Its terms never change."""
        known = self.options if listed.right else self.futures
        if listed.instrument in known:
            return False
        known[listed.instrument] = listed
        return True

    def marks(
        self,
        index: float,
        futures: Mapping[str, float],
        now_ms: int,
        age_ms_max: int,
        before: Iterable[OptionMark] = (),
    ) -> tuple[OptionMark, ...]:
        """The mark of every option whose volatility is known, by instrument.

        Parameters
        ----------
        index : price of the symbol
        futures : marks by instrument, those of futures among them
        age_ms_max : an older volatility counts still, as stale
        before : what was told last; one whose volatility was taken back since keeps its mark, stale
        """
        surface = self.told.get(self.symbol)
        if surface is not None and not surface.smiles:
            surface = None
        live = [option for option in self.options.values() if now_ms < option.expiry + EXPIRED_MS]
        found: dict[str, OptionMark] = {}
        for window in sorted({option.window for option in live}):
            group = sorted(option for option in live if option.window == window)
            found |= self._expiring(group, surface, index, futures, now_ms, age_ms_max)
        lost = {option.instrument for option in live} - found.keys()
        found |= {mark.instrument: mark._replace(stale=True) for mark in before if mark.instrument in lost}
        return tuple(found[name] for name in sorted(found))

    def wakes_ms(self, now_ms: int, age_ms_max: int) -> int | None:
        """The next moment at which time alone changes a mark; None where there is none."""
        live = [option for option in self.options.values() if now_ms < option.expiry + EXPIRED_MS]
        names = {self.symbol, *(option.instrument for option in live)}
        told = [self.told[name].time for name in names if name in self.told]
        wakes = [option.expiry for option in live if option.window_ms and now_ms < option.expiry]
        if live and told:
            wakes += [time + age_ms_max + 1 for time in told if time + age_ms_max >= now_ms]
            wakes.append(now_ms - now_ms % STEP_MS + STEP_MS)
        return min(wakes, default=None)

    def windows(self, now_ms: int) -> set[Window]:
        """The settlement windows that a mean is kept of."""
        listed = {option.window for option in self.options.values() if option.window_ms}
        return {window for window in listed if now_ms < window.expiry + EXPIRED_MS}

    def _expiring(
        self,
        group: list[Listed],
        surface: Volatility | None,
        index: float,
        futures: Mapping[str, float],
        now_ms: int,
        age_ms_max: int,
    ) -> dict[str, OptionMark]:
        """Marks of the options of one expiry and window, as far as volatilities are known or settlement is."""
        at = self._expiry(group[0].expiry, surface, index, futures, now_ms)
        window = group[0].window
        if window.length_ms and window.expiry <= now_ms:
            settled = self.means.at(window, now_ms).settles(window)
            if settled is not None:
                return _settled(group, settled)
            age_ms_max = -1
        elif window.length_ms:
            at = self._averaged(at, window, now_ms)
        strikes = np.array([option.strike for option in group])
        by_surface = None if surface is None else self._by_surface(surface, group[0].expiry, strikes, at.forward)
        surface_is_old = surface is None or now_ms - surface.time > age_ms_max
        rows: list[tuple[Listed, float, bool]] = []
        for place, option in enumerate(group):
            own = self.told.get(option.instrument)
            if own is None or own.volatility is None:
                if by_surface is not None:
                    rows.append((option, float(by_surface[place]), surface_is_old))
                continue
            is_old = now_ms - own.time > age_ms_max
            if is_old and by_surface is not None and not surface_is_old:
                rows.append((option, float(by_surface[place]), False))
            else:
                rows.append((option, min(max(own.volatility, LIMITS.least), LIMITS.most), is_old))
        worth = values(
            np.array([float(option.right) for option, _, _ in rows]),
            np.full(len(rows), at.forward),
            np.array([option.strike for option, _, _ in rows]),
            np.full(len(rows), at.years),
            np.array([volatility for _, volatility, _ in rows]),
            np.full(len(rows), at.discount),
        )
        found = {}
        for (option, volatility, is_old), value in zip(rows, worth.tolist(), strict=True):
            price = max(value / at.forward if option.in_coins else value, PRICE_MIN)
            found[option.instrument] = OptionMark(option.instrument, price, is_old, volatility, at.forward, at.discount)
        return found

    def _averaged(self, at: Expiry, window: Window, now_ms: int) -> Expiry:
        """The expiry of options that settle at a mean: part of their forward is settled, the rest moves less."""
        mean = self.means.at(window, now_ms).price
        length = window.length_ms / YEAR_MS
        forward, years = settlement_forward(at.forward, at.forward if mean is None else mean, at.years, length)
        return Expiry(years, forward, at.discount)

    def _expiry(
        self, expiry: int, surface: Volatility | None, index: float, futures: Mapping[str, float], now_ms: int
    ) -> Expiry:
        """Time, forward and discount of an expiry."""
        minute_ms = now_ms - now_ms % STEP_MS
        years = max(expiry - minute_ms, 0) / YEAR_MS
        if expiry <= now_ms:
            return Expiry(0.0, index, 1.0)
        smile = None if surface is None else next((one for one in surface.smiles if one.expiry == expiry), None)
        discount = 1.0 if smile is None else smile.discount
        if smile is not None and smile.forward is not None and surface is not None and surface.spot is not None:
            ratio = smile.forward / surface.spot
        else:
            ratio = self._by_futures(expiry, index, futures, minute_ms) / index
        return Expiry(years, index * min(max(ratio, 1.0 / FORWARD_MOST), FORWARD_MOST), discount)

    def _by_futures(self, expiry: int, index: float, futures: Mapping[str, float], minute_ms: int) -> float:
        """The mark of the future of this expiry, else between those of others; the index where there are none."""
        dated = [(future.expiry, name) for name, future in self.futures.items() if name in futures]
        curve = {end: futures[name] for end, name in sorted(dated, reverse=True)}  # of one expiry the first by name
        if expiry in curve:
            return curve[expiry]
        ends = [end for end in sorted(curve) if end >= minute_ms + FUTURE_LEAST_MS]
        terms = np.array([(end - minute_ms) / YEAR_MS for end in ends], dtype=np.float64)
        prices = np.array([curve[end] for end in ends], dtype=np.float64)
        return float(forward_at(index, terms, prices, (expiry - minute_ms) / YEAR_MS))

    def _by_surface(self, surface: Volatility, expiry: int, strikes: F64, forward: float) -> F64:
        """Volatilities of an expiry at strikes: of its own smile, else between those of others."""
        if self.made is None or self.made[0] is not surface:
            self.made = surface, curves(surface)
        smiles = self.made[1]
        k = np.array([log(strike / forward) for strike in strikes.tolist()])
        own = next((at for at, smile in enumerate(surface.smiles) if smile.expiry == expiry), None)
        if own is not None:
            return smiles[own].at(k)
        years = np.array([smile.years for smile in smiles])
        quoted = np.array([smile.at(k) for smile in smiles])
        term = (expiry - surface.time) / YEAR_MS
        return np.array([between(years, np.ascontiguousarray(column), term) for column in quoted.T])


def _settled(group: list[Listed], price: float) -> dict[str, OptionMark]:
    """Marks of expired options whose settlement price is known: what they pay."""
    found = {}
    for option in group:
        gain = max(option.right * (price - option.strike), 0.0)
        worth = max(gain / price if option.in_coins else gain, PRICE_MIN)
        found[option.instrument] = OptionMark(option.instrument, worth, False, 0.0, price, 1.0)
    return found


@dataclass(slots=True)
class OptionDesk:
    """The options of all symbols of an oracle partition, and what was told of volatilities."""

    books: dict[str, OptionBook] = field(default_factory=dict)
    told: dict[str, Volatility] = field(default_factory=dict)
    symbols: dict[str, str] = field(default_factory=dict)  # of each option

    def book(self, symbol: str) -> OptionBook:
        """The one book of a symbol."""
        if symbol not in self.books:
            self.books[symbol] = OptionBook(symbol, self.told)
        return self.books[symbol]

    def list(self, rows: Iterable[Listed]) -> set[str]:
        """Learn of options and futures; the symbols for which one is new."""
        changed = set()
        for listed in rows:
            if listed.right:
                self.symbols[listed.instrument] = listed.symbol
            if self.book(listed.symbol).add(listed):
                changed.add(listed.symbol)
        return changed

    def take(self, rows: Iterable[Volatility]) -> set[str]:
        """Learn of volatilities; the symbols whose options they may change."""
        changed = set()
        for row in rows:
            if self.told.get(row.name) != row:
                self.told[row.name] = row
                changed.add(self.symbols.get(row.name, row.name))
        return changed
