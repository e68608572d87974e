"""A market-structure engine: bars in through Redis Streams, volume-spread events out."""

__version__ = "0.1.0"
