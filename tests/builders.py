"""Journals in the domain's words: terms, rows and blocks written short, and a shard to play them to.

Amounts, prices and quantities are decimal strings, scaled by the terms that the `Market` was told. Every block is
encoded, decoded and checked for double entry on its way, so a test that forgets to is still told.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import orjson

from schemas.journal import FILL_KINDS, PRICE_STATES, RULES_VERSION, TRANSFER_TYPES, Block, liquidation_offset, pack_ids
from streams.engine import state
from streams.engine.shard import Shard
from streams.engine.valuation import STATUSES
from streams.engine.views import account_view
from tests.scales import scaled, unscaled

Json = dict[str, Any]

#: Shard time of the first marks of a test: 2025-10-10T21:15:00Z.
T = 1_760_130_900_000
MODES = {None: -1, "cross": 0, "isolated": 1}


# -- terms -----------------------------------------------------------------------------------------------------------


def asset(id: str, precision: int = 6, *, version: int = 1, **terms: Any) -> Json:
    """An asset without haircut, in the journal's normal form."""
    haircut, borrow = terms.get("haircut", "0"), terms.get("borrow_haircut", "0")
    defaults = {"haircut": "0", "borrow_haircut": "0", "initial_haircut": haircut, "initial_borrow_haircut": borrow}
    record = {"kind": "asset", "id": id, "precision": precision, "haircut_tiers": [], "closed": False}
    return {**record, **defaults, **terms, "version": version}


def instrument(id: str, type: str = "perpetual", *, version: int = 1, **terms: Any) -> Json:
    """An instrument on the symbol before its dash, at 10 % and 5 %: BTC-PERP is on BTC, in USDC (inverse: in BTC)."""
    underlying = terms.get("underlying", id.partition("-")[0])
    inverse = type.startswith("inverse")
    defaults = {
        "underlying": underlying,
        "settlement": underlying if inverse else "USDC",
        "multiplier": "100" if inverse else "1",
        "price_precision": 1,
        "quantity_precision": 0 if inverse else 3,
        "initial_margin": "0.1",
        "maintenance_margin": "0.05",
        "tiers": [],
        "tier_method": "marginal",
        "size_premium_factor": "0",
        "liquidation_fee": "0",
        "open_interest": None,
        "open_interest_lower": None,
        "open_interest_upper": None,
        "expiry": None,
        "settlement_price": None,
        "closed": False,
    }
    return {"kind": "instrument", "id": id, "type": type, **defaults, **terms, "version": version}


def rules(*, version: int = 1, **terms: Any) -> Json:
    """The engine's own record, with what differs from the defaults."""
    return {"kind": "engine", "id": "~engine", **terms, "version": version}


def control(action: str, symbol: str | None = None, *, name: str = "desk", version: int = 1) -> Json:
    """An operator's order."""
    return {"kind": "control", "id": f"~control:{name}", "action": action, "symbol": symbol, "version": version}


STANDARD = (
    asset("USDC"),
    asset("BTC", 8),
    asset("ETH", 8),
    instrument("BTC-PERP"),
    instrument("ETH-PERP", price_precision=2, quantity_precision=2),
    instrument("BTC-COIN", "inverse_perpetual"),
)
PRICES = {"USDC": 1.0, "BTC": 50_000.0, "ETH": 2_000.0}


# -- rows ------------------------------------------------------------------------------------------------------------


class Fill(NamedTuple):
    """One fill; `answers` is the id of the liquidation that it answers."""

    id: str
    account: str
    instrument: str
    quantity: str
    price: str
    fee: str = "0"
    mode: str | None = None
    kind: str = "trade"
    answers: str | None = None
    bucket: str = "cross"


class Leg(NamedTuple):
    """What one bucket receives, signed; `leg` 1 is the receiving side of a transfer or conversion."""

    id: str
    account: str
    amount: str
    asset: str = "USDC"
    bucket: str = "cross"
    type: str = "deposit"
    leg: int = 0
    answers: str | None = None


