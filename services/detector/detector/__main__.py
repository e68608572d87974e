"""`python -m detector`."""

from detector.main import run

run()
