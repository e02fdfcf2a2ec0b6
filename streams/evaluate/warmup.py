"""Compile the kernels of margin reports; instant once the compiled code is cached."""

import orjson

from streams.evaluate.portfolio import read_portfolio
from streams.evaluate.reports import reports

_COIN = {"price": "20000", "haircut": "0.1", "borrow_haircut": "0.1", "state": "suspect", "check_price": "20000"}
_INSTRUMENT = {
    "type": "perpetual",
    "underlying": "COIN",
    "settlement": "CASH",
    "mark_price": "20000",
    "initial_margin": "0.2",
    "maintenance_margin": "0.1",
}
_OPTION = {
    "type": "option",
    "option_type": "call",
    "strike": "22000",
    "expiry": 86_400_000,
    "underlying": "COIN",
    "settlement": "CASH",
    "mark_price": "100",
    "volatility": "0.5",
}
_ACCOUNT = {
    "account": "one",
    "balances": {"CASH": "1000", "COIN": "0.01"},
    "positions": [{"instrument": "LINEAR", "quantity": "1", "entry_price": "20000"}],
}


def warm_up() -> int:
    """Report on an account in liquidation by either model, and return the number of orders (so that the work is not
    skipped)."""
    document = {
        "time": 0,
        "assets": {"CASH": {"price": "1"}, "COIN": _COIN},
        "instruments": {"LINEAR": _INSTRUMENT, "OPTION": _OPTION},
        "risk_units": {"COIN": {}},
        "accounts": [_ACCOUNT, {**_ACCOUNT, "account": "two", "margin_model": "portfolio"}],
    }
    found = reports(read_portfolio(orjson.dumps(document)))["accounts"]
    return sum(len(report["liquidation"]["orders"]) for report in found)
