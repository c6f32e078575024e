"""The control plane's endpoints, and the guard before them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import structlog
from aiohttp import web

from reauth_proxy.control import offered, page, readiness, report
from reauth_proxy.control.report import Overview
from reauth_proxy.errors import (
    BadRequest,
    ClientDenied,
    ContentTooLarge,
    InternalError,
    MethodNotSupported,
    NoRoute,
    Refusal,
    TooManyConnections,
)
from reauth_proxy.guard.guard import Guard
from reauth_proxy.guard.origins import ORIGIN, REFERER, SITE
from reauth_proxy.guard.peers import is_stranger
from reauth_proxy.guard.tokens import AUTHORIZATION, TOKEN
from reauth_proxy.http1 import problems
from reauth_proxy.issuers.revocation import Revocation
from reauth_proxy.session.refresher import Session
from reauth_proxy.session.snapshot import Snapshot
from reauth_proxy.telemetry import metrics

log = structlog.get_logger(__name__)

#: Bytes of content that anybody may send: two tokens, and room.
LONGEST: Final = 256 * 1024
#: What probes ask, without the client token: nothing in it is anybody's.
_OPEN: Final = frozenset({"/healthz", "/readyz"})
_MARKS: Final = frozenset({ORIGIN, SITE, REFERER})
_CREDENTIALS: Final = frozenset({TOKEN, AUTHORIZATION})
#: Seconds between two looks of those who watch, and how many may.
PULSE: Final = 0.5
MOST_WATCHERS: Final = 32

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Keeper(Protocol):
    """Keeps the credentials."""

    @property
    def sessions(self) -> Mapping[str, Session]:
        """The sessions by the names of their credentials."""
        ...

    async def sign_out(self, name: str) -> Revocation:
        """End a credential's session here, in the store, and at the authorization server."""
        ...


