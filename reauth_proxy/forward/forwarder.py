"""The main path: a request comes in, goes upstream with the session's token, and its answer goes back.

Read :meth:`Forwarder.forward` first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TypeVar

import structlog
from aiohttp import web

from reauth_proxy.clients.writing import CLOSED, LINGERING, OPEN, ClientGone, Sent, write
from reauth_proxy.errors import InternalError, LoggedOut, NoRoute, RefreshUnavailable, Refusal, TooManyParked
from reauth_proxy.forward.attempt import is_long, send
from reauth_proxy.forward.content import EMPTY
from reauth_proxy.forward.own import CALLBACK, HERE, Own
from reauth_proxy.forward.plan import Plan
from reauth_proxy.forward.receiving import receive
from reauth_proxy.forward.relay import CutOff, relay
from reauth_proxy.forward.request import ClientRequest
from reauth_proxy.forward.route import Response, Route
from reauth_proxy.forward.spool import Spool
from reauth_proxy.forward.trip import AccessLog, Observer, Trip
from reauth_proxy.forward.tunnel import Tunnels
from reauth_proxy.guard import cors
from reauth_proxy.http1 import problems
from reauth_proxy.session.state import Pause, Relay, Wait
from reauth_proxy.session.tokens import AccessToken

log = structlog.get_logger(__name__)

T = TypeVar("T", AccessToken, AccessToken | None)


class Forwarder:
    """Forwards each request to its route's upstream.

    Args:
        plan: what it goes by; may be replaced at any time, for requests that start afterwards.
        tunnels: keeps those that a request becomes.
        access: the access log.
        request_id: makes an id, or takes the client's where it is a sane one.
        own: what is answered here.
        observer: counts.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        tunnels: Tunnels,
        access: AccessLog,
        request_id: Callable[[bytes | None], str],
        own: Own | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.plan = plan
        self._own = own
        self._observer = observer
        self.tunnels = tunnels
        self.spool = Spool(plan.keeping)
        #: Requests under way.
        self.active = 0
        self._draining = False
        self._access = access
        self._request_id = request_id
        self._loop = asyncio.get_running_loop()

    async def handle(self, request: web.BaseRequest) -> Sent:
        """Answer one request, whatever happens; the handler of the main listener."""
        trip = Trip(request, self.plan, self._loop.time())
        self.active += 1
        try:
            return await self.forward(request, trip)
        except Refusal as refusal:
            return await self.refuse(request, trip, refusal)
        except CutOff as cut:
            trip.outcome = "cut_off"
            self._warn(trip, cut.refusal)
            return CLOSED
        except ClientGone:
            trip.outcome = "aborted"
            return CLOSED
        except asyncio.CancelledError:
            if trip.status != 101:  # that is how tunnels end
                trip.outcome = "aborted"
            raise
        except Exception:
            log.exception("request.failed", request_id=trip.id)
            return await self.refuse(request, trip, InternalError("The proxy failed; its log says why."))
        finally:
            self.active -= 1
            seconds = self._loop.time() - trip.started
            if self._observer is not None:
                self._observer.finished(trip, seconds)
            if self._access.enabled:
                self._access.finished(
                    trip.id,
                    trip.method,
                    trip.path,
                    trip.status,
                    seconds,
                    trip.generation,
                    trip.outcome,
                    trip.size,
                )
            if trip.content is not EMPTY:
                await self._let_go(trip)

    async def _let_go(self, trip: Trip) -> None:
        """Stop reading and keeping content, whether or not somebody cancels us meanwhile."""
        try:
            if trip.upload is not None:
                await trip.upload.stop()
        finally:
            trip.content.close()

    def follow(self, plan: Plan, access: AccessLog) -> None:
        """Go by another plan from now on, and write to another log; requests under way go on by the one they had."""
        before = {route.pool.place: route.pool for route in self.plan.routes}
        for place, pool in {route.pool.place: route.pool for route in plan.routes}.items():
            if place in before:
                pool.succeed(before.pop(place))
        for pool in before.values():
            pool.retire()
        self.plan = plan
        self.spool.keeping = plan.keeping
        self._access = access

    def drain(self) -> None:
        """From now on, close clients' connections after their answers."""
        self._draining = True

    def close(self) -> None:
        """Close every connection to the upstream."""
        for route in self.plan.routes:
            route.pool.close()
        self.spool.close()

    async def forward(self, request: web.BaseRequest, trip: Trip) -> Sent:
        """Forward one request: the whole product on one screen.

        Raises:
            Refusal: the proxy answers itself.
            ClientGone, asyncio.CancelledError: nobody waits for an answer any more.
        """
        plan = trip.plan
        client = ClientRequest(request, plan.request_rules, plan.limits.header_fields)
        trip.id = self._request_id(client.given_id)
        if (answer := self._admit(request, trip, client)) is not None:
            return answer
        if client.target.startswith(HERE):
            return await self._here(request, trip, client)
        route = self._choose(trip, client)
        if client.hops == 0:
            return self._answer(request, trip, client, problems.end_of_the_road)
        session = route.session
        life = session.life
        content = trip.content = await receive(request, client, plan.keeping, self.spool, plan.limits.content)
        token = session.usable()
        if token is None or token.life != life:  # none, an expired one, or one to be renewed: this may park
            ask = session.token(fresh=is_long(content), life=life)
            token = await self._parked(trip, ask, waits=session.waits)
        response = await send(request, trip, client, token)
        lines: list[bytes] = []
        trip.outcome = "forwarded"
        while route.rejects(response):
            response, again = await self._replace(request, trip, client, response, lines)
            if not again:
                break
        else:
            route.accepted(trip.token, client.target, response.status)
            if route.login is not None:
                response = await route.login.take(route, response)
        trip.status = response.status
        lines += plan.response_rules.filter(response.fields)
        if plan.guard.origins.listed:
            lines += plan.guard.answer_lines(trip.page, response.fields)
        if response.status == 101:
            return await self.tunnels.carry(request, trip, response, lines)
        keep_alive = self._stays_open(request, client)
        trip.size, keep_alive = await relay(request, response, lines, keep_alive=keep_alive)
        route.finished(response)
        return OPEN if keep_alive else CLOSED

    def _admit(self, request: web.BaseRequest, trip: Trip, client: ClientRequest) -> Sent | None:
        """Ask the guard who calls; return the answer to a preflight, and None for what may go on.

        Raises:
            HostDenied, OriginDenied, ClientDenied: it may not.
        """
        guard = trip.plan.guard
        returns = client.method == "GET" and client.target.startswith(CALLBACK)
        page = trip.page = guard.page(client.host, None if returns else client.marks)
        if page is not None and client.method == "OPTIONS" and cors.is_preflight(request._message.raw_headers):
            answer = partial(cors.preflight, page, request._message.raw_headers)
            return self._answer(request, trip, client, answer)
        if guard.client_token is not None:
            guard.client(client.credentials)
        return None

    async def _here(self, request: web.BaseRequest, trip: Trip, client: ClientRequest) -> Sent:
        """Answer what is meant for the proxy itself."""
        if self._own is None:
            raise NoRoute("Nothing below /_reauth/ is ever forwarded.")
        trip.outcome, trip.where = "answered", HERE.decode()
        return await self._own.answer(request, trip, client, keep_alive=self._stays_open(request, client))

    def _choose(self, trip: Trip, client: ClientRequest) -> Route:
        """Choose the route.

        Raises:
            PathDenied: the path rules do not let the request through.
            NoRoute: there is none.
        """
        guard = trip.plan.guard
        if guard.paths is not None:
            guard.path(client.method, client.target)
        route = trip.plan.routes.match(client.target)
        client.target = route.forwarded(client.target)
        if route.logins is not None and (login := route.logins.match(client.target)) is not None:
            route = login
            client.plainly()
        trip.route, trip.where = route, route.name
        return route

    def _stays_open(self, request: web.BaseRequest, client: ClientRequest) -> bool:
        """Tell whether the client's connection may carry another request after this one."""
        return client.keep_alive and not self._draining and request.content.is_eof()

    def _answer(
        self, request: web.BaseRequest, trip: Trip, client: ClientRequest, answer: Callable[..., bytes]
    ) -> Sent:
        """Answer an OPTIONS that is meant for us."""
        trip.status, trip.outcome = 204, "answered"
        keep_alive = self._stays_open(request, client)
        write(request, answer(keep_alive=keep_alive))
        return OPEN if keep_alive else CLOSED

    async def _parked(self, trip: Trip, wait: Coroutine[object, object, T], *, waits: bool, held: int = 0) -> T:
        """Wait for the session's answer; what takes longer than a loop's turn was parked.

        Args:
            waits: the answer will take its time, so that content has to be kept meanwhile.
            held: bytes of a rejecting answer that are kept, too.

        Raises:
            TooManyParked: what waits holds as much content already as it may.
        """
        if waits and not trip.content.may_wait(held):
            wait.close()
            raise TooManyParked("Waiting requests hold as much content already as `replay.total` allows.", 1.0)
        since = self._loop.time()
        try:
            return await wait
        finally:
            trip.content.waited()
            waited = self._loop.time() - since
            if waited > 0.001:
                trip.parked += waited
                log.debug("request.parked", request_id=trip.id, seconds=round(waited, 3))

    async def _replace(
        self, request: web.BaseRequest, trip: Trip, client: ClientRequest, rejected: Response, lines: list[bytes]
    ) -> tuple[Response, bool]:
        """After a rejected token: get a newer one and send the request again, as the session decides.

        Args:
            lines: field lines to add to the answer; filled.

        Returns:
            The answer, and whether it is one to a request that was sent again.
        """
        route, replayable = trip.route, trip.content.replayable
        decision = route.decide(
            trip.token, client.target, self._loop.time(), replayed=trip.replayed, pauses=trip.pauses
        )
        if isinstance(decision, Relay):
            trip.outcome = "replayed" if trip.replayed else "relayed"
            return rejected, False
        waits = isinstance(decision, Wait | Pause)
        doubtful = route.patience.doubts(client.target)
        try:
            if trip.upload is not None:
                await trip.upload.stop()
            if waits and replayable and not doubtful:
                route.discard(rejected)  # nobody will read it, and thousands may wait
            ask = route.session.newer_token(decision, 0 if trip.token is None else trip.token.life)
            newer = await self._parked(trip, ask, waits=waits, held=rejected.size_at_most)
            if not replayable:
                trip.outcome = "resend"
                lines.append(problems.RESEND)
                return rejected, False
        except (LoggedOut, RefreshUnavailable) as refusal:
            if not doubtful or getattr(refusal, "reason", None) not in (None, "refresh_unavailable"):
                route.discard(rejected)
                raise
            # It rejects whatever it is sent, and an outage of the token endpoint is no news of the session.
            trip.outcome = "relayed"
            return rejected, False
        except BaseException:
            route.discard(rejected)
            raise
        route.discard(rejected)
        trip.pauses += isinstance(decision, Pause)
        trip.replayed = trip.replayed or newer.generation > trip.generation
        response = await send(request, trip, client, newer)
        trip.outcome = "replayed"
        log.debug("request.replayed", request_id=trip.id, generation=newer.generation, status=response.status)
        return response, True

    async def refuse(self, request: web.BaseRequest, trip: Trip, refusal: Refusal) -> Sent:
        """Answer a request ourselves."""
        trip.status = refusal.status
        trip.outcome, trip.detail = refusal.code, refusal.detail
        if refusal.status in (500, 502, 504):
            self._warn(trip, refusal)
        keep_alive = not (
            refusal.closes or self._draining or request._message.should_close or not request.content.is_eof()
        )
        answer = problems.render(
            refusal,
            head=request.method == "HEAD",
            keep_alive=keep_alive,
            as_page=problems.wants_page(", ".join(request.headers.getall("Accept", []))),
            more=trip.plan.guard.answer_lines(trip.page),
        )
        try:
            write(request, answer)
        except ClientGone:
            return CLOSED
        if keep_alive:
            return OPEN
        return LINGERING if refusal.closes else CLOSED

    def _warn(self, trip: Trip, refusal: Refusal) -> None:
        log.warning("upstream.failed", request_id=trip.id, code=refusal.code, detail=refusal.detail)
