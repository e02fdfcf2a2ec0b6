"""What a fold met of options and of both margin models: a run without any of it would prove nothing of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import orjson

from schemas.journal import Block
from streams.engine.decisions import Output, Outputs
from streams.engine.posting import holders
from streams.engine.shard import Shard

HEDGED = "books on portfolio margin with options and perpetuals"
TO_PORTFOLIO, TO_STANDARD = "switches to portfolio margin", "switches to the standard model"
REFUSED = "switches refused"
SHARES, OPTION_SHARES = "liquidations by share of a book", "liquidations by share of a book with options"
SETTLED, PAID_OUT = "options expired", "option positions paid out"
AT_RISK = "books with a value at risk"
#: What must have happened in every run of the market; and on the event clock, too. By the wall clock it is chance how
#: far prices have gone when somebody asks for the other model, and who holds an option when it expires.
ALWAYS = (HEDGED, TO_PORTFOLIO, TO_STANDARD, SHARES, OPTION_SHARES, SETTLED)
#: And where faults strike, since those runs publish the market's past.
UNDER_FAULTS = (AT_RISK,)
IN_EVENT_TIME = (REFUSED, PAID_OUT)


class Met:
    """Counts along the fold of one shard."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._models: dict[str, str] = {}
        self.counts: Counter[str] = Counter()

    def before(self, block: Block) -> None:
        """Look at what the block will settle."""
        shard = self._shard
        if block.kind != "marks":
            return
        for instrument, expiry in shard.expiries.items():
            due = instrument not in shard.settled and expiry <= block.extra["time"]
            if due and shard.terms.is_option(instrument):
                self.counts[PAID_OUT] += len(holders(shard.ledger.positions, shard.ledger.books, instrument))

    def after(self, block: Block, outputs: Outputs) -> None:
        """Look at what it has changed."""
        for setting in block.extra.get("accounts", ()) if block.kind == "accounts" else ():
            name = setting["account"]
            model = self._shard.settings[self._shard.ledger.accounts.find(name)]["margin_model"]
            if model != self._models.get(name, "standard"):
                self.counts[TO_PORTFOLIO if model == "portfolio" else TO_STANDARD] += 1
            self._models[name] = model
        self.counts[REFUSED] += sum(b"model_refused" in letter.value for letter in outputs.refused)
        self._liquidations(outputs.decisions)

    def _liquidations(self, decisions: Sequence[Output]) -> None:
        terms = self._shard.terms
        for decision in decisions:
            event = orjson.loads(decision.value)
            if event["kind"] != "liquidation" or "portfolio" not in event["report"]:
                continue
            held = [terms.instrument_index[leg["instrument"]] for leg in event["report"]["positions"]]
            self.counts[SHARES] += 1
            self.counts[OPTION_SHARES] += any(map(terms.is_option, held))

    def end(self) -> Counter[str]:
        """All counts, and how the shard stands."""
        shard = self._shard
        self.counts[SETTLED] += sum(map(shard.terms.is_option, shard.settled))
        positions, terms = shard.ledger.positions, shard.terms
        for book in shard.portfolio.books().tolist():
            first = int(positions.start[book])
            held = np.array(positions.key[first : first + int(positions.size[book])]).tolist()
            kinds = {terms.records[terms.instruments[instrument]]["type"] for instrument in held}
            self.counts[HEDGED] += {"option", "perpetual"} <= kinds
            self.counts[AT_RISK] += bool(kinds) and shard.portfolio.factors is not None
        return self.counts
