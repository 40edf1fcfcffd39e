"""Addresses: a channel at a bridge, ``tcp://host:port/name`` or ``tls://...``."""

import re
from dataclasses import dataclass
from typing import Final

from rlay.errors import ChannelError
from rlay.protocol.names import check_name, group_prefix

DEFAULT_PORT: Final = 7450
SCHEMES: Final = ("tcp", "tls")

_MARK: Final = "://"
_ENDPOINT: Final = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.%A-Za-z_-]*)\]|(?P<host>[^:\[\]]*))"
    r"(?::(?P<port>[^:]*))?\Z"
)
_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})\Z")
_MOST_PORTS: Final = 65_535
_SHOWN_CHARS: Final = 120


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a bridge listens.

    Attributes:
        host: A name, or the digits of an address; IPv6 without its brackets.
        port: From 1 to 65535; 0 where the system may pick one.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as it is typed, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Address:
    """A channel that is reached through a bridge.

    Attributes:
        scheme: ``tcp`` or ``tls``.
        endpoint: Where the bridge listens.
        name: Of the channel, or of a group ``name.*``.
    """

    scheme: str
    endpoint: Endpoint
    name: str

    @property
    def secure(self) -> bool:
        """Whether it is reached through TLS."""
        return self.scheme == "tls"

    def __str__(self) -> str:
        """Write it as it is typed."""
        return f"{self.scheme}{_MARK}{self.endpoint}/{self.name}"


def is_address(text: object) -> bool:
    """Return whether ``text`` is meant as an address and not as a channel's name."""
    return isinstance(text, str) and _MARK in text


def parse_address(text: str, *, group: bool = False) -> Address:
    """Return the address in ``text``.

    Args:
        text: ``tcp://host:port/name``; without a port it is 7450.
        group: Whether the name may be that of a group, ``name.*``.

    Raises:
        ChannelError: It is no address; the message says what is wrong with it.
    """
    scheme, _, rest = text.partition(_MARK)
    if scheme not in SCHEMES:
        raise _wrong(
            text,
            f"{scheme!r} is no way to attach: use tcp:// or tls://"
            + (" (WebSocket is for browsers)" if scheme in ("ws", "wss") else ""),
        )
    place, slash, name = rest.partition("/")
    if not slash or not name:
        raise _wrong(text, "it names no channel: write one behind the port, as in /x")
    try:
        endpoint = parse_endpoint(place)
        if not (group and group_prefix(name)):
            check_name(name)
    except ChannelError as error:
        raise _wrong(text, str(error)) from None
    if endpoint.port == 0:
        raise _wrong(text, "nobody listens on port 0")
    return Address(scheme, endpoint, name)


def parse_endpoint(text: str) -> Endpoint:
    """Return the endpoint in ``host``, ``host:port`` or ``[ipv6]:port``.

    Raises:
        ChannelError: It is none; the message says what is wrong with it.
    """
    scheme, mark, _ = text.partition(_MARK)
    if mark:
        raise ChannelError(
            f"a host and a port are meant, as in localhost:7450, without {scheme}://"
        )
    if text.count(":") > 1 and "[" not in text:
        raise ChannelError("an IPv6 address stands in brackets, as in [::1]:7450")
    match = _ENDPOINT.match(text)
    if match is None:
        raise ChannelError(
            f"{text[:_SHOWN_CHARS]!r} is no host and port, as in localhost:7450"
        )
    host = match["host"]
    if match["bracketed"] is not None:
        host = match["bracketed"]
        if host.count(":") < 2:
            raise ChannelError(f"{host!r} in brackets is no IPv6 address")
    elif not host:
        raise ChannelError("it names no host: write one, as in localhost:7450")
    elif not _HOST.match(host):
        raise ChannelError(f"{host[:_SHOWN_CHARS]!r} cannot be the name of a host")
    return Endpoint(host, _port(match["port"]))


def _port(text: str | None) -> int:
    if text is None:
        return DEFAULT_PORT
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(_MOST_PORTS))
    if not digits or int(text) > _MOST_PORTS:
        raise ChannelError(
            f"{text[:_SHOWN_CHARS]!r} is no port: a number from 1 to {_MOST_PORTS}"
        )
    return int(text)


def _wrong(text: str, why: str) -> ChannelError:
    return ChannelError(
        f"{text[:_SHOWN_CHARS]!r} is no address (tcp://host:port/name): {why}"
    )
