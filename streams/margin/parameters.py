"""Risk parameters of all instruments and assets as arrays that the kernels read.

Holds the numbers and their layout; knows nothing of messages. Slices of a tier or haircut table lie one after
another in shared arrays; `tier_start[i] : tier_start[i + 1]` are the tiers of instrument i.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Tier:
    """Rates that hold from a position notional (reporting currency, inclusive) upward."""

    notional_from: float
    initial_margin: float
    maintenance_margin: float


@dataclass(frozen=True, kw_only=True)
class HaircutTier:
    """Haircuts of the slice of an asset's quantity that starts at `quantity_from`; 0 full value, 1 none."""

    quantity_from: float
    haircut: float
    initial_haircut: float


@dataclass(frozen=True, kw_only=True)
class AssetParameters:
    """One collateral or settlement asset.

    Parameters
    ----------
    scale : minor units in one unit, 10**precision; 1 where amounts are given in units
    tiers : haircuts by quantity, ascending from 0; one tier where the haircut is flat
    borrow_haircut, initial_borrow_haircut : charge on a negative net amount, >= 0
    """

    scale: float = 1.0
    tiers: Sequence[HaircutTier] = (HaircutTier(quantity_from=0.0, haircut=0.0, initial_haircut=0.0),)
    borrow_haircut: float = 0.0
    initial_borrow_haircut: float = 0.0


@dataclass(frozen=True, kw_only=True)
class OptionParameters:
    """What an instrument is that is an option.

    Parameters
    ----------
    right : +1 call, -1 put
    strike : in quote currency, > 0
    coin_settled : priced and paid in coins of the underlying
    rates : the first six of `streams.margin.standard_options.OptionRates`
    """

    right: float
    strike: float
    coin_settled: bool
    rates: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class InstrumentParameters:
    """One instrument.

    Parameters
    ----------
    settlement : index of the asset that P&L and fees are paid in
    underlying : index of the price that moves the instrument; instruments and assets of one underlying move
        together when a liquidation price is sought
    inverse : P&L is quantity x multiplier x (1/entry - 1/mark), in coins
    scale : lots in one unit of quantity, 10**quantity_precision; 1 where quantities are given
    tiers : ascending from 0
    whole_tiers : the tier reached charges the whole position, not only its slice
    size_premium_factor : factor of sqrt(|quantity| x multiplier) in the size premium
    open_interest_share : (open interest - lower bound) / (upper - lower), clipped below at 0
    liquidation_fee : fraction of the closed notional
    option : None: it is none
    """

    settlement: int
    underlying: int
    inverse: bool = False
    multiplier: float = 1.0
    scale: float = 1.0
    tiers: Sequence[Tier] = ()
    whole_tiers: bool = False
    size_premium_factor: float = 0.0
    open_interest_share: float = 0.0
    liquidation_fee: float = 0.0
    option: OptionParameters | None = None


#: In the place of what an instrument that is no option does not have.
_NO_OPTION = OptionParameters(right=0.0, strike=0.0, coin_settled=False, rates=(0.0,) * 6)


class Parameters(NamedTuple):
    """The arrays; `build` makes them."""

    settlement: I32
    underlying: I32
    inverse: npt.NDArray[np.bool_]
    multiplier: F64
    lot_scale: F64
    whole_tiers: npt.NDArray[np.bool_]
    size_premium_factor: F64
    open_interest_share: F64
    liquidation_fee: F64
    right: F64  # of options +1 call, -1 put; 0: none
    strike: F64
    coin_settled: npt.NDArray[np.bool_]  # of options
    option_rates: F64  # shape (instruments, 6)
    index_price: F64  # price of the underlying that options are margined by, nan where not known
    tier_start: I32
    tier_from: F64
    tier_initial: F64
    tier_maintenance: F64
    tier_initial_below: F64  # requirement of all tiers below this one
    tier_maintenance_below: F64
    asset_underlying: I32  # underlying whose price is this asset's price, -1 none
    asset_scale: F64
    borrow_haircut: F64
    initial_borrow_haircut: F64
    haircut_start: I32
    haircut_from: F64
    haircut: F64
    initial_haircut: F64


