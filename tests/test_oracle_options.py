"""Volatility surfaces that are sound or not, and what options are marked at by them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.margin.black76 import values
from streams.margin.surface import Limits, Svi, svi_volatility
from streams.oracle.options import EXPIRED_MS, FORWARD_MOST, Listed, OptionBook, OptionMark
from streams.oracle.volatilities import YEAR_MS, Smile, Volatility, fault_of

T = 1_760_130_900_000 - 1_760_130_900_000 % 60_000
MONTH = T + YEAR_MS // 10
QUARTER = T + YEAR_MS // 4
AGE = 300_000
#: A published smile: total variance by log-moneyness.
SVI = (0.0143003577, 0.0827524527, -0.3828225784, -0.0958055292, 0.130054633)


def svi(expiry: int, *parameters: float, forward: float | None = None, discount: float = 1.0) -> Smile:
    return Smile(expiry, parameters or SVI, (), forward, discount)


def flat(expiry: int, volatility: float = 0.5, forward: float | None = None) -> Smile:
    """The same volatility at every strike."""
    return Smile(expiry, None, ((-1.0, volatility), (1.0, volatility)), forward, 1.0)


def points(expiry: int, *quoted: tuple[float, float]) -> Smile:
    return Smile(expiry, None, quoted, None, 1.0)


def surface(*smiles: Smile, time: int = T, spot: float | None = None) -> Volatility:
    return Volatility("BTC", "desk", time, None, spot, smiles)


def own(instrument: str, volatility: float, time: int = T) -> Volatility:
    return Volatility(instrument, "desk", time, volatility, None, ())


def call(strike: float, expiry: int = MONTH, *, in_coins: bool = False) -> Listed:
    return Listed(f"C{strike:g}", "BTC", expiry, 1, strike, in_coins)


def book(*listed: Listed, told: tuple[Volatility, ...] = ()) -> OptionBook:
    found = OptionBook("BTC", {row.name: row for row in told})
    for one in listed:
        found.add(one)
    return found


def black(right: int, forward: float, strike: float, years: float, volatility: float, discount: float = 1.0) -> float:
    one = (float(right), forward, strike, years, volatility, discount)
    return float(values(*(np.array([number]) for number in one))[0])


#: Total variance of a smile that falls too steeply for its level: w = 0.2 x |k| almost, above a bound of slope 4.
STEEP = (0.0, 3.0, 0.9, 0.0, 0.05)
SOUND = {
    "one smile": surface(svi(MONTH)),
    "the same variance later": surface(svi(MONTH), svi(QUARTER)),
    "more points than bends": surface(points(MONTH, (-0.2, 0.6), (0.0, 0.5), (0.2, 0.55))),
    "formula and points": surface(svi(MONTH), flat(QUARTER, 0.6)),
}


@pytest.mark.parametrize("sound", SOUND.values(), ids=SOUND.keys())
def test_sound_surfaces(sound: Volatility) -> None:
    assert fault_of(sound) is None


FAULTS = {
    "slope below 0": (surface(svi(MONTH, 0.01, -0.1, 0.0, 0.0, 0.1)), "svi must have b >= 0"),
    "variance below 0": (surface(svi(MONTH, -0.1, 0.1, 0.0, 0.0, 0.1)), "svi must have b >= 0"),
    "steep wing": (surface(svi(MONTH, *STEEP)), "smiles must hold no arbitrage, found a butterfly at k = "),
    "variance falls": (
        surface(svi(MONTH, 0.02, 0.08, 0.0, 0.0, 0.1), svi(QUARTER, 0.01, 0.08, 0.0, 0.0, 0.1)),
        f"smiles must hold no arbitrage, found a calendar spread at k = -1 of expiry {QUARTER}",
    ),
    "a dear point": (
        surface(points(MONTH, (-0.1, 0.5), (0.0, 0.9), (0.1, 0.5))),
        f"smiles must hold no arbitrage, found a butterfly at k = 0 of expiry {MONTH}",
    ),
    "later points are cheaper": (
        surface(flat(MONTH, 1.0), points(QUARTER, (-0.1, 0.5), (0.1, 0.5))),
        f"smiles must hold no arbitrage, found a calendar spread at k = -0.1 of expiry {QUARTER}",
    ),
    "points below the formula before": (
        surface(svi(MONTH, 0.2, 0.0, 0.0, 0.0, 0.1), flat(QUARTER, 0.3)),
        f"found a calendar spread at k = -1 of expiry {QUARTER}",
    ),
}


@pytest.mark.parametrize(("told", "fault"), FAULTS.values(), ids=FAULTS.keys())
def test_faults(told: Volatility, fault: str) -> None:
    assert fault in (fault_of(told) or "")


def test_rounding_of_quotes_is_no_arbitrage() -> None:
    """Marks of a real chain are rounded to 0.01 %: butterflies of less than a price step are no fault."""
    quoted = [(k / 50, round(0.5 + 0.2 * (k / 50) ** 2, 4)) for k in range(-25, 26)]
    assert fault_of(surface(points(MONTH, *quoted))) is None


class TestMarks:
    def test_surface_at_the_forward_of_the_smile(self) -> None:
        """Forward 101 with an index of 100 is a basis of 1 %: with the index at 50,000 it is 50,500."""
        told = surface(svi(MONTH, forward=101.0, discount=0.99), spot=100.0)
        (mark,) = book(call(60_000.0), told=(told,)).marks(50_000.0, {}, T, AGE)
        volatility = svi_volatility(Svi(*SVI), math.log(60_000 / 50_500), 0.1, Limits())
        assert (mark.forward, mark.discount, mark.stale) == (50_500.0, 0.99, False)
        assert mark.volatility == pytest.approx(volatility, rel=1e-13)
        assert mark.price == black(1, 50_500.0, 60_000.0, 0.1, mark.volatility, 0.99)

    def test_coin_settled_options_are_marked_in_coins(self) -> None:
        (mark,) = book(call(60_000.0, in_coins=True), told=(surface(flat(MONTH)),)).marks(50_000.0, {}, T, AGE)
        assert mark.price == black(1, 50_000.0, 60_000.0, 0.1, 0.5) / 50_000.0

    def test_forwards_of_listed_futures(self) -> None:
        """That of the very expiry as it is; else the yearly basis between: 5 % at 0.1 and 10 % at 0.3 give 7.5 %."""
        futures = {"SOON": (MONTH, math.exp(0.005)), "LATE": (T + 3 * YEAR_MS // 10, math.exp(0.03))}
        listed = [Listed(name, "BTC", expiry, 0, 0.0, False) for name, (expiry, _) in futures.items()]
        between = call(100.0, T + YEAR_MS // 5)
        options = book(call(90.0), between, *listed, told=(surface(flat(MONTH), flat(QUARTER)),))
        marks = options.marks(100.0, {name: 100.0 * ratio for name, (_, ratio) in futures.items()}, T, AGE)
        found = {mark.instrument: mark.forward for mark in marks}
        assert found == pytest.approx({"C90": 100.0 * math.exp(0.005), "C100": 100.0 * math.exp(0.015)}, rel=1e-12)

    def test_a_future_in_its_last_day_says_nothing_of_others(self) -> None:
        """0.1 % in its last hour would be 876 % a year."""
        soon = Listed("SOON", "BTC", T + 3_600_000, 0, 0.0, False)
        (mark,) = book(call(90.0), soon, told=(surface(flat(MONTH)),)).marks(100.0, {"SOON": 100.1}, T, AGE)
        assert mark.forward == 100.0

    def test_forwards_are_clamped(self) -> None:
        told = surface(flat(MONTH, forward=9.0), spot=1.0)
        (mark,) = book(call(90.0), told=(told,)).marks(100.0, {}, T, AGE)
        assert mark.forward == 100.0 * FORWARD_MOST

    def test_between_expiries_total_variance_is_linear(self) -> None:
        """0.3^2 x 0.1 = 0.009 and 0.5^2 x 0.3 = 0.075: half way 0.042 over 0.2 years."""
        told = surface(flat(MONTH, 0.3), flat(T + 3 * YEAR_MS // 10, 0.5))
        (mark,) = book(call(100.0, T + YEAR_MS // 5), told=(told,)).marks(100.0, {}, T, AGE)
        assert mark.volatility == pytest.approx(math.sqrt(0.042 / 0.2), rel=1e-12)

    def test_a_volatility_stands_while_time_passes(self) -> None:
        """SVI says total variance of the record's time: an hour later the volatility is still the same."""
        options = book(call(60_000.0), told=(surface(svi(MONTH)),))
        before, after = (options.marks(50_000.0, {}, T + hours * 3_600_000, YEAR_MS)[0] for hours in (0, 1))
        assert before.volatility == after.volatility
        assert before.price > after.price

    def test_time_counts_in_whole_minutes(self) -> None:
        options = book(call(60_000.0), told=(surface(svi(MONTH)),))
        marks = [options.marks(50_000.0, {}, T + after, AGE) for after in (0, 59_999, 60_000)]
        assert marks[0] == marks[1] != marks[2]
        assert options.wakes_ms(T + 1, AGE) == T + 60_000

    @pytest.mark.parametrize(("told", "used"), [(0.01, 0.10), (0.5, 0.5), (9.0, 5.0)])
    def test_clamps(self, told: float, used: float) -> None:
        by_own = book(call(100.0), told=(own("C100", told),))
        by_surface = book(call(100.0), told=(surface(flat(MONTH, told)),))
        assert [one.marks(100.0, {}, T, AGE)[0].volatility for one in (by_own, by_surface)] == [used, used]

    @pytest.mark.parametrize(
        ("own_age", "surface_age", "used", "stale"),
        [
            pytest.param(AGE, 0, 0.7, False, id="own first"),
            pytest.param(AGE + 1, AGE, 0.5, False, id="own is old, the surface not"),
            pytest.param(AGE + 1, AGE + 1, 0.7, True, id="both are old"),
            pytest.param(None, AGE + 1, 0.5, True, id="surface alone, old"),
        ],
    )
    def test_age(self, own_age: int | None, surface_age: int, used: float, stale: bool) -> None:
        told = (surface(flat(MONTH), time=T - surface_age),)
        told += () if own_age is None else (own("C100", 0.7, T - own_age),)
        (mark,) = book(call(100.0), told=told).marks(100.0, {}, T, AGE)
        assert (mark.volatility, mark.stale) == (used, stale)

    def test_it_wakes_when_a_volatility_grows_old(self) -> None:
        options = book(call(100.0), told=(own("C100", 0.5, T - AGE + 5),))
        assert options.wakes_ms(T, AGE) == T + 6

    def test_without_a_volatility_there_is_no_mark(self) -> None:
        options = book(call(100.0))
        assert options.marks(100.0, {}, T, AGE) == ()
        assert options.wakes_ms(T, AGE) is None

    def test_a_mark_whose_volatility_was_taken_back_is_stale(self) -> None:
        """A shard that heard nothing would go on with the old mark as if it were good."""
        options = book(call(100.0), told=(Volatility("BTC", "", 0, None, None, ()),))
        before = OptionMark("C100", 7.0, False, 0.5, 100.0, 1.0)
        assert options.marks(100.0, {}, T, AGE, (before,)) == (before._replace(stale=True),)

    @pytest.mark.parametrize(("index", "mark"), [(120.0, 20.0), (80.0, 1e-18)])
    def test_from_expiry_on_an_option_is_worth_what_it_pays(self, index: float, mark: float) -> None:
        """For a day, then it is told of no more. No mark is 0."""
        options = book(call(100.0), told=(surface(svi(MONTH, forward=200.0, discount=0.9), spot=100.0),))
        assert [one.price for one in options.marks(index, {}, MONTH, YEAR_MS)] == [mark]
        assert options.marks(index, {}, MONTH + EXPIRED_MS, YEAR_MS) == ()
        assert options.wakes_ms(MONTH + EXPIRED_MS, YEAR_MS) is None


