"""Who asks."""

from dataclasses import dataclass
from typing import Any

from rollotape.keys import Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was let in: `request.scope["state"]["caller"]`.

    `key_id` is the id of a key, `jwt` for a token, `local` where no keys are asked for. `owner` has the
    watchlists and saved scans: the owner of the key, or the `sub` of the token.
    """

    key_id: str
    owner: str
    scope: Scope
    rate: int | None = None
    """Requests in a window, where the key has a number of its own."""

    @property
    def counted_as(self) -> str:
        """Under what name it is counted; of tokens, which come and go, under that of their subject."""
        return f"jwt:{self.owner}" if self.key_id == "jwt" else self.key_id


LOCAL = Caller("local", "local", "admin")
"""Everybody on this machine, where no keys are asked for."""


def of(scope: Any) -> Caller:
    """Who sent a request."""
    found = scope["state"].get("caller", LOCAL)
    assert isinstance(found, Caller)
    return found
