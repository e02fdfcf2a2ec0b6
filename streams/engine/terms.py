"""Instruments, assets and engine rules as a shard knows them, and the arrays made from them.

Terms arrive in block headers with their version; the higher version holds. Each id gets an index in the order of its
first appearance in the journal; ranks order indexes by id, so that nothing a decision reads depends on that order.
"""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np

from schemas.instruments import identity_fields
from streams.engine.book_view import InstrumentNames
from streams.engine.invariants import InvariantViolation
from streams.engine.posting import Terms
from streams.margin.parameters import (
    AssetParameters,
    HaircutTier,
    InstrumentParameters,
    OptionParameters,
    Parameters,
    Tier,
    build,
)
from streams.margin.rational import rational
from streams.margin.standard_options import OptionRates

#: Digits of unit x scale: decimals of the funding index below a minor unit per lot, less the size of the unit itself.
#: An inverse unit is divided by a price yet, so it has more.
FUNDING_DIGITS = 7
FUNDING_DIGITS_INVERSE = 20
FUNDING_DECIMALS_MAX = 9


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that decide; they come by the journal, so a shard has no second input. Defaults: design of margin.

    Levels are adjusted equity / maintenance margin; times are milliseconds of shard time. `duplicate_window` is fixed
    once a shard has accounts.
    """

    margin_call: float = 1.25
    margin_call_exit: float = 1.30
    liquidation_exit: float = 1.05
    liquidation_target: float = 1.10
    liquidation_timeout_ms: int = 5000
    liquidation_step_cap: str = "1"
    duplicate_window: int = 256
    summary_interval_ms: int = 60_000
    reporting_currency: str = "USD"
    portfolio_equity_min: float = 0.0


def instrument_units(record: Mapping[str, Any], precision: int) -> tuple[int, int]:
    """`unit` and `divisor` of an instrument for `fill_cost`; `precision` is the settlement asset's.

    Linear: minor units of one lot at one tick, and 1. Inverse: coins of one lot are unit / (ticks x divisor).
    """
    multiplier = Fraction(record["multiplier"])
    price, quantity = record["price_precision"], record["quantity_precision"]
    if record["type"].startswith("inverse"):
        size = multiplier * Fraction(10) ** (precision + price - quantity)
    else:
        size = multiplier * Fraction(10) ** (precision - price - quantity)
        if size.denominator != 1:
            raise InvariantViolation(f"minor units of a lot at a tick must be whole, found {size} ({record['id']})")
    return size.numerator, size.denominator


class TermsTable:
    """All terms of a shard; `arrays()` after every change."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.instruments: list[str] = []
        self.assets: list[str] = []
        self.instrument_index: dict[str, int] = {}
        self.asset_index: dict[str, int] = {}
        self.names: list[InstrumentNames] = []
        self.rules = Rules()
        self.paused = False
        self.halted: set[str] = set()

    def apply(self, records: list[dict[str, Any]]) -> list[str]:
        """Take in records of a block header; the ids that changed (an older or known version changes nothing)."""
        changed = []
        for record in records:
            identity = record["id"]
            known = self.records.get(identity)
            if known is not None and known["version"] >= record["version"]:
                continue
            _check_identity(known, record)
            self.records[identity] = record
            changed.append(identity)
            kind = record["kind"]
            if kind == "asset" and identity not in self.asset_index:
                self.asset_index[identity] = len(self.assets)
                self.assets.append(identity)
            elif kind == "instrument" and identity not in self.instrument_index:
                if record["settlement"] not in self.asset_index:
                    raise InvariantViolation(f"settlement asset {record['settlement']} must be known before {identity}")
                self.instrument_index[identity] = len(self.instruments)
                self.instruments.append(identity)
            elif kind == "engine":
                fields = {name: record[name] for name in Rules.__struct_fields__ if name in record}
                self.rules = msgspec.convert(fields, Rules, strict=False)
        if changed:
            self._names()
            self._control()
        return changed

    def _control(self) -> None:
        """Obey the latest order of each id, in the order of their versions."""
        self.paused, self.halted = False, set()
        orders = [record for record in self.records.values() if record["kind"] == "control"]
        for record in sorted(orders, key=lambda order: int(order["version"])):
            action, symbol = record["action"], str(record.get("symbol"))
            if action in ("pause_liquidations", "resume_liquidations"):
                self.paused = action == "pause_liquidations"
            elif action == "halt":
                self.halted.add(symbol)
            else:
                self.halted.discard(symbol)

    def _names(self) -> None:
        self.names = [
            InstrumentNames(
                id=identity,
                multiplier=rational(Decimal(self.records[identity]["multiplier"])),
                liquidation_fee=rational(Decimal(self.records[identity]["liquidation_fee"])),
                price_precision=self.records[identity]["price_precision"],
                quantity_precision=self.records[identity]["quantity_precision"],
            )
            for identity in self.instruments
        ]

    def underlying(self, instrument: int) -> str:
        """Symbol whose price moves the instrument."""
        return str(self.records[self.instruments[instrument]]["underlying"])

    def is_option(self, instrument: int) -> bool:
        """Whether the instrument pays out an option's payoff at its expiry."""
        return bool(self.records[self.instruments[instrument]]["type"] == "option")

    def posting(self, funding_index: list[int], settled: list[int]) -> Terms:
        """Arrays for posting; funding indices and settlement prices (NOT_SETTLED: none) by instrument."""
        units = [
            instrument_units(self.records[i], self.records[self.records[i]["settlement"]]["precision"])
            for i in self.instruments
        ]
        inverse = [self.records[i]["type"].startswith("inverse") for i in self.instruments]
        scales = [_funding_scale(unit, is_inverse) for (unit, _), is_inverse in zip(units, inverse, strict=True)]
        return Terms(
            settlement=np.array(
                [self.asset_index[self.records[i]["settlement"]] for i in self.instruments], dtype=np.int32
            ),
            inverse=np.array(inverse, dtype=np.bool_),
            unit=np.array([unit for unit, _ in units], dtype=np.int64),
            divisor=np.array([divisor for _, divisor in units], dtype=np.int64),
            funding_scale=np.array(scales, dtype=np.int64),
            funding_index=np.array(funding_index, dtype=np.int64),
            settled=np.array(settled, dtype=np.int64),
            settled_unit=np.array(
                [1 if self.is_option(at) else unit for at, (unit, _) in enumerate(units)], dtype=np.int64
            ),
            instrument_rank=_ranks(self.instruments),
            asset_rank=_ranks(self.assets),
        )

    def parameters(self) -> Parameters:
        """Risk parameters for the kernels."""
        underlyings = sorted({self.underlying(i) for i in range(len(self.instruments))})
        group = {symbol: at for at, symbol in enumerate(underlyings)}
        return build(
            [self._instrument(self.records[i], group) for i in self.instruments],
            [_asset(self.records[a]) for a in self.assets],
            [group.get(a, -1) for a in self.assets],
        )

    def _instrument(self, record: Mapping[str, Any], group: Mapping[str, int]) -> InstrumentParameters:
        tiers = record.get("tiers") or [
            {
                "notional_from": "0",
                "initial_margin": record["initial_margin"],
                "maintenance_margin": record["maintenance_margin"],
            }
        ]
        return InstrumentParameters(
            settlement=self.asset_index[record["settlement"]],
            underlying=group[record["underlying"]],
            inverse=record["type"].startswith("inverse"),
            multiplier=float(record["multiplier"]),
            scale=float(10 ** record["quantity_precision"]),
            tiers=[Tier(**{k: float(tier[k]) for k in Tier.__dataclass_fields__}) for tier in tiers],
            whole_tiers=record["tier_method"] == "whole",
            size_premium_factor=float(record["size_premium_factor"]),
            open_interest_share=open_interest_share(record),
            liquidation_fee=float(record["liquidation_fee"]),
            option=_option(record) if record["type"] == "option" else None,
        )


