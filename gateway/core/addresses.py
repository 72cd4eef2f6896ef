"""Client addresses: whom to believe, and which lists hold an address."""

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

Network = IPv4Network | IPv6Network
_MAX_REMEMBERED: Final = 4096
_MAPPED_BITS: Final = 96


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address; an IPv4 one mapped into IPv6 becomes IPv4.

    >>> parse_address("::ffff:10.0.0.1")
    IPv4Address('10.0.0.1')
    """
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read CIDR lists; IPv4 ranges mapped into IPv6 become IPv4, as addresses do.

    >>> parse_networks(["::ffff:10.0.0.0/104"])
    (IPv4Network('10.0.0.0/8'),)

    :raises ValueError: for what is none.
    """
    return tuple(_unmapped(ip_network(text, strict=False)) for text in texts)


def _unmapped(network: Network) -> Network:
    start = network.network_address
    if isinstance(start, IPv6Address) and start.ipv4_mapped and network.prefixlen >= _MAPPED_BITS:
        return IPv4Network((int(start.ipv4_mapped), network.prefixlen - _MAPPED_BITS))
    return network


def is_within(text: str, networks: tuple[Network, ...]) -> bool:
    address = parse_address(text)
    return address is not None and any(address in network for network in networks)


class TrustedProxies:
    """The proxies whose forwarded headers are believed; remembers the answers."""

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self._networks = networks
        self._known: dict[str, bool] = {}

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return False
        known = self._known.get(address)
        if known is None:
            known = is_within(address, self._networks)
            if len(self._known) < _MAX_REMEMBERED:
                self._known[address] = known
        return known

    def client_of(self, peer: str, forwarded_for: list[bytes]) -> str:
        """Return the rightmost address of the chain that is no trusted proxy; never the leftmost.

        >>> proxies = TrustedProxies(parse_networks(["10.0.0.0/8"]))
        >>> proxies.client_of("10.0.0.9", [b"6.6.6.6, 1.2.3.4"])
        '1.2.3.4'
        """
        address = peer
        chain = [part.strip() for value in forwarded_for for part in value.split(b",")]
        while chain and address in self:
            entry = parse_address(chain.pop().decode("ascii", "replace"))
            if entry is None or getattr(entry, "scope_id", None):
                break  # a zone is any text, and none of ours
            address = str(entry)
        return address