strikes = st.lists(st.floats(20_000.0, 200_000.0), min_size=1, max_size=6, unique=True)


@given(
    index=st.floats(30_000.0, 120_000.0),
    strikes=strikes,
    tilt=st.floats(-0.7, 0.7),
    slope=st.floats(0.0, 0.1),
    minutes=st.integers(0, 50_000),
    basis=st.floats(0.9, 1.1),
)
@settings(max_examples=60, deadline=None)
def test_marks_are_black_76_of_the_surface(
    index: float, strikes: list[float], tilt: float, slope: float, minutes: int, basis: float
) -> None:
    """Whatever surface is accepted, at any moment: calls and puts keep parity, and equal the formula at its smile."""
    parameters = (0.02, slope, tilt, 0.0, 0.2)
    told = surface(svi(MONTH, *parameters, forward=basis, discount=0.98), spot=1.0)
    assert fault_of(told) is None
    calls = [call(strike) for strike in strikes]
    puts = [one._replace(instrument=f"P{one.strike:g}", right=-1) for one in calls]
    now_ms = T + minutes * 60_000
    marks = {mark.instrument: mark for mark in book(*calls, *puts, told=(told,)).marks(index, {}, now_ms, AGE)}
    years, forward = (MONTH - now_ms) / YEAR_MS, index * basis
    for one, other in zip(calls, puts, strict=True):
        first, second = marks[one.instrument], marks[other.instrument]
        smile = svi_volatility(Svi(*parameters), math.log(one.strike / forward), 0.1, Limits())
        assert first.volatility == second.volatility == pytest.approx(smile, rel=1e-12)
        worth = [black(right, forward, one.strike, years, first.volatility, 0.98) for right in (1, -1)]
        assert [first.price, second.price] == pytest.approx([max(value, 1e-18) for value in worth], rel=1e-12)
        assert first.price - second.price == pytest.approx(0.98 * (forward - one.strike), abs=1e-6)
