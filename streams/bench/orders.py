"""Where liquidation orders go in a measurement: they are filled at once, at the marks that they were decided on."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from streams.bench.records import Row, fill


class Orders:
    """What the accounts hold after the fills given so far, of which the worker may not have heard yet.

    A step that the worker decided before it heard of a fill asks again for what was filled: only what is missing to the
    position that the step would leave is filled.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Decimal] = {}

    def fills(self, event: dict[str, Any]) -> Iterator[Row]:
        """Fills of a liquidation's orders; those that ask for nothing more get none."""
        account, more = event["account"], f',"liquidation_id":"{event["id"]}"'
        seen = {leg["instrument"]: Decimal(leg["quantity"]) for leg in event["report"]["positions"]}
        for at, order in enumerate(event["orders"]):
            instrument, asked = order["instrument"], Decimal(order["quantity"])
            held = self._held.get((account, instrument), seen[instrument])
            wanted = seen[instrument] + asked
            traded = wanted - held
            if traded * asked <= 0:
                continue
            self._held[account, instrument] = wanted
            price = float(event["marks"][instrument]["mark"])
            yield fill(f"{event['id']}-{at}", account, instrument.removesuffix("-PERP"), str(traded), price, more)
