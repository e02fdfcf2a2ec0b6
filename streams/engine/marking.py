"""What marks, funding rates and expiries do to a shard: prices, shard time, funding indices, settlements."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.journal import RULES_OLDEST, Block
from streams.engine.columns import distinct
from streams.engine.posting import Terms, funding_step, holders
from streams.engine.terms import TermsTable
from streams.engine.trust import HALTED, I8, RESTRICTED, Trust, trust_of
from streams.margin.money import LIMIT
from streams.margin.parameters import F64, I64

if TYPE_CHECKING:
    from streams.engine.shard import Shard


class Prices:
    """The last marks of a shard, its time, and what hangs on them.

    Attributes
    ----------
    time : shard time, epoch milliseconds: the largest `time` of marks blocks
    rules_version : the highest of the blocks folded; what is said of trust holds from 2 on
    index, mark : by symbol, by instrument id
    symbol_state, mark_state : index into schemas.journal.PRICE_STATES
    quote_time : time of the newest quote behind the index, by symbol
    check : price of the independent check oracle, by symbol; none where there is none
    widening : fraction that haircuts widen by, by symbol; none where it is 0
    made_of : by option what its mark was made of: volatility, forward, discount; of one with a settlement window a
        volatility of 0 says that the forward is its settlement price
    modes : what each oracle partition last said, `live` or `catching_up`
    funding_index : by instrument, in 1 / funding_scale minor units a lot
    funding_time : time of the last funding rate applied, by instrument
    pending_funding : rates that wait for the instrument's first mark: (instrument, rate, time, price or None)
    volatility, forward, discount : what marks of options were made of, by index of the instrument; nan where unknown
    """

    def __init__(self) -> None:
        self.time = 0
        self.rules_version = RULES_OLDEST
        self.index: dict[str, float] = {}
        self.mark: dict[str, float] = {}
        self.symbol_state: dict[str, int] = {}
        self.mark_state: dict[str, int] = {}
        self.quote_time: dict[str, int] = {}
        self.check: dict[str, float] = {}
        self.widening: dict[str, float] = {}
        self.made_of: dict[str, tuple[float, float, float]] = {}
        self.made_of_changed = False  # since the last flush
        self.trust_changed = False  # what ~trust of the changelog says, since the last flush
        self.modes: dict[int, str] = {}
        self.oracles = 0
        self.funding_index: dict[int, int] = {}
        self.funding_time: dict[int, int] = {}
        self.pending_funding: list[tuple[int, int, int, int | None]] = []
        self.marks: F64 = np.zeros(0)  # by instrument, nan where never seen
        self.prices: F64 = np.zeros(0)  # by asset, in the reporting currency
        self.volatility: F64 = np.zeros(0)
        self.forward: F64 = np.zeros(0)
        self.discount: F64 = np.zeros(0)
        self.mark_states: I8 = np.zeros(0, dtype=np.int8)  # by instrument, operators' halts included
        self.price_states: I8 = np.zeros(0, dtype=np.int8)  # by asset, alike
        self.widenings: F64 = np.zeros(0)  # by asset
        self.trust: Trust | None = None  # None: every price is trusted

    @property
    def live(self) -> bool:
        """Whether every oracle partition has caught up, so that the shard judges."""
        return self.oracles > 0 and [*self.modes.values()].count("live") == self.oracles

    def follow(self, rules_version: int) -> bool:
        """Go by these rules from now on, where they are newer; whether they are."""
        newer = rules_version > self.rules_version
        if newer:
            self.rules_version, self.trust_changed = rules_version, True
        return newer

    def arrange(self, terms: TermsTable, *, anew: bool = True) -> None:
        """Lay the prices out by the indexes of the terms; `anew`: terms, states or widenings have changed."""
        self.marks = np.array(list(map(self.mark.get, terms.instruments, repeat(np.nan))), dtype=np.float64)
        self.prices = np.array(list(map(self.index.get, terms.assets, repeat(np.nan))), dtype=np.float64)
        own = terms.asset_index.get(terms.rules.reporting_currency)
        if own is not None:
            self.prices[own] = 1.0
        if self.made_of or len(self.volatility) != len(terms.instruments):
            unknown = (np.nan, np.nan, np.nan)
            made_of = np.array([self.made_of.get(i, unknown) for i in terms.instruments], dtype=np.float64)
            self.volatility, self.forward, self.discount = np.ascontiguousarray(made_of.reshape(-1, 3).T)
        if self.rules_version >= 2 and (anew or self.trust is not None):
            self._arrange_trust(terms, own)

    def _arrange_trust(self, terms: TermsTable, own: int | None) -> None:
        """Lay out the states; `own` is the reporting currency, whose price is no quote's."""
        underlyings = [terms.underlying(i) for i in range(len(terms.instruments))]
        told = dict.fromkeys(terms.halted, HALTED)
        states = {symbol: max(state, told.get(symbol, 0)) for symbol, state in self.symbol_state.items()}
        states = told | states
        mark_states = [
            max(self.mark_state.get(i, 0), states.get(symbol, 0))
            for i, symbol in zip(terms.instruments, underlyings, strict=True)
        ]
        self.mark_states = np.array(mark_states, dtype=np.int8)
        self.price_states = np.array([states.get(a, 0) for a in terms.assets], dtype=np.int8)
        self.widenings = np.array([self.widening.get(a, 0.0) for a in terms.assets], dtype=np.float64)
        if own is not None:
            self.price_states[own] = self.widenings[own] = 0
        self.trust = trust_of(
            marks=self.marks,
            prices=self.prices,
            mark_state=self.mark_states,
            price_state=self.price_states,
            underlyings=[None if terms.is_option(at) else symbol for at, symbol in enumerate(underlyings)],
            assets=terms.assets,
            index=self.index,
            check=self.check,
        )

    def restricted(self, terms: TermsTable) -> dict[str, int]:
        """Instruments and assets that holders are restricted for, with how many of RESTRICTIONS hold."""
        if self.trust is None:
            return {}
        levels = [*RESTRICTED[self.trust.mark_state].tolist(), *RESTRICTED[self.trust.price_state].tolist()]
        return {name: level for name, level in zip([*terms.instruments, *terms.assets], levels, strict=True) if level}

    def ticks(self, mark: float, precision: int) -> int:
        """A mark in ticks, rounded half-even, at least one."""
        return max(1, int(Decimal(repr(float(mark))).scaleb(precision).to_integral_value()))


