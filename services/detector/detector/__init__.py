"""Bars in, volume-spread events out, symbol by symbol along time."""
