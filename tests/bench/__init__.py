"""Benchmarks on real servers: they print figures and assert none. `make bench` runs them all."""
