"""Every setting, read once from the environment (prefix ROLLO_) when a process starts."""

import os
import socket
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from rollotape.errors import Refused


def _instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class Settings(BaseSettings):
    """Frozen; components are handed the part they need, never this object's module."""

    model_config = SettingsConfigDict(env_prefix="ROLLO_", frozen=True, extra="ignore")

    redis_url: str = Field(description="Redis that keeps the streams; its policy must be noeviction.")
    cache_url: str | None = Field(None, description="Redis that keeps recomputable answers.")
    database_url: str = Field(description="PostgreSQL 15 or newer, postgresql://user@host:port/name.")

    instance: str = Field(default_factory=_instance, description="Name of this replica in leases and logs.")
    partitions: int = Field(16, ge=1, le=1024, description="Partitions of a new installation; then fixed.")
    batch_entries: int = Field(2_000, ge=1, description="Stream entries read at once.")
    batch_bars: int = Field(20_000, ge=1, description="Bars applied in one transaction.")
    batches_in_flight: int = Field(3, ge=1, description="Batches of different partitions worked on together.")
    window_bars: int = Field(1_000_000, ge=1, description="Bars kept in memory per detector.")
    claim_ms: int = Field(30_000, ge=100, description="An entry pending for longer is claimed.")
    lease_s: float = Field(8.0, gt=0, description="A replica unheard of for longer loses its partitions.")
    stream_retention_s: float = Field(3_600, ge=0, description="Acknowledged entries stay this long.")
    janitor_every_s: float = Field(30.0, gt=0, description="Seconds between two trimmings.")

    pool_size: int = Field(6, ge=1, description="PostgreSQL connections of one process.")
    statement_timeout_ms: int = Field(30_000, ge=1)
    lock_timeout_ms: int = Field(10_000, ge=1)
    idle_transaction_ms: int = Field(10_000, ge=1)
    tcp_user_timeout_ms: int = Field(15_000, ge=1)
    watchdog_s: float = Field(30.0, gt=0, description="Our own transactions older than this are ended.")

    ops_host: str = Field("127.0.0.1", description="Where a service answers /livez, /readyz and /metrics.")
    ops_port: int = Field(0, ge=0, le=65535, description="0 chooses a free port.")
    http_host: str = Field("127.0.0.1", description="Where the gateway listens.")
    http_port: int = Field(8080, ge=0, le=65535)
    auth: Literal["on", "off"] = Field("on", description="off is accepted on loopback only.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def load(**given: Any) -> Settings:
    """Read the environment, save for what is given; or raise `Refused` naming every wrong variable."""
    try:
        return Settings(**given)
    except ValidationError as error:
        wrong = [f"ROLLO_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()]
        raise Refused("settings: " + "; ".join(wrong)) from None
