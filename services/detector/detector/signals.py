"""Events about trades of outside systems become committed trades."""

from detector.patterns import ApplyEvents
from rollotape import metrics, signals
from rollotape.postgres.signals import Signals
from rollotape.streams.outbox import Outbox


class ApplySignals(ApplyEvents):
    """Applies entries of the `signals` streams; the delivery acknowledges what this returns from."""

    def __init__(self, store: Signals, outbox: Outbox) -> None:
        super().__init__(store, outbox, signals.read, metrics.SIGNALS, metrics.SIGNALS_CONFLICTS)
