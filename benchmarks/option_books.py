"""Margin of option books on a real chain, standard against portfolio, beside what they lost over the next day.

Books are a coin in size, of options of the chain near the deltas named, linear options that settle in USDC. Each is
margined at the first hour of the file by `crossmargin evaluate`, by both models; what a book ties up is equity less
free margin: the requirement, what haircuts take, and what the standard model does not count of options bought. The
loss is the worst mark to market at any hour of the next 24, over every hour of the file to begin at that has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from rich.table import Table

from benchmarks.option_chain import Chain, Option, chain_file, read_chains
from benchmarks.report import Report
from streams.evaluate.portfolio import read_portfolio
from streams.evaluate.reports import reports

HOURS = 24
#: Money beside each book, in USDC, so that all of them are ok.
MONEY = 10_000_000
PERPETUAL = "BTC-PERP"
COIN = "BTC"
#: Days to the expiries that books are made of: the first at least as far away.
NEAR_DAYS, FAR_DAYS = 6, 30

#: What a book holds: a quantity of each option, of the perpetual, of the coin.
Book = dict[Option | str, float]


def run(report: Report, *, quick: bool) -> None:
    """Margin every book; `quick` takes the first hour as the only one to begin at."""
    path = chain_file()
    if path is None:
        report.note("no option chain: put deribit_btc_option_chain_1h_*.csv.gz into the folder of CROSSMARGIN_PRICES")
        return
    chains = read_chains(path)
    starts = [0] if quick else range(len(chains) - HOURS)
    table = Table(title=f"books of a coin, index {chains[0].index_price:,.0f}, USD", title_justify="left")
    titles = ("book", "standard", "portfolio", "saved %", "standard keeps", "portfolio keeps", "scenario", "lost")
    for title in titles:
        table.add_column(title, justify="left" if title == "book" else "right", no_wrap=True)
    for name, make in BOOKS.items():
        book = make(chains[0])
        standard, portfolio = (margined(chains[0], book, model) for model in ("standard", "portfolio"))
        lost = max(worst_loss(chains[start : start + HOURS + 1], make(chains[start])) for start in starts)
        tied, own = tied_up(standard), tied_up(portfolio)
        saved = 100.0 * (1.0 - own / tied)
        worst = (portfolio["portfolio"]["units"] or [{}])[0].get("worst") or {"move": "0", "volatility": "none"}
        scenario = f"{100 * float(worst['move']):+.0f} % {worst['volatility']}"
        amounts = [f"{amount:,.0f}" for amount in (tied, own, saved, kept(standard), kept(portfolio), lost)]
        table.add_row(name, *amounts[:-1], scenario, amounts[-1])
        report.add(f"{name}: saved", saved, "%", f"standard {tied:,.0f}, portfolio {own:,.0f}, lost {lost:,.0f} USD")
    report.console.print(table)


def tied_up(report: Mapping[str, Any]) -> float:
    """Equity less free margin: initial margin, what haircuts take, and the value of options that does not count."""
    return float(report["equity"]) - float(report["free_margin"])


def kept(report: Mapping[str, Any]) -> float:
    """The same of maintenance margin."""
    return float(report["equity"]) - (float(report["adjusted_equity"]) - float(report["maintenance_margin"]))


def pick(chain: Chain, right: int, delta: float, days: int) -> Option:
    """The option of an expiry whose delta is nearest; of equals the lower strike."""
    expiry = next(e for e in chain.forwards if e - chain.time >= days * 86_400_000)
    listed = [option for option in chain.quotes if option.expiry == expiry and option.right == right]
    return min(listed, key=lambda option: (abs(abs(chain.quotes[option].delta) - delta), option.strike))


def _call(chain: Chain, delta: float, days: int = FAR_DAYS) -> Option:
    return pick(chain, 1, delta, days)


def _put(chain: Chain, delta: float, days: int = FAR_DAYS) -> Option:
    return pick(chain, -1, delta, days)


def _straddle(chain: Chain, quantity: float) -> Book:
    call = _call(chain, 0.5)
    return {call: quantity, call._replace(right=-1): quantity}


def _hedged(chain: Chain, book: Book) -> Book:
    """The book with as much of the perpetual as takes its delta to 0."""
    delta = sum(q * chain.quotes[option].delta for option, q in book.items() if isinstance(option, Option))
    return {**book, PERPETUAL: -round(delta, 3)}


BOOKS: dict[str, Callable[[Chain], Book]] = {
    "naked call, 25 delta": lambda c: {_call(c, 0.25): -1},
    "naked put, 25 delta": lambda c: {_put(c, 0.25): -1},
    "naked call, 25 delta, a week": lambda c: {_call(c, 0.25, NEAR_DAYS): -1},
    "bought call, 25 delta": lambda c: {_call(c, 0.25): 1},
    "call spread sold, 25 / 10 delta": lambda c: {_call(c, 0.25): -1, _call(c, 0.10): 1},
    "put spread sold, 25 / 10 delta": lambda c: {_put(c, 0.25): -1, _put(c, 0.10): 1},
    "calendar: week sold, month bought": lambda c: {_call(c, 0.5, NEAR_DAYS): -1, _call(c, 0.5): 1},
    "straddle sold": lambda c: _straddle(c, -1),
    "straddle bought": lambda c: _straddle(c, 1),
    "iron condor, 25 / 10 delta": lambda c: {
        _call(c, 0.25): -1,
        _call(c, 0.10): 1,
        _put(c, 0.25): -1,
        _put(c, 0.10): 1,
    },
    "covered call: coin, 25 delta sold": lambda c: {COIN: 1, _call(c, 0.25): -1},
    "collar: coin, put bought, call sold": lambda c: {COIN: 1, _call(c, 0.25): -1, _put(c, 0.25): 1},
    "delta-neutral: straddle sold, perpetual": lambda c: _hedged(c, _straddle(c, -1)),
    "delta-neutral: call bought, perpetual": lambda c: _hedged(c, {_call(c, 0.5): 1}),
    "cash and carry: coin, perpetual sold": lambda _: {COIN: 1, PERPETUAL: -1},
}


def margined(chain: Chain, book: Book, model: str) -> dict[str, Any]:
    """The report of `crossmargin evaluate` on an account that has just opened the book at its marks."""
    held = {_name(thing): (thing, quantity) for thing, quantity in book.items() if thing != COIN}
    instruments = {name: _instrument(chain, thing) for name, (thing, _) in held.items()}
    positions = [
        {"instrument": name, "quantity": repr(quantity), "entry_price": instruments[name]["mark_price"]}
        for name, (_, quantity) in held.items()
    ]
    account = {
        "account": "book",
        "margin_model": model,
        "balances": {"USDC": MONEY, COIN: repr(book.get(COIN, 0))},
        "positions": positions,
    }
    document = {
        "time": chain.time,
        "assets": {"USDC": {"price": "1"}, COIN: {"price": repr(chain.index_price), "haircut": "0.1"}},
        "instruments": instruments,
        "risk_units": {COIN: {}},
        "accounts": [account],
    }
    (found,) = reports(read_portfolio(orjson.dumps(document)))["accounts"]
    return dict(found)


def _name(thing: Option | str) -> str:
    if isinstance(thing, str):
        return thing
    return f"{thing.expiry}-{thing.strike:.0f}-{'C' if thing.right > 0 else 'P'}"


def _instrument(chain: Chain, thing: Option | str) -> dict[str, Any]:
    common = {"underlying": COIN, "settlement": "USDC"}
    if isinstance(thing, str):
        rates = {"initial_margin": "0.10", "maintenance_margin": "0.05"}
        return {**common, **rates, "type": "perpetual", "mark_price": repr(chain.index_price)}
    return {
        **common,
        "type": "option",
        "option_type": "call" if thing.right > 0 else "put",
        "strike": repr(thing.strike),
        "expiry": thing.expiry,
        "mark_price": repr(chain.value(thing)),
        "volatility": repr(chain.quotes[thing].volatility),
        "forward": repr(chain.forwards[thing.expiry]),
    }


def worst_loss(hours: list[Chain], book: Book) -> float:
    """Largest loss of the book, marked to market, at any of the hours after the first; at least 0."""
    start = _worth(hours[0], book)
    return max([0.0, *(start - _worth(hour, book) for hour in hours[1:])])


def _worth(chain: Chain, book: Book) -> float:
    return sum(q * (chain.value(t) if isinstance(t, Option) else chain.index_price) for t, q in book.items())
