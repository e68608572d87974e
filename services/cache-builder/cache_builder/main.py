"""Starts a cache-builder."""

from cache_builder.handlers import SERVICE, ApplyUpdates
from cache_builder.rolling import Roll
from cache_builder.warming import Warming, follow
from rollotape import analytics, service
from rollotape.cache.answers import Answers, open_redis
from rollotape.cache.patterns import PatternModel
from rollotape.postgres.active import ActivePatterns
from rollotape.postgres.rollups import Rollups

TEND_EVERY_S = 0.25
"""So long a reader waits at most until somebody hears that the model is broken."""
EXPIRE_EVERY_S = 1.0
RECONCILE_EVERY_S = 60.0
ROLL_EVERY_S = 0.5
"""No generation of answers lives shorter: whoever asks again and again gets most of them from memory."""
WARM_EVERY_S = 0.25
WARMING_CONNECTIONS = 2
"""One asks for the generation while the other one computes."""


async def start(worker: service.Service) -> None:
    model = PatternModel(ActivePatterns(worker.pool), worker.redis)
    worker.deliver("updates", ApplyUpdates(model, worker.pool))
    worker.every(TEND_EVERY_S, model.tend)
    worker.every(EXPIRE_EVERY_S, model.expire)
    worker.every(RECONCILE_EVERY_S, model.reconcile)
    worker.every(ROLL_EVERY_S, Roll(Rollups(worker.pool)).turn)
    await _keep_warm(worker)


async def _keep_warm(worker: service.Service) -> None:
    """Of use only where there is a Redis for answers."""
    redis = open_redis(worker.settings.cache_url)
    if redis is None:
        return
    pool = await worker.plain_pool(WARMING_CONNECTIONS)
    generations = follow(pool)
    answers = Answers(analytics.DATASET, generations, redis, grace_s=0.0)
    worker.at_the_end(answers.close)
    worker.at_the_end(generations.close)
    worker.every(WARM_EVERY_S, Warming(answers, generations, pool).run)


def run() -> None:
    """Entry point of the console script `cache-builder`."""
    service.run(SERVICE, start)
