"""What a source signs, and that nothing else passes for it."""

import base64
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dead_letters import Refused
from schemas.prices import Quote
from schemas.signatures import check_public_key, public_key_text, sign, signing_bytes, verified

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = public_key_text(KEY)
NOW_MS = 1_760_130_900_000

SPOT = Quote(symbol="BTC", source="one", price="50000.10", confidence="2.5", time=NOW_MS, sequence=7)
PERPETUAL = Quote(
    symbol="BTC",
    source="one",
    price="50010",
    confidence="0.5",
    time=NOW_MS,
    sequence=8,
    quote_asset="USDT",
    instrument="BTC-PERP",
    last="50011.5",
    funding_rate="-0.0001",
    next_funding_time=NOW_MS + 60_000,
    funding_interval_ms=3_600_000,
)


def changed(quote: Quote, **fields: object) -> Quote:
    return msgspec.structs.replace(quote, **fields)


@pytest.mark.parametrize(
    ("quote", "lines"),
    [
        pytest.param(
            SPOT,
            ["BTC", "one", "50000.1", "2.5", "1760130900000", "7", "", "", "", "", "", "28800000"],
            id="a symbol's",
        ),
        pytest.param(
            PERPETUAL,
            [
                *("BTC", "one", "50010", "0.5", "1760130900000", "8", "USDT", "BTC-PERP", "50011.5"),
                *("-0.0001", "1760130960000", "3600000"),
            ],
            id="an instrument's",
        ),
        pytest.param(
            Quote(symbol="\u00c5", source="two words", price=1, time=0),
            ["\u00c5", "two words", "1", "0", "0", "", "", "", "", "", "", "28800000"],
            id="the least there is",
        ),
    ],
)
def test_what_is_signed(quote: Quote, lines: list[str]) -> None:
    """Publishers in other languages build these bytes by hand; one byte off and no quote of theirs is taken."""
    assert signing_bytes(quote) == ("crossmargin quote 1\n" + "".join(f"{line}\n" for line in lines)).encode()


def test_the_example_in_the_docs() -> None:
    """Other languages test their code with it."""
    signed = sign(SPOT, key_id="k1", private_key=KEY)
    assert PUBLIC_KEY == "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
    expected = "Izk+8g1Foo9RnAaye8m3emb3nlSXLPLz5Vq8KBPHpT/egddJDtDjrbSuIXnUH+XQNnXoeGfuGo6YL0Divj87Cg=="
    assert signed.signature == expected
    page = (Path(__file__).parent.parent / "docs" / "oracle.md").read_text()
    assert expected in page
    assert PUBLIC_KEY in page
    assert signing_bytes(SPOT).decode() in page


@pytest.mark.parametrize(
    "fields",
    [
        {"price": "50000.1"},
        {"price": "5.00001E+4"},
        {"price": "050000.100"},
        {"confidence": "2.50"},
        {"time": "2025-10-10T21:15:00Z"},
        {"time": "2025-10-10T23:15:00.0009+02:00"},
        {"funding_interval_ms": 28_800_000},
    ],
)
def test_another_spelling_keeps_the_signature(fields: dict[str, object]) -> None:
    """A mirror that writes records anew must not make good quotes bad."""
    assert verified(changed(sign(SPOT, key_id="k1", private_key=KEY), **fields), PUBLIC_KEY)


OTHER = {
    "symbol": "ETH",
    "source": "two",
    "price": "50010.0000000001",
    "confidence": "0",
    "time": NOW_MS + 1,
    "sequence": None,
    "quote_asset": None,
    "instrument": "BTC-DEC",
    "last": "50011.4",
    "funding_rate": "0.0001",
    "next_funding_time": None,
    "funding_interval_ms": 28_800_000,
}


@pytest.mark.parametrize("field", OTHER)
def test_every_field_is_signed(field: str) -> None:
    """A field outside of the signature is one that anybody may set."""
    signed = sign(PERPETUAL, key_id="k1", private_key=KEY)
    assert verified(signed, PUBLIC_KEY)
    assert not verified(changed(signed, **{field: OTHER[field]}), PUBLIC_KEY)


def test_no_field_is_forgotten() -> None:
    """A field that comes later must be signed too, or it is refused here."""
    names = {field.name for field in msgspec.structs.fields(Quote)}
    assert OTHER.keys() == names - {"key_id", "signature"}


numbers = st.decimals(min_value="-1e12", max_value="1e12", allow_nan=False, places=6).map(str)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5).filter(lambda text: legal(text))
quotes = st.builds(
    Quote,
    symbol=names,
    source=names,
    price=numbers,
    confidence=numbers,
    time=st.integers(0, 1 << 50),
    sequence=st.none() | st.integers(0, 1 << 63),
    quote_asset=st.none() | names,
    instrument=st.none() | names,
    last=st.none() | numbers,
    funding_rate=st.none() | numbers,
    next_funding_time=st.none() | st.integers(0, 1 << 50),
    funding_interval_ms=st.integers(0, 1 << 40),
)


def legal(text: str) -> bool:
    return text.isprintable() and text.strip(" ") == text


