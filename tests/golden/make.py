"""Record the journal of a made-up crash: `python -m tests.golden.make`, only where the story itself is to change.

60 accounts with varied books meet a fall of a third within two minutes; a venue answers the engine's orders against
the falling price, partly, with slippage and sometimes late. All numbers come from a seed; no real data is in it.
"""

from collections import deque
from decimal import Decimal
from random import Random

from tests.builders import Fill, Json, Leg, Market, Rate, Sent, T, asset, control, instrument, rules
from tests.golden.journals import HERE, write_journal

TIERS = [
    {"notional_from": "0", "initial_margin": "0.05", "maintenance_margin": "0.025"},
    {"notional_from": "50000", "initial_margin": "0.1", "maintenance_margin": "0.05"},
]
TERMS = (
    rules(summary_interval_ms=30_000, duplicate_window=64),
    asset("USDC"),
    asset("BTC", 8, haircut="0.05", borrow_haircut="0.05"),
    asset("ETH", 8, haircut="0.1", borrow_haircut="0.05", initial_haircut="0.15"),
    instrument("BTC-PERP", tiers=TIERS, liquidation_fee="0.005"),
    instrument(
        "ETH-PERP", price_precision=2, quantity_precision=2, size_premium_factor="0.001", liquidation_fee="0.0075"
    ),
    instrument("BTC-COIN", "inverse_perpetual", liquidation_fee="0.005"),
    instrument("BTC-DEC", "future", expiry=T + 90_000, liquidation_fee="0.005"),
)
MAKER = "maker"


