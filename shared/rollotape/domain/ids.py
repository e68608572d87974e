"""Ids of what we derive ourselves, so made that nobody else can claim one, not even before it exists."""

from uuid import UUID, uuid5

OWN_VERSION = 8
_SHIFT = 76
"""Where the four bits of the version stand."""


def own_id(namespace: UUID, key: str) -> UUID:
    """The uuid5 of a key, with the version that RFC 9562 leaves to each system's own use."""
    number = uuid5(namespace, key).int
    return UUID(int=(number & ~(0xF << _SHIFT)) | (OWN_VERSION << _SHIFT))


def is_own(value: UUID) -> bool:
    """Whether an id lies where those of our own patterns and trades do; from outside it is refused."""
    return (value.int >> _SHIFT) & 0xF == OWN_VERSION
