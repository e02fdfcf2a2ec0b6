"""The exchange's own book: who holds what, and the messages that its trades and transfers become. Pure.

Every trade and conversion has two sides, an account and one of the market makers, and both sides are sent.
"""

from collections import defaultdict
from fractions import Fraction
from typing import Any, NamedTuple

from streams.demo.universe import Universe

MAKERS = tuple(f"maker-{number}" for number in range(6))
CROSS = "cross"
TAKER_FEE = Fraction(4, 10_000)


class Message(NamedTuple):
    """One public record: logical topic, key and JSON value."""

    topic: str
    key: str
    value: dict[str, Any]


class Venue:
    """Positions in lots by (account, bucket) and instrument, and the next ids.

    A bucket is `cross` or, for an isolated position, the instrument's id.
    """

    def __init__(self, universe: Universe) -> None:
        self.universe = universe
        self.lots: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        self._trades = 0
        self._transfers = 0

    def held(self, account: str, bucket: str, instrument: str) -> int:
        """Signed lots of one position."""
        return self.lots[account, bucket].get(instrument, 0)

    def close(self, account: str, bucket: str) -> None:
        """Forget the positions of a bucket that was taken over."""
        self.lots.pop((account, bucket), None)

    def settle(self, instrument: str) -> None:
        """Forget every position of an instrument that expired."""
        for positions in self.lots.values():
            positions.pop(instrument, None)

    def trade(
        self,
        *,
        account: str,
        bucket: str,
        instrument: str,
        lots: int,
        ticks: int,
        fee: int,
        time: int,
        liquidation_id: str | None = None,
    ) -> list[Message]:
        """Both fills of one trade; the market maker pays no fee.

        Parameters
        ----------
        lots, ticks : signed quantity of `account` (positive buys), price > 0
        fee : minor units of the settlement asset that `account` pays, >= 0
        """
        self._trades += 1
        maker = MAKERS[self._trades % len(MAKERS)]
        mode = CROSS if bucket == CROSS else "isolated"
        self._hold(account, bucket, instrument, lots)
        self._hold(maker, CROSS, instrument, -lots)
        return [
            self._fill(f"t{self._trades}", account, instrument, lots, ticks, fee, time, mode, liquidation_id),
            self._fill(f"m{self._trades}", maker, instrument, -lots, ticks, 0, time, CROSS, None),
        ]

    def transfer(self, kind: str, account: str, asset: str, minor: int, time: int, **more: Any) -> Message:
        """A deposit, withdrawal or transfer of `minor` > 0 units; `more` are further fields of the record."""
        self._transfers += 1
        value = {
            "transfer_id": f"c{self._transfers}",
            "type": kind,
            "account": account,
            "asset": asset,
            "amount": self.universe.assets[asset].text(minor),
            "time": time,
            **more,
        }
        return Message("collateral", account, value)

    def convert(
        self,
        *,
        account: str,
        bucket: str,
        sell: str,
        sold: int,
        buy: str,
        bought: int,
        time: int,
        liquidation_id: str | None,
    ) -> list[Message]:
        """Both sides of a conversion: `account` gives `sold` minor units of `sell` for `bought` of `buy`."""
        maker = MAKERS[self._transfers % len(MAKERS)]
        text = {sell: self.universe.assets[sell].text(sold), buy: self.universe.assets[buy].text(bought)}
        legs = ((account, bucket, sell, buy, liquidation_id), (maker, CROSS, buy, sell, None))
        return [
            self.transfer(
                "conversion", who, given, sold if given == sell else bought, time,
                bucket=where, to_asset=taken, to_amount=text[taken], liquidation_id=cause,
            )
            for who, where, given, taken, cause in legs
        ]  # fmt: skip

    def fee(self, instrument: str, lots: int, ticks: int, rate: Fraction) -> int:
        """Fee in minor units of the settlement asset at a rate of notional."""
        return self.universe.instruments[instrument].fee(lots, ticks, rate)

    def _hold(self, account: str, bucket: str, instrument: str, lots: int) -> None:
        positions = self.lots[account, bucket]
        positions[instrument] = positions.get(instrument, 0) + lots
        if not positions[instrument]:
            del positions[instrument]

    def _fill(
        self,
        fill_id: str,
        account: str,
        instrument: str,
        lots: int,
        ticks: int,
        fee: int,
        time: int,
        mode: str,
        liquidation_id: str | None,
    ) -> Message:
        listed = self.universe.instruments[instrument]
        value = {
            "fill_id": fill_id,
            "account": account,
            "instrument": instrument,
            "quantity": listed.quantity_text(lots),
            "price": listed.price_text(ticks),
            "fee": listed.settlement.text(fee),
            "time": time,
            "liquidation_id": liquidation_id,
            "margin_mode": mode,
            "kind": "trade",
        }
        return Message("fills", account, value)