def mark(shard: Shard, block: Block) -> None:
    """Take in a marks block: newest prices, shard time, what the oracle says of itself."""
    prices, columns = shard.prices, {name: column.tolist() for name, column in block.columns.items()}
    names, listed = block.names.get("symbols", []), block.names.get("instruments", [])
    symbols, instruments = [names[at] for at in columns["symbol"]], [listed[at] for at in columns["instrument"]]
    prices.index.update(zip(symbols, columns["index"], strict=True))
    prices.quote_time.update(zip(symbols, columns["quote_time"], strict=True))
    prices.mark.update(zip(instruments, columns["mark"], strict=True))
    anew = _take(prices.symbol_state, symbols, columns["symbol_state"])
    anew = _take(prices.mark_state, instruments, columns["mark_state"]) or anew
    if prices.rules_version >= 2:
        # a block without widenings widens nothing
        anew = _take_trust(prices, symbols, columns["check"], columns.get("widening", [0.0] * len(symbols))) or anew
    _take_made_of(prices, instruments, columns)
    oracle = block.extra["oracle"]
    prices.time = max(prices.time, int(block.extra["time"]))
    prices.oracles = int(oracle["of"])
    prices.modes[int(oracle["partition"])] = oracle["mode"]
    prices.arrange(shard.terms, anew=anew)
    waiting, prices.pending_funding = prices.pending_funding, []
    for instrument, rate, time, price in waiting:
        _fund(shard, instrument, rate, time, price)


def _take(held: dict[str, Any], names: list[str], told: list[Any]) -> bool:
    """Hold what was told by each name, nothing where that is None; whether any of it is new."""
    if list(map(held.get, names)) == told:
        return False
    for name, value in zip(names, told, strict=True):
        if value is None:
            held.pop(name, None)
        else:
            held[name] = value
    return True


def _take_trust(prices: Prices, symbols: list[str], checks: list[float], widenings: list[float]) -> bool:
    """Hold check prices and widenings; whether a widening is new."""
    checked = _take(prices.check, symbols, [check if check == check else None for check in checks])
    widened = _take(prices.widening, symbols, [widening or None for widening in widenings])
    prices.trust_changed = prices.trust_changed or checked or widened
    return widened


def _take_made_of(prices: Prices, instruments: list[str], columns: dict[str, list[Any]]) -> None:
    """What the marks of options were made of; a block of marks of other instruments has no such columns."""
    told = [columns.get(f"instrument_{name}", []) for name in ("volatility", "forward", "discount")]
    if not all(told):
        return
    for instrument, volatility, forward, discount in zip(instruments, *told, strict=True):
        if volatility == volatility:
            prices.made_of[instrument] = volatility, forward, discount
            prices.made_of_changed = True


def fund(shard: Shard, block: Block) -> list[tuple[int, str]]:
    """Move funding indices; rows that would leave the index's range, with the reason.

    A rate not newer than the instrument's last one is a repetition and changes nothing.
    """
    columns, rejected = block.columns, []
    for row in range(len(columns["instrument"])):
        instrument = shard.terms.instrument_index[block.names["instruments"][columns["instrument"][row]]]
        price = int(columns["price"][row])
        rate, time = int(columns["rate"][row]), int(columns["time"][row])
        if not _fund(shard, instrument, rate, time, price if price >= 0 else None):
            rejected.append((row, "the funding index must stay below 2**62"))
    return rejected


