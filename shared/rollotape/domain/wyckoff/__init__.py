"""Wyckoff events, ranges, phases and patterns: rules as data, in a fold over bars that takes nothing back."""
