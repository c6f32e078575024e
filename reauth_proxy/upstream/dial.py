"""How a connection to an upstream comes to be: DNS, happy eyeballs (RFC 8305), TLS."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import aiohappyeyeballs

from reauth_proxy.errors import UpstreamTimeout, UpstreamUnreachable

P = TypeVar("P", bound=asyncio.Protocol)

#: Head start of the first address family, in seconds (RFC 8305 section 8).
HAPPY_EYEBALLS_DELAY: Final = 0.25


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an upstream listens.

    Attributes:
        tls: the context to verify it with; None for plain HTTP.
        path: of a Unix socket, instead of host and port.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def describe(error: BaseException) -> str:
    """Say in a few words why a connection could not be made; nothing of it comes from the peer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return "the TLS handshake failed"
    if isinstance(error, socket.gaierror):
        return "its name could not be resolved"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, ConnectionResetError):
        return "the connection was reset"
    if isinstance(error, TimeoutError):
        return "the connection could not be made in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "the connection failed"


async def _addresses(host: str, port: int) -> list[aiohappyeyeballs.AddrInfoType]:
    """Resolve `host`; a literal address needs no resolver, and so no thread."""
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        return list(found)
    if literal.version == 4:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    return [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))]


async def resolve(origin: Origin) -> frozenset[str]:
    """Return the addresses that an origin's name has now; none for what needs no look-up. Raises OSError."""
    if origin.path is not None or _is_literal(origin.host):
        return frozenset()
    return frozenset(str(info[4][0]) for info in await _addresses(origin.host, origin.port))


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def dial(origin: Origin, factory: Callable[[], P], timeout: float) -> P:
    """Connect to `origin` within `timeout` seconds, TLS handshake included.

    Raises:
        UpstreamUnreachable: it cannot be reached; the detail says why.
        UpstreamTimeout: it did not answer in time.
    """
    try:
        async with asyncio.timeout(timeout):
            if origin.path is not None:
                _, protocol = await asyncio.get_running_loop().create_unix_connection(factory, origin.path)
                return protocol
            sock = await aiohappyeyeballs.start_connection(
                await _addresses(origin.host, origin.port), happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY
            )
            _, protocol = await asyncio.get_running_loop().create_connection(
                factory,
                sock=sock,
                ssl=origin.tls,
                server_hostname=origin.host if origin.tls is not None else None,
            )
    except TimeoutError as error:
        raise UpstreamTimeout(f"The upstream could not be reached: {describe(error)}.") from error
    except (OSError, ssl.SSLError, UnicodeError) as error:
        raise UpstreamUnreachable(f"The upstream could not be reached: {describe(error)}.") from error
    return protocol
