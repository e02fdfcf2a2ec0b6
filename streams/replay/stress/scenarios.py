"""Shocks: how far each symbol's price moves, as fractions of the price before."""

from __future__ import annotations

from collections.abc import Mapping

from streams.replay.recording import RecordingError

#: Falls from a high to a later low within the hours named, of Binance bars: spot of 1 minute (2021), spot of 5 minutes
#: (2022), USDT perpetuals' last prices of 5 minutes and, where there is none, spot (2025). A symbol that is not listed
#: falls as the middle one does; dollar coins stay.
CRASHES: Mapping[str, Mapping[str, float]] = {
    "2021-05-19": {
        **{"BTC": -0.312, "ETH": -0.451, "BNB": -0.458, "XRP": -0.483, "ADA": -0.503, "LTC": -0.511},
        **{"LINK": -0.517, "SOL": -0.541, "DOGE": -0.560, "DOT": -0.565, "*": -0.507},
    },
    "2022-11-08": {
        **{"BTC": -0.247, "ADA": -0.254, "DOT": -0.258, "LTC": -0.309, "ETH": -0.321, "XRP": -0.323, "UNI": -0.337},
        **{"AVAX": -0.338, "DOGE": -0.376, "LINK": -0.390, "MATIC": -0.402, "SOL": -0.610, "*": -0.330},
    },
    "2025-10-10": {
        **{"BTC": -0.171, "ETH": -0.226, "BNB": -0.327, "SOL": -0.370, "XRP": -0.558, "ADA": -0.668, "DOGE": -0.670},
        "*": -0.370,
    },
}
STABLE = ("USD", "USDC", "USDT", "FDUSD", "BUSD", "DAI")


def shock(text: str) -> dict[str, float]:
    """The shock that `BTC=-0.3,ETH=-0.4,*=-0.35` names, or the crash of that name.

    Raises
    ------
    RecordingError
        where a move is no fraction above -1.
    """
    if text in CRASHES:
        return dict(CRASHES[text])
    moves: dict[str, float] = {}
    for part in text.split(","):
        symbol, equals, number = part.strip().partition("=")
        try:
            move = float(number) if equals and symbol else float("nan")
        except ValueError:
            move = float("nan")
        if not -1.0 < move < float("inf"):
            known = ", ".join(CRASHES)
            raise RecordingError(f"a shock must be {known} or moves above -1 such as BTC=-0.3,*=-0.4, found {part!r}")
        moves[symbol] = move
    return moves


def move_of(symbol: str, moves: Mapping[str, float]) -> float:
    """How far a symbol moves: as listed; else a dollar coin not, and others as `*`."""
    if symbol in moves:
        return moves[symbol]
    return 0.0 if symbol in STABLE else moves.get("*", 0.0)