@given(quotes, quotes, st.sampled_from(sorted(OTHER)))
@settings(max_examples=300, deadline=None)
def test_a_quote_that_says_something_else_has_other_bytes(one: Quote, other: Quote, field: str) -> None:
    """Two meanings of one signature, and a quote could be turned into another one on its way."""
    mixed = changed(one, **{field: getattr(other, field)})
    before, after = (getattr(quote, field) for quote in (one, mixed))
    if field in ("price", "confidence", "last", "funding_rate"):
        before, after = (None if value is None else Decimal(value) for value in (before, after))
    assert (signing_bytes(one) == signing_bytes(mixed)) == (before == after)
    signature = sign(one, key_id="k1", private_key=KEY).signature
    assert verified(changed(mixed, signature=signature), PUBLIC_KEY) == (before == after)


@pytest.mark.parametrize("field", ["symbol", "source", "quote_asset", "instrument"])
def test_a_name_cannot_bring_a_line_of_its_own(field: str) -> None:
    """A line break in a name would move what is signed from one field into the next."""
    with pytest.raises(Refused, match=f"{field} must be 1 to 64 visible characters") as refused:
        signing_bytes(changed(PERPETUAL, **{field: "BTC\none"}))
    assert refused.value.code == "illegal_id"


GOOD = sign(SPOT, key_id="k1", private_key=KEY)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)


@pytest.mark.parametrize(
    ("signature", "public_key"),
    [
        pytest.param(None, PUBLIC_KEY, id="none"),
        pytest.param("", PUBLIC_KEY, id="empty"),
        pytest.param("not base64!", PUBLIC_KEY, id="no base64"),
        pytest.param("\u00e9" * 88, PUBLIC_KEY, id="no ASCII"),
        pytest.param(base64.b64encode(bytes(64)).decode(), PUBLIC_KEY, id="zeros"),
        pytest.param(base64.b64encode(bytes(63)).decode(), PUBLIC_KEY, id="63 bytes"),
        pytest.param(f"{GOOD.signature}\n", PUBLIC_KEY, id="with a line break"),
        pytest.param(sign(SPOT, key_id="k1", private_key=STRANGER).signature, PUBLIC_KEY, id="of another key"),
        pytest.param(GOOD.signature, public_key_text(STRANGER), id="under another key"),
        pytest.param(sign(PERPETUAL, key_id="k1", private_key=KEY).signature, PUBLIC_KEY, id="of another quote"),
    ],
)
def test_what_is_no_signature(signature: str | None, public_key: str) -> None:
    """Whoever may write to the topic could set the price of any collateral."""
    assert verified(GOOD, PUBLIC_KEY)
    assert not verified(changed(GOOD, signature=signature), public_key)


def test_one_bit_off_is_no_signature() -> None:
    """Half a check is none."""
    good = int.from_bytes(base64.b64decode(GOOD.signature or ""), "big")
    for bit in range(512):
        signature = base64.b64encode((good ^ 1 << bit).to_bytes(64, "big")).decode()
        assert not verified(changed(GOOD, signature=signature), PUBLIC_KEY), bit


P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def roots(square: int) -> set[int]:
    """The square roots modulo P, which is 5 modulo 8; none where there are none."""
    root = pow(square, (P + 3) // 8, P)
    found = {root, root * pow(2, (P - 1) // 4, P) % P}
    return {value for one in found for value in (one, P - one) if value * value % P == square % P}


def weak_keys() -> list[bytes]:
    """Every encoding of every point of edwards25519 whose order divides 8.

    Order 1 and 2: y = 1 and -1. Order 4: y = 0. Twice a point of order 8 has y = 0, so x**2 = -y**2, and the curve
    -x**2 + y**2 = 1 + d x**2 y**2 becomes d y**4 + 2 y**2 - 1 = 0.
    """
    squares = {(sign - 1) * pow(D, -1, P) % P for sign in roots(1 + D)}
    ys = {1, P - 1, 0} | {y for square in squares for y in roots(square)}
    encoded = {value for y in ys for value in (y, y + P) if value < 1 << 255}
    return sorted((value | sign << 255).to_bytes(32, "little") for value in encoded for sign in (0, 1))


@pytest.mark.parametrize("key", weak_keys(), ids=bytes.hex)
def test_keys_under_which_anybody_can_sign(key: bytes) -> None:
    """A key left at zeros would let everyone set prices, and every check would say that all is well."""
    with pytest.raises(Refused, match="public_key must not be a key under which anybody can sign") as refused:
        check_public_key(base64.b64encode(key).decode(), "public_key")
    assert refused.value.code == "bad_terms"


def test_there_are_such_keys() -> None:
    """What the check is for: R = the neutral point and S = 0 hold for any message under the neutral key."""
    assert len(weak_keys()) == 14
    neutral = bytes([1, *bytes(31)])
    Ed25519PublicKey.from_public_bytes(neutral).verify(neutral + bytes(32), b"anything")


@pytest.mark.parametrize(
    "text", ["", "k1", "\u00e9", PUBLIC_KEY[:-4], PUBLIC_KEY + "AAAA", f" {PUBLIC_KEY}", bytes(range(32)).hex()]
)
def test_what_is_no_public_key(text: str) -> None:
    """A key that cannot be read would refuse all that its source says."""
    check_public_key(PUBLIC_KEY, "public_key")
    with pytest.raises(Refused, match="public_key must be 32 bytes in base64, found"):
        check_public_key(text, "public_key")
