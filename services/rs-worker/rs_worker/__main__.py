"""`python -m rs_worker`."""

from rs_worker.main import run

run()
