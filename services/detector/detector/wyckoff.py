"""Marks become events, patterns and trades: gather, decide, apply, say."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic, perf_counter
from typing import NoReturn

import structlog

from rollotape import metrics, tracing
from rollotape.domain.reading import Derived, TooShort, derive, read_tapes
from rollotape.domain.wyckoff.rules import Rules
from rollotape.errors import Unavailable
from rollotape.outcomes import telling
from rollotape.postgres.pool import OUTAGES, unavailable
from rollotape.postgres.wyckoff import Block, Gathered, Wyckoff
from rollotape.streams.backoff import Backoff, is_outage
from rollotape.streams.outbox import Outbox

SERVICE = "detector"
SYMBOLS_AT_ONCE = 16
"""Of one transaction: those who bring bars of these symbols wait for it."""
QUIET_S = 0.3
"""Bars are quiet when no mark came for so long: several of one symbol are better read together."""
POURING_QUIET_S = 1.5
"""The same while bars pour in: the next batch of a partition comes when others have had their turn."""
PATIENCE_S = 2.0
"""Bars that keep coming are not waited for any longer, unless reading them takes long itself."""
WORK_SHARE = 4.0
"""While bars pour in, they have so much more time than the reading of them: in an order in which each of them
makes a whole history be read again, the last reading is the one that counts."""
PATIENCE_MOST_S = 60.0
POLL_S = 1.0
"""Marks are the queue, and are looked at this often whether or not anybody says that there are any."""
PREPARE_EVERY_S = 60.0
"""Detectors of two versions may be at work while one takes the place of the other."""
WHOLE_BARS = 2**31 - 1

assert QUIET_S < POURING_QUIET_S < PATIENCE_S < PATIENCE_MOST_S

log = structlog.get_logger()


class Defective(Exception):
    """Symbols that we cannot read though nothing is away: a bug of ours. Their marks are where they were."""

    def __init__(self, symbols: Sequence[str]) -> None:
        super().__init__(" ".join(symbols))
        self.symbols = symbols


class Read:
    """Works off what is due; any number of them may do so, on any machines."""

    def __init__(
        self,
        wyckoff: Wyckoff,
        outbox: Outbox,
        *,
        quiet_s: float = QUIET_S,
        pouring: Callable[[], bool] = lambda: False,
    ) -> None:
        """While bars are `pouring` in, those of a symbol may be in the next batch, and quiet takes longer."""
        self._pouring = pouring
        self._wyckoff = wyckoff
        self._outbox = outbox
        self._quiet_s = quiet_s
        self._patience_s = PATIENCE_S
        self._symbols = SYMBOLS_AT_ONCE
        self._defective: set[str] = set()
        """Left alone until we start again: a bug must not keep the other symbols from being read."""
        self._aside = False
        """A later rule set has read here: what we read, it would read again, and so forth."""

    @property
    def quiet_s(self) -> float:
        """How long no bar must have come, as things stand."""
        return max(self._quiet_s, POURING_QUIET_S) if self._pouring() else self._quiet_s

    async def once(self) -> bool:
        """Read everything that is due now; false when nothing was.

        Raises:
            Unavailable: Redis or PostgreSQL is away. What was begun is due again.
        """
        if self._aside:
            return False
        began, worked = perf_counter(), False
        with unavailable(SERVICE):
            while await self._work():
                worked = True
            if worked:
                metrics.WYCKOFF_BACKLOG.set(await self._wyckoff.backlog())
        busy_s = perf_counter() - began
        self._patience_s = min(max(PATIENCE_S, WORK_SHARE * busy_s), PATIENCE_MOST_S)
        return worked

    async def unread(self) -> bool:
        """Whether anything is marked, due or not, that we would read."""
        if self._aside:
            return False
        with unavailable(SERVICE):
            return await self._wyckoff.unread(without=self._defective)

    async def prepare(self) -> None:
        """Have read again what an older rule set has read; leave everything to a newer one."""
        with unavailable(SERVICE):
            newer = await self._wyckoff.newer_rules()
            if not newer:
                await self._wyckoff.mark_outdated()
        if newer and not self._aside:
            log.warning("wyckoff_stands_aside", newer=newer)
        self._aside = bool(newer)

    async def _work(self) -> bool:
        try:
            with telling("tape_read"):
                worked = await self._block()
            self._symbols = min(SYMBOLS_AT_ONCE, self._symbols * 2)
        except Defective as defective:
            if len(defective.symbols) == 1:
                self._defective.update(defective.symbols)
            self._symbols = max(1, self._symbols // 8)  # fewer at once, until it is one
            log.exception("wyckoff_defective", first=defective.symbols[0], count=len(defective.symbols))
            return True
        return worked

    async def _block(self) -> bool:
        """Read some symbols that are due, all or none of them."""
        async with self._wyckoff.due(
            self._symbols, self.quiet_s, self._patience_s, without=self._defective
        ) as block:
            if block is None:
                return False
            tracing.note(symbols=block.symbols, traces=block.traces)
            try:
                clock = _Steps()
                gathered = await block.gather(block.marks)
                clock.lap("wyckoff gather")
                gathered, derived = await _decide(block, gathered)
                clock.lap("wyckoff decide")
                unsaid = await block.write(gathered, derived)
                clock.lap("wyckoff apply")
            except OUTAGES:
                raise
            except Exception as error:
                raise Defective(block.symbols) from error
        _count(len(gathered), derived)
        if unsaid is not None:
            await self._outbox.say(unsaid)
        return True


async def _decide(block: Block, gathered: Sequence[Gathered]) -> tuple[list[Gathered], Derived]:
    """In a thread: those who apply bars, and those who ask whether we live, must not wait for it."""
    found, short = await asyncio.to_thread(_read, gathered, block.rules)
    done = [g for g in gathered if all(g is not s for s in short)]
    if short:
        longer = await block.gather([g.mark for g in short], WHOLE_BARS)
        more, still = await asyncio.to_thread(_read, longer, block.rules)
        assert not still
        found.add(more)
        done += longer
    return done, found


def _read(gathered: Sequence[Gathered], rules: Rules) -> tuple[Derived, list[Gathered]]:
    """What changes, and what has to be read with more bars."""
    tapes = read_tapes(
        [g.mark.key for g in gathered], [g.bars for g in gathered], [g.stored for g in gathered], rules
    )
    derived, short = Derived(), list[Gathered]()
    for g, tape in zip(gathered, tapes, strict=True):
        try:
            derived.add(derive(g.mark.key, tape, g.stored, g.mark.last_ts, whole=g.whole, rules=rules))
        except TooShort:
            short.append(g)
    return derived, short


class _Steps:
    """Observes how long each step took since the last one."""

    def __init__(self) -> None:
        self._last = perf_counter()

    def lap(self, step: str) -> None:
        now = perf_counter()
        metrics.STEP_SECONDS.labels(SERVICE, step).observe(now - self._last)
        self._last = now


def _count(keys: int, derived: Derived) -> None:
    metrics.WYCKOFF_KEYS.inc(keys)
    for kind in ("events", "patterns", "trades"):
        metrics.WYCKOFF_ROWS.labels(kind, "written").inc(len(getattr(derived, kind)))
        metrics.WYCKOFF_ROWS.labels(kind, "removed").inc(len(getattr(derived, f"{kind}_gone")))


async def work(read: Read, wake: asyncio.Event) -> NoReturn:
    """Work off what is due, again and again."""
    backoff, prepare_at = Backoff(), 0.0
    while True:
        try:
            if monotonic() >= prepare_at:
                await read.prepare()
                prepare_at = monotonic() + PREPARE_EVERY_S
            if not await read.once():
                await _pause(read, wake)
            backoff.reset()
        except Exception as error:
            away = isinstance(error, Unavailable) or is_outage(error)
            log.warning("wyckoff_failed", reason=repr(error), exc_info=not away)
            await asyncio.sleep(backoff.delay_s())


async def _pause(read: Read, wake: asyncio.Event) -> None:
    """Until bars were committed, here or, within `POLL_S`, elsewhere; then for them to be quiet."""
    if await read.unread():
        await asyncio.sleep(max(QUIET_S, read.quiet_s) / 2)  # every replica looks, and most find nothing due
        return
    wake.clear()
    try:
        async with asyncio.timeout(POLL_S):
            await wake.wait()
    except TimeoutError:
        return
    await asyncio.sleep(QUIET_S)
