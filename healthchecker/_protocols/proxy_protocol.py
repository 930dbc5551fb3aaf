"""The header by which a proxy names the client of a connection: PROXY protocol, version 1.

A server behind HAProxy, nginx or a load balancer may refuse connections without it. Source: The
PROXY protocol, Willy Tarreau, HAProxy Technologies, section 2.1.
"""

from __future__ import annotations

import ipaddress

UNKNOWN = b"PROXY UNKNOWN\r\n"
"""The header of a connection that has no addresses to name, such as one over a Unix socket."""


def encode_header(local: tuple[str, int], peer: tuple[str, int]) -> bytes:
    """Return the header of our own connection: from our address and port to those of the peer."""
    source, destination = (_plain(address) for address, _ in (local, peer))
    if source.version != destination.version:
        return UNKNOWN
    return f"PROXY TCP{source.version} {source} {destination} {local[1]} {peer[1]}\r\n".encode()


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address without its zone, which has a meaning on this machine only."""
    return ipaddress.ip_address(address.partition("%")[0])
