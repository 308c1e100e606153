"""Where webhooks may go: to public addresses, and to what the operator allows.

A URL is what an API key asks for, and a worker can reach more than who holds the key: its own machine, its
neighbours, the metadata of a cloud. So the addresses of a name are looked at after it was resolved, all of
them, and the connection goes to one that was looked at: a name that resolves otherwise a moment later changes
nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from holdfast.errors import ConfigurationError
from holdfast.notify.channel import NotSent

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

# What `ipaddress` takes for public and is not. IPv4 addresses in disguise: translation (RFC 6052, RFC 8215),
# 6to4 (RFC 3056, RFC 7526), Teredo (RFC 4380), and in the last 32 bits (RFC 4291, 2.5.5.1). Site-local
# addresses (RFC 3879), those of documentation (RFC 9637), and where Azure answers virtual machines.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in (
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "192.88.99.0/24",
        "2001::/32",
        "::/96",
        "fec0::/10",
        "3fff::/20",
        "168.63.129.16/32",
    )
)


@dataclass(frozen=True)
class Allowed:
    """What may be reached though it is not public, and without TLS: for development, and for who knows why.

    Attributes:
        hosts: by name, whatever they resolve to.
        networks: by address, whatever name led there.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = field(default=())

    @classmethod
    def parse(cls, text: str) -> "Allowed":
        """Read a list such as `localhost, 10.1.0.0/16`.

        Raises:
            ConfigurationError: it holds a network that is none.
        """
        hosts, networks = set[str](), list[Network]()
        for part in filter(None, (part.strip().lower() for part in text.split(","))):
            try:
                networks.append(ipaddress.ip_network(part))
            except ValueError:
                if "/" in part or ":" in part:
                    raise ConfigurationError(f"{part!r} is neither a host nor a network.") from None
                hosts.add(part)
        return cls(frozenset(hosts), tuple(networks))

    def names(self, host: str) -> bool:
        """Whether a URL with this host is allowed whatever it resolves to."""
        address = _literal(host)
        return host.lower() in self.hosts if address is None else self.has(address)

    def has(self, address: Address) -> bool:
        """Whether this address lies in an allowed network."""
        return any(address in network for network in self.networks)


async def checked_addresses(host: str, port: int, allowed: Allowed, resolve: Resolve) -> Sequence[str]:
    """The addresses of a host, which may all be connected to.

    Raises:
        NotSent: it has none (`unresolved`), or one that may not be reached (`address_refused`).
    """
    try:
        found = await resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise NotSent(f"{host} could not be resolved: {error}", code="unresolved") from error
    if not allowed.names(host):
        check_public(found, allowed)
    return found


def check_public(addresses: Iterable[str], allowed: Allowed) -> None:
    """Check that each of these may be connected to; raises `NotSent` (`address_refused`)."""
    for text in addresses:
        address = ipaddress.ip_address(text)
        if not (is_public(address) or allowed.has(address)):
            # The address itself is not told: it would tell what is inside.
            raise NotSent("The URL leads to an address that is not public.", code="address_refused")


def check_literal(host: str, allowed: Allowed) -> bool:
    """Whether a host may stand in a URL, as far as can be told without resolving it."""
    address = _literal(host)
    return address is None or is_public(address) or allowed.has(address)


def is_public(address: Address) -> bool:
    """Whether this is an address of the public Internet, of one receiver, and not another one in disguise."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.scope_id is not None:
            return False
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """The addresses that the system gives for a name; raises `OSError`."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
