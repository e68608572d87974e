"""What each service may do in Redis, as ACL users: the few commands and keys that it needs."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

PREFIX = "rollo-"
"""Of the names of users."""
_ALWAYS = "ping info time select client|setname client|setinfo cluster|slots asking multi exec"
_WATCH = "xinfo|stream xinfo|groups xpending"
_TRIM = "xrange xtrim memory|usage"
"""Any worker may be the one that trims all streams."""
_TAKE = "xreadgroup xack xautoclaim xgroup|create"
_SCRIPTS = "evalsha script|load"
_READ_MODEL = "get set exists hget hmget hvals hlen hgetall hincrby zcard xrange"
"""A reader counts what it answers, and asks for a model where it finds none."""
_BUILD_MODEL = "del unlink expire persist rename hset hdel hkeys zadd zrem zrangebyscore xadd"
_IN_ANSWERS = "get set del pttl pexpire"
_COUNT_STREAMS = "hgetall hset hdel pexpire"
INPUTS = ("bars.*", "patterns.*", "signals.*")
TOLD = ("sessions", "updates")
MODEL = ("rm:{patterns}:*", "rm:patterns:*")
"""The second as earlier versions called it."""
ANSWERS = ("analytics:*",)
RATES = ("rollo:rate:*",)
STREAMS = ("rollo:streams:*",)
"""How many streams each key has open."""
HEALTH = ("system:health",)
"""What was told last of each part."""


class Right(NamedTuple):
    """Commands, and the keys that they are for."""

    commands: str
    keys: tuple[str, ...]

    def __str__(self) -> str:
        said = [*(f"~{key}" for key in self.keys), *(f"+{command}" for command in self.commands.split())]
        return " ".join(said)


_EVERYTHING = (*INPUTS, *TOLD)
_ALL_STREAMS = Right(f"{_WATCH} {_TRIM}", _EVERYTHING)
_SCAN = Right(f"{_READ_MODEL} {_SCRIPTS}", MODEL)
_BUILD = Right(f"{_READ_MODEL} {_BUILD_MODEL} {_SCRIPTS}", MODEL)
_SEND = Right("xadd", INPUTS)

IN_STREAMS: Mapping[str, tuple[Right, ...]] = {
    "detector": (_ALL_STREAMS, Right(_TAKE, INPUTS), Right("xadd", TOLD)),
    "rs-worker": (_ALL_STREAMS, Right("xread", ("sessions",)), Right("xadd", TOLD)),
    "cache-builder": (_ALL_STREAMS, Right(_TAKE, ("updates",)), Right("xadd", TOLD), _BUILD),
    "api-gateway": (
        Right("xadd", (*INPUTS, "updates")),
        Right("hgetall hset", HEALTH),
        Right(f"{_WATCH} xread xrange xrevrange", _EVERYTHING),
        _SCAN,
        Right(f"{_IN_ANSWERS} {_SCRIPTS}", RATES),
        Right(f"{_COUNT_STREAMS} {_SCRIPTS}", STREAMS),
    ),
    "producer": (_SEND, Right(_WATCH, INPUTS)),
    "operator": (
        Right("xadd", _EVERYTHING),
        Right(f"{_WATCH} xrange xrevrange xread", _EVERYTHING),
        _BUILD,
    ),
}
"""Of ROLLO_REDIS_URL. A producer sends; an operator runs the other commands of `rollo`, too."""
IN_CACHE: Mapping[str, tuple[Right, ...]] = {
    "cache-builder": (Right(f"{_IN_ANSWERS} {_SCRIPTS}", ANSWERS),),
    "api-gateway": (
        Right(f"{_IN_ANSWERS} {_SCRIPTS}", (*ANSWERS, *RATES)),
        Right(f"{_COUNT_STREAMS} {_SCRIPTS}", STREAMS),
    ),
    "operator": (),
}
"""Of ROLLO_CACHE_URL."""


def acl(users: Mapping[str, tuple[Right, ...]]) -> Iterator[str]:
    """A line of an ACL file for each; without a password, and off until it has one."""
    for name, rights in users.items():
        everywhere = " ".join(f"+{command}" for command in _ALWAYS.split())
        selectors = "".join(f" ({right})" for right in rights)
        yield f"user {PREFIX}{name} off resetkeys resetchannels -@all {everywhere}{selectors}"
