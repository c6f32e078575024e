"""The main path: a request comes in, goes upstream with the session's token, and its answer goes back.

Read :meth:`Forwarder.forward` first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TypeVar

import structlog

from reauth_proxy.clients.connection import ClientConnection
from reauth_proxy.clients.writing import CLOSED, LINGERING, OPEN, ClientGone, Sent
from reauth_proxy.errors import InternalError, LoggedOut, NoRoute, RefreshUnavailable, Refusal, TooManyParked
from reauth_proxy.forward.attempt import is_long, send
from reauth_proxy.forward.content import EMPTY
from reauth_proxy.forward.exchange import AccessLog, Exchange, Observer
from reauth_proxy.forward.own import CALLBACK, HERE, Own
from reauth_proxy.forward.plan import Plan
from reauth_proxy.forward.receiving import receive
from reauth_proxy.forward.relay import CutOff, relay
from reauth_proxy.forward.request import judge, plainly
from reauth_proxy.forward.route import Route
from reauth_proxy.forward.spool import Spool
from reauth_proxy.forward.tunnel import Tunnels
from reauth_proxy.guard import cors
from reauth_proxy.http1 import problems
from reauth_proxy.http1.request import Request
from reauth_proxy.session.state import Pause, Relay, Wait
from reauth_proxy.session.tokens import AccessToken
from reauth_proxy.upstream.exchange import Response, finished

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

    async def handle(self, request: Request, connection: ClientConnection) -> Sent:
        """Answer one request, whatever happens; the handler of the main listener."""
        exchange = Exchange(request, connection, self.plan, self._loop.time())
        self.active += 1
        try:
            return await self.forward(exchange)
        except Refusal as refusal:
            return await self.refuse(exchange, refusal)
        except CutOff as cut:
            exchange.outcome = "cut_off"
            self._warn(exchange, cut.refusal)
            return CLOSED
        except ClientGone:
            exchange.outcome = "aborted"
            return CLOSED
        except asyncio.CancelledError:
            if exchange.status != 101:  # that is how tunnels end
                exchange.outcome = "aborted"
            raise
        except Exception:
            log.exception("request.failed", request_id=exchange.id)
            return await self.refuse(exchange, InternalError("The proxy failed; its log says why."))
        finally:
            self.active -= 1
            seconds = self._loop.time() - exchange.started
            if self._observer is not None:
                self._observer.finished(exchange, seconds)
            if self._access.enabled:
                self._access.finished(exchange, seconds)
            if exchange.content is not EMPTY:
                await self._let_go(exchange)

    async def _let_go(self, exchange: Exchange) -> None:
        """Stop reading and keeping content, whether or not somebody cancels us meanwhile."""
        try:
            if exchange.upload is not None:
                await exchange.upload.stop()
        finally:
            exchange.content.close()

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

    async def forward(self, exchange: Exchange) -> Sent:
        """Forward one request: the whole product on one screen.

        Raises:
            Refusal: the proxy answers itself.
            ClientGone, asyncio.CancelledError: nobody waits for an answer any more.
        """
        plan = exchange.plan
        judge(exchange)
        exchange.id = self._request_id(exchange.found.request_id)
        if (answer := self._admit(exchange)) is not None:
            return answer
        if exchange.target.startswith(HERE):
            return await self._here(exchange)
        route = self._choose(exchange)
        if exchange.hops == 0:
            return self._answer(exchange, problems.end_of_the_road)
        session = route.session
        life = session.life
        content = exchange.content = await receive(exchange, plan.keeping, self.spool, plan.limits.content)
        token = session.usable()
        if token is None or token.life != life:  # none, an expired one, or one to be renewed: this may park
            ask = session.token(fresh=is_long(content), life=life)
            token = await self._parked(exchange, ask, waits=session.waits)
        response = await send(exchange, token)
        lines: list[bytes] = []
        exchange.outcome = "forwarded"
        while route.rejects(response):
            response, again = await self._replace(exchange, response, lines)
            if not again:
                break
        else:
            route.accepted(exchange.token, exchange.target, response.status)
            if route.login is not None:
                response = await route.login.take(route, response)
        exchange.status = response.status
        lines += plan.response_rules.filter(response.fields)
        if plan.guard.origins.listed:
            lines += plan.guard.answer_lines(exchange.page, response.fields)
        if response.status == 101:
            return await self.tunnels.carry(exchange, response, lines)
        keep_alive = self._stays_open(exchange)
        exchange.size, keep_alive = await relay(exchange, response, lines, keep_alive=keep_alive)
        finished(route.pool, response)
        return OPEN if keep_alive else CLOSED

    def _admit(self, exchange: Exchange) -> Sent | None:
        """Ask the guard who calls; return the answer to a preflight, and None for what may go on.

        Raises:
            HostDenied, OriginDenied, ClientDenied: it may not.
        """
        guard = exchange.plan.guard
        returns = exchange.method == "GET" and exchange.target.startswith(CALLBACK)
        page = exchange.page = guard.page(exchange.found.host, None if returns else exchange.found.marks)
        if page is not None and exchange.method == "OPTIONS" and cors.is_preflight(exchange.request.fields):
            answer = partial(cors.preflight, page, exchange.request.fields)
            return self._answer(exchange, answer)
        if guard.client_token is not None:
            guard.client(exchange.found.credentials)
        return None

    async def _here(self, exchange: Exchange) -> Sent:
        """Answer what is meant for the proxy itself."""
        if self._own is None:
            raise NoRoute("Nothing below /_reauth/ is ever forwarded.")
        exchange.outcome, exchange.where = "answered", HERE.decode()
        return await self._own.answer(exchange, keep_alive=self._stays_open(exchange))

    def _choose(self, exchange: Exchange) -> Route:
        """Choose the route.

        Raises:
            PathDenied: the path rules do not let the request through.
            NoRoute: there is none.
        """
        guard = exchange.plan.guard
        if guard.paths is not None:
            guard.path(exchange.method, exchange.target)
        route = exchange.plan.routes.match(exchange.target)
        exchange.target = route.forwarded(exchange.target)
        if route.logins is not None and (login := route.logins.match(exchange.target)) is not None:
            route = login
            plainly(exchange)
        exchange.route, exchange.where = route, route.name
        return route

    def _stays_open(self, exchange: Exchange) -> bool:
        """Tell whether the client's connection may carry another request after this one."""
        return exchange.keep_alive and not self._draining

    def _answer(self, exchange: Exchange, answer: Callable[..., bytes]) -> Sent:
        """Answer an OPTIONS that is meant for us."""
        exchange.status, exchange.outcome = 204, "answered"
        keep_alive = self._stays_open(exchange)
        exchange.connection.write(answer(keep_alive=keep_alive))
        return OPEN if keep_alive else CLOSED

    async def _parked(self, exchange: Exchange, wait: Coroutine[object, object, T], *, waits: bool, held: int = 0) -> T:
        """Wait for the session's answer; what takes longer than a loop's turn was parked.

        Args:
            waits: the answer will take its time, so that content has to be kept meanwhile.
            held: bytes of a rejecting answer that are kept, too.

        Raises:
            TooManyParked: what waits holds as much content already as it may.
        """
        if waits and not exchange.content.may_wait(held):
            wait.close()
            raise TooManyParked("Waiting requests hold as much content already as `replay.total` allows.", 1.0)
        since = self._loop.time()
        try:
            return await wait
        finally:
            exchange.content.waited()
            waited = self._loop.time() - since
            if waited > 0.001:
                exchange.parked += waited
                log.debug("request.parked", request_id=exchange.id, seconds=round(waited, 3))

    async def _replace(self, exchange: Exchange, rejected: Response, lines: list[bytes]) -> tuple[Response, bool]:
        """After a rejected token: get a newer one and send the request again, as the session decides.

        Args:
            lines: field lines to add to the answer; filled.

        Returns:
            The answer, and whether it is one to a request that was sent again.
        """
        route, replayable = exchange.route, exchange.content.replayable
        decision = route.decide(
            exchange.token, exchange.target, self._loop.time(), replayed=exchange.replayed, pauses=exchange.pauses
        )
        if isinstance(decision, Relay):
            exchange.outcome = "replayed" if exchange.replayed else "relayed"
            return rejected, False
        waits = isinstance(decision, Wait | Pause)
        doubtful = route.patience.doubts(exchange.target)
        try:
            if exchange.upload is not None:
                await exchange.upload.stop()
            if waits and replayable and not doubtful:
                rejected.discard()  # nobody will read it, and thousands may wait
            ask = route.session.newer_token(decision, 0 if exchange.token is None else exchange.token.life)
            newer = await self._parked(exchange, ask, waits=waits, held=rejected.size_at_most)
            if not replayable:
                exchange.outcome = "resend"
                lines.append(problems.RESEND)
                return rejected, False
        except (LoggedOut, RefreshUnavailable) as refusal:
            if not doubtful or getattr(refusal, "reason", None) not in (None, "refresh_unavailable"):
                rejected.discard()
                raise
            # It rejects whatever it is sent, and an outage of the token endpoint is no news of the session.
            exchange.outcome = "relayed"
            return rejected, False
        except BaseException:
            rejected.discard()
            raise
        rejected.discard()
        exchange.pauses += isinstance(decision, Pause)
        exchange.replayed = exchange.replayed or newer.generation > exchange.generation
        response = await send(exchange, newer)
        exchange.outcome = "replayed"
        log.debug("request.replayed", request_id=exchange.id, generation=newer.generation, status=response.status)
        return response, True

    async def refuse(self, exchange: Exchange, refusal: Refusal) -> Sent:
        """Answer a request ourselves."""
        request = exchange.request
        exchange.status = refusal.status
        exchange.outcome, exchange.detail = refusal.code, refusal.detail
        if refusal.status in (500, 502, 504):
            self._warn(exchange, refusal)
        keep_alive = not (refusal.closes or self._draining or not (request.persistent and request.body.complete))
        answer = problems.render(
            refusal,
            head=request.method == "HEAD",
            keep_alive=keep_alive,
            as_page=problems.wants_page(b", ".join(request.values(b"accept")).decode("latin-1")),
            more=exchange.plan.guard.answer_lines(exchange.page),
        )
        try:
            exchange.connection.write(answer)
        except ClientGone:
            return CLOSED
        if keep_alive:
            return OPEN
        return LINGERING if refusal.closes else CLOSED

    def _warn(self, exchange: Exchange, refusal: Refusal) -> None:
        log.warning("upstream.failed", request_id=exchange.id, code=refusal.code, detail=refusal.detail)
