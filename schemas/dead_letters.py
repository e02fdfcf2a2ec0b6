"""Dead letters: a refused message as it came, with where it came from and one precise reason in headers.

The codes are part of the contract. A message with several faults carries one code, of the fault found first.
"""

import hashlib
from dataclasses import dataclass

#: Code -> what was wrong, roughly in the order in which faults are looked for.
REASONS: dict[str, str] = {
    "tombstone": "a null value on a topic whose records are facts (only compacted topics know tombstones)",
    "over_size": "the value is longer than the size limit; only its first 64 KiB are kept here",
    "not_utf8": "the value is not UTF-8",
    "not_json": "the value is not one JSON text",
    "not_object": "the JSON text is not an object",
    "nested_too_deep": "arrays or objects are nested deeper than any record needs",
    "missing_field": "a required field is absent",
    "mistyped_field": "a field has another JSON type, or is no decimal number or time",
    "bad_value": "a field is none of the values it may have",
    "bad_key": "the message key is not the one the topic asks for",
    "illegal_id": "an account, id or name is empty, too long, or has characters that cannot be seen",
    "reserved_account": "accounts that begin with ~ are the engine's own",
    "not_finite": "a number is NaN or infinite",
    "over_range": "a number is larger, or nearer to zero, than the books can hold",
    "bad_time": "a time is before 1970",
    "future_time": "a time is further in the future than the allowed clock difference",
    "unknown_instrument": "no instrument of that id has been published",
    "unknown_asset": "no asset of that id has been published",
    "closed_instrument": "the instrument is closed and takes no new position",
    "closed_asset": "the asset is closed and takes no new balance",
    "excess_decimals": "a number has more decimals than its instrument or asset",
    "zero_quantity": "a quantity is zero",
    "non_positive_price": "a price is zero or negative",
    "non_positive_amount": "an amount that must be positive is zero or negative",
    "product_over_range": "quantity x price x unit value is larger than the books can hold",
    "contradiction": "two fields of the record exclude each other",
    "bad_liquidation_id": "the liquidation id was not issued for this account and bucket",
    "unsigned": "a quote without a signature, where its source or its symbol asks for one",
    "unknown_key": "a quote names a key that its source has not published, or not for the quote's time",
    "bad_signature": "a quote's signature is not that of its key over what the quote says",
    "arbitrage": "a volatility surface lets a portfolio of options win without risk",
    "bad_terms": "parameters of an instrument, asset, source or oracle break a rule",
    "identity_changed": "a field that never changes differs from what was published before",
    "ledger_range": "the row would take a balance or position out of range (found by the shard, not by ingest)",
    "model_refused": "the account cannot bear the margin model it asks for (found by the shard, not by ingest)",
}

#: How much of an over-size value or key a dead letter keeps, in bytes.
KEPT_BYTES = 65536
_REASON_CHARS_MAX = 500


class Refused(ValueError):
    """A message, or one of its fields, that the contract does not allow.

    Parameters
    ----------
    code : key of REASONS
    reason : what must hold and what was found, in one line
    missing : id that would have to be published first, where that is the only fault
    """

    def __init__(self, code: str, reason: str, missing: str | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason[:_REASON_CHARS_MAX]
        self.missing = missing


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """One record of `dead-letters`: the original key and value, and the headers that say why."""

    key: bytes | None
    value: bytes | None
    code: str
    reason: str
    headers: tuple[tuple[str, bytes], ...]


def dead_letter(
    refused: Refused,
    *,
    topic: str,
    partition: int,
    offset: int,
    timestamp: int,
    key: bytes | None,
    value: bytes | None,
    value_bytes_max: int,
) -> DeadLetter:
    """The dead letter of the message at `topic`, `partition`, `offset`.

    Headers, all UTF-8 text: source_topic, source_partition, source_offset, source_timestamp (epoch ms),
    reason_code, reason. A value longer than `value_bytes_max` keeps its first 64 KiB and adds value_length
    and value_sha256 (of the whole, hexadecimal); a key longer than 64 KiB adds key_length and key_sha256.
    """
    headers = [
        ("source_topic", topic),
        ("source_partition", str(partition)),
        ("source_offset", str(offset)),
        ("source_timestamp", str(timestamp)),
        ("reason_code", refused.code),
        ("reason", refused.reason),
    ]
    if value is not None and len(value) > value_bytes_max:
        headers += _whole("value", value)
        value = value[:KEPT_BYTES]
    if key is not None and len(key) > KEPT_BYTES:
        headers += _whole("key", key)
        key = key[:KEPT_BYTES]
    return DeadLetter(
        key=key,
        value=value,
        code=refused.code,
        reason=refused.reason,
        headers=tuple((name, text.encode()) for name, text in headers),
    )


def _whole(name: str, data: bytes) -> list[tuple[str, str]]:
    return [(f"{name}_length", str(len(data))), (f"{name}_sha256", hashlib.sha256(data).hexdigest())]
