"""When the shards are told of the market's past anew: a fold over trusted prices, without Kafka or a clock.

One writer sees all risk units, for their correlations are told together: the oracle partition 0. It keeps a return a
period of each, and tells once a period what values at risk are made of.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from schemas.journal import Block
from streams.engine.risk_factors import Factors, factors, rules_of, taken_back, told, units_most
from streams.margin.risk_parameters import RiskRules, refreshed
from streams.oracle.closes import Closes

#: Changelog keys: of the schedule, of a unit's history, and of its last price.
STATE_KEY, HISTORY_PREFIX, LAST_PREFIX = b"risk", b"risk-closes:", b"risk-last:"
TermsRecord = Mapping[str, Any]


class RiskSchedule:
    """Closes of all risk units, and what was told of them last.

    Attributes
    ----------
    units : underlyings whose prices are wanted, ascending
    """

    def __init__(self) -> None:
        self.units: list[str] = []
        self._rules: RiskRules | None = None
        self._closes: Closes | None = None
        self._margined: dict[str, float] = {}
        self._taken: dict[str, int] = {}  # version of the published closes that were considered, by unit
        self._published: dict[str, TermsRecord] = {}
        self._last: Factors | None = None  # what this producer told last
        self._speaks = False  # whether shards know something
        self._anew = True  # whether to tell though no period has ended
        self._dirty: set[str] = set()
        self._moved: set[str] = set()
        self._changed = False

    @staticmethod
    def owns(key: bytes) -> bool:
        """Whether a changelog record is one of these."""
        return key == STATE_KEY or key.startswith((HISTORY_PREFIX, LAST_PREFIX))

    def learn(
        self, record: TermsRecord | None, units: Collection[str], closes: Callable[[str], TermsRecord | None]
    ) -> None:
        """Go on by these terms: how values at risk are made, of which units, and what was published of their past."""
        self.units = sorted(units) if record is not None else []
        rules = None if record is None else rules_of(record)
        if rules != self._rules:
            self._rules, self._anew = rules, True
        if self._closes is not None:
            goes_on = record is not None and self._closes.period_ms == record["period_ms"]
            self._forget((self._closes.units | self._taken.keys()) - set(self.units if goes_on else ()))
            if not goes_on:
                self._closes, self._last, self._anew, self._changed = None, None, True, True
        if record is not None:
            self._closes = self._closes or Closes(record["period_ms"], record["window"])
            self._closes.window = record["window"]
            self._dirty |= self._closes.trim()
        found = {unit: closes(unit) for unit in self.units}
        self._published = {unit: own for unit, own in found.items() if own is not None}

    def _forget(self, units: set[str]) -> None:
        """Know nothing of units any more: should one come back, it is as new, and so is its past to the shards."""
        if not units:
            return
        assert self._closes is not None
        self._closes.forget(units)
        for unit in units:
            self._margined.pop(unit, None)
            self._taken.pop(unit, None)
        self._dirty |= units
        self._moved |= units
        self._last, self._anew, self._changed = None, True, True

    def take(self, time_ms: int, prices: Mapping[str, float]) -> Block | None:
        """Take trusted prices of a time; the block to tell every shard, where a period has ended or rules changed."""
        if self._closes is None:
            if not self._speaks:
                return None
            self._speaks, self._last, self._changed = False, None, True
            self._margined.clear()
            return taken_back(time_ms)
        own = {unit: prices[unit] for unit in self.units if unit in prices}
        self._moved |= {unit for unit, price in own.items() if self._closes.last.get(unit) != price}
        before = self._closes.period
        ended = self._closes.take(time_ms, own)
        if ended:
            self._dirty |= self._closes.close.keys()
        self._changed = self._changed or before != self._closes.period
        if not (self._load() or ended or self._anew):
            return None
        self._anew = False
        return self._told(time_ms)

    def _load(self) -> bool:
        """Put published closes before those of the stream; whether there were wanted ones."""
        assert self._closes is not None
        wanted = False
        for unit, record in self._published.items():
            if record["period_ms"] != self._closes.period_ms:
                continue
            if record["version"] > self._taken.get(unit, -1) and self._closes.ended(
                record["period"] - len(record["closes"]) + 1
            ):
                self._taken[unit], self._changed = record["version"], True
                if self._closes.load(unit, record["period"], [float(price) for price in record["closes"]]):
                    self._dirty.add(unit)
                    self._moved.add(unit)
                    wanted = True
        return wanted

    def _told(self, time_ms: int) -> Block | None:
        closes, rules = self._closes, self._rules
        assert closes is not None
        assert closes.period is not None
        assert rules is not None
        units, returns = closes.whole(units_most(rules.window))
        if not units:
            if not self._speaks:
                return None
            self._speaks, self._last, self._changed = False, None, True
            return taken_back(time_ms)
        before = np.array([self._margined.get(unit, math.inf) for unit in units])
        parameters = refreshed(returns, before, rules)
        self._margined = dict(zip(units, parameters.margined.tolist(), strict=True))
        now = factors(tuple(units), closes.period, rules, parameters, returns)
        block = told(self._last, now, time_ms)
        self._last, self._speaks, self._changed = now, True, True
        return block

    def dirty(self) -> list[tuple[bytes, bytes | None]]:
        """The changelog records of what changed since the last call, in a fixed order; None: there is none any more."""
        closes = self._closes
        records: list[tuple[bytes, bytes | None]] = []
        for unit in sorted(self._dirty):
            value = None
            if closes is not None and unit in closes.close:
                returns = np.array(closes.returns.get(unit, []), dtype="<f8")
                value = _encoded([closes.close[unit], base64.b64encode(returns.tobytes()).decode()])
            records.append((HISTORY_PREFIX + unit.encode(), value))
        for unit in sorted(self._moved):
            known = closes is not None and unit in closes.last
            value = _encoded(closes.last[unit]) if closes is not None and known else None
            records.append((LAST_PREFIX + unit.encode(), value))
        if self._changed:
            held_of = {
                "period_ms": None if closes is None else closes.period_ms,
                "period": None if closes is None else closes.period,
                "margined": self._margined,
                "taken": self._taken,
                "speaks": self._speaks,
            }
            records.append((STATE_KEY, _encoded(held_of)))
        self._dirty.clear()
        self._moved.clear()
        self._changed = False
        return records

    def restore(self, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Become, from new, the schedule that wrote these changelog records; `learn` comes after."""
        latest = {key: json.loads(value) for key, value in dict(records).items() if value is not None}
        held = latest.pop(STATE_KEY, None)
        if held is None:
            return
        self._margined, self._taken, self._speaks = held["margined"], held["taken"], held["speaks"]
        if held["period_ms"] is None:
            return
        self._closes = closes = Closes(held["period_ms"], 0, period=held["period"])
        for key, value in latest.items():
            if key.startswith(HISTORY_PREFIX):
                unit = key.removeprefix(HISTORY_PREFIX).decode()
                closes.close[unit] = value[0]
                closes.returns[unit] = np.frombuffer(base64.b64decode(value[1]), dtype="<f8").tolist()
            else:
                closes.last[key.removeprefix(LAST_PREFIX).decode()] = value


def _encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
