"""What faults of sources do to the index and to accounts: ours beside an engine that believes one source.

Shards hold the same accounts: one is told the true price, one what our oracle tells, one what the first source says.
An account that is liquidated at true prices, and at those 25 bp up and down, must be, else it was missed; one that is
at none of these was liquidated wrongly. Engine and oracle only, no Kafka; orders are not filled, so that each account
enters liquidation once.

Prices: the files crash_2021-05-19*.csv*, crash_2025-10-10*.csv* and usdc_depeg_2023-03*.csv.gz, found as in
benchmarks/slack_days.py. The file of a crash has one venue: five sources are made of it, each up to 2 s late and some
basis points off. The file of the depeg has three real venues.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.forged import FORGERIES, forged
from benchmarks.oracled import Case, Oracled, Right, in_dollars, liquidated, middle, one_source, right
from benchmarks.population import Population, draw
from benchmarks.report import Report
from benchmarks.slack_days import price_file, ticks_of
from benchmarks.venues import DOLLARS_ONLY, DRIFT, FAULTS, SYMBOL, Fault, Moment, crash, depeg
from streams.demo.market import market
from streams.demo.universe import universe
from streams.replay import prices as price_files
from streams.replay.bars import DAY_MS

HOUR_MS = 3_600_000
DOLLARS = {"USDC": 1.0, "USDT": 1.0}
LEVERAGE, SEED = 6.0, 7
#: Of each case, before the fault begins.
QUIET_MS = 600_000
RECORD: dict[str, Any] = {"max_age_ms": 5_000}
#: All that holds back or leaves out is off, the index is the same.
OFF: dict[str, Any] = {
    "band_sigmas": 0,
    "cusum_h": 0,
    "bias_max": 0,
    "flaps_max": 0,
    "recovery_ticks": 0,
    "recovery_ms": 0,
}
DEPEG_RECORDS: dict[str, dict[str, Any]] = {
    "BTC": {"max_age_ms": 90_000},
    "USDC": {"max_age_ms": 90_000, "sources_min": 1},
    "USDT": {"max_age_ms": 90_000, "sources_min": 1},
}
#: Day, hours of it, length of a step, and at each how many of them a source quotes.
FALLS = (
    ("2021-05-19", 12.5, 13.5, 1_000, 5),
    ("2021-05-19", 12.0, 16.0, 5_000, 12),
    ("2025-10-10", 20.5, 22.5, 5_000, 1),
    ("2025-10-10", 20.5, 22.5, 5_000, 12),
)
QUICK_FALLS = (("2021-05-19", 12.5, 13.2, 5_000, 12),)

#: (epoch ms, price), ascending.
Path = list[tuple[int, float]]


def accounts(prices: Mapping[str, float], time: int, many: int) -> Population:
    """Accounts on bitcoin, long and short."""
    listed = universe(dict(prices), time + 30 * DAY_MS)
    return draw(listed, prices, accounts=many, leverage=LEVERAGE, seed=SEED)


def path_of(day: str, since_h: float, until_h: float, step_ms: int) -> tuple[Path, str]:
    """(epoch ms, price) of bitcoin over some hours of a day, and where from."""
    file = price_file(day)
    if file is None:
        bars, name = market(seed=19, count=240), "seeded market"
        ticks = ticks_of(bars, step_ms)
        span = round((until_h - since_h) * HOUR_MS)
        return [(tick.time, tick.prices["BTC"]) for tick in ticks if tick.time - bars.start < span], name
    start = price_files.epoch_ms(day)
    bars = price_files.read([file]).between(start + int(since_h * HOUR_MS), start + int(until_h * HOUR_MS))
    return [(tick.time, tick.prices["BTC"]) for tick in ticks_of(bars, step_ms)], day


def play(report: Report, case: Case, wanted: Right) -> Oracled:
    """Play a case to our oracle and engine and to those who believe one source; report what became of the accounts."""
    first = case.moments[0]
    ours = Oracled(case.population, first, case.records, look_ms=case.look_ms, every_ms=case.every_ms)
    for moment in case.moments if case.checked is None else case.checked.moments:
        ours.take(moment)
    _tell_oracle(report, case, ours)
    if case.checked is not None:
        for code, number in sorted(case.checked.refused.items()):
            report.add(f"messages refused by ingest: {code}", number, "", case.name)
    found = {"ours": ours.engine.liquidated}
    for name, believes in case.believers.items():
        found[name] = liquidated(case.moments, case.population, first, believes)
    report.add("accounts to liquidate", len(wanted.must), f"to {len(wanted.may):,}", case.name)
    for name, who in found.items():
        report.add(f"liquidated wrongly, {name}", len(who.keys() - wanted.may), "", case.name)
        report.add(f"missed, {name}", len(wanted.must - who.keys()), "", case.name)
    return ours


def _tell_oracle(report: Report, case: Case, ours: Oracled) -> None:
    since = case.since
    off = [abs(error) for time, error in ours.errors if time >= since]
    reasons = sorted((time, reason) for reason, time in ours.reasons.items() if time >= since)
    said = ", ".join(f"{reason} after {(time - since) / 1_000:,.0f} s" for time, reason in reasons)
    states = " > ".join(state for time, state in ours.states[-6:])
    report.note(f"{case.name}: {said or 'nothing to say'}; states at the end {states}")
    if reasons:
        report.add("until the first reason was told", (reasons[0][0] - since) / 1_000, "s", case.name)
    report.add("changes of state", sum(time >= since for time, _ in ours.states), "", case.name)
    report.add("quotes refused", ours.refused, "", case.name)
    report.add("index off the true price: most", max(off), "bp", case.name)
    report.add("index off the true price: median", float(np.median(off)), "bp", case.name)


def run(report: Report, *, quick: bool) -> None:
    """Faults on the worst 40 minutes of a crash, a slow drift over a day, real falls at several cadences, the depeg."""
    many = 200 if quick else 1_000
    path, name = path_of("2021-05-19", 12.7, 13.0 if quick else 13.4, 1_000)
    wanted = _faults(report, path, name, FAULTS, many, RECORD)
    _forgeries(report, path, name, many, wanted)
    slow, name = path_of("2021-05-19", 0.0, 1.0 if quick else 24.0, 15_000)
    _faults(report, slow, name, (DRIFT,), many, RECORD | {"max_age_ms": 20_000})
    for day, since, until, step_ms, each in QUICK_FALLS if quick else FALLS:
        _fall(report, *path_of(day, since, until, step_ms), each, many)
    _depeg(report, many, *(("2023-03-11T06:30", "2023-03-11T08:00") if quick else ("2023-03-10T12:00", "2023-03-13")))


def _case(
    path: Path, name: str, fault: Fault, population: Population, record: Mapping[str, Any], each: int = 1
) -> Case:
    since, every_ms = path[0][0] + QUIET_MS, path[1][0] - path[0][0]
    moments = [
        moment._replace(true={**DOLLARS, **moment.true})
        for moment in crash(path, fault, since=since, seed=SEED, each=each)
    ]
    return Case(
        name=f"{name}, {fault.name}", moments=moments, population=population, records={SYMBOL: record}, since=since,
        look_ms=min(every_ms, 1_000), every_ms=every_ms, believers={"one source": one_source("a")},
    )  # fmt: skip


def _faults(
    report: Report, path: Path, name: str, faults: Iterable[Fault], many: int, record: Mapping[str, Any]
) -> Right | None:
    """Each fault on the same path, to the same accounts; who of them is to be liquidated."""
    population = accounts({**DOLLARS, SYMBOL: path[0][1]}, path[0][0], many)
    wanted: Right | None = None
    for fault in faults:
        case = _case(path, name, fault, population, record)
        wanted = wanted or right(case)
        play(report, case, wanted)
    return wanted


def _forgeries(report: Report, path: Path, name: str, many: int, wanted: Right | None) -> None:
    """All quotes are signed and go through ingest; somebody without a source's key sends more in its name."""
    population = accounts({**DOLLARS, SYMBOL: path[0][1]}, path[0][0], many)
    for forgery in FORGERIES:
        case = _case(path, f"{name}, {forgery.name}", FAULTS[0], population, RECORD)
        found = forged(case.moments, forgery, since=case.since)
        case = replace(case, name=f"{name}, {forgery.name}", moments=found.arrived, checked=found)
        play(report, case, wanted or right(case))


