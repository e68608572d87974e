"""What is wrong with a stack and what to do about it, decided from what was seen."""

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import asyncpg
from redis.exceptions import AuthenticationError

from rollotape import telemetry
from rollotape.observer import Database, Observation, Part, Server
from rollotape.postgres.standing import Installation
from rollotape.redis import clients
from rollotape.redis.addresses import Kind
from rollotape.settings import FROM_FILE, PREFIX, Settings, named_collector, unread, variable, without_login

REDIS_LEAST = (7, 0)
POSTGRES_LEAST = 15
SENTINELS_LEAST = 3
SKEW_WARN_S, SKEW_BREAKS_S = 5.0, 300.0
"""From five minutes on, bars that just ended would be refused as not yet over."""
OLD_PENDING_S = 60.0
MANY_WAITING = 10_000
OLD_UNSAID_S = 30.0
STALE_REPLICA_S = 60.0
FULL = 0.8
LITTLE_BYTES, TOO_LITTLE_BYTES = 2 * 10**9, 2 * 10**8
SERVICES = {
    "detector": "bars and patterns are not applied",
    "rs-worker": "relative strength is not computed",
    "cache-builder": "scans go stale",
    "api-gateway": "nobody can ask",
}


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found and, where something is wrong, what to do."""

    check: str
    level: Level
    says: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """What is asked of this machine and not of servers."""

    environment: Mapping[str, str]
    revisions: Sequence[str]
    """Of the schema, that this version knows, the oldest first."""
    data: str | None = None
    """Where embedded servers keep their data; None where they are others'."""
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server was looked for, and whether the environment says so or a stack of this machine."""

    variable: str
    place: str
    is_named: bool


def diagnose(seen: Observation, settings: Settings, place: Place) -> list[Finding]:
    """Every check, in the order in which one would look."""
    checks: Sequence[Callable[[], Iterator[Finding]]] = (
        lambda: variables(place.environment),
        lambda: _redis(seen.redis, _address("redis_url", settings, place)),
        lambda: _cache(seen, _address("cache_url", settings, place)),
        lambda: _database(seen.database, _address("database_url", settings, place)),
        lambda: _schema(seen.database, settings, place),
        lambda: _clocks(seen),
        lambda: _services(seen),
        lambda: _replicas(seen),
        lambda: _streams(seen),
        lambda: _backlog(seen),
        lambda: _model(seen),
        lambda: _gateway(seen, settings, place.environment),
        lambda: _telemetry(settings),
        lambda: _disk(place),
    )
    return [finding for check in checks for finding in check()]


def _address(setting: str, settings: Settings, here: Place) -> Address:
    variable = f"{PREFIX}{setting.upper()}"
    is_named = any(here.environment.get(variable + ending) for ending in ("", FROM_FILE))
    return Address(variable, without_login(getattr(settings, setting) or ""), is_named)


def ok(check: str, says: str) -> Finding:
    return Finding(check, Level.OK, says)


def warning(check: str, says: str, remedy: str) -> Finding:
    return Finding(check, Level.WARNING, says, remedy)


def broken(check: str, says: str, remedy: str) -> Finding:
    return Finding(check, Level.BROKEN, says, remedy)


def variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that nobody reads: most likely a typo, and the setting has its default."""
    strange = unread(environment)
    for name, near in strange.items():
        meant = f"did you mean {near}?" if near else "see deploy/local.env for those that there are."
        yield warning("settings", f"{name} is set, and nothing reads it", f"{meant} Rename or remove it")
    if not strange:
        count = len([name for name in environment if name.startswith(PREFIX)])
        yield ok("settings", f"{count} ROLLO_ variables set, all of them known")


