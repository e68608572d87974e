"""What a Redis URL says: one server, a primary that Sentinels know, or a cluster.

    redis://user:password@host:6379/0                        one server (also unix:///path/to/socket)
    redis+sentinel://user:password@host,host:26379/service   the primary that these Sentinels call `service`
    redis+cluster://user:password@host:6379,host:6380        a cluster, of which these nodes are asked first

With `rediss` instead of `redis` all of them speak TLS. Options follow a `?`, as redis-py names them
(ssl_ca_certs, ssl_certfile, ssl_keyfile, ...); sentinel_username and sentinel_password are what the Sentinels
themselves ask for, if they do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from redis.asyncio.connection import parse_url

_PORTS = {"cluster": 6379, "sentinel": 26379}
_ROLE = "sentinel_"


class Kind(StrEnum):
    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Redis is. Holds passwords: `place` is what may be shown."""

    kind: Kind
    place: str
    """The URL without user, password and options."""
    options: Mapping[str, Any]
    """Of a connection, as redis-py takes them; for one server with its host and port or path."""
    nodes: tuple[tuple[str, int], ...] = ()
    """Of a cluster, or the Sentinels."""
    service: str = ""
    """What the Sentinels call the primary."""
    sentinel_options: Mapping[str, Any] | None = None

    @property
    def where(self) -> str:
        """Hosts and ports alone, or the path of a socket."""
        if self.nodes:
            return ",".join(f"{host}:{port}" for host, port in self.nodes)
        if "path" in self.options:
            return str(self.options["path"])
        return f"{self.options.get('host', 'localhost')}:{self.options.get('port', 6379)}"


def address(url: str) -> Address:
    """
    Raises:
        ValueError: this is none. The message says what is wrong and repeats no password.
    """
    parts = urlsplit(url)
    if "://" not in url:  # redis-py would read a password as a path, and go to this machine
        raise ValueError("a URL has :// in it")
    scheme, _, kind = parts.scheme.partition("+")
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if not kind:
        return Address(Kind.SERVER, place, parse_url(url))
    if scheme not in ("redis", "rediss") or kind not in _PORTS:
        raise ValueError(f"{parts.scheme}:// is none of redis://, redis+sentinel://, redis+cluster://")
    nodes = tuple(_node(text, _PORTS[kind]) for text in parts.netloc.rpartition("@")[2].split(","))
    options = _options(parts, scheme)
    if kind == "cluster":
        _must_be_whole(parts.path, options)
        return Address(Kind.CLUSTER, place, options, nodes)
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("the name of the primary is missing: redis+sentinel://host:26379/NAME")
    if database:
        options["db"] = _number(database, "the database")
    ours = {name: value for name, value in options.items() if not name.startswith(_ROLE)}
    theirs = {name.removeprefix(_ROLE): value for name, value in options.items() if name.startswith(_ROLE)}
    tls = {name: value for name, value in ours.items() if name.startswith(("ssl", "connection_class"))}
    return Address(Kind.SENTINEL, place, ours, nodes, unquote(service), tls | theirs)


def _options(parts: SplitResult, scheme: str) -> dict[str, Any]:
    """User, password, TLS and what stands after the `?`, as redis-py reads them of one server."""
    login = parts.netloc.rpartition("@")[0]
    one = parts._replace(scheme=scheme, netloc=f"{login}@localhost" if login else "localhost", path="")
    options = dict(parse_url(one.geturl()))
    del options["host"]
    return options


def _must_be_whole(path: str, options: Mapping[str, Any]) -> None:
    if path.strip("/") not in ("", "0") or options.get("db"):
        raise ValueError("a cluster has one database, 0")


def _node(text: str, port: int) -> tuple[str, int]:
    """
    >>> _node("10.0.0.7:7000", 6379), _node("[::1]", 6379)
    (('10.0.0.7', 7000), ('::1', 6379))
    """
    host, colon, number = text.rpartition(":")
    if not colon or number.endswith("]"):  # the colons of an IPv6 address
        host, number = text, ""
    host = host.strip("[]")
    if not host:
        raise ValueError("a host is missing: host:port,host:port")
    return unquote(host), _number(number, "a port") if number else port


def _number(text: str, what: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise ValueError(f"{what} is no number: {text}")
    return int(text)