class Crash:
    """The market, the venue and what has been told."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.prices = {"USDC": 1.0, "BTC": 60_000.0, "ETH": 2_500.0}
        self.market = Market(TERMS, None)
        self.trades = 0
        self.answers: deque[tuple[int, list[Fill | Leg]]] = deque()  # (step they are told in, executions)
        self.users = [f"user-{n:02}" for n in range(60)]

    # -- trades: both sides of each are fed ------------------------------------------------------------------------

    def trade(self, account: str, name: str, quantity: Decimal, slip: float, **how: str | None) -> list[Fill]:
        """A trade of the account against the maker, near the mark."""
        self.trades += 1
        places = 2 if name == "ETH-PERP" else 1
        price = f"{self.prices[name.partition('-')[0]] * (1 + slip):.{places}f}"
        coins = name == "BTC-COIN"
        fee = abs(quantity) * 100 / Decimal(price) if coins else abs(quantity) * Decimal(price)
        paid = f"{fee * Decimal('0.0005'):.{8 if coins else 6}f}"
        own = Fill(f"t{self.trades}", account, name, str(quantity), price, paid)._replace(**how)
        return [own, Fill(f"t{self.trades}", MAKER, name, str(-quantity), price, "0")]

    def open_books(self) -> None:
        """Deposits, loans, margins of isolated positions, and a first trade or two of everybody."""
        market, dice = self.market, self.dice
        legs = [Leg("m1", MAKER, "90000000"), Leg("m2", MAKER, "900", "BTC")]
        fills: list[Fill] = []
        for n, user in enumerate(self.users):
            kind = n % 6
            legs.append(Leg(f"d{n}", user, str(dice.randrange(2_000, 9_000))))
            if kind == 0:
                fills += self.trade(user, "BTC-PERP", Decimal(dice.randrange(200, 1500)) / 1000, 0.0)
            elif kind == 1:
                fills += self.trade(user, "ETH-PERP", Decimal(dice.randrange(-1500, 3000)) / 100, 0.0)
            elif kind == 2:
                legs.append(Leg(f"c{n}", user, f"0.{dice.randrange(10, 60):02}", "BTC", type="opening"))
                fills += self.trade(user, "BTC-COIN", Decimal(dice.randrange(100, 900)), 0.0)
            elif kind == 3:
                legs.append(Leg(f"i{n}", user, f"-{1_000 + n}", type="transfer"))
                legs.append(Leg(f"i{n}", user, f"{1_000 + n}", type="transfer", leg=1, bucket="BTC-PERP"))
                fills += self.trade(user, "BTC-PERP", Decimal(dice.randrange(100, 400)) / 1000, 0.0, mode="isolated")
            elif kind == 4:
                fills += self.trade(user, "BTC-DEC", Decimal(dice.randrange(100, 900)) / 1000, 0.002)
                fills += self.trade(user, "BTC-PERP", -Decimal(dice.randrange(10, 300)) / 1000, 0.0)
            else:
                legs.append(Leg(f"e{n}", user, str(dice.randrange(3, 9)), "ETH"))
                legs.append(Leg(f"w{n}", user, f"-{dice.randrange(9_000, 13_000)}", type="withdrawal"))
        market.marks(self.prices, mode="catching_up")
        market.collateral(*legs)
        market.settings(
            {"account": "user-00", "mode": "cross", "levels": {"margin_call": "1.5", "margin_call_exit": "1.6"}},
            {"account": "user-03", "mode": "isolated", "levels": {}},
        )
        for at in range(0, len(fills), 24):
            market.fills(*fills[at : at + 24])
        self.hear(0, market.marks(self.prices, after=1_000))

    # -- the venue -------------------------------------------------------------------------------------------------

    def hear(self, step: int, sent: list[Sent]) -> None:
        """Execute liquidations as far as their limits allow: most are told in this step, some late, some never."""
        for record in (one.record for one in sent if one.kind == "liquidation"):
            fate = self.dice.random()
            rows: list[Fill | Leg] = []
            for number, order in enumerate(record["orders"]):
                if "instrument" in order:
                    rows += self.filled(record, order)
                else:
                    rows += self.converted(record, order, f"{record['id']}-{number}")
            if fate < 0.9:
                self.answers.append((step if fate < 0.5 else step + 4, rows))

    def answer(self, step: int) -> None:
        """Tell the executions that are due."""
        rows = [row for due, told in self.answers for row in told if due <= step]
        self.answers = deque(one for one in self.answers if one[0] > step)
        fills, legs = [row for row in rows if isinstance(row, Fill)], [row for row in rows if isinstance(row, Leg)]
        if fills:
            self.hear(step + 1, self.market.fills(*fills))
        if legs:
            self.hear(step + 1, self.market.collateral(*legs))

    def filled(self, record: Json, order: Json) -> list[Fill]:
        name, quantity = order["instrument"], Decimal(order["quantity"])
        part = Decimal(self.dice.choice((40, 100, 100))) / 100
        lots = Decimal(1).scaleb(-int(self.market.terms[name]["quantity_precision"]))
        quantity = max(lots, (abs(quantity) * part).quantize(lots)).copy_sign(quantity)
        slip = self.dice.uniform(0.0, 0.004) * (-1 if quantity < 0 else 1)
        isolated = record["bucket"] != "cross"
        how = {"mode": "isolated" if isolated else "cross", "answers": record["id"], "bucket": record["bucket"]}
        rows = self.trade(record["account"], name, quantity, slip, **how)
        within = (Decimal(rows[0].price) - Decimal(order["limit_price"])) * quantity <= 0
        return rows if within else []

    def converted(self, record: Json, order: Json, identity: str) -> list[Leg]:
        amount, rate = Decimal(order["amount"]), Decimal(str(self.prices[order["sell_asset"]])) * Decimal("0.998")
        if rate < Decimal(order["limit_price"]):
            return []
        leg = Leg(identity, record["account"], f"-{amount}", order["sell_asset"], record["bucket"], "conversion")
        received = f"{amount * rate:.6f}"
        return [
            leg._replace(answers=record["id"]),
            leg._replace(amount=received, asset=order["buy_asset"], leg=1, answers=record["id"]),
        ]

    # -- the story -------------------------------------------------------------------------------------------------

    def step(self, number: int) -> None:
        """Prices move, orders are answered, and something else may happen."""
        drift = -0.011 if number < 36 else 0.006
        for name, wild in (("BTC", 0.006), ("ETH", 0.009)):
            self.prices[name] = round(self.prices[name] * (1 + self.dice.gauss(drift, wild)), 2)
        moved = self.market.marks(self.prices, after=self.dice.choice((1_000, 2_000, 3_000)), mode=self.mode(number))
        self.hear(number, moved)
        self.answer(number)
        self.happening(number)

    def mode(self, number: int) -> str:
        return "catching_up" if number in (26, 27) else "live"

    def happening(self, number: int) -> None:
        market, tell = self.market, self.market.tell
        if number in (5, 30):
            market.funding(Rate("BTC-PERP", "0.0004", T + number), Rate("BTC-COIN", "-0.0002", T + number))
            market.funding(Rate("ETH-PERP", "0.0003", T + number, f"{self.prices['ETH']:.2f}"))
        elif number == 8:
            first = self.trade("user-01", "ETH-PERP", Decimal("2.5"), 0.0)
            market.fills(*first)
            market.fills(*(row._replace(kind="bust") for row in first), *first)
        elif number == 12:
            tell(instrument("ETH-PERP", price_precision=2, quantity_precision=2, initial_margin="0.12",
                            maintenance_margin="0.06", liquidation_fee="0.0075", version=2))  # fmt: skip
        elif number == 16:
            tell(control("pause_liquidations"))
        elif number == 19:
            self.hear(number, tell(control("resume_liquidations", version=2)))
        elif number == 22:
            tell(control("halt", "ETH", name="eth"))
        elif number == 24:
            self.hear(number, tell(control("resume", "ETH", name="eth", version=2)))
        elif number == 34:
            self.hear(
                number, market.collateral(*(Leg(f"again-{n}", user, "2500") for n, user in enumerate(self.users[::4])))
            )
        elif number == 40:
            rows = [row for user in self.users[::7] for row in self.trade(user, "BTC-PERP", Decimal("0.2"), 0.001)]
            self.hear(number, market.fills(*rows))
            market.fills(*rows[:4], *self.trade("user-04", "BTC-DEC", Decimal("0.05"), 0.0))


def record(steps: int = 55) -> Market:
    """The whole story."""
    crash = Crash(seed=20251010)
    crash.open_books()
    for number in range(steps):
        crash.step(number)
    return crash.market


if __name__ == "__main__":
    write_journal(HERE / "crash" / "journal.bin", record().journal)
