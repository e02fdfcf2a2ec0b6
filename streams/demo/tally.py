"""The demo's own account of what it sent, in exact fractions, to hold the worker's books against. Pure.

It reads the public messages as any auditor could, and shares no code with the exchange that wrote them.
"""

from collections import defaultdict
from fractions import Fraction
from typing import Any

from streams.demo.venue import Message


class Tally:
    """Sums over every message sent: money in, fees, positions and conversions.

    Attributes
    ----------
    external : per asset, deposits less withdrawals
    fees : per settlement asset, positive paid
    converted : per asset, the sum over both sides of all conversions; zero where both were sent
    quantity : per (account, bucket) and instrument, signed
    """

    def __init__(self) -> None:
        self.external: defaultdict[str, Fraction] = defaultdict(Fraction)
        self.fees: defaultdict[str, Fraction] = defaultdict(Fraction)
        self.converted: defaultdict[str, Fraction] = defaultdict(Fraction)
        self.quantity: defaultdict[tuple[str, str], defaultdict[str, Fraction]] = defaultdict(
            lambda: defaultdict(Fraction)
        )
        self.settlement: dict[str, str] = {}
        self.accounts: set[str] = set()

    def note(self, message: Message) -> None:
        """Count one sent message."""
        value = message.value
        if message.topic == "instruments" and value["kind"] == "instrument":
            self.settlement[value["id"]] = value["settlement"]
        elif message.topic == "fills":
            self.accounts.add(value["account"])
            bucket = value["instrument"] if value["margin_mode"] == "isolated" else "cross"
            self.quantity[value["account"], bucket][value["instrument"]] += Fraction(value["quantity"])
            self.fees[self.settlement[value["instrument"]]] += Fraction(value["fee"])
        elif message.topic == "collateral":
            self.accounts.add(value["account"])
            self._collateral(value)

    def taken_over(self, account: str, bucket: str) -> None:
        """A bankrupt bucket's positions went to the house."""
        self.quantity.pop((account, bucket), None)

    def settled(self, instrument: str) -> None:
        """An expired instrument's positions are gone."""
        for positions in self.quantity.values():
            positions.pop(instrument, None)

    def positions(self, accounts: set[str]) -> dict[str, Fraction]:
        """Per instrument, the signed quantity that these accounts hold together."""
        held: defaultdict[str, Fraction] = defaultdict(Fraction)
        for (account, _), positions in self.quantity.items():
            if account in accounts:
                for instrument, quantity in positions.items():
                    held[instrument] += quantity
        return dict(held)

    def _collateral(self, value: dict[str, Any]) -> None:
        amount = Fraction(value["amount"])
        if value["type"] == "deposit":
            self.external[value["asset"]] += amount
        elif value["type"] == "withdrawal":
            self.external[value["asset"]] -= amount
        elif value["type"] == "conversion":
            self.converted[value["asset"]] -= amount
            self.converted[value["to_asset"]] += Fraction(value["to_amount"])
