"""Which IP addresses are reachable from everywhere, seen through the forms of IPv6 that lead to an IPv4 address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network("64:ff9b::/96")
_6TO4 = IPv6Network("2002::/16")
_REFUSED = (
    IPv4Network("192.88.99.0/24"),  # relays of 6to4: they lead anywhere
    IPv6Network("::/96"),  # IPv4-compatible
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated (RFC 2765)
    IPv6Network("64:ff9b:1::/48"),  # NAT64 of one network: where the IPv4 part stands is known to that network alone
    IPv6Network("fec0::/10"),  # site-local, the private addresses of old
)


def is_public(address: str) -> bool:
    """Whether an IP address, with or without a zone, is reachable from everywhere. Raises ValueError."""
    ip = _meant(ip_address(address.partition("%")[0]))
    if any(ip in network for network in _REFUSED if network.version == ip.version):
        return False
    return ip.is_global and not ip.is_multicast


def _meant(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for (mapped, NAT64, 6to4), else the address itself."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip in _6TO4:
        return IPv4Address(int(ip) >> 80 & 0xFFFFFFFF)
    return ip
