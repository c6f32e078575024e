"""One request, from its first byte to its line in the access log."""

from __future__ import annotations

import contextlib
from typing import Protocol

from reauth_proxy.clients.connection import ClientConnection
from reauth_proxy.clients.writing import ClientGone
from reauth_proxy.forward.content import EMPTY, Content
from reauth_proxy.forward.plan import Plan
from reauth_proxy.forward.route import Route
from reauth_proxy.forward.upload import Upload
from reauth_proxy.http1.request import Request
from reauth_proxy.http1.wire import Fields, interim_head
from reauth_proxy.session.tokens import AccessToken


class Observer(Protocol):
    """Counts requests."""

    def finished(self, exchange: Exchange, seconds: float) -> None:
        """Note a request that ended, and how long it took."""
        ...


class AccessLog(Observer, Protocol):
    """Writes one line for each request that ended."""

    enabled: bool


def path_of(target: str) -> str:
    """Return what the log may have of a request's target: no query, and no password (RFC 9110 section 4.2.4)."""
    path = target.partition("?")[0]
    if path.startswith("/"):
        return path
    scheme, mark, rest = path.rpartition("://")
    authority, slash, rest = rest.partition("/")
    return f"{scheme}{mark}{authority.rpartition('@')[2]}{slash}{rest}"


class Exchange:
    """A client's request and its answer: what they go by, what the access log will say, what has to be ended with them.

    Attributes:
        request: as the client sent it, on `connection`.
        plan: what it goes by.
    """

    __slots__ = (
        "connection",
        "content",
        "detail",
        "generation",
        "id",
        "method",
        "outcome",
        "page",
        "parked",
        "path",
        "pauses",
        "plan",
        "replayed",
        "request",
        "route",
        "size",
        "started",
        "status",
        "token",
        "upload",
        "where",
    )

    #: Set once the guard has let the request in.
    route: Route

    def __init__(self, request: Request, connection: ClientConnection, plan: Plan, started: float) -> None:
        self.request = request
        self.connection = connection
        self.plan = plan
        self.started = started
        self.id = ""
        self.method = request.method
        self.path = path_of(request.target.decode("utf-8", "surrogateescape"))
        self.status = 0
        self.generation = 0
        #: With which it was sent last; None for none.
        self.token: AccessToken | None = None
        self.outcome = "aborted"
        self.size = 0
        #: The name of its route, once there is one.
        self.where = ""
        #: Seconds that it waited for a refresh.
        self.parked = 0.0
        #: It was sent again with a newer token.
        self.replayed = False
        #: How often it was sent again with the same token.
        self.pauses = 0
        #: Why it was refused, in words that repeat nothing of it.
        self.detail: str | None = None
        self.content: Content = EMPTY
        self.upload: Upload | None = None
        #: The listed origin whose page asks, if one does.
        self.page: bytes | None = None

    def interim(self, status: int, reason: bytes, found: Fields) -> None:
        """Pass an interim response on (RFC 9110 section 15.2)."""
        with contextlib.suppress(ClientGone):
            self.connection.write(interim_head(status, reason, self.plan.response_rules.filter(found)))
