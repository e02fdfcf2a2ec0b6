"""One shard: the fold of one journal partition. `apply(offset, block)` changes the state and returns the decisions.

Nothing else goes in: no clock, no randomness, no setting. Accounts that a block touches are judged after the whole
block, so any batching of whole blocks gives the same bytes.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from schemas.journal import RULES_OLDEST, RULES_VERSION, Block
from streams.engine import judge, marking, model_switch, summaries
from streams.engine.columns import Marked, distinct, holders_of
from streams.engine.decisions import Folded, Output, Outputs, refusal
from streams.engine.exposures import Exposures
from streams.engine.frame import Frames
from streams.engine.invariants import InvariantViolation
from streams.engine.ledger import CROSS, Ledger
from streams.engine.marking import Prices
from streams.engine.portfolio_books import PortfolioBooks
from streams.engine.posting import APPLIED, NOT_SETTLED, OUT_OF_RANGE
from streams.engine.risk_factors import followed
from streams.engine.slack import Slack
from streams.engine.standing import LevelSet, Standing
from streams.engine.terms import TermsTable
from streams.margin.parameters import I64, Parameters, widened


class Shard:
    """State of journal partition `partition`, from its first block on or restored from a changelog.

    Attributes
    ----------
    next_offset : the journal offset that comes next; blocks before it are applied
    window : ids remembered an account; the rules that the first row meets fix it for good, 0 before
    touched : accounts changed since the changelog was last taken, see `streams.engine.state`
    """

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.next_offset = 0
        self.window = 0
        self.terms = TermsTable()
        self.ledger = Ledger()
        self.standing = Standing()
        self.prices = Prices()
        self.slack = Slack()
        self.exposures = Exposures()
        self.frames = Frames()
        self.portfolio = PortfolioBooks()
        self.settings: dict[int, dict[str, Any]] = {}  # of accounts that said how they want to be margined
        self.shadows: set[int] = set()  # of those the ones that ask for shadow numbers
        self.settled: dict[int, int] = {}  # expired instrument -> settlement price, see posting.Terms
        self.sweep = (0, 0)  # interval of shard time, and accounts summarised in it so far
        self.touched = Marked()
        self.terms_changed = False
        self.derive()

    def derive(self) -> None:
        """Arrays that follow from terms; after every change of them."""
        instruments = range(len(self.terms.instruments))
        index = [self.prices.funding_index.get(i, 0) for i in instruments]
        self.posting = self.terms.posting(index, [self.settled.get(i, NOT_SETTLED) for i in instruments])
        self.prices.arrange(self.terms)
        self._plain = self.terms.parameters()
        self._options = bool(self._plain.right.any())
        self._underlyings = [self.terms.underlying(i) for i in instruments]
        self.parameters = self._at_prices()
        self.portfolio.arrange(self)
        expiry = {i: self.terms.records[name].get("expiry") for i, name in enumerate(self.terms.instruments)}
        self.expiries: dict[int, int] = {i: time for i, time in expiry.items() if time is not None}
        rules = self.terms.rules
        default = LevelSet(rules.margin_call, rules.margin_call_exit, rules.liquidation_exit, rules.liquidation_target)
        if self.standing.sets[0] != default:
            self.standing.sets = [default]
            for book in range(self.ledger.books):
                self.standing.level_set[book] = self.level_set(int(self.ledger.book_account[book]))

    # -- the fold ------------------------------------------------------------------------------------------------

    def apply(self, offset: int, data: bytes) -> Outputs:
        """Apply the block at journal `offset` and return what to send, in order; raises as `fold` does."""
        folded = self.fold(offset, Block.decode(data))
        return Outputs(folded.decisions, summaries.summaries(self, offset, folded.due), folded.refused)

    def fold(self, offset: int, block: Block) -> Folded:
        """Apply the block of journal `offset` without writing summaries, which takes as long as all else together.

        Raises
        ------
        InvariantViolation
            where the block is older than the state (the transport must not deliver it twice), was made by other
            rules than this release knows, or breaks a promise of the engine.
        """
        if offset < self.next_offset:
            raise InvariantViolation(f"journal must go on at {self.next_offset}, found a block at {offset}")
        if not RULES_OLDEST <= block.rules_version <= RULES_VERSION:
            raise InvariantViolation(
                f"rules_version must be {RULES_OLDEST} to {RULES_VERSION}, "
                f"found {block.rules_version} at offset {offset}"
            )
        restricted = self.prices.restricted(self.terms)
        changed = self.terms.apply(block.terms)
        newer_rules = self.prices.follow(block.rules_version)
        if changed or newer_rules:
            self.derive()
            self.terms_changed = self.terms_changed or bool(changed)
        was_live = self.prices.live
        rejected: list[tuple[int, str]] = []
        refused: list[Output] = []
        posted = reached = summaries.NOBODY  # reached: by another widening
        everything = bool(changed) or newer_rules
        if block.kind == "fills":
            posted, rejected = self._fills(block)
        elif block.kind == "collateral":
            posted, rejected = self._transfers(block)
        elif block.kind == "accounts":
            posted, refused = self._accounts(offset, block)
        elif block.kind == "funding":
            rejected = marking.fund(self, block)
            everything = True
        elif block.kind == "marks":
            waiting = len(self.prices.pending_funding)
            reached = self._mark(block)
            everything = everything or len(self.prices.pending_funding) != waiting
        elif block.kind == "risk_parameters":
            self.portfolio.learn(followed(self.portfolio.factors, block))
            everything = True
        settled = marking.settle_expired(self)
        if everything:
            self.exposures.forget()
        elif settled.size:
            self.exposures.update(self, settled)
        decisions: list[Output] = []
        due = summaries.NOBODY
        if self.prices.live:
            if not was_live:
                refused += model_switch.decide(self, offset, model_switch.waiting(self))
            books = posted
            if everything or settled.size or not was_live:
                books = np.arange(self.ledger.books, dtype=np.int64)
            elif block.kind == "marks":
                books = self.slack.woken(self)
                if reached.size:
                    books = distinct(np.concatenate((books, reached)))
            touched = distinct(np.concatenate((posted, settled))) if settled.size else posted
            decisions, due = judge.judge(self, offset, books, touched)
            if block.kind == "marks" and (turns := summaries.sweep(self, everybody=not was_live)).size:
                due = distinct(np.concatenate((due, turns)))
            due = self._restricted_anew(restricted, due)
        self.next_offset = offset + 1
        refused += [self._rejection(block, offset, row, reason) for row, reason in rejected]
        return Folded(decisions, due, refused)

    def _at_prices(self) -> Parameters:
        """The parameters with haircuts as wide as they are now, and the prices that options are margined by."""
        own = widened(self._plain, self.prices.widenings) if self.prices.widening else self._plain
        if not self._options:
            return own
        index = self.prices.index
        return own._replace(index_price=np.array([index.get(symbol, np.nan) for symbol in self._underlyings]))

    def _mark(self, block: Block) -> I64:
        """Take in a marks block; the books whose haircuts it changes."""
        before = self.prices.widenings
        marking.mark(self, block)
        if self._options:
            self.parameters = self._at_prices()
        if self.prices.widenings is before or not (others := self.prices.widenings != before).any():
            return summaries.NOBODY
        self.parameters = self._at_prices()
        return holders_of(self.ledger.balances, others, self.ledger.books, self.ledger.books)

    def _restricted_anew(self, before: dict[str, int], due: I64) -> I64:
        """The accounts due, and those that hold what is restricted now and was not before, or the other way round."""
        now = self.prices.restricted(self.terms)
        if now == before:
            return due
        changed = {name for name in now.keys() | before.keys() if now.get(name) != before.get(name)}
        return distinct(np.concatenate((due, summaries.holders_due(self, changed))))

    def _fills(self, block: Block) -> tuple[I64, list[tuple[int, str]]]:
        indexes = [self.terms.instrument_index[name] for name in block.names["instruments"]]
        books, outcome = self.ledger.fills(block, self.posting, indexes, self._window())
        # a fill that is out of range settles what had expired before all the same
        expired = self.posting.settled[np.array(indexes, dtype=np.int64)] != NOT_SETTLED
        settled = (outcome == OUT_OF_RANGE) & expired[block.columns["instrument"]]
        return self._posted(block.columns["source_offset"], books, outcome, books[settled])

    def _transfers(self, block: Block) -> tuple[I64, list[tuple[int, str]]]:
        assets = [self.terms.asset_index[name] for name in block.names["assets"]]
        instruments = [self.terms.instrument_index[name] for name in block.names.get("instruments", ())]
        posted = self.ledger.transfers(block, self.posting, assets, instruments, self._window())
        return self._posted(block.columns["source_offset"], *posted, summaries.NOBODY)

    def _window(self) -> int:
        self.window = self.window or self.terms.rules.duplicate_window
        return self.window

    def _posted(self, source_offset: I64, books: I64, outcome: Any, settled: I64) -> tuple[I64, list[tuple[int, str]]]:
        """Books that rows were applied to or that were `settled`, and the rows that were out of range."""
        self.grow()
        self.touched.update(self.ledger.book_account[books])
        applied = distinct(books[outcome == APPLIED])
        judge.reopen(self, applied)
        changed = distinct(np.concatenate((applied, settled))) if settled.size else applied
        self.exposures.update(self, changed)
        refused = np.nonzero(outcome == OUT_OF_RANGE)[0]
        if not refused.size:
            return changed, []
        reason = "the account's balance, cost and position must stay below 2**62 minor units and 2**53 lots"
        _, first = np.unique(source_offset[refused], return_index=True)  # one letter for both legs of a transfer
        return changed, [(row, reason) for row in refused[first].tolist()]

    def _accounts(self, offset: int, block: Block) -> tuple[I64, list[Output]]:
        books: list[int] = []
        accounts: list[int] = []
        letters: list[Output] = []
        for setting in block.extra["accounts"]:
            account = int(self.ledger.numbers([setting["account"]])[0])
            accounts.append(account)
            self.settings[account] = model_switch.asked(self.settings.get(account), setting, block.source)
            self.ledger.isolated_by_default[account] = setting.get("mode") == "isolated"
            self.touched.add(account)
            books += self.ledger.books_of(account)
            letters += model_switch.decide(self, offset, [account])
        self.grow()
        self.shadow(accounts)
        for book in books:
            self.standing.level_set[book] = self.level_set(int(self.ledger.book_account[book]))
        return np.array(books, dtype=np.int64), letters

    def grow(self) -> None:
        """Standing of books that the ledger has opened since."""
        known = self.standing.books
        self.standing.grow(self.ledger.books)
        if self.settings:
            for book in range(known, self.ledger.books):
                self.standing.level_set[book] = self.level_set(int(self.ledger.book_account[book]))
                self.portfolio.set(book, self.on_portfolio(book))

    def on_portfolio(self, book: int) -> bool:
        """Whether the account of the book is on portfolio margin, and the book its cross book."""
        own = self.settings.get(int(self.ledger.book_account[book]), {})
        return own.get("margin_model") == model_switch.PORTFOLIO and self.ledger.book_instrument[book] == CROSS

    def shadow(self, accounts: Iterable[int]) -> None:
        """Know which of these accounts ask for shadow numbers by their settings."""
        asking = {account for account in accounts if self.settings[account].get("shadow")}
        self.shadows = self.shadows.difference(accounts) | asking

    def level_set(self, account: int) -> int:
        """Index of the account's own levels in the sets of its standing; 0 the default."""
        own = self.settings.get(account, {}).get("levels") or {}
        given = {name: float(own[name]) for name in LevelSet._fields if own.get(name) is not None}
        return self.standing.set_index(self.standing.sets[0]._replace(**given)) if given else 0

    def _rejection(self, block: Block, offset: int, row: int, reason: str) -> Output:
        """A row that the ledger cannot hold, as a dead letter: with where it came from, to be sent again corrected."""
        names = block.names.get("accounts") or block.names["instruments"]
        who = names[int(block.columns["account" if "account" in block.columns else "instrument"][row])]
        source = block.source or {}
        record = {
            "reason_code": "ledger_range",
            "reason": f"{reason} ({who})",
            "source_topic": source.get("topic"),
            "source_partition": source.get("partition"),
            "source_offset": int(block.columns["source_offset"][row]),
            "journal": {"partition": self.partition, "offset": offset},
        }
        return refusal(who, record)
