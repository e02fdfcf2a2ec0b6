"""A real fall against everything that may hold it back: band, drift, states and the second opinion together."""

import pytest

from streams.oracle.judged import Judged
from streams.oracle.legs import Rate
from streams.oracle.quotes import Quote
from streams.oracle.settings import SymbolRules

T = 1_760_130_900_000
QUIET_S, LOOKS_S = 300, 900


def no_rate(_symbol: str) -> Rate | None:
    return None


def market(second: int) -> float:
    """100 until QUIET_S, then 3 % down in one step each minute, ten times; for 20 s before the sixth 2 % up again."""
    steps = max(0, min(10, (second - QUIET_S) // 60 + 1)) if second >= QUIET_S else 0
    bounce = 1.02 if QUIET_S + 280 <= second < QUIET_S + 300 else 1.0
    return 100.0 * 0.97**steps * bounce


@pytest.mark.parametrize("cadence_s", [1, 5, 15, 60])
@pytest.mark.parametrize("sources", [2, 3, 5])
def test_liquidations_see_a_fall_within_30_s(sources: int, cadence_s: int) -> None:
    """A long position is judged at the higher of index and second opinion: at no time 1.1 % too high for 30 s.

    Too high is measured by what more than half of the sources have said: what they have not is no fault of ours.
    """
    rules = SymbolRules(max_age_ms=max(3_000, 2_000 * cadence_s))
    judged, longest, since = Judged(), 0, None
    for second in range(LOOKS_S):
        quotes = []
        for number in range(sources):
            phase = number * cadence_s // sources
            said = (second - phase) // cadence_s * cadence_s + phase
            quotes.append(Quote("BTC", f"s{number}", market(said), 0.01, T + 1_000 * said))
        price = judged.look(quotes, T + 1_000 * second, rules, no_rate, halted=False)
        assert price is not None
        seen = max(price.spot, price.check or 0.0)
        most = sorted(quote.price for quote in quotes)[sources // 2]
        if seen / most > 1.011:
            since = second if since is None else since
            longest = max(longest, second - since + 1)
        else:
            since = None
    assert longest < 30