class ControlPlane:
    """Answers whoever runs the daemon.

    Args:
        keeper: of the sessions.
        overview: looks at the daemon.

    Attributes:
        guard: who may call; may be replaced at any time.
    """

    def __init__(self, keeper: Keeper, guard: Guard, overview: Callable[[], Overview]) -> None:
        self.guard = guard
        self._keeper = keeper
        self._overview = overview
        self._ending = asyncio.Event()
        self._watchers = 0
        application = web.Application(middlewares=[self._guarded], client_max_size=LONGEST)
        application.router.add_routes(
            [
                *(web.get(path, page.answer) for path in page.ASSETS),
                web.get("/status", self._status),
                web.get("/events", self._events, allow_head=False),
                web.get("/metrics", self._metrics),
                web.get("/healthz", self._health),
                web.get("/readyz", self._ready),
                web.get("/session", self._look),
                web.put("/session", self._put),
                web.delete("/session", self._delete),
                web.post("/refresh", self._refresh),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)

    async def protocols(self) -> Callable[[], Any]:
        """Return what makes a protocol for each connection."""
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        return server

    async def close(self) -> None:
        """End every connection."""
        self._ending.set()
        await self._runner.cleanup()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may call; whatever goes wrong becomes an answer of the usual shape."""
        try:
            self._judge(request)
            return await handler(request)
        except Refusal as refusal:
            return _told(refusal, request)
        except web.HTTPNotFound:
            return _told(NoRoute("There is nothing here; GET / is the status page."), request)
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            return _told(MethodNotSupported(f"This knows {allowed}.", allowed), request)
        except web.HTTPRequestEntityTooLarge:
            return _told(ContentTooLarge(f"The content is longer than {LONGEST} bytes."), request)
        except Exception:
            log.exception("request.failed", listener="control")
            return _told(InternalError("The proxy failed; its log says why."), request)

    def _judge(self, request: web.Request) -> None:
        """Ask the guard. Raises Refusal."""
        connection = None if request.transport is None else request.transport.get_extra_info("socket")
        if is_stranger(connection):
            raise ClientDenied("Another user of this machine is at the other end of the socket.")
        fields = [(name.lower(), value) for name, value in request.raw_headers]
        hosts = [value for name, value in fields if name == b"host"]
        if len(hosts) > 1:
            raise BadRequest("A request has one Host.")
        marks = [part for field in fields if field[0] in _MARKS for part in field]
        self.guard.page(hosts[0] if hosts else None, marks or None)
        if request.path not in _OPEN:
            self.guard.client([field for field in fields if field[0] in _CREDENTIALS])

    def _chosen(self, request: web.Request) -> tuple[str, Session]:
        """Return the credential that is meant: the one of `?credential=`, or the first."""
        sessions = self._keeper.sessions
        name = request.query.get("credential", next(iter(sessions), ""))
        if name not in sessions:
            raise NoRoute("There is no credential of that name; see `credentials`.")
        return name, sessions[name]

    async def _health(self, request: web.Request) -> web.Response:
        return _json({"status": "alive"})

    async def _ready(self, request: web.Request) -> web.Response:
        sessions = self._keeper.sessions
        if "credential" in request.query:
            name, session = self._chosen(request)
            sessions = {name: session}
        looks = {name: session.news.look() for name, session in sessions.items()}
        found = readiness.problems(looks, draining=self._overview().draining)
        return _json({"ready": not found, "problems": found}, 503 if found else 200)

    async def _status(self, request: web.Request) -> web.Response:
        return _json(report.report(self._overview(), report.nothing_yet(), time.time()))

    async def _metrics(self, request: web.Request) -> web.Response:
        seen = self._overview()
        sources = metrics.Sources(seen.tally, seen.sessions, seen.pools, seen.clients)
        content, kind = metrics.exposition(sources, request.headers.get("Accept", ""))
        return web.Response(body=content, headers={**_FIELDS, "Content-Type": kind})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Tell how the daemon is, twice per second, until somebody has seen enough."""
        if self._watchers >= MOST_WATCHERS:
            raise TooManyConnections("Enough people watch already.", 5.0)
        response = web.StreamResponse(headers={**_FIELDS, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        since = report.nothing_yet()
        self._watchers += 1
        try:
            while not self._ending.is_set():
                told = json.dumps(report.report(self._overview(), since, time.time()), separators=(",", ":"))
                await response.write(f"event: status\ndata: {told}\n\n".encode())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PULSE):
                        await self._ending.wait()
        except ConnectionError:
            pass
        finally:
            self._watchers -= 1
        return response

    async def _look(self, request: web.Request) -> web.Response:
        return _session(*self._chosen(request))

    async def _put(self, request: web.Request) -> web.Response:
        _, session = self._chosen(request)
        brought = offered.read(await request.read())
        await session.sign_in(brought.refresh_token, brought.access_token, brought.lifetime)
        return web.Response(status=204, headers=_FIELDS)

    async def _delete(self, request: web.Request) -> web.Response:
        name, _ = self._chosen(request)
        revocation = await self._keeper.sign_out(name)
        return _json({"revocation": revocation.outcome, "problem": revocation.problem})

    async def _refresh(self, request: web.Request) -> web.Response:
        name, session = self._chosen(request)
        await session.renew()
        return _session(name, session)


_FIELDS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def _json(content: object, status: int = 200) -> web.Response:
    return web.json_response(content, status=status, headers=_FIELDS)


def _session(name: str, session: Session) -> web.Response:
    look: Snapshot = session.news.look()
    expires_in = None if look.expires_in is None else round(look.expires_in, 1)
    return _json({**look.shown(), "expires_in": expires_in, "credential": name})


def _told(refusal: Refusal, request: web.Request) -> web.Response:
    fields = [field for field in problems.fields(refusal) if field[0] != "Content-Type"]
    response = web.Response(
        status=refusal.status, body=problems.content(refusal), content_type="application/problem+json", headers=fields
    )
    if refusal.closes:
        response.force_close()
    return response
