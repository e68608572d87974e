"""Which stream carries a symbol: crc32 of its UTF-8 bytes modulo P, the same in every language."""

from zlib import crc32


def partition_of(symbol: str, partitions: int) -> int:
    """Any text has a partition, so that an unusable symbol still reaches the worker that refuses it.

    >>> partition_of("AAPL", 16)
    12
    """
    return crc32(symbol.encode("utf-8", "surrogatepass")) % partitions


def stream_name(kind: str, partition: int | None) -> str:
    """`bars.3` for partition 3 of bars, `updates` for a stream that is not partitioned."""
    return kind if partition is None else f"{kind}.{partition}"
