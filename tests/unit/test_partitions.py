"""The partition of a symbol is the same for every producer, in every language."""

from collections import Counter
from zlib import crc32

import pytest

from rollotape.streams.partitions import partition_of, stream_name


@pytest.mark.parametrize(("symbol", "partition"), [("AAPL", 12), ("MSFT", 11), ("BRK.B", 12), ("", 0)])
def test_the_partition_of_a_symbol_never_changes(symbol: str, partition: int) -> None:
    assert partition_of(symbol, 16) == partition


@pytest.mark.parametrize("symbol", ["é", "株", "\x00", "A" * 5_000, "\ud800"])
def test_any_text_has_a_partition(symbol: str) -> None:
    assert 0 <= partition_of(symbol, 7) < 7


def test_it_is_crc32_of_the_utf8_bytes() -> None:
    assert partition_of("株", 1_024) == crc32("株".encode()) % 1_024


def test_symbols_spread_over_all_partitions() -> None:
    symbols = [f"{a}{b}{c}" for a in "ABCDEFG" for b in "HIJKLMN" for c in "OPQRSTU"]
    sizes = Counter(partition_of(symbol, 16) for symbol in symbols)
    assert len(sizes) == 16
    assert max(sizes.values()) < 3 * len(symbols) / 16


def test_a_stream_is_named_by_kind_and_partition() -> None:
    assert stream_name("bars", 3) == "bars.3"
    assert stream_name("updates", None) == "updates"
