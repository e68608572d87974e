"""What a request may have, and how long it may take; settings, whose defaults are here as well."""

from dataclasses import dataclass

from rollotape.settings import Settings


@dataclass(frozen=True, slots=True)
class Bounds:
    """As the settings of the same names beginning with `http_` say."""

    head_bytes: int = 64 * 1024
    """Of the first line and all headers."""
    headers: int = 100
    head_s: float = 10.0
    """From the first byte of a request, or from the start of the connection, to the end of its headers."""
    body_bytes: int = 2 * 1024 * 1024
    lines_bytes: int = 64 * 1024 * 1024
    """Of a body of lines, which are sent on as they come."""
    body_s: float = 30.0
    stalled_s: float = 30.0
    """A client that takes nothing of an answer for so long is let go."""
    connections: int = 5_000
    linger_s: float = 2.0
    """For a body that goes on after its request was answered."""

    @classmethod
    def of(cls, settings: Settings) -> "Bounds":
        return cls(
            head_bytes=settings.http_head_bytes,
            headers=settings.http_headers,
            head_s=settings.http_head_s,
            body_bytes=settings.http_body_bytes,
            lines_bytes=settings.http_lines_bytes,
            body_s=settings.http_body_s,
            stalled_s=settings.http_stalled_s,
            connections=settings.http_connections,
        )


DEFAULT = Bounds()