def _redis(part: Part[Server], address: Address) -> Iterator[Finding]:
    check = "redis"
    if part.seen is None:
        yield _away(check, "Redis", address, part)
        return
    primaries = [part.seen, *part.seen.others]
    slowest = max(primaries, key=lambda found: found.answer_s)
    many = f"{len(primaries)} nodes of a cluster, {part.seen.title}" if part.seen.others else part.seen.title
    yield ok(check, f"{many} answers in {slowest.answer_s * 1e3:.1f} ms")
    yield from _topology(part.seen)
    fine: dict[str, Finding] = {}
    for found in primaries:
        for finding in _primary(found):
            if finding.level == Level.OK:
                fine[finding.check] = finding
            else:
                yield replace(finding, says=_at(found, part.seen, finding.says))
    yield from fine.values()


def _at(found: Server, first: Server, says: str) -> str:
    return f"{found.place}: {says}" if first.others else says


def _topology(found: Server) -> Iterator[Finding]:
    """What is wrong with how servers stand together, or are taken for what they are not."""
    says, mode = found.topology, clients.mode(found.info)
    if mode == "sentinel":
        told = "ROLLO_REDIS_URL names a Sentinel as if it kept the streams: services refuse to start"
        yield broken("redis kind", told, "write redis+sentinel://host:26379,host:26379/NAME OF THE PRIMARY")
    if mode == "cluster" and says.kind is not Kind.CLUSTER:
        told = "ROLLO_REDIS_URL names a node of a cluster as if it were alone: services refuse to start"
        yield broken("redis kind", told, "write redis+cluster://host:6379,host:6379")
    if says.uncovered_slots:
        told = f"{says.uncovered_slots:,} slots of the cluster are served by nobody"
        yield broken("redis slots", told, "start the node that had them, or `CLUSTER FAILOVER` its replica")
    if says.silent:
        told = f"Sentinels of ROLLO_REDIS_URL do not answer: {', '.join(says.silent)}"
        yield warning("redis sentinels", told, "start them, or name those that there are")
    if says.kind is Kind.SENTINEL and says.sentinels < SENTINELS_LEAST:
        told = f"{says.sentinels} Sentinels watch the primary: one that dies may leave too few to agree"
        yield warning("redis sentinels", told, f"run {SENTINELS_LEAST} or more, on machines of their own")
    if says.kind is not Kind.SERVER:
        for primary in (found, *found.others):
            if not primary.number("connected_slaves"):
                told = f"{primary.place} has no replica: when it dies, nobody takes its place"
                yield warning("redis replicas", told, "add a replica to it")


