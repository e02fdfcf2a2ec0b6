"""What the demo has seen so far: counts, latest events, latency and shortfall. Pure."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from time import monotonic
from typing import Any

from streams.demo.feed import Heard

LATEST = 8


@dataclass(kw_only=True)
class Score:
    """Counted while the demo runs, read by the screen and by the summary.

    Attributes
    ----------
    steps, step : of the market, in all and done
    time : event time, epoch milliseconds
    sent : messages by topic
    heard : outputs by (topic, kind)
    shortfall : of all bankruptcies, reporting currency
    liquidated : (account, bucket) of every liquidation
    latencies : seconds from the moment the step's quotes were sent to each liquidation they caused
    repeated : output ids that came twice; a correct run has none
    refused : headers of dead letters
    margins : initial margin of twins once their books were opened, by account
    started : monotonic seconds
    """

    steps: int
    step: int = 0
    time: int = 0
    prices: Mapping[str, float] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    heard: Counter[tuple[str, str]] = field(default_factory=Counter)
    shortfall: Decimal = Decimal(0)
    liquidated: set[tuple[str, str]] = field(default_factory=set)
    latencies: list[float] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    refused: list[Mapping[str, Any]] = field(default_factory=list)
    calls: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=LATEST))
    liquidations: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=LATEST))
    statuses: Counter[str] = field(default_factory=Counter)
    margins: Mapping[str, str] = field(default_factory=dict)
    journal_blocks: int = 0
    journal_bytes: int = 0
    started: float = field(default_factory=monotonic)
    _ids: set[str] = field(default_factory=set)

    def hear(self, heard: Heard, quoted_at: float | None) -> None:
        """Count one output; `quoted_at` is when the quotes that caused it were sent, None where fills did."""
        event = heard.value
        if heard.topic == "dead-letters":
            self.refused.append(event)
            self.heard["dead-letters", event.get("reason_code", "")] += 1
            return
        self.heard[heard.topic, event["kind"]] += 1
        if event["id"] in self._ids:
            self.repeated.append(event["id"])
        self._ids.add(event["id"])
        (self.calls if heard.topic == "margin-calls" else self.liquidations).appendleft(event)
        if event["kind"] == "bankrupt":
            self.shortfall += Decimal(event["shortfall"])
        if event["kind"] == "liquidation":
            self.liquidated.add((event["account"], event["bucket"]))
            if quoted_at is not None:
                self.latencies.append(heard.at - quoted_at)

    @property
    def seconds(self) -> float:
        """Wall time since the start."""
        return monotonic() - self.started

    @property
    def into(self) -> int:
        """Messages sent."""
        return sum(self.sent.values())

    @property
    def out(self) -> int:
        """Outputs heard, dead letters included."""
        return sum(self.heard.values())

    def count(self, topic: str, kind: str) -> int:
        """Outputs of one kind."""
        return self.heard[topic, kind]

    def latency(self, part: float) -> float | None:
        """Seconds that `part` of the liquidations took at most; None where there was none."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None
