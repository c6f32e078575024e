"""One request, from its first byte to its line in the access log."""

from __future__ import annotations

import contextlib
from enum import Enum
from typing import Final, Protocol

from reauth_proxy.clients.connection import ClientConnection
from reauth_proxy.clients.writing import ClientGone
from reauth_proxy.forward.content import EMPTY, Content
from reauth_proxy.forward.fields import RequestFields
from reauth_proxy.forward.plan import Plan
from reauth_proxy.forward.route import Route
from reauth_proxy.forward.upload import Upload
from reauth_proxy.http1.request import Request
from reauth_proxy.http1.wire import Fields, interim_head
from reauth_proxy.session.tokens import AccessToken
from reauth_proxy.upstream.connection import Connection


class Phase(Enum):
    """How far a request has come."""

    JUDGED = "being judged"
    PARKED = "parked for a token"
    SENT = "sent upstream"
    ANSWERED = "being answered"
    ENDED = "ended"


JUDGED: Final = Phase.JUDGED
PARKED: Final = Phase.PARKED
SENT: Final = Phase.SENT
ANSWERED: Final = Phase.ANSWERED
ENDED: Final = Phase.ENDED


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

    What most requests do not have stands in the class, and in the instance only where it differs.

    Attributes:
        request: as the client sent it, on `connection`.
        plan: what it goes by.
        id: the client's X-Request-Id where it is a sane one, or one made here.
        phase: how far it has come.
        found: its fields, filtered; `tail`: the part of its header section that is the same in every try.
        target: in origin-form, byte for byte.
        route: its route, once the guard has let it in; `where`: its name.
    """

    # -- what the client asks for ------------------------------------------------------------------------------

    found: RequestFields
    tail: bytes
    target: bytes
    #: Its Content-Length.
    length: int | None = None
    #: The client waits for 100 Continue before it sends its content (RFC 9110 section 10.1.1).
    expects = False
    #: It asks for a WebSocket (RFC 6455 section 4.1); any other Upgrade is dropped.
    websocket = False
    #: Its own cookies, where the token is one more.
    cookies = b""
    #: The client speaks HTTP/1.0.
    old = False
    #: How many more hops an OPTIONS may make (RFC 9110 section 7.6.2); 0: it ends here.
    hops: int | None = None
    #: The listed origin whose page asks, if one does.
    page: bytes | None = None
    content: Content = EMPTY
    upload: Upload | None = None

    # -- what becomes of it ------------------------------------------------------------------------------------

    route: Route
    #: The connection that it was sent on at once; None: it was not, or is to be sent again.
    upstream: Connection | None = None
    where = ""
    phase = JUDGED
    #: With which it was sent last; None for none.
    token: AccessToken | None = None
    generation = 0
    #: Seconds that it waited for a refresh.
    parked = 0.0
    #: It was sent again with a newer token.
    replayed = False
    #: How often it was sent again with the same token.
    pauses = 0

    # -- how it ends -------------------------------------------------------------------------------------------

    id = ""
    status = 0
    outcome = "aborted"
    #: Bytes of content that went to the client.
    size = 0
    #: Why it was refused, in words that repeat nothing of it.
    detail: str | None = None

    def __init__(self, request: Request, connection: ClientConnection, plan: Plan, started: float) -> None:
        self.request = request
        self.connection = connection
        self.plan = plan
        self.started = started
        self.method = request.method

    @property
    def path(self) -> str:
        """What the log may have of the target."""
        return path_of(self.request.target.decode("utf-8", "surrogateescape"))

    @property
    def keep_alive(self) -> bool:
        """Whether the client's connection may carry another request after this one."""
        return self.request.persistent and not self.found.close and self.request.body.complete

    def interim(self, status: int, reason: bytes, found: Fields) -> None:
        """Pass an interim response on (RFC 9110 section 15.2)."""
        with contextlib.suppress(ClientGone):
            self.connection.write(interim_head(status, reason, self.plan.response_rules.filter(found)))

    def __repr__(self) -> str:
        return f"<Exchange {self.id} {self.method} {self.phase.value} route={self.where!r} status={self.status}>"
