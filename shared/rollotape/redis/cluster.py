"""A Redis Cluster behind the interface of one server: every command goes to the node that has its keys.

redis-py has a cluster client of its own. It tries again by itself, and a read whose answer was lost has left
entries pending, so who reads must see it fail; it closes the connections of everybody when one command finds
the cluster down; and its transactions run every command in a thread with an event loop of its own. This one
follows slots that move and tries nothing again.

What it knows of commands: the first argument is the key, but for those listed here. The keys of one command
must be in one slot.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import redis.exceptions
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.crc import key_slot
from redis.exceptions import AskError, AuthenticationError, ClusterDownError, MovedError, TryAgainError

HOPS = 8
"""A command that is sent on more often is left to whoever sent it: the cluster is being rebuilt."""
SETTLE_S = 0.05
"""While a slot moves, a script whose keys are at two nodes is answered by TRYAGAIN: so long until it is."""

_AWAY = (OSError, redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, ClusterDownError)

Place = tuple[str, int]
MakePool = Callable[[str, int], ConnectionPool]
T = TypeVar("T")

_ANYWHERE = {"TIME", "PUBLISH", "CLUSTER INFO", "CLUSTER NODES", "CLUSTER SLOTS", "COMMAND", "ACL WHOAMI"}
_EVERYWHERE = {"PING", "SCRIPT LOAD", "SCRIPT FLUSH", "FLUSHALL", "FLUSHDB", "CONFIG SET", "CONFIG RESETSTAT"}
_OF_ONE_SERVER = {"INFO", "CONFIG GET", "DBSIZE", "MONITOR", "WATCH", "SCAN", "KEYS"}
_ALL_KEYS = {"DEL", "UNLINK", "EXISTS", "TOUCH", "MGET"}
_SCRIPTS = {"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO"}
_READS = {"XREAD", "XREADGROUP"}


def slot_of(command: Sequence[Any]) -> int:
    """The slot of a command's keys.

    Raises:
        ValueError: it has none, or keys of several.
    """
    name = str(command[0]).upper()
    if name in _OF_ONE_SERVER:
        raise ValueError(f"{name} is about one server: ask each of rollotape.redis.clients.servers()")
    slots = {_slot(_bytes(key)) for key in _keys(name, command)}
    if len(slots) != 1:
        raise ValueError(f"{name} needs keys of one slot and has those of {len(slots)}")
    return slots.pop()


def _keys(name: str, command: Sequence[Any]) -> Iterable[Any]:
    if name in _SCRIPTS:
        return command[3 : 3 + int(command[2])]
    if name in _READS:
        where = next(i for i, word in enumerate(command) if _bytes(word).upper() == b"STREAMS") + 1
        return command[where : where + (len(command) - where) // 2]
    return command[1:] if name in _ALL_KEYS else command[1:2]


_slot = lru_cache(4_096)(key_slot)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


class Cluster(Redis):
    """Raises what a server that is away raises, also while no node knows who has a slot."""

    def __init__(self, seeds: Sequence[Place], make_pool: MakePool) -> None:
        super().__init__(connection_pool=make_pool(*seeds[0]))  # pub/sub reaches every node from any of them
        self._seeds = seeds
        self._make_pool = make_pool
        self._nodes: dict[Place, Redis] = {}
        self._slots: dict[int, Place] = {}
        self._primaries: list[Place] = []
        self._known = False
        self._looking: asyncio.Task[None] | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        name = str(args[0]).upper()
        if name in _EVERYWHERE:
            nodes: list[Any] = list(await self.primaries())
            asked = asyncio.gather(*(node.execute_command(*args, **options) for node in nodes))
            return (await self._noting(asked))[0]
        if name in _ANYWHERE:
            first: Any = (await self.primaries())[0]
            return await self._noting(first.execute_command(*args, **options))

        async def run(node: Any, asking: bool) -> Any:
            if not asking:
                return await node.execute_command(*args, **options)
            pipeline: Any = node.pipeline(transaction=False)  # for its one connection
            pipeline.execute_command("ASKING")
            pipeline.execute_command(*args, **options)
            return (await pipeline.execute())[1]

        return await self.at(slot_of(args), run)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> "ClusterPipeline":
        return ClusterPipeline(self, transaction)

    async def primaries(self) -> list[Redis]:
        """A client of every node that takes writes, in the order of their slots.

        Raises:
            redis.exceptions.ConnectionError: no node answers.
        """
        await self.know()
        return [self.node(place) for place in self._primaries]

    @property
    def covered_slots(self) -> int:
        """How many have a node that serves them, as far as we know."""
        return len(self._slots)

    async def at(self, slot: int, work: Callable[[Redis, bool], Awaitable[T]]) -> T:
        """Have work done where the slot is. It is handed the node, and whether to send ASKING first."""
        asked: Place | None = None
        for hop in range(HOPS):
            await self.know()
            place = asked or self.place(slot)
            try:
                return await self._noting(work(self.node(place), asked is not None))
            except AskError as error:
                if hop == HOPS - 1:
                    raise
                asked = self.redirected(error, place)
            except TryAgainError:
                if hop == HOPS - 1:
                    raise
                await asyncio.sleep(SETTLE_S)
        raise AssertionError("unreachable")

    def redirected(self, error: AskError, place: Place) -> Place | None:
        """Where a command is to be sent with ASKING; None when the slot has moved for good."""
        there = error.host if error.host not in ("", "?") else place[0], error.port
        if not isinstance(error, MovedError):
            return there
        self._slots[error.slot_id] = there
        if there not in self._primaries:
            self._primaries.append(there)
        return None

    async def know(self) -> None:
        """Return when it is known who has which slot.

        Raises:
            redis.exceptions.ConnectionError: no node answers.
        """
        if not self._known:
            await self._look_again()

    def place(self, slot: int) -> Place:
        """The node that has a slot, as far as we know."""
        try:
            return self._slots[slot]
        except KeyError:
            self.forget()
            raise ClusterDownError(f"CLUSTERDOWN no node serves slot {slot}") from None

    def node(self, place: Place) -> Redis:
        """The client of one node."""
        if place not in self._nodes:
            self._nodes[place] = Redis.from_pool(self._make_pool(*place))
        return self._nodes[place]

    def forget(self) -> None:
        """Who has what may have changed: ask before the next command."""
        self._known = False

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        nodes, self._nodes = self._nodes, {}
        await asyncio.gather(*(node.aclose() for node in nodes.values()), return_exceptions=True)
        await self.connection_pool.aclose()
        self.forget()

    async def _noting(self, work: Awaitable[T]) -> T:
        """A node that is away may have been replaced by then."""
        try:
            return await work
        except _AWAY:
            self.forget()
            raise

    async def _look_again(self) -> None:
        """One question for everybody who waits for it."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        known = random.sample(list(self._nodes), len(self._nodes))
        reason: object = "none is named"
        for place in dict.fromkeys([*known, *self._seeds]):
            try:
                node: Any = self.node(place)
                slots = _served(await node.execute_command("CLUSTER SLOTS"), place)
            except AuthenticationError:
                raise
            except _AWAY as error:
                reason = error
                continue
            if slots:
                self._slots, self._primaries = slots, list(dict.fromkeys(slots.values()))
                self._known = True
                await self._let_go_of(self._nodes.keys() - set(self._primaries))
                return
            reason = f"{place[0]}:{place[1]} is of no cluster that has slots"
        raise redis.exceptions.ConnectionError(f"no node of the cluster answers: {reason}")

    async def _let_go_of(self, places: Iterable[Place]) -> None:
        """Nodes that have nothing any more; commands that are under way end by themselves."""
        for place in places:
            await self._nodes[place].connection_pool.disconnect(inuse_connections=False)


