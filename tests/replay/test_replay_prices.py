"""Readers of price files."""

import gzip
import zipfile
from pathlib import Path

import pytest

from streams.replay.bars import Bar
from streams.replay.prices import PriceFileError, epoch_ms, read

KLINE = "1621382400000,100.0,110.0,90.0,105.0,7,1621382459999,1,1,1,1,0\n1621382460000,105,106,104,105,1\n"
EXPECTED = [
    Bar(1_621_382_400_000, "BTC", "klines", 100.0, 110.0, 90.0, 105.0),
    Bar(1_621_382_460_000, "BTC", "klines", 105.0, 106.0, 104.0, 105.0),
]


def file(folder: Path, text: str, name: str = "prices.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_klines_plain_packed_with_header_and_in_microseconds(tmp_path: Path) -> None:
    """The same public file comes in all these forms; each must give the same market."""
    header = "open_time,open,high,low,close,volume\n"
    plain = file(tmp_path, KLINE, "BTCUSDT-1m-2021-05-19.csv")
    headed = file(tmp_path, header + KLINE, "BTCUSDT-1m-headed.csv")
    micro = file(tmp_path, KLINE.replace("00000,", "00000000,", 2), "BTCUSDT-1m-micro.csv")
    packed = tmp_path / "BTCUSDT-1m-2021-05-19.csv.gz"
    packed.write_bytes(gzip.compress(KLINE.encode()))
    zipped = tmp_path / "BTCUSDT-1m-2021-05-19.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("BTCUSDT-1m-2021-05-19.csv", KLINE)
    for path in (plain, headed, micro, packed, zipped):
        bars = read([path])
        assert (bars.length_ms, list(bars.bars)) == (60_000, EXPECTED)


def test_several_kline_files_are_one_market(tmp_path: Path) -> None:
    """One file an asset is how the public archive is cut."""
    paths = [file(tmp_path, KLINE, f"{name}USDT-1m-2021-05-19.csv") for name in ("ETH", "BTC", "1000SHIB")]
    assert read(paths).assets() == ["1000SHIB", "BTC", "ETH"]


def test_one_source_layout(tmp_path: Path) -> None:
    """Times are opening times in UTC."""
    path = file(tmp_path, "ts,asset,open,high,low,close,volume\n2021-05-19T00:00:00Z,BTC,100.0,110,90,105,7\n")
    assert list(read([path]).bars) == [Bar(1_621_382_400_000, "BTC", "spot", 100.0, 110.0, 90.0, 105.0)]


def test_every_venue_market_and_quote_is_a_source_of_its_own(tmp_path: Path) -> None:
    """A USDC quote is worth what USDC is worth: on the day of the depeg that was ten per cent less."""
    header = "ts,venue,market,asset,quote,open,high,low,close,volume\n"
    rows = [
        "2023-03-11T07:00:00Z,kraken,spot,BTC,USDC,22000,22200,21800,22100,1",
        "2023-03-11T07:00:00Z,binance,spot,BTC,USDT,20000,20200,19800,20100,1",
        "2023-03-11T07:00:00Z,binance,perp_last,BTC,USDT,19990,20200,19800,20100,1",
        "2023-03-11T07:00:00Z,kucoin,spot,USDC,USDT,0.9,0.91,0.88,0.89,1",
    ]
    bars = {(bar.asset, bar.source): bar for bar in read([file(tmp_path, header + "\n".join(rows))]).bars}
    assert bars["BTC", "kraken-spot-USDC"].open == pytest.approx(19_800)
    assert bars["BTC", "binance-spot-USDT"].open == 20_000
    assert bars["BTC", "binance-perp_last-USDT"].open == 19_990
    assert bars["USDC", "kucoin-spot-USDT"].close == 0.89


def test_table_of_closes(tmp_path: Path) -> None:
    """A bar of closes opens where the one before closed; a blank is no bar."""
    path = file(tmp_path, "ts,BTC,ETH\n2021-05-19T00:00:00Z,100,\n2021-05-19T01:00:00Z,90,10\n")
    bars = read([path])
    assert bars.length_ms == 3_600_000
    assert list(bars.bars) == [
        Bar(1_621_382_400_000, "BTC", "close", 100, 100, 100, 100),
        Bar(1_621_386_000_000, "BTC", "close", 100, 100, 90, 90),
        Bar(1_621_386_000_000, "ETH", "close", 10, 10, 10, 10),
    ]


HEAD = "ts,asset,open,high,low,close\n"
ROW = "2021-05-19T00:00:00Z,BTC,100,110,90,105\n"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "a.csv", "prices must be Binance klines"),
        ("ts,asset,funding_rate\n", "a.csv", "prices must be Binance klines.*funding_rate"),
        (HEAD, "a.csv", "prices must have a bar at least"),
        (HEAD + ROW.replace("110", "99"), "a.csv", r"0 < low <= open, close <= high.*a.csv:2\)"),
        (HEAD + ROW + ROW.replace("90", "nan"), "a.csv", r"a.csv:3\)"),
        (HEAD + ROW.replace("90", "0"), "a.csv", "0 < low"),
        (HEAD + ROW.replace("90", "ninety"), "a.csv", r"a bar must be a time and four prices.*a.csv:2\)"),
        (HEAD + ROW.replace("2021-05-19T", "yesterday "), "a.csv", "a bar must be a time"),
        ("ts,BTC\n2021-05-19T00:00:00Z,-1\n", "a.csv", "a close must be finite and > 0"),
        ("ts,BTC\n2021-05-19T00:00:00Z,1,2\n", "a.csv", "a row must be a time and closes"),
        (KLINE, "prices.csv", "must be named like BTCUSDT-1m-2021-05-19.csv, found prices.csv"),
        ("x", "a.csv.gz", "must be a readable CSV file"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, text: str, name: str, message: str) -> None:
    """A bad price that slips in would liquidate accounts that nothing happened to."""
    with pytest.raises(PriceFileError, match=message) as caught:
        read([file(tmp_path, text, name)])
    assert "\n" not in str(caught.value)


def test_files_of_different_bars_are_refused(tmp_path: Path) -> None:
    """Bars of two lengths have no common walk."""
    hourly = file(tmp_path, HEAD + ROW + ROW.replace("00:00:00", "01:00:00"), "hourly.csv")
    daily = file(tmp_path, HEAD + ROW + ROW.replace("05-19", "05-20"), "daily.csv")
    with pytest.raises(PriceFileError, match=r"bars must have one length, found 3600 s in .*, 86400 s in"):
        read([hourly, daily])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1621425600", 1_621_425_600_000),
        ("2021-05-19", 1_621_382_400_000),
        ("2021-05-19T02:00:00+02:00", 1_621_382_400_000),
    ],
)
def test_times(text: str, expected: int) -> None:
    """An hour's error in the time of a bar plays another market."""
    assert epoch_ms(text) == expected
