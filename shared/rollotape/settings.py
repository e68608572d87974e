"""Every setting, read once from the environment (prefix ROLLO_) when a process starts.

Each may also be in a file: ROLLO_DATABASE_PASSWORD_FILE names the file that holds ROLLO_DATABASE_PASSWORD.
"""

import difflib
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from rollotape.errors import Refused
from rollotape.redis.addresses import address
from rollotape.wording import reason

PREFIX = "ROLLO_"
FROM_FILE = "_FILE"
OF_OTHERS = {"ROLLO_DATA", "ROLLO_API_KEY", "ROLLO_SHARED_DATA"} | {
    f"ROLLO_{name}" for name in ("BUILD_NETWORK", "FILES", "IMAGE", "PUBLISH", "SECRETS", "STREAMS_MEMORY")
} | {f"ROLLO_{name}_{what}" for name in ("PROMETHEUS", "GRAFANA") for what in ("IMAGE", "PUBLISH")}
"""Read by commands and tests, and by docker-compose.yml: no settings of services."""
OF_TESTS = "ROLLO_TEST_"


def _instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class Settings(BaseSettings):
    """Frozen; components are handed the part they need, never this object's module."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    redis_url: str = Field(
        description="Redis that keeps the streams; its policy must be noeviction. redis://host:6379,"
        " redis+sentinel://host:26379,host:26379/service or redis+cluster://host:6379,host:6379;"
        " with rediss over TLS."
    )
    redis_password: SecretStr | None = Field(None, description="Of ROLLO_REDIS_URL, if it names none itself.")
    cache_url: str | None = Field(
        None, description="Redis that keeps recomputable answers; of the same kinds."
    )
    cache_password: SecretStr | None = Field(None, description="Of ROLLO_CACHE_URL, if it names none itself.")
    database_url: str = Field(description="PostgreSQL 15 or newer, postgresql://user@host:port/name.")
    database_password: SecretStr | None = Field(
        None, description="Of ROLLO_DATABASE_URL, if it names none itself."
    )

    instance: str = Field(
        default_factory=_instance,
        description="Name of this replica in leases and logs; without it, host name and process number.",
    )
    partitions: int = Field(16, ge=1, le=1024, description="Partitions of a new installation; then fixed.")
    batch_entries: int = Field(2_000, ge=1, description="Stream entries read at once.")
    batch_bars: int = Field(20_000, ge=1, description="Bars applied in one transaction.")
    batches_in_flight: int = Field(3, ge=1, description="Batches of different partitions worked on together.")
    window_bars: int = Field(1_000_000, ge=1, description="Bars kept in memory per detector.")
    wyckoff: Literal["on", "off"] = Field(
        "on", description="off leaves the bars unread, for another detector or a later day: VSA alone."
    )
    claim_ms: int = Field(30_000, ge=100, description="An entry pending for longer is claimed.")
    lease_s: float = Field(3.0, gt=0, description="A replica unheard of for longer loses its partitions.")
    stream_retention_s: float = Field(3_600, ge=0, description="Acknowledged entries stay so many seconds.")
    stream_mb: int = Field(
        64, ge=1, description="MB in the streams of one kind; above it, acknowledged entries go earlier."
    )
    janitor_every_s: float = Field(30.0, gt=0, description="Seconds between two trimmings.")

    pool_size: int = Field(6, ge=1, description="PostgreSQL connections of one process.")
    statement_timeout_ms: int = Field(
        30_000, ge=1, description="A statement that takes longer is cancelled and tried again."
    )
    lock_timeout_ms: int = Field(
        10_000, ge=1, description="A lock not had within this time is given up and tried again."
    )
    idle_transaction_ms: int = Field(
        10_000, ge=1, description="A transaction in which nothing happens for this long is ended."
    )
    tcp_user_timeout_ms: int = Field(
        15_000, ge=1, description="A connection whose peer is silent for this long is broken."
    )
    watchdog_s: float = Field(30.0, gt=0, description="Our own transactions older than this are ended.")

    verify_every_s: float = Field(
        300.0, ge=0, description="cache-builder has a sample verified this often; 0: never."
    )
    gaps_every_s: float = Field(
        300.0, ge=0, description="cache-builder looks for missing bars this often; 0: never."
    )
    verify_symbols: int = Field(2, ge=1, description="Symbols of such a sample.")
    ops_host: str = Field("127.0.0.1", description="Where a service answers /livez, /readyz and /metrics.")
    ops_port: int = Field(0, ge=0, le=65535, description="The port for it; 0 chooses a free one.")
    http_host: str = Field("127.0.0.1", description="Where the gateway listens.")
    http_port: int = Field(8080, ge=0, le=65535, description="The gateway's port; 0 chooses a free one.")
    http_connections: int = Field(5_000, ge=1, description="Connections of one gateway.")
    http_head_bytes: int = Field(65_536, ge=1_024, description="Bytes of a request before its body.")
    http_headers: int = Field(100, ge=10, description="Headers of a request.")
    http_head_s: float = Field(10.0, gt=0, description="Seconds in which the headers have to arrive.")
    http_body_bytes: int = Field(2_097_152, ge=1, description="Bytes of a body.")
    http_lines_bytes: int = Field(
        67_108_864, ge=1, description="Bytes of a body of lines, which are sent on as they come."
    )
    http_body_s: float = Field(
        30.0,
        gt=0,
        description="Seconds in which a body has to arrive; lines may take longer if 64 KiB a second come.",
    )
    http_stalled_s: float = Field(
        30.0, gt=0, description="A client that takes nothing of its answer for so many seconds is let go."
    )
    auth: Literal["on", "off"] = Field("on", description="off is accepted on loopback only.")
    origins: str = Field(
        "",
        description="Web pages that may connect, as https://desk.example.org, comma-separated; those on this"
        " machine always may.",
    )
    ws_clients: int = Field(5_000, ge=1, description="WebSocket connections of one gateway.")
    ws_clients_per_key: int = Field(
        100, ge=1, description="Streams that one key may have open, WebSocket and events, at all gateways."
    )
    ws_queue_facts: int = Field(
        5_000, ge=1, description="Facts kept in memory for clients; one who is further behind is cut off."
    )
    hosts: str = Field(
        "",
        description="Names that clients may call the gateway by, comma-separated. Without it those of this"
        " machine where ROLLO_AUTH=off, and any name where keys are asked for.",
    )
    rate_requests: int = Field(
        6_000, ge=1, description="Requests of a key in a window, unless it has a number of its own."
    )
    rate_strangers: int = Field(
        600, ge=1, description="Requests without a good key in a window, from one address."
    )
    rate_window_s: int = Field(60, ge=1, le=86_400, description="How long a window lasts.")
    audit_days: int = Field(90, ge=1, description="Days that a row of audit_log is kept.")
    jwt_jwks: str | None = Field(
        None, description="Keys of who signs tokens: https://..., http:// on this machine, or a file."
    )
    jwt_secret: SecretStr | None = Field(
        None, description="What tokens are signed with, instead of ROLLO_JWT_JWKS."
    )
    jwt_algorithms: str = Field(
        "", description="What tokens may be signed by; without it RS256, ES256, or HS256 with a secret."
    )
    jwt_issuer: str | None = Field(None, description="`iss` of tokens; needed where tokens are taken.")
    jwt_audience: str | None = Field(None, description="`aud` of tokens; needed where tokens are taken.")
    jwt_leeway_s: int = Field(10, ge=0, le=300, description="By so much clocks may differ.")
    jwt_scope_claim: str = Field(
        "scope", description="The claim that says what a token may; dots lead into objects."
    )
    jwt_scopes: str = Field(
        "read=read,write=write,admin=admin", description="Our scopes, each with what the claim calls it."
    )
    webhooks_networks: str = Field(
        "", description="Networks that webhooks may lead to though they are not public: 10.1.0.0/16,::1/128."
    )
    webhooks_http: Literal["on", "off"] = Field(
        "off", description="Whether webhooks may have http:// addresses; what they are told is then readable."
    )
    webhooks_days: int = Field(
        3, ge=1, le=365, description="A webhook to which nothing could be sent for so many days is disabled."
    )
    alpaca_key: SecretStr | None = Field(None, description="Key of an account at Alpaca, for its feed.")
    alpaca_secret: SecretStr | None = Field(None, description="The secret that belongs to ROLLO_ALPACA_KEY.")
    alpaca_stream_url: str = Field(
        "wss://stream.data.alpaca.markets", description="Where Alpaca's live bars are."
    )
    alpaca_data_url: str = Field("https://data.alpaca.markets", description="Where Alpaca's past bars are.")
    yahoo_url: str = Field("https://query2.finance.yahoo.com", description="Where Yahoo's charts are.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least to be logged.")
    otel_endpoint: str | None = Field(
        None,
        description="Collector that spans are sent to (OTLP over HTTP), http://collector:4318; without it"
        " that of OTEL_EXPORTER_OTLP_ENDPOINT, if there is one. Takes the extra `otel`.",
    )
    otel_headers: SecretStr | None = Field(
        None, description="Headers that the collector asks for: name=value, several with commas between."
    )
    otel_requests: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of requests that get a span, beside those whose caller traces them.",
    )
    sentry_dsn: SecretStr | None = Field(
        None,
        description="Tracker that errors are sent to, https://key@host/project. Takes the extra `sentry`.",
    )
    sentry_environment: str = Field(
        "production", description="What the tracker is to call this installation."
    )


def load(**given: Any) -> Settings:
    """Read the environment and the files it names, save for what is given; passwords are in the URLs then.

    Raises:
        Refused: the message names every variable that is missing or wrong.
    """
    found, unread = _in_files(os.environ, given.keys())
    wrong = list(unread.values())
    try:
        settings = Settings(**found | given)
    except ValidationError as error:
        wrong += [_complaint(e) for e in error.errors() if e["loc"][0] not in unread]
    else:
        wrong += _wrong_addresses(settings)
    if wrong:
        raise Refused("; ".join([*wrong, *misspelt(os.environ)]))
    return _with_passwords(settings)


def unread(environment: Mapping[str, str]) -> dict[str, str | None]:
    """Variables that nobody reads, most likely a typo, each with the one that was probably meant."""
    known = {variable(name) for name in Settings.model_fields}
    known |= {f"{name}{FROM_FILE}" for name in known} | OF_OTHERS
    strange = sorted(
        name
        for name in environment
        if name.upper().startswith(PREFIX) and name not in known and not name.startswith(OF_TESTS)
    )
    return {
        name: next(iter(difflib.get_close_matches(name.upper(), known, 1, 0.75)), None) for name in strange
    }


def misspelt(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each of them that looks like another."""
    return [
        f"{name} is set, and nothing reads it: did you mean {meant}?"
        for name, meant in unread(environment).items()
        if meant
    ]


