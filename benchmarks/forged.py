"""Signed quotes on their way through ingest, and what somebody without the key sends in their source's name.

Real ed25519 keys, the bytes of messages, and `QuotePartition` as the oracle's agent has it; no Kafka.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.venues import SOURCES, Moment
from schemas.codec import encode
from schemas.oracle_terms import SOURCE_PREFIX, Source, SourceKey
from schemas.prices import Quote
from schemas.signatures import public_key_text, sign
from streams.engine.report import decimal_text
from streams.ingest.messages import Message
from streams.ingest.quotes import QuotePartition
from streams.ingest.terms import Terms
from streams.oracle.quotes import Quote as Held

KEY_ID, BYTES_MAX = "k1", 100_000
KEYS = {name: Ed25519PrivateKey.from_private_bytes(bytes([at + 1]) * 32) for at, name in enumerate(SOURCES)}
FORGER = Ed25519PrivateKey.from_private_bytes(bytes([99]) * 32)
VICTIM = SOURCES[0]


class Forgery(NamedTuple):
    """`sends` is what comes right after a quote of VICTIM: from that one, and the one when it began."""

    name: str
    sends: Callable[[Quote, Quote], list[Quote]]


def _low(quote: Quote) -> Quote:
    """A tenth lower, and later by its number."""
    assert quote.sequence is not None
    return msgspec.structs.replace(quote, price=decimal_text(float(quote.price) * 0.9), sequence=quote.sequence + 1)


def _stamped(quote: Quote, old: Quote) -> Quote:
    """The old quote with time and number of a later one; its signature is as it was."""
    assert quote.sequence is not None
    return msgspec.structs.replace(old, time=quote.time, sequence=quote.sequence + 1)


FORGERIES = (
    Forgery("all signed, nothing forged", lambda *_: []),
    Forgery("10 % low by another key", lambda quote, _: [sign(_low(quote), key_id=KEY_ID, private_key=FORGER)]),
    Forgery("10 % low by a key unheard of", lambda quote, _: [sign(_low(quote), key_id="k2", private_key=FORGER)]),
    Forgery("10 % low, unsigned", lambda quote, _: [msgspec.structs.replace(_low(quote), key_id=None, signature=None)]),
    Forgery("an old signed quote replayed after each", lambda _, first: [first]),
    Forgery("the same with a new time written in", lambda quote, first: [_stamped(quote, first)]),
)


class Forged(NamedTuple):
    """Moments as messages arrived and as ingest let them through, and what it refused, by code."""

    arrived: list[Moment]
    moments: list[Moment]
    refused: Counter[str]


def forged(moments: Iterable[Moment], forgery: Forgery, *, since: int) -> Forged:
    """Sign every quote by its source's key, add the forgeries from `since` (epoch ms) on, and have ingest read all."""
    reader = QuotePartition(topic="oracle-prices", partition=0, message_bytes_max=BYTES_MAX, max_future_ms=60_000)
    terms, first, offset = _published(), None, 0
    found = Forged([], [], Counter())
    for moment in moments:
        sent: list[Quote] = []
        for quote in moment.quotes:
            sent.append(sign(_message(quote), key_id=KEY_ID, private_key=KEYS[quote.source]))
            if moment.time >= since and quote.source == VICTIM:
                first = first or sent[-1]
                sent += forgery.sends(sent[-1], first)
        messages = [
            Message(offset + at, quote.symbol.encode(), encode(quote), moment.time) for at, quote in enumerate(sent)
        ]
        offset += len(messages)
        result = reader.take(messages, terms, moment.time, final=True)
        found.refused.update(letter.code for letter in result.dead_letters)
        found.arrived.append(moment._replace(quotes=[_held(quote) for quote in sent]))
        found.moments.append(moment._replace(quotes=[Held(*row) for row in result.rows]))
    return found


def _published() -> Terms:
    terms = Terms(BYTES_MAX)
    for offset, (name, key) in enumerate(KEYS.items()):
        keys = (SourceKey(id=KEY_ID, public_key=public_key_text(key), valid_from=0),)
        record = Source(id=SOURCE_PREFIX + name, signed=True, keys=keys)
        terms.add(offset, record.id.encode(), encode(record))
    return terms


def _message(quote: Held) -> Quote:
    return Quote(
        symbol=quote.symbol,
        source=quote.source,
        price=decimal_text(quote.price),
        confidence=decimal_text(quote.confidence),
        time=quote.time,
        sequence=quote.sequence,
    )


def _held(quote: Quote) -> Held:
    """What an engine that looks at no signature reads."""
    assert isinstance(quote.time, int)
    return Held(quote.symbol, quote.source, float(quote.price), float(quote.confidence), quote.time, quote.sequence)
