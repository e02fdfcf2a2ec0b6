"""Decimal strings as the integers that blocks carry, and back."""

from decimal import Decimal


def scaled(text: str, places: int) -> int:
    """A decimal string as an integer of 10**-places."""
    number = Decimal(text).scaleb(places)
    assert number == int(number), f"{text} must have at most {places} decimals"
    return int(number)


def unscaled(number: int, places: int) -> str:
    """An integer of 10**-places as a plain decimal string."""
    text = format(Decimal(number).scaleb(-places), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
