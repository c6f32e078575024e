"""Where requests go: an upstream, and the session whose token they bring."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from reauth_proxy.errors import PathDenied
from reauth_proxy.forward.fields import challenges
from reauth_proxy.forward.patience import Patience
from reauth_proxy.forward.sending import BEARER, Send
from reauth_proxy.guard.endpoints import Sealed
from reauth_proxy.session.anonymous import Anonymous
from reauth_proxy.session.challenge import rejects
from reauth_proxy.session.refresher import Session
from reauth_proxy.session.state import Attempt, Decision, Relay
from reauth_proxy.session.tokens import AccessToken
from reauth_proxy.upstream.exchange import Response
from reauth_proxy.upstream.pool import Pool

if TYPE_CHECKING:
    from reauth_proxy.forward.login import Login, Logins

_TRAILING_SLASHES: Final = re.compile(r"/+$")


@dataclass(slots=True)
class Route:
    """One upstream as requests see it.

    Args:
        pool: its connections.
        session: whose token goes with the requests.
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
        send: how its upstream wants the token.
        passes: the client's own Authorization goes upstream.
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
    send: Send = BEARER
    passes: bool = False
    #: What never changes in a request's head.
    constant: bytes = field(init=False)
    #: The line that brings the newest token; identity is cheaper to compare than a hash.
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

    def authorization(self, token: AccessToken | None, cookies: bytes = b"") -> bytes:
        """Return the field line that brings `token`, if there is one.

        Args:
            cookies: the client's own ones, if a cookie brings the token.
        """
        if cookies or token is None:
            return self.send.line(b"" if token is None else self.send.value(token.value.reveal()), cookies)
        known, line = self._authorized
        if known is not token:
            line = self.send.line(self.send.value(token.value.reveal()))
            self._authorized = (token, line)
        return line

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


def base_path(path: str) -> bytes:
    """Return an upstream's base path as it stands in front of targets: "/v2/" becomes b"/v2", "/" becomes b""."""
    return _TRAILING_SLASHES.sub("", path).encode()