def _option(record: Mapping[str, Any]) -> OptionParameters:
    return OptionParameters(
        right=1.0 if record["option_type"] == "call" else -1.0,
        strike=float(record["strike"]),
        coin_settled=record["settlement"] == record["underlying"],
        rates=[float(record["option_margin"][name]) for name in OptionRates._fields[:6]],
    )


def _funding_scale(unit: int, inverse: bool) -> int:
    digits = FUNDING_DIGITS_INVERSE if inverse else FUNDING_DIGITS
    return int(10 ** min(max(0, digits - len(str(unit))), FUNDING_DECIMALS_MAX))


def _check_identity(known: Mapping[str, Any] | None, record: Mapping[str, Any]) -> None:
    """Ingest refuses such a change; one that came past it (compaction removes what it was held against) must not
    re-scale open positions."""
    if known is None:
        return
    for name in identity_fields(known):
        if known.get(name) != record.get(name):
            raise InvariantViolation(
                f"{name} of {known['id']} must stay {known.get(name)}, found {record.get(name)} "
                f"(instruments at offset {record['version']})"
            )


def open_interest_share(record: Mapping[str, Any]) -> float:
    """(open interest - lower) / (upper - lower), not below 0; 0 where no open interest or bounds are given."""
    values = [record.get(name) for name in ("open_interest", "open_interest_lower", "open_interest_upper")]
    if any(value is None for value in values):
        return 0.0
    interest, lower, upper = (Decimal(str(value)) for value in values)
    return max(0.0, float((interest - lower) / (upper - lower)))


def _asset(record: Mapping[str, Any]) -> AssetParameters:
    haircut = record["haircut"]
    initial = record.get("initial_haircut") or haircut
    borrow = record["borrow_haircut"]
    tiers = [
        HaircutTier(
            quantity_from=float(tier["from"]),
            haircut=float(tier["haircut"]),
            initial_haircut=float(tier.get("initial_haircut") or tier["haircut"]),
        )
        for tier in record.get("haircut_tiers") or ()
    ]
    flat = HaircutTier(quantity_from=0.0, haircut=float(haircut), initial_haircut=float(initial))
    return AssetParameters(
        scale=float(10 ** record["precision"]),
        tiers=tiers or [flat],
        borrow_haircut=float(borrow),
        initial_borrow_haircut=float(record.get("initial_borrow_haircut") or borrow),
    )


def _ranks(ids: list[str]) -> Any:
    ranks = np.empty(len(ids), dtype=np.int32)
    for rank, index in enumerate(sorted(range(len(ids)), key=ids.__getitem__)):
        ranks[index] = rank
    return ranks
