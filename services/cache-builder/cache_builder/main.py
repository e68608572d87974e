"""Starts a cache-builder."""

from cache_builder.handlers import SERVICE, ApplyUpdates
from rollotape import service
from rollotape.cache.patterns import PatternModel
from rollotape.postgres.active import ActivePatterns

TEND_EVERY_S = 0.25
"""So long a reader waits at most until somebody hears that the model is broken."""
EXPIRE_EVERY_S = 1.0
RECONCILE_EVERY_S = 60.0


async def start(worker: service.Service) -> None:
    model = PatternModel(ActivePatterns(worker.pool), worker.redis)
    worker.deliver("updates", ApplyUpdates(model, worker.pool))
    worker.every(TEND_EVERY_S, model.tend)
    worker.every(EXPIRE_EVERY_S, model.expire)
    worker.every(RECONCILE_EVERY_S, model.reconcile)


def run() -> None:
    """Entry point of the console script `cache-builder`."""
    service.run(SERVICE, start)