class Rate(NamedTuple):
    """One funding rate; `price` None: the shard's mark."""

    instrument: str
    rate: str
    time: int
    price: str | None = None


class Sent(NamedTuple):
    """One output, decoded."""

    topic: str
    key: str
    record: Json

    @property
    def kind(self) -> str:
        return str(self.record.get("kind", self.topic))


def names_of(rows: Iterable[Any], field: str) -> list[str]:
    return sorted({getattr(row, field) for row in rows})


# -- a shard and its journal -----------------------------------------------------------------------------------------


class Market:
    """A shard, the journal it folds, and what it sent.

    Parameters
    ----------
    terms : told in the first block
    prices : where given, marks of all symbols and their instruments, live, in the second block
    rules_version : the rules that all blocks name
    """

    def __init__(
        self,
        terms: Iterable[Json] = STANDARD,
        prices: Mapping[str, float] | None = PRICES,
        *,
        partition: int = 0,
        rules_version: int = RULES_VERSION,
    ) -> None:
        self.shard = Shard(partition)
        self.rules_version = rules_version
        self.terms: dict[str, Json] = {}
        self.journal: list[bytes] = []
        self.sent: list[Sent] = []
        self.time = T
        self.tell(*terms)
        if prices is not None:
            self.marks(prices)

    # blocks

    def apply(self, block: Block) -> list[Sent]:
        """Fold one block; what the shard sent because of it. Double entry must hold after it."""
        data = replace(block, rules_version=self.rules_version).encode()
        outputs = self.shard.apply(len(self.journal), data)
        self.journal.append(data)
        sent = [Sent(o.topic, o.key.decode(), orjson.loads(o.value)) for o in outputs]
        self.sent += sent
        shard = self.shard
        shard.ledger.check(shard.terms.assets, shard.terms.instruments, shard.posting.settlement)
        return sent

    def tell(self, *terms: Json) -> list[Sent]:
        """A terms block."""
        return self.apply(Block(kind="terms", terms=self.known(terms)))

    def known(self, terms: Iterable[Json]) -> list[Json]:
        """The records, remembered for scaling."""
        records = list(terms)
        self.terms.update((record["id"], record) for record in records)
        return records

    def fills(self, *rows: Fill, terms: Iterable[Json] = ()) -> list[Sent]:
        """A block of fills."""
        return self.apply(self.fills_block(rows, terms))

    def fills_block(self, rows: Iterable[Fill], terms: Iterable[Json] = ()) -> Block:
        told, rows = self.known(terms), list(rows)
        accounts, instruments = names_of(rows, "account"), names_of(rows, "instrument")
        settle = [self.terms[self.terms[row.instrument]["settlement"]] for row in rows]
        columns = {
            "account": [accounts.index(row.account) for row in rows],
            "instrument": [instruments.index(row.instrument) for row in rows],
            "lots": [scaled(row.quantity, self.terms[row.instrument]["quantity_precision"]) for row in rows],
            "ticks": [scaled(row.price, self.terms[row.instrument]["price_precision"]) for row in rows],
            "fee": [scaled(row.fee, paid["precision"]) for row, paid in zip(rows, settle, strict=True)],
            "time": [self.time] * len(rows),
            "mode": [MODES[row.mode] for row in rows],
            "fill_kind": [FILL_KINDS.index(row.kind) for row in rows],
            "liquidation": [self.answered(row.answers, row.account, row.bucket) for row in rows],
            **self.coordinates([row.id for row in rows]),
        }
        names = {"accounts": accounts, "instruments": instruments}
        return Block(kind="fills", source=source("fills", len(rows)), names=names, columns=columns, terms=told)

    def collateral(self, *rows: Leg) -> list[Sent]:
        """A block of legs."""
        return self.apply(self.collateral_block(rows))

    def collateral_block(self, rows: Iterable[Leg]) -> Block:
        rows = list(rows)
        accounts, assets = names_of(rows, "account"), names_of(rows, "asset")
        buckets = [name for name in names_of(rows, "bucket") if name != "cross"]
        columns = {
            "account": [accounts.index(row.account) for row in rows],
            "asset": [assets.index(row.asset) for row in rows],
            "amount": [scaled(row.amount, self.terms[row.asset]["precision"]) for row in rows],
            "time": [self.time] * len(rows),
            "bucket": [-1 if row.bucket == "cross" else buckets.index(row.bucket) for row in rows],
            "transfer_type": [TRANSFER_TYPES.index(row.type) for row in rows],
            "leg": [row.leg for row in rows],
            "liquidation": [self.answered(row.answers, row.account, row.bucket) for row in rows],
            **self.coordinates([row.id for row in rows]),
        }
        for at in range(1, len(rows)):  # the two legs of one source row
            if (rows[at].id, rows[at - 1].leg, rows[at].leg) == (rows[at - 1].id, 0, 1):
                columns["source_offset"][at] = at - 1
        names = {"accounts": accounts, "assets": assets, "instruments": buckets}
        return Block(kind="collateral", source=source("collateral", len(rows)), names=names, columns=columns)

    def deposit(self, account: str, amount: str, asset: str = "USDC", bucket: str = "cross") -> list[Sent]:
        """A block of one deposit with an id of its own."""
        return self.collateral(Leg(f"deposit-{len(self.journal)}", account, amount, asset, bucket))

    def funding(self, *rows: Rate) -> list[Sent]:
        """A block of funding rates."""
        return self.apply(self.funding_block(rows))

    def funding_block(self, rows: Iterable[Rate]) -> Block:
        rows = list(rows)
        instruments = names_of(rows, "instrument")
        precision = [self.terms[row.instrument]["price_precision"] for row in rows]
        columns = {
            "instrument": [instruments.index(row.instrument) for row in rows],
            "rate": [scaled(row.rate, 12) for row in rows],
            "price": [
                -1 if row.price is None else scaled(row.price, p) for row, p in zip(rows, precision, strict=True)
            ],
            "time": [row.time for row in rows],
            "source_offset": range(len(rows)),
        }
        names = {"instruments": instruments}
        return Block(kind="funding", source=source("funding-rates", len(rows)), names=names, columns=columns)

    def settings(self, *settings: Json) -> list[Sent]:
        """A block of account settings."""
        return self.apply(Block(kind="accounts", extra={"accounts": list(settings)}))

    def marks(
        self,
        index: Mapping[str, float] | None = None,
        mark: Mapping[str, float] | None = None,
        *,
        after: int = 0,
        oracle: tuple[int, int] = (0, 1),
        mode: str = "live",
        states: Mapping[str, str] | None = None,
        check: Mapping[str, float] | None = None,
        widening: Mapping[str, float] | None = None,
        made_of: Mapping[str, tuple[float, float, float]] | None = None,
    ) -> list[Sent]:
        """A marks block `after` ms of shard time; instruments are marked at their underlying unless `mark` says.

        `states` are of symbols and instruments, `check` and `widening` of symbols, `made_of` of options (see Prices).
        """
        self.time += after
        index, states, check, widening = index or {}, states or {}, check or {}, widening or {}
        instruments = {i: t for i, t in self.terms.items() if t["kind"] == "instrument"}
        followed = {i: index[t["underlying"]] for i, t in instruments.items() if t["underlying"] in index}
        found = {**followed, **(mark or {})}
        columns = {
            "symbol": range(len(index)),
            "index": list(index.values()),
            "confidence": [0.0] * len(index),
            "check": [check.get(name, np.nan) for name in index],
            "symbol_state": [PRICE_STATES.index(states.get(name, "ok")) for name in index],
            "quote_time": [self.time] * len(index),
            "instrument": range(len(found)),
            "mark": list(found.values()),
            "mark_state": [PRICE_STATES.index(states.get(name, "ok")) for name in found],
            "widening": [widening.get(name, 0.0) for name in index],
        }
        if made_of:
            for at, name in enumerate(("instrument_volatility", "instrument_forward", "instrument_discount")):
                columns[name] = [made_of[i][at] if i in made_of else np.nan for i in found]
        names = {"symbols": list(index), "instruments": list(found)}
        said = {"partition": oracle[0], "of": oracle[1], "mode": mode}
        return self.apply(Block(kind="marks", names=names, columns=columns, extra={"time": self.time, "oracle": said}))

    def coordinates(self, ids: list[str]) -> Json:
        """Columns that say where a row came from."""
        return {"source_offset": list(range(len(ids))), **pack_ids(ids)}

    def answered(self, identity: str | None, account: str, bucket: str) -> int:
        """The journal offset in a liquidation id."""
        if identity is None:
            return -1
        offset = liquidation_offset(identity, partition=self.shard.partition, account=account, bucket=bucket)
        assert offset is not None, identity
        return offset

    # what came of it

    def view(self, account: str) -> Json:
        """The account as the worker's page shows it."""
        found = account_view(self.shard, account)
        assert found is not None, f"{account} must have an account"
        return found

    def bucket(self, account: str, bucket: str = "cross") -> Json:
        """One bucket of the account, from its view."""
        view = self.view(account)
        (found,) = [book for book in (view, *view["isolated"]) if book["bucket"] == bucket]
        return found

    def balance(self, account: str, asset: str = "USDC", bucket: str = "cross") -> str:
        """Balance in units."""
        return str(self.bucket(account, bucket)["balances"].get(asset, "0"))

    def position(self, account: str, instrument: str, bucket: str = "cross") -> tuple[str, str] | None:
        """(quantity, open cost in units of the settlement asset); None where flat."""
        ledger, positions = self.shard.ledger, self.shard.ledger.positions
        book, i = self.book(account, bucket), self.shard.terms.instrument_index[instrument]
        terms = self.terms[instrument]
        first = int(positions.start[book])
        for entry in range(first, first + int(ledger.positions.size[book])):
            if positions.key[entry] == i:
                lots, cost = int(positions.lots[entry]), int(positions.cost[entry])
                return (
                    unscaled(lots, terms["quantity_precision"]),
                    unscaled(cost, self.terms[terms["settlement"]]["precision"]),
                )
        return None

    def book(self, account: str, bucket: str = "cross") -> int:
        """Number of the bucket in the ledger."""
        ledger = self.shard.ledger
        found = ledger.accounts.find(account)
        for book in ledger.books_of(found) if found >= 0 else ():
            number = int(ledger.book_instrument[book])
            if bucket == ("cross" if number < 0 else self.shard.terms.instruments[number]):
                return book
        raise KeyError(f"{account} must have a bucket {bucket}")

    def status(self, account: str, bucket: str = "cross") -> str:
        """Status of the bucket."""
        return STATUSES[self.shard.standing.status[self.book(account, bucket)]]

    def house(self, name: str, asset: str = "USDC") -> str:
        """What a house account has of an asset; `~market:BTC-PERP` names one instrument's market account."""
        kind, _, at = name.partition(":")
        key = f"{kind}:{self.shard.terms.instrument_index[at]}" if at else kind
        amount = self.shard.ledger.house_assets.get((key, self.shard.terms.asset_index[asset]), 0)
        return unscaled(amount, self.terms[asset]["precision"])

    def house_lots(self, name: str, instrument: str) -> str:
        """What a house account holds of an instrument, in units of quantity."""
        lots = self.shard.ledger.house_lots.get((name, self.shard.terms.instrument_index[instrument]), 0)
        return unscaled(lots, self.terms[instrument]["quantity_precision"])

    def hash(self) -> str:
        """Hash of the whole state."""
        return state.state_hash(self.shard)


def source(topic: str, rows: int) -> Json:
    return {"topic": topic, "partition": 0, "first": 0, "next": rows}


def of(sent: Iterable[Sent], topic: str) -> list[Json]:
    """Records of one topic."""
    return [one.record for one in sent if one.topic == topic]


def events(sent: Iterable[Sent]) -> list[str]:
    """What was decided, in order: `alice called`, `bob liquidation`."""
    decided = ("margin-calls", "liquidations")
    return [f"{one.key} {one.kind}" for one in sent if one.topic in decided]
