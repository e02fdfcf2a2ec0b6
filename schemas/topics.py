"""The table of topics: what each carries, how it is keyed, and how a missing one is created."""

from dataclasses import dataclass
from typing import Any, Literal

from schemas.accounts import AccountSettings
from schemas.collateral import Transfer
from schemas.fills import Fill
from schemas.funding import FundingRate
from schemas.instruments import Asset, Control, EngineRules, Instrument
from schemas.liquidation import Bankrupt, Liquidation, LiquidationCleared
from schemas.margin import MarginAccount, MarginCall
from schemas.marks import Mark
from schemas.oracle_terms import OracleRules, Source
from schemas.prices import Quote
from schemas.risk_terms import ClosesLoaded, Correlations, RiskHistory, RiskUnit
from schemas.volatilities import Volatility

DAY_MS = 86_400_000


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One topic.

    Parameters
    ----------
    name : logical name; the broker's name is a setting
    role : in (written by users), out (written by the engine for users), own (of the engine itself)
    key : what the message key is
    partitions : shards (as many as `journal`), one, or any (the users' own choice)
    cleanup : compact (latest value per key), delete (after the retention time), or keep (nothing is deleted)
    records : types of its values, told apart by `kind` where there are several; none where they are not JSON
    carries : what one message says
    """

    name: str
    role: Literal["in", "out", "own"]
    key: str
    partitions: Literal["shards", "one", "any"]
    cleanup: Literal["compact", "delete", "keep"]
    records: tuple[type[Any], ...] = ()
    carries: str

    def partition_count(self, shards: int) -> int:
        """Partitions to create the topic with, where the engine creates it."""
        return 1 if self.partitions == "one" else shards

    def config(self) -> dict[str, str]:
        """Topic settings to create the topic with; what is not named is the broker's default."""
        if self.cleanup == "compact":
            # A reader that was away for less than this still learns that a key was deleted.
            return {"cleanup.policy": "compact", "delete.retention.ms": str(7 * DAY_MS)}
        if self.cleanup == "keep":
            return {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
        return {"cleanup.policy": "delete"}


_TABLE = (
    Topic(
        name="oracle-prices",
        role="in",
        key="symbol",
        partitions="any",
        cleanup="delete",
        records=(Quote,),
        carries="one quote of one source",
    ),
    Topic(
        name="volatilities",
        role="in",
        key="instrument or underlying",
        partitions="any",
        cleanup="compact",
        records=(Volatility,),
        carries="the volatility of an option, or the volatility surface of an underlying",
    ),
    Topic(
        name="fills",
        role="in",
        key="free",
        partitions="any",
        cleanup="delete",
        records=(Fill,),
        carries="one trade fill of one account",
    ),
    Topic(
        name="collateral",
        role="in",
        key="free",
        partitions="any",
        cleanup="delete",
        records=(Transfer,),
        carries="one deposit, withdrawal, transfer, adjustment, opening balance or conversion",
    ),
    Topic(
        name="funding-rates",
        role="in",
        key="instrument",
        partitions="any",
        cleanup="delete",
        records=(FundingRate,),
        carries="one funding rate for one interval",
    ),
    Topic(
        name="instruments",
        role="in",
        key="id",
        partitions="one",
        cleanup="compact",
        records=(
            *(Instrument, Asset, Control, EngineRules, Source, OracleRules),
            *(RiskUnit, Correlations, RiskHistory, ClosesLoaded),
        ),
        carries="an instrument or asset, how it is margined, an order, rules of engine and oracle, or a source",
    ),
    Topic(
        name="accounts",
        role="in",
        key="account",
        partitions="any",
        cleanup="compact",
        records=(AccountSettings,),
        carries="settings of an account: mode, margin model, levels",
    ),
    Topic(
        name="journal",
        role="own",
        key="none",
        partitions="shards",
        cleanup="keep",
        carries="the ordered input of a shard, as blocks of columns (schemas/journal.py)",
    ),
    Topic(
        name="marks",
        role="out",
        key="symbol",
        partitions="any",
        cleanup="compact",
        records=(Mark,),
        carries="index and marks of a symbol, the sources used, and how far to trust them",
    ),
    Topic(
        name="margin-calls",
        role="out",
        key="account",
        partitions="shards",
        cleanup="keep",
        records=(MarginCall,),
        carries="a margin call or its end, with the numbers",
    ),
    Topic(
        name="liquidations",
        role="out",
        key="account",
        partitions="shards",
        cleanup="keep",
        records=(Liquidation, LiquidationCleared, Bankrupt),
        carries="what to close and at what limits, that it is over, or that the account is bankrupt",
    ),
    Topic(
        name="margin-accounts",
        role="out",
        key="account",
        partitions="shards",
        cleanup="compact",
        records=(MarginAccount,),
        carries="the latest margin summary of an account",
    ),
    Topic(
        name="dead-letters",
        role="out",
        key="the original",
        partitions="any",
        cleanup="keep",
        carries="a refused message as it came; where it came from and why it was refused in headers",
    ),
    Topic(
        name="terms-changelog",
        role="own",
        key="id",
        partitions="one",
        cleanup="compact",
        carries="the instruments, assets, orders, rules and sources that were accepted, for recovery",
    ),
    Topic(
        name="margin-changelog",
        role="own",
        key="row of the fold state",
        partitions="shards",
        cleanup="compact",
        carries="the fold state of a shard, for recovery",
    ),
    Topic(
        name="oracle-changelog",
        role="own",
        key="row of the oracle's state",
        partitions="any",
        cleanup="compact",
        carries="the oracle's state per symbol and source, for recovery",
    ),
    Topic(
        name="volatilities-changelog",
        role="own",
        key="instrument or underlying",
        partitions="any",
        cleanup="compact",
        carries="the volatilities that were accepted, for the oracle",
    ),
)

#: Logical name -> topic, in the order of the data flow.
TOPICS: dict[str, Topic] = {topic.name: topic for topic in _TABLE}

KEPT = {"compact": "compacted", "delete": "broker's default", "keep": "for ever"}
COUNTS = {"shards": "one a shard", "one": "1", "any": "any"}


def markdown_table() -> str:
    """The table as docs/topics.md shows it."""
    lines = ["| topic | written by | key | partitions | kept | carries |", "|---|---|---|---|---|---|"]
    for topic in TOPICS.values():
        writer = "you" if topic.role == "in" else "the engine"
        count, kept = COUNTS[topic.partitions], KEPT[topic.cleanup]
        lines.append(f"| `{topic.name}` | {writer} | {topic.key} | {count} | {kept} | {topic.carries} |")
    return "\n".join(lines)
