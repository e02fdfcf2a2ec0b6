"""Compile the kernels that the oracle values options by; instant once the compiled code is cached."""

from streams.oracle.options import Listed, OptionBook
from streams.oracle.volatilities import YEAR_MS, Smile, Volatility, fault_of


def warm_up() -> int:
    """Value an option between a smile by formula and one by points; returns how many marks came of it."""
    smiles = (
        Smile(YEAR_MS, (0.04, 0.1, -0.3, 0.0, 0.2), (), None, 1.0),
        Smile(3 * YEAR_MS, None, ((-0.1, 0.6), (0.1, 0.6)), None, 1.0),
    )
    surface = Volatility("WARM", "up", 0, None, None, smiles)
    book = OptionBook("WARM", {"WARM": surface})
    for expiry in (YEAR_MS, 2 * YEAR_MS, 3 * YEAR_MS):
        book.add(Listed(f"CALL-{expiry}", "WARM", expiry, 1, 100.0, False))
    book.add(Listed("DATED", "WARM", 4 * YEAR_MS, 0, 0.0, False))
    return len(book.marks(100.0, {"DATED": 101.0}, 0, 1)) if fault_of(surface) is None else 0