OTLP = "http/protobuf"


class Collector(NamedTuple):
    """Where spans go, and the variable that says so."""

    variable: str
    url: str


def named_collector(settings: Settings, environment: Mapping[str, str] | None = None) -> Collector | None:
    """Where spans go; None: nowhere."""
    environment = os.environ if environment is None else environment
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if settings.otel_endpoint:
        return Collector(variable("otel_endpoint"), f"{settings.otel_endpoint.rstrip('/')}/v1/traces")
    if environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return None
    if of_traces := environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        return Collector("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", of_traces)
    if of_all := environment.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return Collector("OTEL_EXPORTER_OTLP_ENDPOINT", f"{of_all.rstrip('/')}/v1/traces")
    return None


def must_be_collector(settings: Settings) -> None:
    """Said before anything is sent; the address itself is not repeated, for it may hold a password.

    Raises:
        Refused: this is no address of a collector.
    """
    found = named_collector(settings)
    if found is None:
        return
    try:
        parts = urlsplit(found.url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise Refused(f"{found.variable} is no URL like http://collector:4318 (OTLP over HTTP)")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if not settings.otel_endpoint and os.environ.get(name, OTLP) != OTLP:
            raise Refused(f"{name} is not {OTLP}, and nothing else is spoken: set ROLLO_OTEL_ENDPOINT")


def without_login(url: str) -> str:
    """Where a server is looked for, without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def named(setting: str) -> bool:
    """Does the environment have this setting, or name a file that does?"""
    return any(os.environ.get(variable(setting) + ending) for ending in ("", FROM_FILE))


def variable(setting: str) -> str:
    return PREFIX + setting.upper()


def described() -> Iterator[tuple[str, str]]:
    """Every variable with what it means."""
    for name, field in Settings.model_fields.items():
        if field.is_required():
            default = " (needed)"
        else:
            default = "" if field.default_factory or field.default is None else f" [{field.default}]"
        yield variable(name), f"{field.description}{default}"


def _in_files(environment: Mapping[str, str], given: Any) -> tuple[dict[str, str], dict[str, str]]:
    """By setting, values that files hold, and what is wrong with files that were named."""
    found: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for name in Settings.model_fields.keys() - given:
        plain, pointer = variable(name), variable(name) + FROM_FILE
        if not (place := environment.get(pointer)):
            continue
        if environment.get(plain):
            wrong[name] = f"{plain} and {pointer} are both set: keep one"
            continue
        try:
            found[name] = Path(place).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            wrong[name] = f"{pointer}: {place} cannot be read: {reason}"
            continue
        if not found[name]:
            wrong[name] = f"{pointer}: {place} is empty"
    return found, wrong


def _complaint(error: Any) -> str:
    name = str(error["loc"][0])
    if error["type"] == "missing":
        meaning = (Settings.model_fields[name].description or "").rstrip(".")
        return f"{variable(name)} is not set ({meaning})"
    return f"{variable(name)}: {reason(error)}"


def must_be_redis(name: str, url: str) -> None:
    """Said before anybody connects; the URL itself is not repeated, for it may hold a password.

    Raises:
        Refused: this is no URL of a Redis.
    """
    try:
        address(url)
    except ValueError as error:
        why = f": {error}" if "+" in url.partition("://")[0] else ""
        raise Refused(f"{name} is no URL like redis://:password@host:6379/0{why}") from None


def must_be_postgres(name: str, url: str) -> None:
    """The same for PostgreSQL."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("postgresql", "postgres") and ("," in parts.netloc or parts.port != 0)
    except ValueError:
        good = False
    if not good:
        raise Refused(f"{name} is no URL like postgresql://user:password@host:5432/name")


_SERVERS = {"redis": must_be_redis, "cache": must_be_redis, "database": must_be_postgres}


def _wrong_addresses(settings: Settings) -> list[str]:
    wrong = []
    for server, must_be_right in _SERVERS.items():
        url, name = getattr(settings, f"{server}_url"), variable(f"{server}_url")
        if not url:
            continue  # the cache, or a command that does not need this server
        try:
            must_be_right(name, url)
        except Refused as refused:
            wrong.append(str(refused))
        else:
            if getattr(settings, f"{server}_password") and urlsplit(url).password:
                other = variable(f"{server}_password")
                wrong.append(f"{name} has a password in it, and {other} is set as well: keep one")
    try:
        if settings.otel_endpoint:  # those of the standard are for services alone
            must_be_collector(settings)
    except Refused as refused:
        wrong.append(str(refused))
    return wrong


def _with_passwords(settings: Settings) -> Settings:
    """The same with each password in its URL, where every client of ours looks for it."""
    update: dict[str, str] = {}
    for server in _SERVERS:
        url, password = getattr(settings, f"{server}_url"), getattr(settings, f"{server}_password")
        if url and password:
            update[f"{server}_url"] = _with_password(url, password.get_secret_value())
    return settings.model_copy(update=update)


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    login, _, place = parts.netloc.rpartition("@")
    user = login.partition(":")[0]
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}").geturl()