def _primary(found: Server) -> Iterator[Finding]:
    yield from _redis_version(found)
    if found.info.get("role", "master") != "master":
        says = "ROLLO_REDIS_URL names a replica, which takes no entries"
        yield broken("redis role", says, "name the primary")
    policy = str(found.info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        yield ok("redis policy", "maxmemory-policy is noeviction: streams are never evicted")
    else:
        yield broken(
            "redis policy",
            f"maxmemory-policy of ROLLO_REDIS_URL is {policy}: streams and read models may vanish",
            "CONFIG SET maxmemory-policy noeviction there, and in its configuration file",
        )
    yield from _persistence(found)
    most, used = found.number("maxmemory"), found.number("used_memory")
    if most and used > FULL * most:
        yield warning(
            "redis memory",
            f"{used / 1e6:,.0f} of {most / 1e6:,.0f} MB are used: when it is full, nothing can be sent",
            "raise maxmemory, lower ROLLO_STREAM_RETENTION_S, or see why readers are behind",
        )


def _redis_version(found: Server) -> Iterator[Finding]:
    version = str(found.info.get("redis_version", "0"))
    if tuple(int(n) for n in version.split(".")[:2] if n.isdecimal()) < REDIS_LEAST:
        least = ".".join(map(str, REDIS_LEAST))
        yield broken("redis version", f"Redis {version} is too old", f"use Redis {least} or newer, or Valkey")


def _persistence(found: Server) -> Iterator[Finding]:
    if not found.number("aof_enabled"):
        yield warning(
            "redis persistence",
            "the append-only file is off: a restart loses what was sent and is not applied yet",
            "CONFIG SET appendonly yes there, and in its configuration file",
        )
    elif found.info.get("aof_last_write_status", "ok") != "ok":
        yield broken(
            "redis persistence",
            "Redis could not write its append-only file",
            "see its log and the space on its disk",
        )
    else:
        yield ok("redis persistence", "the append-only file is on")


def _cache(seen: Observation, address: Address) -> Iterator[Finding]:
    check, part = "cache", seen.cache
    if part is None:
        yield warning(check, "ROLLO_CACHE_URL is not set: answers are not kept", "name a Redis for answers")
        return
    if part.seen is None:
        yield _away(check, "the Redis for answers", address, part)
        return
    info, streams = part.seen.info, seen.redis.seen
    if streams and info.get("run_id") == streams.info.get("run_id"):
        yield warning(
            check,
            "ROLLO_CACHE_URL and ROLLO_REDIS_URL name the same server: one policy cannot suit both",
            "give answers a Redis of their own, with maxmemory 512mb and allkeys-lru",
        )
        return
    yield ok(check, f"{part.seen.title} answers in {part.seen.answer_s * 1e3:.1f} ms")
    for server in (part.seen, *part.seen.others):
        policy = str(server.info.get("maxmemory_policy", "unknown"))
        if policy == "noeviction" or not server.number("maxmemory"):
            says = (
                f"the Redis for answers has maxmemory {server.number('maxmemory')} and policy {policy}:"
                " it grows without bounds, or fills up and takes nothing more"
            )
            yield warning(
                "cache policy",
                _at(server, part.seen, says),
                "CONFIG SET maxmemory 512mb and maxmemory-policy allkeys-lru there, and in its configuration",
            )


def _database(part: Part[Database], address: Address) -> Iterator[Finding]:
    check = "postgres"
    if part.seen is None:
        yield _away(check, "PostgreSQL", address, part)
        return
    server = part.seen.standing.server
    yield ok(
        check,
        f"PostgreSQL {server.version} answers in {part.seen.answer_s * 1e3:.1f} ms;"
        f" {server.bytes / 1e6:,.0f} MB, {server.connections} of {server.most_connections} connections",
    )
    if server.version_num < POSTGRES_LEAST * 10_000:
        yield broken("postgres version", f"{server.version} is too old", f"use {POSTGRES_LEAST} or newer")
    if server.is_standby:
        says = "ROLLO_DATABASE_URL names a standby, which cannot be written"
        yield broken("postgres role", says, "name the primary")
    if not server.fsync:
        yield warning(
            "postgres fsync",
            "fsync is off: a crash of the machine may leave a database that cannot be used",
            "set fsync = on in postgresql.conf, unless everything here may be lost",
        )
    if server.connections > FULL * server.most_connections:
        yield warning(
            "postgres connections",
            f"{server.connections} of {server.most_connections} connections are taken",
            "raise max_connections, or lower ROLLO_POOL_SIZE",
        )


def _schema(part: Part[Database], settings: Settings, place: Place) -> Iterator[Finding]:
    if part.seen is None:
        return
    check, found = "schema", part.seen.standing.installation
    if found is None or found.revision is None:
        yield broken(check, "the database has no schema yet", "run `rollo migrate`")
        return
    known = list(place.revisions)
    if found.revision not in known:
        yield broken(
            check,
            f"the database has schema {found.revision}, and this version knows those up to {known[-1]}",
            "a newer version was here: install it, or restore a backup of before",
        )
    elif found.revision != known[-1]:
        missing = known[known.index(found.revision) + 1 :]
        yield broken(
            check,
            f"the database has schema {found.revision} and lacks {', '.join(missing)}",
            "run `rollo migrate`",
        )
    else:
        yield ok(check, f"schema {found.revision}, {found.partitions} partitions")
    asked_for = settings.partitions != Settings.model_fields["partitions"].default
    if asked_for and settings.partitions != found.partitions:
        yield warning(
            "partitions",
            f"ROLLO_PARTITIONS is {settings.partitions}, and this installation has {found.partitions}"
            " for good: the setting does nothing",
            f"set ROLLO_PARTITIONS={found.partitions} or remove it",
        )


def _clocks(seen: Observation) -> Iterator[Finding]:
    skews = {}
    if seen.redis.seen:
        nodes = [seen.redis.seen, *seen.redis.seen.others]
        skews["Redis"] = max((node.now_s - node.asked_s for node in nodes), key=abs)
    if seen.database.seen:
        skews["PostgreSQL"] = seen.database.seen.standing.server.now_s - seen.database.seen.asked_s
    worst = max(map(abs, skews.values()), default=0.0)
    spread = max([*skews.values(), 0.0]) - min([*skews.values(), 0.0])
    if not skews:
        return
    if spread <= SKEW_WARN_S:
        yield ok("clocks", f"clocks differ by {worst:.1f} s at most")
        return
    told = ", ".join(f"{name} is {abs(s):,.1f} s {_side(s)}" for name, s in skews.items())
    kind = broken if spread > SKEW_BREAKS_S else warning
    yield kind(
        "clocks",
        f"clocks differ: compared with this machine {told}; bars are judged by them",
        "synchronise them (NTP, chrony)",
    )


def _side(skew_s: float) -> str:
    return "ahead" if skew_s > 0 else "behind"


def _services(seen: Observation) -> Iterator[Finding]:
    for name, replica in seen.services.items():
        if replica.seen is None:
            says = f"{name} of this machine's stack does not answer ({replica.away})"
            yield broken("services", says, f"see logs/{name}.log")
        elif not replica.seen.ready:
            why = "; ".join(f"{check}: {said}" for check, said in replica.seen.checks.items())
            says = f"{name} is not ready: {why or 'it starts or stops'}"
            yield broken("services", says, f"see logs/{name}.log")
    if seen.database.seen is None:
        return
    at_work = seen.database.seen.standing.at_work
    missing = [name for name in SERVICES if name not in at_work]
    for name in missing:
        says = f"no {name} is connected to the database: {SERVICES[name]}"
        yield broken("services", says, f"start a {name}")
    if not missing:
        yield ok("services", f"{', '.join(SERVICES)} are at work")


def _replicas(seen: Observation) -> Iterator[Finding]:
    if seen.database.seen is None:
        return
    replicas = seen.database.seen.standing.replicas
    for replica in replicas:
        if replica.seen_s > STALE_REPLICA_S:
            yield warning(
                "replicas",
                f"{replica.name} ({replica.service}) was last heard of {_ago(replica.seen_s)} ago",
                f"it was killed or is cut off: start a {replica.service}, or see if it reaches PostgreSQL",
            )
    installed = seen.database.seen.standing.installation
    for service in sorted({r.service for r in replicas if r.seen_s <= STALE_REPLICA_S}):
        held = sum(r.partitions for r in replicas if r.service == service)
        count = len([r for r in replicas if r.service == service and r.seen_s <= STALE_REPLICA_S])
        if installed and held < installed.partitions:
            yield warning(
                "leases",
                f"{service} holds {held} of {installed.partitions} partitions",
                "look again in a few seconds: it may be sharing them anew; else see its log",
            )
        else:
            yield ok("leases", f"{service}: {held} partitions, {count} replica{'s' if count != 1 else ''}")


def _streams(seen: Observation) -> Iterator[Finding]:
    if seen.streams.seen is None:
        if seen.redis.seen is not None:
            says = f"streams cannot be read: {seen.streams.away}"
            yield broken("streams", says, "see to the rights of the user of ROLLO_REDIS_URL")
        return
    streams = seen.streams.seen.streams
    missing: dict[tuple[str, str], list[str]] = {}
    for stream in streams:
        for group in stream.missing:
            missing.setdefault((stream.kind, group), []).append(stream.name)
    for (kind, group), names in missing.items():
        yield warning(
            "groups",
            f"{len(names)} of the streams of {kind} have no group {group} ({names[0]} for one):"
            " what is in them is not read, and never trimmed",
            f"start a {group}; it makes its groups and reads from the beginning",
        )
    behind = False
    for kind, group in sorted({(s.kind, g) for s in streams for g in s.groups if g not in s.missing}):
        groups = [s.groups[group] for s in streams if s.kind == kind and group in s.groups]
        waiting = sum(s.waiting(group) for s in streams if s.kind == kind and group in s.groups)
        oldest = max((g.oldest_pending_ms or 0 for g in groups), default=0) / 1e3
        if oldest > OLD_PENDING_S:
            behind = True
            yield warning(
                "pending",
                f"an entry of {kind} was given to {group} {_ago(oldest)} ago and is not acknowledged",
                f"see the log of {group}; what it cannot apply becomes a dead letter by itself",
            )
        if waiting > MANY_WAITING:
            behind = True
            yield warning(
                "lag",
                f"{waiting:,} entries of {kind} wait for {group}",
                f"wait, if a large import is under way; else start more replicas of {group}",
            )
    if not missing and not behind:
        yield ok("streams", f"{len(streams)} streams, nothing waits for long")


def _backlog(seen: Observation) -> Iterator[Finding]:
    if seen.database.seen is None or (found := seen.database.seen.standing.installation) is None:
        return
    yield from _unsaid(found)
    if found.dead_letters:
        yield warning(
            "dead letters",
            f"{found.dead_letters:,} inputs could not be applied",
            "see `rollo dlq list`; then `rollo dlq requeue` or `rollo dlq drop` them",
        )
    else:
        yield ok("dead letters", "none")
    missing = seen.database.seen.standing.missing
    if missing and missing.bars:
        yield warning(
            "gaps",
            f"{missing.bars:,} bars of the last seven days are missing, in {missing.gaps:,} gaps",
            "see `rollo gaps`; start their feed, or send them by `rollo import FILE --missing`",
        )
    elif missing:
        yield ok("gaps", "none that anybody has found")
    strength = seen.database.seen.standing.strength
    if strength and not strength.stocks:
        yield warning(
            "sectors",
            "no symbol has a sector: there are no leaders and no excess against sectors",
            "run `rollo import-sectors FILE.csv`",
        )


def _unsaid(found: Installation) -> Iterator[Finding]:
    if found.oldest_unsaid_s is not None and found.oldest_unsaid_s > OLD_UNSAID_S:
        yield warning(
            "outbox",
            f"{found.unsaid:,} commits have not been told to others, the oldest for"
            f" {_ago(found.oldest_unsaid_s)}",
            "a detector or rs-worker tells them by itself: see whether one runs and reaches Redis",
        )


def _model(seen: Observation) -> Iterator[Finding]:
    if seen.streams.seen is None:
        return
    check, model = "read model", seen.streams.seen.model
    builder = "start a cache-builder, which builds it by itself; or run `rollo cache rebuild`"
    installed = seen.database.seen.standing.installation if seen.database.seen else None
    if model.state != "sound":
        yield broken(check, f"the read model of scans is {model.state}: scans are answered by 503", builder)
    elif installed and model.epoch != installed.epoch:
        yield broken(check, "the read model was built from another database", builder)
    elif not seen.streams.seen.model_is_tended:
        says = "no cache-builder tends the read model: scans are stale"
        yield warning(check, says, "start a cache-builder")
    else:
        yield ok(check, f"{model.entries:,} active patterns, version {model.version}")


def _gateway(seen: Observation, settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    open_to_others = not is_loopback(settings.http_host)
    keys = seen.database.seen.standing.keys if seen.database.seen else []
    for key in keys:
        if key.expired:
            yield warning(
                "keys",
                f"the key {key.name!r} expired on {key.expires_at:%Y-%m-%d}",
                "make its owner a new one with `rollo key create`, and `rollo key revoke` this one",
            )
    valid = len([key for key in keys if not key.expired])
    if open_to_others and settings.auth == "off":
        yield broken(
            "gateway",
            f"ROLLO_HTTP_HOST={settings.http_host} is open to other machines and ROLLO_AUTH is off:"
            " the gateway refuses to start",
            "set ROLLO_AUTH=on and make keys with `rollo key create`, or bind to 127.0.0.1",
        )
    elif (open_to_others or environment.get("ROLLO_AUTH") == "on") and not valid:
        yield _no_keys()
    else:
        who = "this machine only" if not open_to_others else "other machines, with keys"
        yield ok("gateway", f"open to {who}; {valid} valid key{'s' if valid != 1 else ''}")


def _telemetry(settings: Settings) -> Iterator[Finding]:
    """Where spans and errors go, where they go anywhere."""
    lacking = {name: extra for name, extra, _ in telemetry.lacking(settings)}
    for name, extra in lacking.items():
        says = f"{name} is set, and the extra {extra} is not installed: services refuse to start"
        yield broken("telemetry", says, f"pip install 'rollotape[{extra}]', or unset {name}")
    collector = named_collector(settings)
    if collector and collector.variable not in lacking:
        yield ok("telemetry", f"spans go where {collector.variable} says")
    if settings.sentry_dsn and variable("sentry_dsn") not in lacking:
        yield ok("telemetry", f"errors go where {variable('sentry_dsn')} says")


def _no_keys() -> Finding:
    return warning(
        "gateway",
        "the gateway wants keys, and there is none that is valid",
        "run `rollo key create --scope read --name WHOSE`",
    )


def _disk(place: Place) -> Iterator[Finding]:
    if place.free_bytes is None:
        return
    says = f"{place.free_bytes / 1e9:,.1f} GB are free where {place.data} is"
    if place.free_bytes < TOO_LITTLE_BYTES:
        yield broken("disk", f"only {says}", "make space: PostgreSQL stops when it can no longer write")
    elif place.free_bytes < LITTLE_BYTES:
        yield warning("disk", f"only {says}", "make space, or move the data")
    else:
        yield ok("disk", says)


_NOT_MEANT = {
    "cluster support disabled": ("the server is no node of a cluster", "write redis://host:6379"),
    "No master found": (
        "the Sentinels know no primary of this name that is up",
        "see `SENTINEL MASTERS` on one of them; the name stands after the last /",
    ),
    "unknown command 'SENTINEL'": ("the server is no Sentinel", "name the Sentinels, mostly at port 26379"),
}
"""What a server says that is another kind than its URL."""


def _away(check: str, what: str, address: Address, part: Part[Any]) -> Finding:
    variable = address.variable
    if isinstance(part.error, AuthenticationError | asyncpg.InvalidAuthorizationSpecificationError):
        says = f"{what} rejects the login: {part.away}"
        return broken(check, says, f"see to user and password of {variable}")
    if isinstance(part.error, asyncpg.InvalidCatalogNameError):
        return broken(check, f"{what}: {part.away}", f"create it, or name another in {variable}")
    for sign, (says, remedy) in _NOT_MEANT.items():
        if sign in part.away:
            return broken(check, f"{variable}: {says} ({part.away})", remedy)
    return broken(
        check,
        f"{what} cannot be reached at {address.place}: {part.away or 'it does not answer in time'}",
        f"see whether it runs there, and to {variable}"
        if address.is_named
        else f"start it (`rollo up` for one of its own), or see to {variable}",
    )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may come to mean another address


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:,.0f} h"


def worst(findings: Sequence[Finding]) -> Level:
    levels = [finding.level for finding in findings]
    return max(levels, key=list(Level).index, default=Level.OK)


def without_secrets(findings: Sequence[Finding], secrets: Sequence[str]) -> list[Finding]:
    """Errors of others may repeat an address with its password."""
    hidden = list(findings)
    for secret in filter(None, secrets):
        hidden = [replace(f, says=f.says.replace(secret, "***")) for f in hidden]
    return hidden
