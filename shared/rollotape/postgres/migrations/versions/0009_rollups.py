"""What closed trades have earned, added up per day, so that no question reads them all."""

from typing import Any

import numpy as np
from alembic import op
from sqlalchemy import text

from rollotape import calendars
from rollotape.postgres.migrations import run, run_file

revision = "0009_rollups"
down_revision = "0008_backtests"
branch_labels = None
depends_on = None

_HELD = """
UPDATE signals SET sessions_held =
    width_bucket(coalesce(exit_session, (exit_date AT TIME ZONE 'America/New_York')::date), days)
    - width_bucket(coalesce(entry_session, (entry_date AT TIME ZONE 'America/New_York')::date), days)
FROM (SELECT '{{{days}}}'::date[] AS days) sessions
WHERE status = 'CLOSED';
"""
"""How many sessions began up to a day is its place among them."""


def upgrade() -> None:
    run("ALTER TABLE signals ADD COLUMN sessions_held integer;\n")
    if _has_closed_trades():
        days = calendars.sessions().days.astype("datetime64[D]")
        run(_HELD.format(days=",".join(np.datetime_as_string(days))))
    run_file("0009_rollups.sql")


def downgrade() -> None:
    run_file("0009_rollups.down.sql")


def _has_closed_trades() -> bool:
    """A script that is printed begins with nothing."""
    if op.get_context().as_sql:
        return False
    found: Any = op.get_bind().scalar(text("SELECT EXISTS (SELECT FROM signals WHERE status = 'CLOSED')"))
    return bool(found)
