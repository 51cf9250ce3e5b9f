"""Which URLs and which addresses a webhook may go to: pure, and strict.

Who gives the URL is often a stranger, and the request leaves from within: it must not reach
what only we can reach.
"""

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import SplitResult, urlsplit

from backline.display import shown
from backline.webhooks.settings import Network, WebhookSettings

Address: TypeAlias = IPv4Address | IPv6Address

MAX_URL: Final = 2_048
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
"""A host whose last label is one is an address to some libraries, whatever stands before."""
_NAT64: Final = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_CLOSED: Final = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT; a cloud's metadata, too
        "168.63.129.16/32",  # Azure's wire server
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "::/96",  # IPv4-compatible
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)
"""Closed whatever this Python's `is_global` says of them."""


class Target(NamedTuple):
    """A URL that may be posted to, as far as can be told before its name is looked up."""

    url: str
    host: str
    port: int


def check_url(url: str, settings: WebhookSettings) -> Target:
    """The URL, taken apart. Raises ValueError for one that no webhook may go to."""
    if len(url) > MAX_URL:
        raise ValueError(f"{len(url):,} characters are too many for a URL; {MAX_URL:,} are taken")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError(
            f"{shown(url)} has what is no part of a URL: write it percent-encoded, "
            "and the name of a host in its ASCII form (xn--...)"
        )
    parts = urlsplit(url)
    schemes = ("https", "http") if settings.allow_http else ("https",)
    if parts.scheme not in schemes:
        raise ValueError(f"{shown(url)} does not begin with {' or '.join(schemes)}://")
    if "@" in parts.netloc:
        raise ValueError("a user or a password has no place in the URL of a webhook")
    if "#" in url:
        raise ValueError(f"{shown(url)} has a fragment, which no server sees")
    host, port = _host(parts), _port(parts)
    if ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]):
        check_addresses(host, [host], settings.allow_networks)
    if port not in settings.ports and not (settings.allow_http and port == 80):
        allowed = ", ".join(map(str, settings.ports))
        raise ValueError(f"port {port} is none that webhooks go to ({allowed})")
    shown_host = f"[{host}]" if ":" in host else host
    path = parts.path or "/"
    query = f"?{parts.query}" if parts.query else ""
    return Target(f"{parts.scheme}://{shown_host}:{port}{path}{query}", host, port)


def check_addresses(
    host: str, addresses: Sequence[str], allowed: Sequence[Network] = ()
) -> list[str]:
    """All addresses of a host, to connect to. Raises ValueError if one of them is not public."""
    if not addresses:
        raise ValueError(f"{host} has no address")
    for text in addresses:
        if not is_public(text) and not _is_allowed(text, allowed):
            raise ValueError(f"{host} has the address {text}, which is not public")
    return list(addresses)


def is_public(text: str) -> bool:
    """Whether an address is anybody's to reach: not private, special, or one that hides such."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return all(map(_is_open, _with_hidden(address)))


def _is_open(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return False
    return (
        address.is_global
        and not (address.is_multicast or address.is_reserved or address.is_unspecified)
        and not any(address in network for network in _CLOSED)
    )


def _with_hidden(address: Address) -> Iterator[Address]:
    """The address that counts, and the IPv4 one that is written into it."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
            return
        if address in _NAT64[0]:
            yield IPv4Address(int(address) & 0xFFFFFFFF)
            return
    yield address


def _is_allowed(text: str, allowed: Sequence[Network]) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return any(address in network for network in allowed)


def _host(parts: SplitResult) -> str:
    """The host, in lower case and without the dot of the root."""
    host = parts.hostname or ""
    if "[" in parts.netloc:
        try:
            return str(IPv6Address(host if "%" not in host else ""))
        except ValueError:
            raise ValueError(f"{shown(host)} is no IPv6 address") from None
    host = host.removesuffix(".")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise ValueError(f"{shown(host)} is no IPv4 address in its usual form") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{shown(host)} is no name of a host")
    return host


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{shown(parts.netloc)}: {error}") from None
    if port is None:
        return 443 if parts.scheme == "https" else 80
    return port