def _fall(report: Report, path: Path, name: str, each: int, many: int) -> None:
    """A real fall, no fault: how much later than without any breaker accounts are liquidated."""
    cadence_ms = each * (path[1][0] - path[0][0])
    population = accounts({**DOLLARS, SYMBOL: path[0][1]}, path[0][0], many)
    name = f"{name}, a quote each {cadence_ms / 1_000:g} s"
    record = {"max_age_ms": max(3_000, 2 * cadence_ms)}
    case = _case(path, name, FAULTS[0], population, record, each)
    wanted = right(case)
    ours = play(report, case, wanted).engine.liquidated
    shown = wanted.must & right(case, middle).must
    report.add(
        "missed, of those whom the middle of the sources' own quotes liquidates",
        len(shown - ours.keys()),
        "",
        case.name,
    )
    plain = Oracled(population, case.moments[0], {SYMBOL: record | OFF}, look_ms=case.look_ms, every_ms=case.every_ms)
    for moment in case.moments:
        plain.take(moment)
    unheld = plain.engine.liquidated
    later = [(ours[account] - time) / 1_000 for account, time in unheld.items() if account in ours]
    report.add("accounts liquidated without breakers", len(unheld), "", case.name)
    report.add("of these missed with breakers", len(unheld.keys() - ours.keys()), "", case.name)
    report.add("longest delay by breakers", max(later, default=0.0), "s", case.name)