def _served(ranges: Sequence[Any], asked: Place) -> dict[int, Place]:
    """Who has which slot, by the answer to CLUSTER SLOTS; a node that has no name for itself is `asked`."""
    slots: dict[int, Place] = {}
    for first, last, (host, port, *_), *_ in sorted(ranges, key=lambda found: int(found[0])):
        name = host.decode() if isinstance(host, bytes) else host or ""
        place = (asked[0] if name in ("", "?") else name), int(port)
        slots |= dict.fromkeys(range(int(first), int(last) + 1), place)
    return slots


class ClusterPipeline(Pipeline):
    """Commands are sent to all of their nodes at once; those of one key in the order given.

    A transaction has keys of one slot. Without one, and without `raise_on_error`, an outage of one node is
    the answer to the commands that were meant for it, and the others have theirs.
    """

    def __init__(self, cluster: Cluster, transaction: bool) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, transaction, None)
        self._cluster = cluster

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        stack, self.command_stack = self.command_stack, []
        if not stack:
            return []
        if not self.is_transaction:
            return await self._everywhere(stack, raise_on_error)
        slots = {slot_of(args) for args, _ in stack}
        if len(slots) != 1:
            raise ValueError(f"a transaction needs keys of one slot and has those of {len(slots)}")

        async def run(node: Redis, asking: bool) -> list[Any]:
            kind = _AskingPipeline if asking else Pipeline
            pipeline = kind(node.connection_pool, node.response_callbacks, True, None)
            pipeline.command_stack = list(stack)
            answers: list[Any] = await pipeline.execute(raise_on_error=raise_on_error)
            return answers

        return await self._cluster.at(slots.pop(), run)

    async def _everywhere(self, stack: Sequence[Any], raise_on_error: bool) -> list[Any]:
        answers: list[Any] = [None] * len(stack)
        slots = [slot_of(args) for args, _ in stack]
        todo: dict[int, Place | None] = dict.fromkeys(range(len(stack)))
        for hop in range(HOPS):
            again = await self._hop(stack, slots, todo, answers)
            if not again:
                break
            if any(isinstance(answers[i], TryAgainError) for i in again) and hop < HOPS - 1:
                await asyncio.sleep(SETTLE_S)
            todo = again
        if raise_on_error:
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    async def _hop(
        self, stack: Sequence[Any], slots: Sequence[int], todo: Mapping[int, Place | None], answers: list[Any]
    ) -> dict[int, Place | None]:
        """Send what is to be done; what is to be sent on, and where to if it is to be asked for there."""
        await self._cluster.know()
        groups: dict[tuple[Place, bool], list[int]] = {}
        for i, asked in todo.items():
            try:
                where = (asked or self._cluster.place(slots[i]), asked is not None)
            except ClusterDownError as error:
                answers[i] = error
            else:
                groups.setdefault(where, []).append(i)
        sending = [self._send(*to, [stack[i] for i in ids]) for to, ids in groups.items()]
        sent = await asyncio.gather(*sending)
        again: dict[int, Place | None] = {}
        for ((place, _), ids), found in zip(groups.items(), sent, strict=True):
            for i, answer in zip(ids, found, strict=True):
                answers[i] = answer
                if isinstance(answer, AskError):
                    again[i] = self._cluster.redirected(answer, place)
                elif isinstance(answer, TryAgainError):
                    again[i] = todo[i]
                elif isinstance(answer, ClusterDownError):
                    self._cluster.forget()
        return dict(sorted(again.items()))

    async def _send(self, place: Place, asking: bool, commands: Sequence[Any]) -> list[Any]:
        pipeline: Any = self._cluster.node(place).pipeline(transaction=False)
        for args, options in commands:
            if asking:
                pipeline.execute_command("ASKING")
            pipeline.execute_command(*args, **options)
        try:
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
        except _AWAY as error:
            self._cluster.forget()
            return [error] * len(commands)
        return answers[1::2] if asking else answers


class _AskingPipeline(Pipeline):
    """A transaction at the node that a slot is on its way to: it lets in what says that it was sent there."""

    async def _execute_transaction(self, connection: Any, commands: Any, raise_on_error: Any) -> Any:
        await connection.send_command("ASKING")
        await self.parse_response(connection, "ASKING")
        return await super()._execute_transaction(connection, commands, raise_on_error)
