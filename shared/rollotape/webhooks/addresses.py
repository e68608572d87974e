"""Where webhooks may be sent: never into a network that only looks like the outside from here."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

from rollotape.errors import Refused, RolloError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LONGEST_URL = 2_000
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\.?", re.I)
_VISIBLE = re.compile(r"[!-~]+")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_INSIDE = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # answers a machine about itself in one of the clouds, though it looks public
        "192.0.0.0/24",  # protocols; Python's own list of them grows from version to version
        "192.88.99.0/24",
        "64:ff9b:1::/48",  # a translator of one's own
    )
)


class Forbidden(RolloError):
    """This address may not be connected to."""


class Wrong(RolloError):
    """This is no URL that a webhook may have."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads."""

    secure: bool
    host: str
    port: int
    path: str
    authority: str
    """Host and port, as the URL has them."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings allow beyond `https` and public addresses."""

    networks: tuple[Network, ...] = ()
    http: bool = False

    def judge(self, address: str) -> Address:
        """
        Raises:
            Forbidden: it is private, of this machine, of this link, or leads there in disguise.
        """
        asked = ipaddress.ip_address(address.partition("%")[0])
        if not self._allows(asked) and not all(_is_public(one) for one in (asked, *_hidden(asked))):
            raise Forbidden(f"{asked} is no public address")
        return asked

    def _allows(self, address: Address) -> bool:
        return any(address.version == n.version and address in n for n in self.networks)

    def target(self, url: str) -> Target:
        """
        Raises:
            Wrong: with what is wrong with the URL, or with the address that it names.
        """
        if len(url) > LONGEST_URL or not _VISIBLE.fullmatch(url):
            raise Wrong(f"must be at most {LONGEST_URL:,} ASCII characters without blanks")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise Wrong("must be a URL") from None
        if parts.scheme not in ("https", "http") or (parts.scheme == "http" and not self.http):
            raise Wrong("must begin with https://")
        if "@" in parts.netloc or parts.fragment or "\\" in url:
            raise Wrong("must have no user, no password, no fragment and no backslash")
        host = parts.hostname or ""
        literal = _literal(host)
        if literal is not None:
            try:
                self.judge(host)
            except Forbidden as error:
                raise Wrong(str(error)) from None
        elif not _HOST.fullmatch(host) or len(host) > 253 or host.rstrip(".").rpartition(".")[2].isdigit():
            raise Wrong("must name a host, in ASCII")
        if port == 0:
            raise Wrong("must have a port from 1 to 65535, or none")
        secure = parts.scheme == "https"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(secure, host, port or (443 if secure else 80), path, parts.netloc)


def policy(networks: str, http: str) -> Policy:
    """Of the settings.

    Raises:
        Refused: these are no networks.
    """
    try:
        found = tuple(ipaddress.ip_network(part.strip()) for part in networks.split(",") if part.strip())
    except ValueError as error:
        raise Refused(f"ROLLO_WEBHOOKS_NETWORKS: {error}") from None
    return Policy(found, http == "on")


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_public(address: Address) -> bool:
    if any(address.version == n.version and address in n for n in _INSIDE):
        return False
    return address.is_global and not address.is_multicast


def _hidden(address: Address) -> Iterable[Address]:
    """Addresses of the older kind that a newer one leads to."""
    if not isinstance(address, IPv6Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _NAT64 or int(address) >> 32 == 0:
        yield IPv4Address(int(address) & 0xFFFF_FFFF)
