"""Options for tests: `option("BTC-C66", "call", "66000")` is one on BTC, in USDC, at Derive's rates."""

from typing import Any

from tests.builders import Json, T, instrument

EXPIRY = T + 60_000
RATES = {"most": "0.15", "least": "0.13", "call": "0.09", "put": "0.09", "put_value": "0.09", "put_offset": "1.05"}


def option(id: str, option_type: str, strike: str, **terms: Any) -> Json:
    """An option in the journal's normal form; it expires a minute after the first mark."""
    own = {"option_type": option_type, "strike": strike, "option_margin": RATES, "expiry": EXPIRY}
    no_rates = {"initial_margin": "0", "maintenance_margin": "0"}
    return instrument(id, "option", **{**no_rates, **own, **terms})
