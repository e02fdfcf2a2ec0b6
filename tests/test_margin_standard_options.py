"""Standard margin of options: short calls and puts one by one, an expiry by its worst payoff, worked by hand.

If one of these failed, an account could sell options for less margin than its venue's own rules ask.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.margin.black76 import payoff
from streams.margin.standard_options import OptionRates, expiry_requirement, short_option, worst_payoff
from tests.tables import Row, rows

CASES = {
    case["id"]: case
    for case in json.loads((Path(__file__).parent / "reference" / "option_cases.json").read_text())
    if case["id"] in ("G6", "G7")
}
RATES = OptionRates(0.15, 0.1, 0.075, 0.075, 0.075, 1.05, 1.2, 1.1)
ALONE = RATES._replace(unpaired_initial=0.0, unpaired_maintenance=0.0)


def test_derive_shorts() -> None:
    """G6: calls and puts, out of, at and in the money; its signed cash value is minus our requirement."""
    p = CASES["G6"]["inputs"]["params"]
    rates = OptionRates(
        p["max_spot"], p["min_spot"], p["mm_call"], p["mm_put"], p["mm_put_mtm"], p["mm_offset"], 0.0, 0.0
    )
    for at, row in enumerate(CASES["G6"]["inputs"]["cases"]):
        found = short_option(rates, 1.0 if row["call"] else -1.0, row["n"], row["S"], row["K"], row["mark"])
        wanted = [-CASES["G6"]["expected"][name][at] for name in ("im", "mm")]
        assert found == pytest.approx(wanted, rel=1e-12)


def test_deribit_shorts() -> None:
    """G7: the same form per coin, the underlying at 1 and the option's price in coins."""
    rates = OptionRates(0.15, 0.1, 0.075, 0.075, 0.075, 1.0, 0.0, 0.0)
    for at, row in enumerate(CASES["G7"]["inputs"]["cases"]):
        right = 1.0 if row["call"] else -1.0
        found = short_option(rates, right, 1.0, 1.0, 1.0 + right * row["otm_ratio"], row["mark"])
        wanted = [CASES["G7"]["expected"][name][at] for name in ("im", "mm")]
        assert found == pytest.approx(wanted, rel=1e-12)


EXPIRIES = rows("""
case | legs | index | initial | maintenance
# C or P, strike, quantity, mark
a long call requires nothing | C 2000 1 90 | 2000 | 0 | 0
a short call | C 2000 -1 90 | 2000 | 390 | 240
# 0.15 x 2000 + 90; 0.075 x 2000 + 90: less than 1.2 x 2000 and 1.1 x 2000
a short call far out of the money | C 3000 -1 5 | 2000 | 205 | 155
# 0.15 - 0.5 < 0.10: 0.10 x 2000 + 5
a call spread bought loses nothing more | C 1800 1 215, C 2000 -1 90 | 2000 | 0 | 0
# the payoff is never below 0
a call spread sold loses its width | C 1800 -1 215, C 2000 1 90 | 2000 | 200 | 200
an iron condor loses one wing | P 1600 1 5, P 1800 -1 20, C 2200 -1 25, C 2400 1 8 | 2000 | 200 | 200
# the wing is less than (0.10 x 2000 + 20) + (0.10 x 2000 + 25)
two calls for one bought | C 1800 1 215, C 2000 -2 90 | 2000 | 780 | 480
# shorts one by one: 2 x 390 and 2 x 240; the worst payoff 0 and a call unpaired: 1.2 x 2000 is more
a short put in the money | P 2500 -1 500 | 2000 | 800 | 650
# 0.15 x 2000 + 500 = 800 > 1.05 x (150 + 500); the whole strike would be 2500
a short straddle | C 2000 -1 90, P 2000 -1 90 | 2000 | 780 | 480
nothing held | | 2000 | 0 | 0
""")


@pytest.mark.parametrize("row", EXPIRIES)
def test_expiry(row: Row) -> None:
    """An expiry requires the lesser of its shorts one by one and what it can lose at settlement."""
    legs = [leg.split() for leg in (row["legs"] or "").split(",") if leg.strip()]
    right = np.array([1.0 if leg[0] == "C" else -1.0 for leg in legs])
    strike, quantity, mark = (np.array([float(leg[at]) for leg in legs]) for at in (1, 2, 3))
    found = expiry_requirement(RATES, right, quantity, strike, mark, float(row["index"]), 2000.0)
    assert found == pytest.approx((float(row["initial"]), float(row["maintenance"])))
    alone = expiry_requirement(ALONE, right, quantity, strike, mark, float(row["index"]), 2000.0)
    sold = [at for at, held in enumerate(quantity) if held < 0.0]
    shorts = [short_option(RATES, right[at], -quantity[at], 2000.0, strike[at], mark[at]) for at in sold]
    assert alone == pytest.approx(tuple(sum(short[at] for short in shorts) for at in (0, 1)))


legs_of = st.lists(
    st.tuples(st.sampled_from([1.0, -1.0]), st.integers(-5, 5), st.sampled_from([1500.0, 1800.0, 2000.0, 2300.0])),
    max_size=5,
)


@given(legs=legs_of, price=st.floats(0.0, 20_000.0))
def test_no_settlement_pays_less(legs: list[tuple[float, int, float]], price: float) -> None:
    """The worst payoff is the worst at any price, calls sold net apart, which lose without end."""
    right, quantity, strike = (np.array([float(leg[at]) for leg in legs]) for at in range(3))
    calls = sum(q for r, q, _ in legs if r > 0)
    total = sum(q * payoff(r, price, k, False) for r, q, k in legs)
    beyond = min(calls, 0) * max(price - max(strike, default=0.0), 0.0)
    assert total >= worst_payoff(right, quantity, strike) + beyond - 1e-9
