"""Bars of Yahoo, asked for when they are over, with the library yfinance."""
