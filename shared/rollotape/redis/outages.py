"""Which answers of a Redis mean that the same command may succeed later."""

import redis.exceptions as answers

AWAY: tuple[type[Exception], ...] = (
    answers.ConnectionError,
    answers.TimeoutError,
    answers.ReadOnlyError,
    answers.OutOfMemoryError,
    answers.ClusterDownError,
    answers.TryAgainError,
    answers.AskError,  # and MOVED: a slot that moved on faster than we could follow
)
# Answers of a server that is starting, failing over or cannot persist; redis-py has no class for them.
_AWAY_ANSWERS = (
    "LOADING", "MISCONF", "NOREPLICAS", "MASTERDOWN", "UNBLOCKED", "BUSY ", "READONLY", "OOM", "CLUSTERDOWN",
)  # fmt: skip


def is_outage(error: BaseException) -> bool:
    """Whether the server is away, full, loading, failing over, or its slots are on the move."""
    if isinstance(error, (OSError, *AWAY)):
        return True
    return isinstance(error, answers.ResponseError) and str(error).startswith(_AWAY_ANSWERS)
