"""Every metric with its definition: `rollo_<noun>_<what>_<unit>`, labels from small closed sets."""

import platform
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge, Histogram

from rollotape import __version__
from rollotape.lately import OftenCounted, OftenTimed

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LONG_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600)
AMOUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)

BUILD = Gauge("rollo_build_info", "1 for what runs here", ("service", "version", "python"))

# ---- delivery: what happens to entries between the stream and their acknowledgement
DELIVERY_ENTRIES = Counter(
    "rollo_delivery_entries_total",
    "Entries read. source: new, own (left pending under the same name by a predecessor), claimed (pending "
    "for too long)",
    ("stream", "source"),
)
DELIVERY_GONE = Counter(
    "rollo_delivery_gone_entries_total",
    "Pending entries whose content was deleted or trimmed from the stream; acknowledged, as nothing is left",
    ("stream",),
)
DELIVERY_BATCHES = Counter(
    "rollo_delivery_batches_total",
    "Attempts to apply a batch. outcome: done, unavailable (tried again), failed (split, or tried alone)",
    ("stream", "outcome"),
)
DELIVERY_SECONDS = Histogram(
    "rollo_delivery_batch_seconds", "Duration of one attempt to apply a batch", ("group",), buckets=SECONDS
)
DELIVERY_SIZE = Histogram(
    "rollo_delivery_batch_entries", "Entries of one attempt to apply a batch", ("group",), buckets=AMOUNTS
)
DELIVERY_SPLITS = Counter(
    "rollo_delivery_splits_total", "Batches split in two. cause: timeout, failed", ("stream", "cause")
)
DELIVERY_BURIED = Counter(
    "rollo_delivery_buried_entries_total",
    "Entries that failed alone five times and became dead letters with reason defect: a bug of ours",
    ("stream",),
)
DELIVERY_STUCK = Counter(
    "rollo_delivery_stuck_entries_total",
    "Entries that could be neither applied nor buried; left pending, claimed again later",
    ("stream",),
)
DELIVERY_FAILURES = Counter(
    "rollo_delivery_loop_failures_total",
    "Turns of a delivery loop that failed (Redis away, group lost) and were followed by a back-off",
    ("stream",),
)

# ---- streams: where each stands, said by who holds its partition and by every cache-builder, for all of them
STREAM_LAG = Gauge(
    "rollo_stream_lag_entries",
    "Entries not yet delivered to the group; an upper bound where rollo_stream_lag_known is 0",
    ("stream", "group"),
)
STREAM_LAG_KNOWN = Gauge(
    "rollo_stream_lag_known", "1 when the lag is exact, 0 when the server cannot tell", ("stream", "group")
)
STREAM_PENDING = Gauge(
    "rollo_stream_pending_entries",
    "Entries delivered to the group and not yet acknowledged",
    ("stream", "group"),
)
STREAM_OLDEST = Gauge(
    "rollo_stream_oldest_pending_seconds",
    "Age of the oldest entry that was delivered to the group and is not acknowledged; 0: none",
    ("stream", "group"),
)
STREAM_LENGTH = Gauge("rollo_stream_length_entries", "Entries kept in the stream", ("stream",))

# ---- leases and janitor
LEASES_HELD = Gauge("rollo_leases_held_partitions", "Partitions this replica works on", ("service",))
LEASES_REPLICAS = Gauge("rollo_leases_live_replicas", "Live replicas of the service", ("service",))
LEASES_FAILURES = Counter("rollo_leases_failures_total", "Heartbeats that failed", ("service",))
LEASES_OWNED = Gauge(
    "rollo_leases_owned_partitions", "Partitions that anybody works on, as PostgreSQL has it", ("service",)
)
LEASES_OWNERS = Gauge("rollo_leases_owners", "Replicas that hold partitions", ("service",))
PARTITIONS = Gauge("rollo_installation_partitions", "Partitions of this installation")
JANITOR_TRIMMED = Counter("rollo_janitor_trimmed_entries_total", "Entries trimmed", ("kind",))
JANITOR_RUNS = Counter(
    "rollo_janitor_runs_total", "Runs of the janitor. outcome: done, elsewhere, failed", ("outcome",)
)

# ---- process
LOOP_DELAY = Gauge("rollo_loop_delay_seconds", "How late the event loop woke from its last short sleep")

