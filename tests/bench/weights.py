"""What rows weigh in PostgreSQL and entries in Redis, and what their servers have used."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis

from bench import machine

ROWS = {
    "bar": ("bars",),
    "vsa_event": ("vsa_events",),
    "wyckoff_event": ("wyckoff_events", "wyckoff_ranges", "wyckoff_statuses"),
    "pattern": ("patterns",),
    "signal": ("signals",),
    "score": ("rs_scores",),
    "series": (
        "wyckoff_states", "symbol_state", "newest_bars", "audited_series", "unaudited_bars",
    ),
}  # fmt: skip
"""By what is counted, the tables that grow with it; the first one has a row for each."""
WEIGHT = """
SELECT coalesce(sum(pg_total_relation_size(name::regclass)), 0)::bigint
FROM unnest($1::text[]) AS t (name)
"""


async def vacuum(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def weigh(url: str) -> dict[str, tuple[int, int]]:
    """Rows and bytes of each: table, indexes and TOAST."""
    connection = await asyncpg.connect(url)
    try:
        found = {}
        for name, tables in ROWS.items():
            rows = await connection.fetchval(f"SELECT count(*) FROM {tables[0]}")
            found[name] = int(rows), int(await connection.fetchval(WEIGHT, list(tables)))
        return found
    finally:
        await connection.close()


async def written(connection: "asyncpg.Connection[Any]") -> int:
    """Bytes of WAL so far."""
    return int(await connection.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))


async def stream_bytes(redis: "Redis", streams: Iterable[str]) -> tuple[int, int]:
    """Entries, and bytes that Redis holds for them."""
    entries = held = 0
    for stream in streams:
        if count := await redis.xlen(stream):
            entries += count
            held += await key_bytes(redis, [stream])
    return entries, held


async def key_bytes(redis: "Redis", keys: Iterable[str]) -> int:
    return sum([await redis.memory_usage(key, samples=0) or 0 for key in keys])


async def redis_cpu_s(redis: "Redis") -> float:
    """Of the server and its children, which rewrite its log."""
    about: Mapping[str, Any] = await redis.info("cpu")
    return sum(float(about[f"used_cpu_{kind}"]) for kind in ("sys", "user", "sys_children", "user_children"))


async def postmaster(connection: "asyncpg.Connection[Any]") -> int | None:
    """The process whose children serve connections; None where the system does not tell."""
    return _parent(await connection.fetchval("SELECT pg_backend_pid()"))


def family_cpu_s(pid: int) -> float:
    """Of a process, of its children, and of those that have ended."""
    children = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    own = [child for child in children if _parent(child) == pid]
    return sum(machine.cpu_s(process, ended=True) or 0.0 for process in (pid, *own))


def _parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])
