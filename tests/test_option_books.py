"""The benchmark of option books: forwards that deltas imply, and margins that cover what the books really lost.

If one of these failed, the table of savings would be of prices that never were.
"""

from pathlib import Path

import pytest

from benchmarks.option_books import BOOKS, HOURS, margined, tied_up, worst_loss
from benchmarks.option_chain import Option, chain_file, read_chains
from streams.margin.black76 import option_greeks

CHAIN = chain_file()
WEEK_MS = 7 * 86_400_000
# 2026-01-02 at 08:00 and a week before
EXPIRY_MS, START_MS = 1_767_340_800_000, 1_766_736_000_000


def test_deltas_tell_the_forward(tmp_path: Path) -> None:
    """Calls and puts of one expiry and a smile, rounded to five decimals: their forward within 0.01 %."""
    lines = ["ts,instrument_name,type,strike,expiry_date,bid_iv,ask_iv,mark_iv,delta"]
    forward = 60_123.0
    for strike, volatility in ((50_000, 0.7), (60_000, 0.6), (62_000, 0.62), (75_000, 0.8)):
        for right, name in ((1.0, "call"), (-1.0, "put")):
            one = option_greeks(right, forward, strike, WEEK_MS / 86_400_000 / 365, volatility, 1.0)
            start, expiry = "2025-12-26T08:00:00Z", "2026-01-02"
            lines.append(f"{start},X,{name},{strike},{expiry},0,0,{100 * volatility},{one.delta:.5f}")
    path = tmp_path / "chain.csv"
    path.write_text("\n".join(lines))
    (chain,) = read_chains(path)
    assert chain.time == START_MS
    assert chain.forwards == pytest.approx({EXPIRY_MS: forward}, rel=1e-4)
    assert chain.index_price == chain.forwards[EXPIRY_MS]
    at_the_money = Option(1, 60_000.0, EXPIRY_MS)
    assert chain.value(at_the_money) - chain.value(at_the_money._replace(right=-1)) == pytest.approx(123.0, abs=6)


@pytest.mark.skipif(CHAIN is None, reason="no deribit_btc_option_chain file in ../*/data")
def test_margins_on_a_real_chain_cover_the_next_day() -> None:
    """Hedged books save, naked ones pay for their tail, and what every book keeps is more than it lost."""
    assert CHAIN is not None
    chains = read_chains(CHAIN)
    saved = {}
    for name, make in BOOKS.items():
        book = make(chains[0])
        report = margined(chains[0], book, "portfolio")
        lost = worst_loss(chains[: HOURS + 1], book)
        assert float(report["maintenance_margin"]) > lost, name
        by_standard = tied_up(margined(chains[0], book, "standard"))
        saved[name.partition(":")[0].partition(",")[0]] = 1.0 - tied_up(report) / by_standard
    assert saved["naked call"] < 0.0
    assert saved["naked put"] < 0.0
    for name in ("call spread sold", "calendar", "iron condor", "covered call", "delta-neutral", "cash and carry"):
        assert saved[name] > 0.15, name
