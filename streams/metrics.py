"""Metrics of a worker, for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

SOURCE_ROWS = Counter("crossmargin_source_rows_total", "Source messages taken", ["topic"])
UNKNOWN_FIELDS = Counter("crossmargin_unknown_fields_total", "Fields no record knows, passed over", ["topic"])
DEAD_LETTERS = Counter("crossmargin_dead_letters_total", "Messages refused", ["code"])
QUOTES_REFUSED = Gauge("crossmargin_quotes_refused", "Quotes refused", ["partition", "reason"])
JOURNAL_BLOCKS = Counter("crossmargin_journal_blocks_total", "Journal blocks applied", ["shard"])
OUTPUTS = Counter("crossmargin_outputs_total", "Records sent", ["topic"])
ACCOUNTS = Gauge("crossmargin_accounts", "Accounts resident", ["shard"])
APPLY_SECONDS = Histogram("crossmargin_apply_seconds", "Time to apply one journal block", buckets=_SECONDS)
TRANSACTION_SECONDS = Histogram(
    "crossmargin_transaction_seconds", "Time of one transaction", ["role"], buckets=_SECONDS
)

QUOTE_AGE = Histogram(
    "crossmargin_quote_age_seconds",
    "Age of the newest quote by its source's clock, at a step",
    ["at"],
    buckets=_SECONDS,
)
PRICE_STATE = Gauge(
    "crossmargin_price_state", "Trust in a price: 0 ok, 1 degraded, 2 suspect, 3 stale, 4 halted", ["symbol"]
)
PRICE_REASONS = Counter("crossmargin_price_reasons_total", "Reasons that came up against a price", ["symbol", "reason"])
