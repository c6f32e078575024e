"""The main path: a request comes in, goes upstream with the session's token, and its answer goes back.

Read :meth:`Forwarder.forward` first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from aiohttp import web

from reauth_proxy.errors import BadRequest, Refusal
from reauth_proxy.forward import answers, fields
from reauth_proxy.forward.content import Content, Kept, Streamed, capture
from reauth_proxy.forward.listener import FrontConnection
from reauth_proxy.forward.relay import CLOSED, OPEN, ClientGone, Sent, relay, write
from reauth_proxy.forward.request import ClientRequest
from reauth_proxy.forward.route import Response, Route
from reauth_proxy.forward.tunnel import SWITCHING, Tunnel
from reauth_proxy.forward.upload import Upload
from reauth_proxy.session.tokens import AccessToken

log = structlog.get_logger(__name__)


class AccessLog(Protocol):
    """Writes one line for each request that ended."""

    enabled: bool

    def finished(
        self,
        request_id: str,
        method: str,
        path: str,
        status: int,
        duration: float,
        generation: int,
        outcome: str,
        bytes_out: int,
    ) -> None:
        """Note a request: `duration` in seconds, `path` without its query, `bytes_out` of content."""
        ...


class Trip:
    """What the access log will say of one request, and what has to be ended with it."""

    __slots__ = ("generation", "id", "method", "outcome", "path", "size", "started", "status", "upload")

    def __init__(self, request: web.BaseRequest, started: float) -> None:
        self.started = started
        self.id = ""
        self.method = request.method
        self.path = request._message.path.partition("?")[0]
        self.status = 0
        self.generation = 0
        self.outcome = "aborted"
        self.size = 0
        self.upload: Upload | None = None


class Forwarder:
    """Forwards each request to its route's upstream.

    Args:
        route: where requests go.
        request_rules, response_rules: what becomes of their fields.
        keep: how many bytes of content are kept in memory for a replay (`replay.memory`).
        access: the access log.
        request_id: makes an id, or takes the client's where it is a sane one.
    """

    def __init__(
        self,
        route: Route,
        *,
        request_rules: fields.RequestRules,
        response_rules: fields.ResponseRules,
        keep: int,
        access: AccessLog,
        request_id: Callable[[bytes | None], str],
    ) -> None:
        self.route = route
        #: Requests under way.
        self.active = 0
        #: Set up while draining: every request under way has ended.
        self._quiet: asyncio.Event | None = None
        self._request_rules = request_rules
        self._response_rules = response_rules
        self._keep = keep
        self._access = access
        self._request_id = request_id
        self._loop = asyncio.get_running_loop()

    async def handle(self, request: web.BaseRequest) -> Sent:
        """Answer one request, whatever happens; the handler of the main listener."""
        trip = Trip(request, self._loop.time())
        self.active += 1
        try:
            return await self.forward(request, trip)
        except Refusal as refusal:
            return await self.refuse(request, trip, refusal)
        except ClientGone:
            return CLOSED
        except Exception:
            log.exception("request.failed", request_id=trip.id)
            return await self.refuse(request, trip, answers.InternalError("The proxy failed; its log says why."))
        finally:
            self.active -= 1
            if self._quiet is not None and not self.active:
                self._quiet.set()
            if trip.upload is not None:
                await trip.upload.stop()
            if self._access.enabled:
                self._access.finished(
                    trip.id,
                    trip.method,
                    trip.path,
                    trip.status,
                    self._loop.time() - trip.started,
                    trip.generation,
                    trip.outcome,
                    trip.size,
                )

    async def drained(self, timeout: float) -> None:
        """From now on, close connections after their answers; return when no request is under way.

        Args:
            timeout: seconds after which to return all the same.
        """
        self._quiet = asyncio.Event()
        if self.active:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._quiet.wait()

    async def forward(self, request: web.BaseRequest, trip: Trip) -> Sent:
        """Forward one request: the whole product on one screen.

        Raises:
            Refusal: the proxy answers itself.
            ClientGone, asyncio.CancelledError: nobody waits for an answer any more.
        """
        route = self.route
        client = ClientRequest(request, self._request_rules)
        trip.id = self._request_id(client.given_id)
        content = await self._capture(request, client)
        token = route.session.usable()
        if token is None:  # none, an expired one, or one to be renewed: this may park
            token = await self._parked(trip, route.session.token(fresh=not content.replayable))
        response = await self._send(request, trip, client, content, token)
        lines: list[bytes] = []
        if route.rejects(response):
            response, lines = await self._replace(request, trip, client, content, token, response)
        else:
            trip.outcome = "forwarded"
        trip.status = response.status
        lines += self._response_rules.filter(response.fields)
        if response.status == 101:
            return await self._tunnel(request, trip, response, lines)
        keep_alive = client.keep_alive and self._quiet is None and request.content.is_eof()
        trip.size, keep_alive = await relay(request, response, lines, keep_alive=keep_alive)
        return OPEN if keep_alive else CLOSED

    async def _capture(self, request: web.BaseRequest, client: ClientRequest) -> Content:
        """Read small content as a whole; leave the rest to be streamed."""
        if client.expects and client.length is not None and client.length <= self._keep:
            write(request, answers.CONTINUE)
            client.expects = False
        try:
            return await capture(request.content, length=client.length, chunked=client.chunked, limit=self._keep)
        except Exception as error:  # aiohttp has a handful: cut off, malformed chunks, connection lost
            raise BadRequest("The request's content broke off, or its framing is not valid.") from error

    async def _parked(self, trip: Trip, wait: Awaitable[AccessToken | None]) -> AccessToken | None:
        """Wait for the session's answer; what takes longer than a loop's turn was parked."""
        since = self._loop.time()
        try:
            return await wait
        finally:
            waited = self._loop.time() - since
            if waited > 0.001:
                log.debug("request.parked", request_id=trip.id, seconds=round(waited, 3))

    async def _send(
        self,
        request: web.BaseRequest,
        trip: Trip,
        client: ClientRequest,
        content: Content,
        token: AccessToken | None,
    ) -> Response:
        """Send a request once, and return the head of what comes back."""
        route = self.route
        trip.generation = 0 if token is None else token.generation
        request_id = trip.id.encode()
        if isinstance(content, Kept):
            head = client.head(route, request_id, token)
            return await route.exchange(head + content.wire, client.method, websocket=client.websocket)
        # Content too long to be sent twice had better not be rejected after it was sent.
        expect = client.expects or content.length is not None
        trip.upload = Upload(request, content, expect=expect, client_expects=client.expects)
        return await trip.upload.exchange(route, client.head(route, request_id, token, expect=expect))

    async def _replace(
        self,
        request: web.BaseRequest,
        trip: Trip,
        client: ClientRequest,
        content: Content,
        token: AccessToken | None,
        rejected: Response,
    ) -> tuple[Response, list[bytes]]:
        """After a rejected token: get a newer one and send the request again, once.

        Returns:
            The answer to pass on, and field lines to add to it.
        """
        try:
            newer = await self._parked(trip, self.route.session.replace(trip.generation))
            if newer is None:
                trip.outcome = "relayed"
                return rejected, []
            again = content if isinstance(content, Kept) else await self._keep_rest(trip, content)
            if again is None:
                trip.outcome = "resend"
                return rejected, [answers.RESEND]
        except BaseException:
            self.route.discard(rejected)
            raise
        self.route.discard(rejected)
        response = await self._send(request, trip, client, again, newer)
        trip.outcome = "replayed"
        log.debug("request.replayed", request_id=trip.id, generation=newer.generation, status=response.status)
        return response, []

    async def _tunnel(self, request: web.BaseRequest, trip: Trip, response: Response, lines: list[bytes]) -> Sent:
        """Pass the 101 on, and then bytes both ways until either side ends."""
        assert response.connection is not None
        assert isinstance(request.protocol, FrontConnection)
        tunnel = Tunnel(request.protocol, response.connection)
        try:
            write(request, SWITCHING + b"".join(lines) + b"\r\n")
            await tunnel.run()
        finally:
            trip.size = tunnel.passed
            tunnel.close()
        return CLOSED

    async def _keep_rest(self, trip: Trip, content: Streamed) -> Kept | None:
        """Stop sending content that was rejected early, and read the rest of it if it is short enough to keep."""
        if trip.upload is not None:
            await trip.upload.stop()
        return await content.keep()

    async def refuse(self, request: web.BaseRequest, trip: Trip, refusal: Refusal) -> Sent:
        """Answer a request ourselves."""
        trip.status = refusal.status
        trip.outcome = refusal.code
        if refusal.status in (500, 502, 504):
            log.warning("upstream.failed", request_id=trip.id, code=refusal.code, detail=refusal.detail)
        keep_alive = not (
            refusal.closes or self._quiet is not None or request._message.should_close or not request.content.is_eof()
        )
        try:
            write(request, answers.render(refusal, head=request.method == "HEAD", keep_alive=keep_alive))
        except ClientGone:
            return CLOSED
        return OPEN if keep_alive else CLOSED