# ---- servers: asked by every cache-builder
SERVER_UP = Gauge(
    "rollo_server_up", "1 when this server answered. role: streams and cache (Redis), postgres", ("role",)
)
REDIS_MEMORY = Gauge("rollo_redis_memory_bytes", "Memory used", ("role",))
REDIS_MEMORY_MOST = Gauge("rollo_redis_memory_most_bytes", "maxmemory; 0: no limit", ("role",))
REDIS_MAY_EVICT = Gauge("rollo_redis_may_evict", "1 when its policy may drop keys", ("role",))
REDIS_EVICTED = Gauge(
    "rollo_redis_evicted_keys", "Keys dropped for want of memory since its start", ("role",)
)
POSTGRES_CONNECTIONS = Gauge("rollo_postgres_connections", "Client connections of the whole server")
POSTGRES_CONNECTIONS_MOST = Gauge("rollo_postgres_connections_most", "max_connections")
POSTGRES_BYTES = Gauge("rollo_postgres_bytes", "Size of the database on disk")
POOL_CONNECTIONS = Gauge(
    "rollo_pool_connections",
    "Connections of this process to PostgreSQL. state: used, free (open or still to be opened)",
    ("pool", "state"),
)
OUTBOX_OLDEST = Gauge(
    "rollo_outbox_oldest_seconds", "How long the oldest commit has been waiting to be told to others; 0: none"
)
COMPONENT = Gauge(
    "rollo_component_status", "As the gateway judges it: 1 up, 0.5 degraded, 0 down", ("component",)
)

# ---- gateway: routes by their template, methods by name, status as 2xx ... 5xx (0xx: the connection broke)
HTTP_REQUESTS = OftenCounted("rollo_http_requests_total", "Requests answered", ("route", "method", "status"))
HTTP_SECONDS = OftenTimed(
    "rollo_http_request_duration_seconds",
    "From the arrival of a request's head to the last byte handed to the server",
    ("route", "method", "status"),
    buckets=SECONDS,
)

# ---- gateway: the stream over WebSocket
WS_CLIENTS = Gauge("rollo_ws_clients", "Connected clients of the stream over WebSocket")
WS_FRAMES = Counter(
    "rollo_ws_frames_total",
    "Writes of facts and values to connections; each is a message or several, which may hold many of them",
)
WS_ENDED = Counter(
    "rollo_ws_ended_total",
    "Connections ended by the gateway, by the number that it said: 400 401 402 404 406 407 429 500 503",
    ("number",),
)

SSE_CLIENTS = Gauge("rollo_sse_clients", "Connected clients of server-sent events")
SSE_DROPPED = Counter(
    "rollo_sse_dropped_total", "Clients of server-sent events cut off because they were slow"
)
FACT_CLIENT = Histogram(
    "rollo_fact_client_seconds",
    "From the entry of a fact on `updates`, made right after its commit, until every client that was ready "
    "had been handed it",
    buckets=SECONDS,
)

# ---- detector: what became of bars, and where the time went
BARS = Counter(
    "rollo_bars_input_total",
    "Bars received, by outcome: applied, duplicate (stored already), superseded (a greater version is "
    "stored), running (not final, never stored), refused (dead letters). Together they are all of the input",
    ("outcome",),
)
BARS_CONFLICTS = Counter(
    "rollo_bars_conflicts_total", "Bars that met another content of equal revision; the hash decided"
)
BARS_LATE = Counter(
    "rollo_bars_late_total",
    "Bars applied that are older than the newest one stored of their symbol and timeframe",
)
BAR_COMMIT = Histogram(
    "rollo_bar_commit_seconds",
    "From the end of a bar to its commit, of bars that arrived within an hour of their end: others are "
    "history",
    buckets=LONG_SECONDS,
)
BATCH_BARS = Histogram("rollo_batch_bars", "Bars of one batch of the detector", buckets=AMOUNTS)
BATCHES_MOVED = Counter(
    "rollo_batches_moved_total",
    "Commits given up because a symbol's version had moved; gathered again",
    ("service",),
)
STEP_SECONDS = Histogram(
    "rollo_batch_step_seconds",
    "Duration of one step of a batch: parse, gather, decide, apply, say; those of reading the tape begin "
    "with `wyckoff`",
    ("service", "step"),
    buckets=SECONDS,
)
WINDOWS = Counter(
    "rollo_windows_total", "Windows of symbols asked for. source: memory, read (from PostgreSQL)", ("source",)
)

