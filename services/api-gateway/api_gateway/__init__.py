"""Answers over HTTP what the workers have committed."""