def _fund(shard: Shard, instrument: int, rate: int, time: int, price: int | None) -> bool:
    prices, posting = shard.prices, shard.posting
    if time <= prices.funding_time.get(instrument, -1):
        shard.ledger.rows["duplicate"] += 1
        return True
    waits = any(waiting[0] == instrument for waiting in prices.pending_funding)
    if waits or (price is None and np.isnan(prices.marks[instrument])):
        # one that states its price waits too, behind an earlier one that does not
        if (instrument, rate, time, price) not in prices.pending_funding:
            prices.pending_funding.append((instrument, rate, time, price))
        return True
    ticks = price
    if ticks is None:
        precision = shard.terms.names[instrument].price_precision or 0
        ticks = prices.ticks(float(prices.marks[instrument]), precision)
    if not _usable(ticks, posting, instrument):
        return False
    step = funding_step(
        bool(posting.inverse[instrument]),
        int(posting.unit[instrument]),
        int(posting.divisor[instrument]),
        int(posting.funding_scale[instrument]),
        ticks,
        rate,
    )
    index = int(posting.funding_index[instrument]) + int(step)
    if abs(step) >= LIMIT or abs(index) >= LIMIT:
        return False
    prices.funding_time[instrument] = time
    prices.funding_index[instrument] = index
    posting.funding_index[instrument] = index
    return True


def _usable(ticks: int, terms: Terms, instrument: int) -> bool:
    """Whether the ledger can price one lot at this price."""
    factor = terms.divisor if terms.inverse[instrument] else terms.unit
    return ticks * int(factor[instrument]) < LIMIT


def settle_expired(shard: Shard) -> I64:
    """Settle every future and option whose expiry shard time has reached and whose price is known; the books that
    held one.

    A future at its stated settlement price, else at the mark that stands when shard time first reaches the expiry; an
    option at its payoff at the stated price of its underlying, else at the index that stands then, or where it has a
    settlement window at the mean that the oracle has told as its settlement price. A price out of the
    ledger's range is not known: the next one, or a corrected settlement price, settles.
    """
    books: list[int] = []
    for instrument, expiry in shard.expiries.items():
        if instrument in shard.settled or shard.prices.time < expiry:
            continue
        is_option = shard.terms.is_option(instrument)
        ticks = _paid_out(shard, instrument) if is_option else _settlement_ticks(shard, instrument)
        if ticks is None or (not is_option and not _usable(ticks, shard.posting, instrument)):
            continue
        shard.settled[instrument] = shard.posting.settled[instrument] = ticks
        held = holders(shard.ledger.positions, shard.ledger.books, instrument)
        books += shard.ledger.settle(held, instrument, ticks, shard.posting)
    if not books:
        return np.zeros(0, dtype=np.int64)
    touched = distinct(np.array(books, dtype=np.int64))
    shard.touched.update(shard.ledger.book_account[touched].tolist())
    return touched


def _settlement_ticks(shard: Shard, instrument: int) -> int | None:
    """The settlement price of an expired future in ticks; None where it is not known."""
    record: dict[str, Any] = shard.terms.records[shard.terms.instruments[instrument]]
    precision = record["price_precision"]
    if record.get("settlement_price") is not None:
        return int(Decimal(record["settlement_price"]).scaleb(precision))
    mark_price = float(shard.prices.marks[instrument])
    return None if np.isnan(mark_price) else shard.prices.ticks(mark_price, precision)


def _paid_out(shard: Shard, instrument: int) -> int | None:
    """What one lot of an expired option pays, in minor units, rounded half-even; None where it is not known.

    Each lot pays the same, so that what longs receive is what shorts pay, however the lots are split.
    """
    terms = shard.terms
    record: dict[str, Any] = terms.records[terms.instruments[instrument]]
    index = shard.prices.index.get(record["underlying"])
    stated = record.get("settlement_price")
    if stated is None and record.get("settlement_window_ms"):
        volatility, forward, _ = shard.prices.made_of.get(record["id"], (np.nan, np.nan, np.nan))
        index = forward if volatility == 0.0 else None
    if stated is None and index is None:
        return None
    price, strike = Fraction(repr(index) if stated is None else stated), Fraction(record["strike"])
    gain = max(price - strike if record["option_type"] == "call" else strike - price, Fraction(0))
    coins = gain / price if record["settlement"] == record["underlying"] else gain
    paid = round(coins * int(shard.posting.unit[instrument]) * 10 ** record["price_precision"])
    return paid if paid < LIMIT else None