def _depeg(report: Report, many: int, since: str, until: str) -> None:
    """The days on which USDC lost its peg."""
    file = price_file("2023-03", prefix="usdc_depeg_")
    if file is None:
        report.note("no file of the depeg")
        return
    moments = list(depeg(file, since, until))
    first = moments[0]
    population = accounts(first.true, first.time, many)
    believers = {"Binance.US BTC/USDC": ("binance_us_usdc", False), "Kraken BTC/USDC, USDC as 1": ("kraken_usdc", True)}
    case = Case(
        name="USDC depeg", moments=moments, population=population, records=DEPEG_RECORDS, since=first.time,
        look_ms=5_000, every_ms=60_000,
        believers={name: one_source(source, at_one=at_one) for name, (source, at_one) in believers.items()},
    )  # fmt: skip
    ours = play(report, case, right(case))
    direct = right(case, lambda: in_dollars)
    report.add(f"ours wrong by {DOLLARS_ONLY} alone", len(ours.engine.liquidated.keys() - direct.may), "", case.name)
    report.add(f"missed by {DOLLARS_ONLY} alone", len(direct.must - ours.engine.liquidated.keys()), "", case.name)
    report.curve("USDC depeg: our index and the honest venues", "hours", "basis points", _beside(moments, ours))
    lines = {"ours": [((time - first.time) / HOUR_MS, error) for time, error in ours.errors]}
    for name, (source, at_one) in believers.items():
        believed = one_source(source, at_one=at_one)
        lines[name] = [
            ((moment.time - first.time) / HOUR_MS, (believed(moment)[SYMBOL] / moment.true[SYMBOL] - 1) * 1e4)
            for moment in moments
        ]
    report.curve("USDC depeg: ours and who believes one source", "hours", "basis points", lines)


def _beside(moments: list[Moment], ours: Oracled) -> dict[str, list[tuple[float, float]]]:
    """By the minute, (hours, basis points off the median of the honest venues): of our index and of each of them."""
    first = moments[0].time
    names = dict.fromkeys(name for moment in moments for name in moment.honest)
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    lines |= {"ours": [((time - first) / HOUR_MS, error) for time, error in ours.errors]}
    for moment in moments:
        for name, price in moment.honest.items():
            lines[name].append(((moment.time - first) / HOUR_MS, (price / moment.true[SYMBOL] - 1) * 1e4))
    return lines
