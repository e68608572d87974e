"""`python -m cache_builder`."""

from cache_builder.main import run

run()