# ---- detector: how far reading is behind the bars
WYCKOFF_BACKLOG = Gauge("rollo_wyckoff_backlog_keys", "Symbols and timeframes with bars to be read again")
WYCKOFF_KEYS = Counter("rollo_wyckoff_keys_total", "Symbols and timeframes read, each time counted")
WYCKOFF_ROWS = Counter(
    "rollo_wyckoff_rows_total",
    "Events, patterns and trades that were written, or removed (gone or changed)",
    ("kind", "change"),
)

# ---- rs-worker: how far scores are behind, and what it took to catch up
STRENGTH_BACKLOG = Gauge("rollo_strength_backlog_dates", "Dates whose scores are due")
STRENGTH_OLDEST = Gauge(
    "rollo_strength_oldest_mark_seconds",
    "How long the oldest change of daily bars has been waiting for new scores; 0: none",
)
STRENGTH_DUE = Gauge("rollo_strength_due", "What of relative strength is due. what: marks, dates", ("what",))
STRENGTH_DATES = Counter("rollo_strength_dates_total", "Dates scored, each time counted")
STRENGTH_ROWS = Counter(
    "rollo_strength_rows_total",
    "Rows of scores that differed. change: written (new or changed), removed (gone or changed)",
    ("change",),
)

# ---- cache-builder: how far rollups are behind trades
ROLLUPS_DAYS = Counter("rollo_rollups_days_total", "Days of trades added up, each time counted")
ROLLUPS_BACKLOG = Gauge("rollo_rollups_backlog_days", "Days whose rollups are due")
ROLLUPS_OLDEST = Gauge(
    "rollo_rollups_oldest_mark_seconds",
    "How long the oldest change has been waiting for new answers; 0: none",
)

# ---- feeds: what live sources said, and whether they are heard
FEED_BARS = Counter(
    "rollo_feed_bars_total",
    "Bars that a live feed heard. outcome: sent, restated (of those sent, known before with other numbers), "
    "same (said again, not sent), left (differs from what a hand corrected, not sent)",
    ("feed", "outcome"),
)
FEED_LIVE = Gauge("rollo_feed_live", "1 while a live feed has caught up and hears its source", ("feed",))
FEED_INTERRUPTIONS = Counter("rollo_feed_interruptions_total", "Sessions with a source that ended", ("feed",))
FEED_NEWEST = Gauge(
    "rollo_feed_newest_bar_timestamp_seconds", "Start of the newest bar that a live feed has sent", ("feed",)
)

# ---- market: how new the bars are, asked by every cache-builder
MARKET_OPEN = Gauge("rollo_market_open", "1 during a session of the exchange")
BARS_OVERDUE = Gauge(
    "rollo_bars_overdue_seconds",
    "For how long, in open market, the next bar of a timeframe has been overdue; 0: it is not. A timeframe "
    "that nobody has sent for five sessions is none",
    ("timeframe",),
)

GAPS = Gauge(
    "rollo_gaps",
    "Runs of missing bars. state: recent (of the last seven days), old, nothing (a producer says that "
    "nothing traded then), pause (nobody followed the series)",
    ("timeframe", "state"),
)
GAPS_BARS = Gauge("rollo_gaps_missing_bars", "Bars missing in rollo_gaps, alike", ("timeframe", "state"))
GAPS_SERIES = Counter("rollo_gaps_series_total", "Symbols and timeframes looked at, each time counted")

# ---- proofs: made again and again while everything runs
VERIFY_RUNS = Counter(
    "rollo_verify_runs_total", "Samples verified. outcome: done, failed (verify itself)", ("outcome",)
)
VERIFY_CHECKED = Counter(
    "rollo_verify_checked_total",
    "What was recomputed and compared. what: symbols, bars, events, patterns, scores, rollups",
    ("what",),
)
VERIFY_DIFFERING = Counter("rollo_verify_differing_total", "Rows that were not what follows from the inputs")
ACCOUNTED = Counter(
    "rollo_accounting_rows_total",
    "Rows of acknowledged entries, read from the streams again and looked for in PostgreSQL. found: applied "
    "(stored as sent, once or often), superseded (a greater version is stored), running (never stored), "
    "dead (refused, or a dead letter), missing. Together they are the input; none may be missing",
    ("kind", "found"),
)
DEAD_LETTERS = Gauge(
    "rollo_dead_letters",
    "Of the newest 10,000 dead letters, how many have this reason: the first field that was refused",
    ("service", "reason"),
)

