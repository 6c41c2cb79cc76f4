"""Keeps downloads away from the user's own network (server-side request forgery): what the user typed may lie there,
and what a redirect, a list or a dataset names may not, whether it spells an address out or resolves to one.

The check is made where it cannot be dodged: on the address that a socket is about to connect to, by an audit hook
(`sys.addaudithook`, event `socket.connect`), and only inside `public_addresses_only`.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterator, Set
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

Endpoint = tuple[str, int]
"""An IP address and a port."""


class PrivateAddress(OSError):
    """A connection to an address that is not public was refused."""


@dataclass
class _Guard:
    allowed: Set[Endpoint]
    refused: list[str] = field(default_factory=list)


_guard: ContextVar[_Guard | None] = ContextVar("public_addresses_only", default=None)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: neither private, loopback, link-local nor reserved.

    >>> is_public("8.8.8.8"), is_public("169.254.169.254"), is_public("::ffff:10.0.0.1")
    (True, False, False)
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in ipaddress.ip_network("64:ff9b::/96"):  # an IPv4 address behind NAT64 (RFC 6052)
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is not None:
            return is_public(str(inner))
        if ip not in ipaddress.ip_network("2000::/3"):  # all that is global so far (RFC 4291, section 2.4)
            return False
    return ip.is_global and not ip.is_multicast


def literal_address(host: str) -> str | None:
    """The IP address that a URL's host spells out, `localhost` included; None for a name that must be resolved.

    The spellings of inet_aton (`127.1`, `0x7f000001`) count, because a resolver takes them.
    """
    if host.rstrip(".").lower() == "localhost" or host.lower().endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def typed_endpoints(*urls: str | None) -> frozenset[Endpoint]:
    """Where the URLs that a user typed lead to: proxies, and the host of a source. For a host that is not this machine
    also the usual ports of HTTP and HTTPS: a server often redirects from one to the other."""
    found: set[Endpoint] = set()
    for url in urls:
        parts = urlsplit(url or "")
        if not parts.hostname:
            continue
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            known = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError):
            continue  # what cannot be found fails when it is used
        for *_, address in known:
            host = str(address[0])
            found |= {(host, one) for one in ({port} if _is_loopback(host) else {port, 80, 443})}
    return frozenset(found)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


@contextmanager
def public_addresses_only(allowed: Set[Endpoint]) -> Iterator[list[str]]:
    """Inside, this thread connects to public addresses and to `allowed` only; another raises PrivateAddress (which
    the HTTP library wraps). Yields the list of addresses that were refused.
    """
    _install()
    guard = _Guard(allowed)
    token = _guard.set(guard)
    try:
        yield guard.refused
    finally:
        _guard.reset(token)


@cache
def _install() -> None:
    sys.addaudithook(_check)  # cannot be taken back; without a guard it only looks at the event's name


def _check(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect":
        return
    guard = _guard.get()
    address = arguments[1]
    if guard is None or not isinstance(address, tuple):
        return
    host, port = address[0], address[1]
    if (host, port) not in guard.allowed and not is_public(host):
        guard.refused.append(host)
        raise PrivateAddress("a private address; see --allow-private-addresses")
