"""Volatilities of one partition of `volatilities`: messages in, checked rows and dead letters out."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from schemas.codec import Reader
from schemas.dead_letters import DeadLetter, Refused, dead_letter
from schemas.fields import NAME_CHARS_MAX, epoch_ms, exact, legal_id, shown
from schemas.volatilities import Smile, Volatility
from streams.ingest.checks import event_time
from streams.ingest.messages import Message
from streams.ingest.quotes import PRICE_MAX, PRICE_MIN
from streams.ingest.terms import Terms, check_size, key_text

SMILES_MAX = 64
POINTS_MAX = 200
#: Far outside any market; what the oracle values options at is clamped further.
VOLATILITY_MIN, VOLATILITY_MAX = 1e-3, 100.0
DISCOUNT_MIN, DISCOUNT_MAX = 1e-3, 2.0
#: Of log-moneyness and of SVI parameters, either sign.
NUMBER_MAX = 100.0
#: Quotes nearer to each other would bend a spline without end.
LEAST_STEP = 1e-4


class SmileRow(NamedTuple):
    """One expiry (epoch ms): `svi` as a, b, rho, m, sigma, or `points` of (k, volatility)."""

    expiry: int
    svi: tuple[float, ...] | None
    points: tuple[tuple[float, float], ...]
    forward: float | None
    discount: float


class VolatilityRow(NamedTuple):
    """An instrument's `volatility` or an underlying's `smiles`; neither: the one of that name is taken back.

    `spot` is the index that forwards of the smiles were made with.
    """

    name: str
    source: str
    time: int
    volatility: float | None
    spot: float | None
    smiles: tuple[SmileRow, ...]


class VolatilityResult(NamedTuple):
    """What a batch of messages came to. Every message is in `rows` or in `dead_letters`, in order.

    Parameters
    ----------
    unknown_ids : instruments that were not published as far as the terms were read. Where there is one, nothing was
        taken: read `instruments` to its end and take the batch again with final=True
    """

    rows: list[VolatilityRow]
    dead_letters: list[DeadLetter]
    unknown_ids: frozenset[str] = frozenset()


class VolatilityPartition:
    """Reads one source partition of volatilities.

    Parameters
    ----------
    topic, partition : the broker's names, for coordinates
    message_bytes_max : longer values are refused
    max_future_ms : how far a time may be ahead of the clock
    fault_of : why a surface can be arbitraged, in a line; None where it is sound
    """

    def __init__(
        self,
        *,
        topic: str,
        partition: int,
        message_bytes_max: int,
        max_future_ms: int,
        fault_of: Callable[[VolatilityRow], str | None],
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._message_bytes_max = message_bytes_max
        self._max_future_ms = max_future_ms
        self._fault_of = fault_of
        self._reader = Reader(Volatility)

    @property
    def unknown_fields(self) -> int:
        """Fields passed over so far because no record knows them."""
        return self._reader.unknown_fields

    def take(self, messages: Sequence[Message], terms: Terms, now_ms: int, *, final: bool = False) -> VolatilityResult:
        """Every message becomes a row or a dead letter, in order.

        Parameters
        ----------
        terms : instruments as far as they have been read
        now_ms : the clock that times are held against, epoch ms
        final : what names an unknown instrument is refused instead of reported
        """
        rows: list[VolatilityRow] = []
        refused: list[DeadLetter] = []
        for offset, key, value, timestamp in messages:
            try:
                rows.append(self._row(key, value, terms, now_ms + self._max_future_ms))
            except Refused as why:
                if why.missing is not None and not final:
                    return VolatilityResult([], [], frozenset([why.missing]))
                letter = dead_letter(
                    why,
                    topic=self._topic,
                    partition=self._partition,
                    offset=offset,
                    timestamp=timestamp,
                    key=key,
                    value=value,
                    value_bytes_max=self._message_bytes_max,
                )
                refused.append(letter)
        return VolatilityResult(rows, refused)

    def _row(self, key: bytes | None, value: bytes | None, terms: Terms, latest_ms: int) -> VolatilityRow:
        named = key_text(key)
        if value is None:
            return VolatilityRow(legal_id(named, "key", NAME_CHARS_MAX), "", 0, None, None, ())
        check_size(value, self._message_bytes_max)
        record = self._reader.read(value)
        if (record.instrument is None) == (record.underlying is None):
            found = "neither" if record.instrument is None else "both"
            raise Refused("contradiction", f"one of instrument and underlying must be given, found {found}")
        name = legal_id(record.instrument or record.underlying or "", "name", NAME_CHARS_MAX)
        if named != name:
            raise Refused("bad_key", f"key must be {shown(name)}, found {shown(named)}")
        source = legal_id(record.source, "source", NAME_CHARS_MAX)
        time = event_time(record.time, latest_ms)
        if record.instrument is not None:
            return VolatilityRow(name, source, time, _of_instrument(record, terms), None, ())
        row = VolatilityRow(name, source, time, None, *_surface(record, time))
        fault = self._fault_of(row)
        if fault is not None:
            raise Refused("arbitrage", fault)
        return row


def _of_instrument(record: Volatility, terms: Terms) -> float:
    if record.volatility is None:
        raise Refused("missing_field", "volatility must be given with instrument, found null")
    if record.smiles or record.index is not None:
        name = "smiles" if record.smiles else "index"
        raise Refused("contradiction", f"{name} must be left out where instrument is given, found it given")
    found = terms.find_instrument(str(record.instrument)).records[1]["type"]
    if found != "option":
        raise Refused("bad_value", f"instrument must be an option, found {shown(found)} ({shown(record.instrument)})")
    return _within(record.volatility, VOLATILITY_MIN, VOLATILITY_MAX, "volatility")


def _surface(record: Volatility, time: int) -> tuple[float | None, tuple[SmileRow, ...]]:
    """The index that forwards were made with, and the smiles."""
    if record.volatility is not None:
        raise Refused("contradiction", "volatility must be left out where underlying is given, found it given")
    if not 1 <= len(record.smiles) <= SMILES_MAX:
        raise Refused("bad_value", f"smiles must be 1 to {SMILES_MAX}, found {len(record.smiles)}")
    index = None if record.index is None else _price(record.index, "index")
    smiles: list[SmileRow] = []
    for at, smile in enumerate(record.smiles):
        where = f"smiles[{at}]"
        expiry = epoch_ms(smile.expiry, f"{where}.expiry")
        after = smiles[-1].expiry if smiles else time
        if expiry <= after:
            raise Refused("bad_value", f"{where}.expiry must be after {after}, found {shown(smile.expiry)}")
        smiles.append(_smile(smile, expiry, where))
        if smile.forward is not None and index is None:
            raise Refused("missing_field", f"index must be given with {where}.forward, found null")
    return index, tuple(smiles)


def _smile(smile: Smile, expiry: int, where: str) -> SmileRow:
    if (smile.svi is None) == (not smile.points):
        found = "neither" if smile.svi is None else "both"
        raise Refused("contradiction", f"one of {where}.svi and {where}.points must be given, found {found}")
    svi = None
    if smile.svi is not None:
        given = ("a", "b", "rho", "m", "sigma")
        numbers = (getattr(smile.svi, name) for name in given)
        svi = tuple(
            _within(number, -NUMBER_MAX, NUMBER_MAX, f"{where}.svi.{name}")
            for name, number in zip(given, numbers, strict=True)
        )
    return SmileRow(
        expiry=expiry,
        svi=svi,
        points=_points(smile, where),
        forward=None if smile.forward is None else _price(smile.forward, f"{where}.forward"),
        discount=_within(smile.discount, DISCOUNT_MIN, DISCOUNT_MAX, f"{where}.discount"),
    )


def _points(smile: Smile, where: str) -> tuple[tuple[float, float], ...]:
    if smile.points and not 2 <= len(smile.points) <= POINTS_MAX:
        raise Refused("bad_value", f"{where}.points must be 2 to {POINTS_MAX}, found {len(smile.points)}")
    points: list[tuple[float, float]] = []
    for at, (k, volatility) in enumerate(smile.points):
        field = f"{where}.points[{at}]"
        moneyness = _within(k, -NUMBER_MAX, NUMBER_MAX, f"{field}[0]")
        if points and moneyness - points[-1][0] < LEAST_STEP:
            raise Refused("bad_value", f"{field}[0] must be {LEAST_STEP:g} above the one before, found {shown(k)}")
        points.append((moneyness, _within(volatility, VOLATILITY_MIN, VOLATILITY_MAX, f"{field}[1]")))
    return tuple(points)


def _price(value: object, field: str) -> float:
    price = float(exact(value, field))
    if price <= 0.0:
        raise Refused("non_positive_price", f"{field} must be above 0, found {shown(value)}")
    return _within(value, PRICE_MIN, PRICE_MAX, field)


def _within(value: object, least: float, most: float, field: str) -> float:
    number = float(exact(value, field))
    if not least <= number <= most:
        raise Refused("over_range", f"{field} must be between {least:g} and {most:g}, found {shown(value)}")
    return number