def build(
    instruments: Sequence[InstrumentParameters],
    assets: Sequence[AssetParameters],
    asset_underlying: Sequence[int],
) -> Parameters:
    """The arrays of `instruments` and `assets`, in the order given.

    Parameters
    ----------
    asset_underlying : for each asset the index of the underlying whose price it is, -1 where none
    """
    tier_start: list[int] = [0]
    tiers: list[Tier] = []
    below: list[tuple[float, float]] = []
    for instrument in instruments:
        initial = maintenance = 0.0
        for position, tier in enumerate(instrument.tiers):
            if position:
                last = instrument.tiers[position - 1]
                width = tier.notional_from - last.notional_from
                initial += width * last.initial_margin
                maintenance += width * last.maintenance_margin
            tiers.append(tier)
            below.append((initial, maintenance))
        tier_start.append(len(tiers))
    haircut_start: list[int] = [0]
    haircuts: list[HaircutTier] = []
    for asset in assets:
        haircuts.extend(asset.tiers)
        haircut_start.append(len(haircuts))

    option = [i.option or _NO_OPTION for i in instruments]

    def floats(values: Sequence[float]) -> F64:
        return np.array(values, dtype=np.float64)

    return Parameters(
        settlement=np.array([i.settlement for i in instruments], dtype=np.int32),
        underlying=np.array([i.underlying for i in instruments], dtype=np.int32),
        inverse=np.array([i.inverse for i in instruments], dtype=np.bool_),
        multiplier=floats([i.multiplier for i in instruments]),
        lot_scale=floats([i.scale for i in instruments]),
        whole_tiers=np.array([i.whole_tiers for i in instruments], dtype=np.bool_),
        size_premium_factor=floats([i.size_premium_factor for i in instruments]),
        open_interest_share=floats([i.open_interest_share for i in instruments]),
        liquidation_fee=floats([i.liquidation_fee for i in instruments]),
        right=floats([o.right for o in option]),
        strike=floats([o.strike for o in option]),
        coin_settled=np.array([o.coin_settled for o in option], dtype=np.bool_),
        option_rates=floats([rate for o in option for rate in o.rates]).reshape(len(option), len(_NO_OPTION.rates)),
        index_price=np.full(len(instruments), np.nan),
        tier_start=np.array(tier_start, dtype=np.int32),
        tier_from=floats([t.notional_from for t in tiers]),
        tier_initial=floats([t.initial_margin for t in tiers]),
        tier_maintenance=floats([t.maintenance_margin for t in tiers]),
        tier_initial_below=floats([b[0] for b in below]),
        tier_maintenance_below=floats([b[1] for b in below]),
        asset_underlying=np.array(asset_underlying, dtype=np.int32),
        asset_scale=floats([a.scale for a in assets]),
        borrow_haircut=floats([a.borrow_haircut for a in assets]),
        initial_borrow_haircut=floats([a.initial_borrow_haircut for a in assets]),
        haircut_start=np.array(haircut_start, dtype=np.int32),
        haircut_from=floats([t.quantity_from for t in haircuts]),
        haircut=floats([t.haircut for t in haircuts]),
        initial_haircut=floats([t.initial_haircut for t in haircuts]),
    )


def widened(p: Parameters, widening: F64) -> Parameters:
    """The same with every haircut of an asset larger by its widening, at most 1, and its borrow haircuts by as much.

    Parameters
    ----------
    widening : by asset, >= 0
    """
    if not widening.any():
        return p
    own = np.repeat(widening, np.diff(p.haircut_start))
    return p._replace(
        haircut=np.minimum(p.haircut + own, 1.0),
        initial_haircut=np.minimum(p.initial_haircut + own, 1.0),
        borrow_haircut=p.borrow_haircut + widening,
        initial_borrow_haircut=p.initial_borrow_haircut + widening,
    )
