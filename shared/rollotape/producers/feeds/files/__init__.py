"""Bars of CSV files that grow while they are read."""
