"""Starts a cache-builder."""

import asyncio
from time import monotonic

from cache_builder import hooks
from cache_builder.counting import count
from cache_builder.entering import Enter
from cache_builder.handlers import SERVICE, ApplyUpdates
from cache_builder.rolling import Roll
from cache_builder.warming import Warming, follow
from rollotape import analytics, calendars, service
from rollotape.accounting import Accounts
from rollotape.auditing import Auditor
from rollotape.cache.answers import Answers, open_redis
from rollotape.cache.patterns import PatternModel
from rollotape.postgres.active import ActivePatterns
from rollotape.postgres.entrants import Entrants
from rollotape.postgres.rollups import Rollups
from rollotape.redis.clients import open_client
from rollotape.sampling import Sampling
from rollotape.streams.outbox import Outbox
from rollotape.survey import Survey
from rollotape.webhooks import addresses
from rollotape.webhooks.sending import Sender

TEND_EVERY_S = 0.25
"""So long a reader waits at most until somebody hears that the model is broken."""
EXPIRE_EVERY_S = 1.0
RECONCILE_EVERY_S = 60.0
ROLL_PAUSE_S, ROLL_LEAST_PAUSE_S = 0.7, 0.05
"""Between two runs. Whoever asks again and again gets most answers from memory while none changes."""
ROLLED_WITHIN_S = 1.2
"""A change that has just missed a run waits for its end, for the pause, and for the next run: after long runs
the pause is shorter, so that answers are not older than two seconds."""
COUNT_EVERY_S = 0.5
"""The same of other answers than those about trades."""
ENTER_EVERY_S = 0.5
"""So long a newcomer to a saved scan waits at most, and as many as come meanwhile are one message."""
SEND_EVERY_S = 0.25
"""So long a fact that was queued for a webhook waits at most for its first attempt."""
TIDY_EVERY_S = 10.0
SWEEP_EVERY_S = 2.0
UNSAID_S = 5.0
"""What was committed and is still unsaid after this long was left by a crash."""
BETWEEN_TURNS_S = 0.01
"""Of warming, which waits by itself."""
STREAMS_EVERY_S = 5.0
SURVEY_EVERY_S = 10.0
ACCOUNT_EVERY_S = 10.0
ANSWER_S = 3.0
WARMING_CONNECTIONS = 2
"""One asks for the generation while the other one computes."""


def _pause_s(took_s: float) -> float:
    return min(ROLL_PAUSE_S, max(ROLL_LEAST_PAUSE_S, ROLLED_WITHIN_S - 2 * took_s))


async def start(worker: service.Service) -> None:
    model = PatternModel(ActivePatterns(worker.pool), worker.redis)
    worker.deliver("updates", ApplyUpdates(model, worker.pool))
    worker.every(TEND_EVERY_S, model.tend)
    worker.every(EXPIRE_EVERY_S, model.expire)
    worker.every(RECONCILE_EVERY_S, model.reconcile)
    roll, warming = Roll(Rollups(worker.pool)), await _warming(worker)

    async def roll_up() -> None:
        began = monotonic()
        await roll.turn()
        if warming is not None:
            warming.wake()  # its answers are to be there before a gateway has heard of the generation
        await asyncio.sleep(_pause_s(monotonic() - began) - ROLL_LEAST_PAUSE_S)

    async def count_up() -> None:
        await count(worker.pool)

    worker.deliver("updates", hooks.QueueFacts(worker.pool), group=hooks.GROUP)
    outbox = Outbox(worker.pool, worker.producer)

    async def sweep() -> None:
        await outbox.sweep(older_than_s=UNSAID_S)

    looking = Enter(Entrants(worker.pool), outbox)

    async def enter() -> None:
        await looking.turn()

    worker.every(ROLL_LEAST_PAUSE_S, roll_up)
    worker.every(ENTER_EVERY_S, enter)
    _send(worker)
    worker.every(SWEEP_EVERY_S, sweep)
    worker.every(COUNT_EVERY_S, count_up)
    _watch(worker)
    if warming is not None:
        worker.every(BETWEEN_TURNS_S, warming.turn)


def _watch(worker: service.Service) -> None:
    """What is true of the whole is asked again and again, and proved."""
    cache_url = worker.settings.cache_url
    cache = open_client(cache_url, answer_s=ANSWER_S, connect_s=ANSWER_S) if cache_url else None
    if cache is not None:
        worker.at_the_end(cache.aclose)
    survey = Survey(worker.pool, worker.redis, cache, worker.partitions, calendars.sessions)
    accounts = Accounts(worker.pool, worker.redis, worker.partitions, calendars.sessions)

    auditor = Auditor(worker.pool, calendars.sessions)

    async def account() -> None:
        await accounts.turn()

    async def audit() -> None:
        await auditor.turn()

    worker.every(STREAMS_EVERY_S, survey.ask_streams)
    worker.every(SURVEY_EVERY_S, survey.ask_redis)
    worker.every(SURVEY_EVERY_S, survey.ask_postgres)
    worker.every(ACCOUNT_EVERY_S, account)
    if worker.settings.gaps_every_s:
        worker.every(worker.settings.gaps_every_s, audit)
    if worker.settings.verify_every_s:
        sampling = Sampling(worker.settings.verify_symbols)
        worker.every(worker.settings.verify_every_s, sampling.turn)


def _send(worker: service.Service) -> None:
    settings = worker.settings
    sender = Sender(addresses.policy(settings.webhooks_networks, settings.webhooks_http))
    sending = hooks.Send(worker.pool, sender, settings.webhooks_days)
    worker.at_the_end(sending.close)

    async def send() -> None:
        await sending.turn()

    async def tidy() -> None:
        await sending.tidy()

    worker.every(SEND_EVERY_S, send)
    worker.every(TIDY_EVERY_S, tidy)


async def _warming(worker: service.Service) -> Warming | None:
    """Of use only where there is a Redis for answers."""
    redis = open_redis(worker.settings.cache_url)
    if redis is None:
        return None
    pool = await worker.plain_pool(WARMING_CONNECTIONS)
    generations = follow(pool)
    answers = Answers(analytics.DATASET, generations, redis, grace_s=0.0)
    worker.at_the_end(answers.close)
    worker.at_the_end(generations.close)
    return Warming(answers, generations, pool)


def run() -> None:
    """Entry point of the console script `cache-builder`."""
    service.run(SERVICE, start)
