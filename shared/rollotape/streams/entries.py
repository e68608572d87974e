"""An entry of a stream, and what a worker does with a batch of them."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from rollotape.events import FIELD


class Entry(NamedTuple):
    """One stream entry as it was read. A tuple, as one is made per entry on the way of every bar."""

    stream: str
    id: str
    fields: dict[bytes, bytes]

    @property
    def payload(self) -> bytes | None:
        """Bytes of the only field that a contract knows; None when the sender left it out."""
        return self.fields.get(FIELD)

    @property
    def arrived_ms(self) -> int:
        """Milliseconds since 1970 at which Redis took the entry, from its id."""
        return int(self.id.partition("-")[0])


class Handler(Protocol):
    """A worker's side of the delivery."""

    async def apply(self, entries: Sequence[Entry]) -> None:
        """Apply the entries, all or none. To return means that every one of them is done.

        Raises:
            Unavailable: tried again in place for as long as it takes; a timeout halves the batch.
            Exception: the batch is split until the entry that fails stands alone.
        """
        ...

    async def bury(self, entry: Entry, error: Exception) -> None:
        """Keep an entry that failed alone five times as a dead letter with reason `defect`."""
        ...


Weigh = Callable[[Entry], int]


def pieces(entries: Sequence[Entry], weigh: Weigh | None, limit: int) -> Iterator[Sequence[Entry]]:
    """Cut entries, in order, into batches whose weights add up to `limit` at most.

    An entry heavier than the limit stands alone.
    """
    if weigh is None:
        yield entries
        return
    first, total = 0, 0
    for i, entry in enumerate(entries):
        weight = weigh(entry)
        if i > first and total + weight > limit:
            yield entries[first:i]
            first, total = i, 0
        total += weight
    if entries:
        yield entries[first:]
