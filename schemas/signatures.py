"""Signed quotes: the bytes that a source signs, and ed25519 over them. Needs nothing of ours but the contract.

What is signed is what the quote says, not how it is written: numbers in their plainest form, times in epoch
milliseconds. So a quote may be encoded anew on its way, by whatever codec, and its signature stays good.

References
----------
RFC 8032, Edwards-curve digital signature algorithm, section 5.1.
"""

import base64
import binascii
from functools import lru_cache

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schemas.dead_letters import Refused
from schemas.fields import NAME_CHARS_MAX, epoch_ms, exact, legal_id, plain, shown
from schemas.prices import Quote

#: The first line of what is signed. Another form would have another one, and so another signature.
FORM = "crossmargin quote 1"

#: Keys whose order is 8 or less, but for the sign in their last bit: signatures that hold under them need no private
#: key (libsodium, ge25519_has_small_order). A key left at zeros or ones is among them.
_WEAK_KEYS = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


def signing_bytes(quote: Quote) -> bytes:
    r"""What a source signs: `FORM` and each field but key and signature, as lines; null is an empty line.

    Raises
    ------
    Refused
        where a name, number or time is none, with its code.

    Examples
    --------
    >>> signing_bytes(Quote(symbol="BTC", source="one", price="50000.10", time="2025-10-10T21:15:00Z", sequence=7))
    b'crossmargin quote 1\nBTC\none\n50000.1\n0\n1760130900000\n7\n\n\n\n\n\n28800000\n'
    """
    lines = (
        FORM,
        _name(quote.symbol, "symbol"),
        _name(quote.source, "source"),
        _number(quote.price, "price"),
        _number(quote.confidence, "confidence"),
        _time(quote.time, "time"),
        _integer(quote.sequence),
        _name(quote.quote_asset, "quote_asset"),
        _name(quote.instrument, "instrument"),
        _number(quote.last, "last"),
        _number(quote.funding_rate, "funding_rate"),
        _time(quote.next_funding_time, "next_funding_time"),
        _integer(quote.funding_interval_ms),
        "",
    )
    return "\n".join(lines).encode()


def sign(quote: Quote, *, key_id: str, private_key: Ed25519PrivateKey) -> Quote:
    """The quote with its signature; raises `Refused` as `signing_bytes`.

    Examples
    --------
    >>> key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    >>> quote = sign(Quote(symbol="BTC", source="one", price="50000.10", time=0), key_id="k1", private_key=key)
    >>> verified(quote, public_key_text(key))
    True
    >>> verified(msgspec.structs.replace(quote, price="50000.2"), public_key_text(key))
    False
    """
    signature = base64.b64encode(private_key.sign(signing_bytes(quote))).decode()
    return msgspec.structs.replace(quote, key_id=key_id, signature=signature)


def verified(quote: Quote, public_key: str) -> bool:
    """Whether the quote's signature is that of `public_key` over what it says; raises `Refused` as `signing_bytes`.

    Parameters
    ----------
    public_key : base64, as `SourceKey` has it
    """
    signature = _decoded(quote.signature or "")
    try:
        _loaded(public_key).verify(signature, signing_bytes(quote))
    except InvalidSignature:
        return False
    return True


def public_key_text(private_key: Ed25519PrivateKey) -> str:
    """The public key of `private_key` as a `SourceKey` names it."""
    return base64.b64encode(private_key.public_key().public_bytes_raw()).decode()


def check_public_key(text: str, field: str) -> None:
    """Raise `Refused` bad_terms where `text` is no public key, or one under which anybody could sign."""
    key = _decoded(text)
    if len(key) != 32:
        raise Refused("bad_terms", f"{field} must be 32 bytes in base64, found {shown(text)}")
    if key[:31] + bytes([key[31] & 0x7F]) in _WEAK_KEYS:
        raise Refused("bad_terms", f"{field} must not be a key under which anybody can sign, found {shown(text)}")


def _decoded(text: str) -> bytes:
    """The bytes in base64; none where it is not that."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


@lru_cache(maxsize=1024)
def _loaded(public_key: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(_decoded(public_key))


def _name(text: str | None, field: str) -> str:
    return "" if text is None else legal_id(text, field, NAME_CHARS_MAX)


def _number(value: str | int | None, field: str) -> str:
    return "" if value is None else plain(exact(value, field))


def _time(value: str | int | None, field: str) -> str:
    return "" if value is None else str(epoch_ms(value, field))


def _integer(value: int | None) -> str:
    return "" if value is None else str(value)
