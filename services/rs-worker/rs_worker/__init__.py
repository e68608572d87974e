"""Relative strength across symbols, date by date, oldest first."""
