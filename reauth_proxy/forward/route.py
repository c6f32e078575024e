"""Where requests go: an upstream, its connections, and the session whose token they bring."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from reauth_proxy.errors import PathDenied
from reauth_proxy.forward.fields import challenges
from reauth_proxy.forward.patience import Patience
from reauth_proxy.guard.endpoints import Sealed
from reauth_proxy.http1.response import Interim
from reauth_proxy.session.anonymous import Anonymous
from reauth_proxy.session.challenge import rejects
from reauth_proxy.session.refresher import Session
from reauth_proxy.session.state import Attempt, Decision, Relay
from reauth_proxy.session.tokens import AccessToken
from reauth_proxy.upstream.connection import MOST_UNREAD, Connection, ConnectionBroken
from reauth_proxy.upstream.pool import Pool

if TYPE_CHECKING:
    from reauth_proxy.forward.login import Login, Logins

#: Methods that may be sent again after a lost connection (RFC 9110 section 9.2.2).
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PROPFIND", "SEARCH", "QUERY"})

#: Seconds of silence after which a kept-alive connection is looked at before it gets a request that must not be sent
#: twice: an upstream that closes what is idle may just have done so.
SILENCE: Final = 0.5

_TRAILING_SLASHES: Final = re.compile(r"/+$")


@dataclass(slots=True)
class Response:
    """The header section of an upstream's answer, and its content or where that comes from.

    Attributes:
        body: content that is already here.
        connection: what the rest comes from; None where `body` is all.
        dated: it has a Date.
    """

    status: int
    reason: bytes
    fields: list[tuple[bytes, bytes]]
    length: int | None
    bodiless: bool
    body: bytes
    connection: Connection | None
    dated: bool = True

    @property
    def size_at_most(self) -> int:
        """How many bytes of content are held, or may be before anybody reads them."""
        if self.connection is None:
            return len(self.body)
        return MOST_UNREAD if self.length is None else min(self.length, MOST_UNREAD)


@dataclass(slots=True)
class Route:
    """One upstream as requests see it.

    Args:
        pool: its connections.
        session: whose token goes into Authorization.
        base: path in front of each target, without a trailing slash.
        authority: the Host field's value.
        statuses: upstream answers that mean that the token was rejected.
        response_timeout: seconds until the upstream's header section must have arrived.
        name: for logs and metrics; its path.
        prefix: of the targets that go here, without a slash at its end; b"" is all of them.
        strip: the prefix is not part of what is sent.
        sealed: what no client may ask for here: token endpoints.
        logins: those among its requests whose answers have tokens in them, if there are any.
        login: the one that a request on this route is.
        patience: how much is asked for where this route rejects tokens.
        expect_timeout: seconds that content waits for the upstream's 100 Continue (RFC 9110 section 10.1.1).
    """

    pool: Pool
    session: Session | Anonymous
    base: bytes
    authority: bytes
    statuses: frozenset[int]
    response_timeout: float
    expect_timeout: float = 1.0
    name: str = "/"
    prefix: bytes = b""
    strip: bool = False
    sealed: Sealed | None = None
    logins: Logins | None = None
    login: Login | None = None
    patience: Patience = field(default_factory=Patience)
    #: What never changes in a request's head.
    constant: bytes = field(init=False)
    #: The Authorization line of the newest token; identity is cheaper to compare than a hash.
    _authorized: tuple[AccessToken | None, bytes] = field(init=False, default=(None, b""), repr=False)

    def __post_init__(self) -> None:
        self.constant = b" HTTP/1.1\r\nHost: " + self.authority + b"\r\n"

    def forwarded(self, target: bytes) -> bytes:
        """Return what of a target in origin-form is sent, behind :attr:`base`.

        Raises:
            PathDenied: it leads to a token endpoint.
        """
        if self.strip:
            target = target[len(self.prefix) :]
            if target[:1] != b"/":
                target = b"/" + target
        if self.sealed is not None and self.sealed.refuses(target):
            raise PathDenied("This leads to the token endpoint, which only the proxy calls: its answers hold tokens.")
        return target

    def authorization(self, token: AccessToken) -> bytes:
        """Return the Authorization field line that brings `token` (RFC 6750 section 2.1)."""
        known, line = self._authorized
        if known is not token:
            line = f"Authorization: Bearer {token.value.reveal()}\r\n".encode("ascii")
            self._authorized = (token, line)
        return line

    async def connection(self, method: str) -> Connection:
        """Return a connection for a request; for one that must not be sent twice, one that still seems open.

        Raises:
            UpstreamUnreachable, UpstreamTimeout, UpstreamBusy.
        """
        pool = self.pool
        while True:
            connection = pool.take() or await pool.acquire()
            if connection.closed:  # while it was handed over
                continue
            if method not in IDEMPOTENT and connection.silent(SILENCE) and connection.readable():
                connection.close()
                continue
            return connection

    async def exchange(
        self, data: bytes, method: str, *, websocket: bool = False, interim: Interim | None = None
    ) -> Response:
        """Send a request that is here as a whole, and return the answer's head.

        A kept-alive connection that the upstream closed before one byte of an answer is replaced by a new one where
        the method allows it (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1).

        Raises:
            UpstreamUnreachable, UpstreamMalformed, UpstreamTimeout, UpstreamBusy.
        """
        connection = self.pool.take() if method in IDEMPOTENT else None
        if connection is None:
            connection = await self.connection(method)
        while True:
            try:
                connection.begin(data, head=method == "HEAD", switch=websocket, interim=interim)
                connection.start_clock(self.response_timeout)
                await connection.response()
            except ConnectionBroken as broken:
                connection.close()
                if not (broken.stale and method in IDEMPOTENT):
                    raise
                connection = await self.pool.dial()
            except BaseException:
                connection.close()
                raise
            else:
                return self.received(connection)

    def received(self, connection: Connection) -> Response:
        """Turn a connection whose header section arrived into a Response; one that is whole goes back to the pool."""
        response = Response(
            connection.status,
            connection.reason,
            connection.fields,
            connection.length,
            connection.bodiless,
            connection.body.take() if connection.complete else b"",
            connection,
            connection.dated,
        )
        if connection.complete:
            self.finished(response)
        return response

    def finished(self, response: Response) -> None:
        """All of an answer has been received: its connection may carry another exchange."""
        if response.connection is not None:
            self.pool.release(response.connection)
            response.connection = None

    def rejects(self, response: Response) -> bool:
        """Tell whether an answer means that the token was rejected."""
        return response.status in self.statuses and rejects(response.status, challenges(response.fields), self.statuses)

    def accepted(self, token: AccessToken | None, target: bytes, status: int) -> None:
        """Take note of an answer that does not reject the token; one that is an error proves nothing."""
        if token is not None and status < 400 and (token is not self.session.accepted or self.patience.failures):
            self.session.accept(token)
            self.patience.accepted(target)

    def decide(self, sent: AccessToken | None, target: bytes, now: float, *, replayed: bool, pauses: int) -> Decision:
        """Decide what follows an answer that rejects the token, and take note of it.

        Args:
            now: seconds of the monotonic clock.
            replayed: it was sent before with an older token.
            pauses: how often it was sent again with the same one.
        """
        generation, life = (0, 0) if sent is None else (sent.generation, sent.life)
        refusing = self.patience.refusing(target, now)
        decision = self.session.rejected(Attempt(generation, life, replayed, pauses, refusing))
        if replayed and isinstance(decision, Relay):
            self.patience.rejected(target, now)
        return decision

    def discard(self, response: Response) -> None:
        """Give up an answer that nobody will read."""
        response.body = b""
        if response.connection is not None:
            response.connection.close()
            response.connection = None


def base_path(path: str) -> bytes:
    """Return an upstream's base path as it stands in front of targets: "/v2/" becomes b"/v2", "/" becomes b""."""
    return _TRAILING_SLASHES.sub("", path).encode()
