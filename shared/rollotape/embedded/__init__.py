"""Real Valkey or Redis and real PostgreSQL on this machine, without installing or configuring anything."""

from rollotape.embedded.children import Children
from rollotape.embedded.servers import Servers, Urls

__all__ = ["Children", "Servers", "Urls"]