# ---- cache-builder: who has come into which saved scan
ENTRANTS_BACKLOG = Gauge(
    "rollo_entrants_backlog_marks",
    "What is still to be looked at. kind: symbols (for every saved scan), scans (for every symbol)",
    ("kind",),
)
ENTRANTS_OLDEST = Gauge(
    "rollo_entrants_oldest_mark_seconds",
    "How long the oldest change has been waiting to be looked at; 0: none",
)
ENTRANTS_ROWS = Counter(
    "rollo_entrants_rows_total",
    "Symbols that came into a saved scan or left it. change: told, silent (historical, or its owner changed "
    "the scan), left",
    ("change",),
)

# ---- cache-builder: webhooks
WEBHOOKS_ATTEMPTS = Counter(
    "rollo_webhooks_attempts_total",
    "Attempts to tell a webhook. outcome: delivered (2xx), answered (anything else), unreachable (no answer, "
    "or an address that is not allowed)",
    ("outcome",),
)
WEBHOOKS_DROPPED = Counter(
    "rollo_webhooks_dropped_facts_total",
    "Facts that were not queued: too many were waiting for that webhook",
)
WEBHOOKS_WAITING = Gauge("rollo_webhooks_waiting_facts", "Facts that are to be sent to webhooks")
WEBHOOKS_OLDEST = Gauge(
    "rollo_webhooks_oldest_fact_seconds", "How long the oldest of them has been waiting; 0: none"
)
WEBHOOKS_DISABLED = Gauge(
    "rollo_webhooks_disabled_webhooks", "Webhooks to which nothing is sent, because everything failed"
)

# ---- watchdog
WATCHDOG_ENDED = Counter(
    "rollo_watchdog_ended_transactions_total", "Transactions of our workers ended because they took too long"
)
WINDOW_BARS = Gauge("rollo_window_bars", "Bars that the detector keeps in memory")
PATTERNS = Counter(
    "rollo_patterns_input_total",
    "Pattern events received, by outcome: applied, duplicate, superseded, refused. Together all of the input",
    ("outcome",),
)
PATTERNS_CONFLICTS = Counter(
    "rollo_patterns_conflicts_total", "Events that met another content of equal revision; the hash decided"
)

SIGNALS = Counter(
    "rollo_signals_input_total",
    "Events about outside trades received, by outcome: applied, duplicate, superseded, refused. Together all",
    ("outcome",),
)
SIGNALS_CONFLICTS = Counter(
    "rollo_signals_conflicts_total", "Events on trades that met another content of equal revision"
)

# ---- read models
MODEL_ENTRIES = Gauge("rollo_model_entries", "Active patterns in the read model, when last looked at")
MODEL_REBUILDS = Counter(
    "rollo_model_rebuilds_total", "Read models built anew: missing, broken, or asked for by reader or by hand"
)
MODEL_REPAIRED = Counter(
    "rollo_model_repaired_entries_total",
    "Entries of a read model that differed from PostgreSQL when all were compared; changes under way, too",
)

# ---- answers that are kept
ANSWERS = Counter(
    "rollo_answers_total",
    "Answers of a dataset by where they came from: memory, redis, shared (another request was computing it), "
    "unchanged (304), postgres and model (computed: the only misses), stale (PostgreSQL was away), none "
    "(503)",
    ("dataset", "source"),
)
ANSWERS_SECONDS = Histogram(
    "rollo_answers_compute_seconds",
    "Duration of one computation from PostgreSQL",
    ("dataset",),
    buckets=SECONDS,
)
ANSWERS_HELD = Gauge("rollo_answers_held_bytes", "Bytes of answers kept in memory", ("dataset",))
ANSWERS_SUSPICIOUS = Counter(
    "rollo_answers_suspicious_total",
    "Answers with a figure that is hard to believe; the log has the question",
)
ANSWERS_WARMED = Counter(
    "rollo_answers_warmed_total",
    "Default questions looked at after a change, by where their answers were: postgres (computed), redis ...",
    ("source",),
)


def say_build(service: str) -> None:
    BUILD.labels(service, __version__, platform.python_version()).set(1)


def observe_all(histogram: Histogram, values: NDArray[Any]) -> None:
    """As if each were observed, at a fraction of the cost: a close of the market brings thousands at once."""
    bounds = np.array(histogram._upper_bounds)
    counts = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds))
    for bucket, count in zip(histogram._buckets, counts.tolist(), strict=True):
        bucket.inc(count)
    histogram._sum.inc(float(np.add.reduce(values)))
