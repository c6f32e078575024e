"""The main path: a request comes in, goes upstream with the session's token, and its answer goes back.

Read :meth:`Forwarder.forward` first. What needs not wait is done at once, by :meth:`Forwarder.handle` and
:meth:`Forwarder._received`; a task goes on wherever something has to be waited for, and never sends anything again that
was sent already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial

import structlog

from reauth_proxy.clients.connection import ClientConnection
from reauth_proxy.clients.writing import CLOSED, LINGERING, OPEN, Answer, ClientGone, Sent
from reauth_proxy.errors import InternalError, NoRoute, Refusal
from reauth_proxy.forward.attempt import is_long, send, send_now
from reauth_proxy.forward.exchange import ANSWERED, ENDED, AccessLog, Exchange, Observer
from reauth_proxy.forward.own import CALLBACK, HERE, Own
from reauth_proxy.forward.plan import Plan
from reauth_proxy.forward.receiving import receive
from reauth_proxy.forward.relay import CutOff, relay, whole
from reauth_proxy.forward.replay import parked, replace
from reauth_proxy.forward.request import bring_own, judge, plainly
from reauth_proxy.forward.sending import BEARER
from reauth_proxy.forward.spool import Spool
from reauth_proxy.forward.tunnel import Tunnels
from reauth_proxy.guard import cors
from reauth_proxy.http1 import problems
from reauth_proxy.http1.outbox import Outbox
from reauth_proxy.http1.request import Request
from reauth_proxy.upstream.exchange import Response, finished, received

log = structlog.get_logger(__name__)


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
        self._outbox = Outbox(asyncio.get_running_loop())
        #: Requests under way.
        self.active = 0
        self._draining = False
        self._access = access
        self._request_id = request_id
        self._loop = asyncio.get_running_loop()

    def handle(self, request: Request, connection: ClientConnection) -> Answer:
        """Answer one request, whatever happens; the handler of the main listener."""
        exchange = Exchange(request, connection, self.plan, self._loop.time())
        self.active += 1
        try:
            answer = self._admit(exchange)
            if answer is None:
                if send_now(exchange, self.spool, self._outbox, partial(self._received, exchange)):
                    return partial(self._abandon, exchange)
                answer = self.forward(exchange)
        except Exception as error:
            answer = self._give_up(exchange, error)
        if isinstance(answer, Sent):
            self.finish(exchange)
            return answer
        return self._see_through(exchange, answer)

    def _admit(self, exchange: Exchange) -> Sent | Coroutine[None, None, Sent] | None:
        """Judge a request, ask the guard, and choose its route; return the answer to what is not forwarded.

        Raises:
            Refusal: the proxy answers itself.
            ClientGone: the client has left.
        """
        judge(exchange)
        exchange.id = self._request_id(exchange.found.request_id)
        if (answer := self._guard(exchange)) is not None:
            return answer
        if exchange.target.startswith(HERE):
            return self._here(exchange)
        self._choose(exchange)
        if exchange.hops == 0:
            return self._answer(exchange, problems.end_of_the_road)
        return None

    async def forward(self, exchange: Exchange) -> Sent:
        """Forward one request that was let in: the whole product on one screen.

        Raises:
            Refusal: the proxy answers itself.
            ClientGone, asyncio.CancelledError: nobody waits for an answer any more.
        """
        route, plan = exchange.route, exchange.plan
        if exchange.upstream is None:  # else it was sent at once
            session = route.session
            life = session.life
            content = await receive(exchange, plan.keeping, self.spool, plan.limits.content)
            token = session.usable()
            if token is None or token.life != life:  # none, an expired one, or one to be renewed: this may park
                ask = session.token(fresh=is_long(content), life=life)
                token = await parked(exchange, ask, waits=session.waits)
            exchange.token = token
        response = await send(exchange)
        lines: list[bytes] = []
        exchange.outcome = "forwarded"
        while route.rejects(response):
            response, again = await replace(exchange, response, lines)
            if not again:
                break
        else:
            route.accepted(exchange.token, exchange.target, response.status)
            if route.login is not None:
                response = await route.login.take(route, response)
        lines = self._answer_lines(exchange, response, lines)
        if response.status == 101:
            return await self.tunnels.carry(exchange, response, lines)
        keep_alive = self._stays_open(exchange)
        keep_alive = await relay(exchange, response, lines, keep_alive=keep_alive)
        finished(route.pool, response)
        return OPEN if keep_alive else CLOSED

    def _received(self, exchange: Exchange) -> None:
        """Pass the answer to a request that was sent at once on at once, too, if it is whole and accepts the token."""
        upstream, route, client = exchange.upstream, exchange.route, exchange.connection
        assert upstream is not None
        if not upstream.complete or upstream.status in route.statuses or client.writing_paused:
            client.go_on(self._see_through(exchange, self.forward(exchange)))
            return
        try:
            response = received(route.pool, upstream)
            route.accepted(exchange.token, exchange.target, response.status)
            exchange.outcome = "forwarded"
            lines = self._answer_lines(exchange, response, [])
            data, keep_alive = whole(exchange, response, lines, keep_alive=self._stays_open(exchange))
            if keep_alive:
                client.post(data, self._outbox)
            else:
                client.write(data)
            sent = OPEN if keep_alive else CLOSED
        except Exception as error:
            sent = self._give_up(exchange, error)
        try:
            self.finish(exchange)
        finally:
            client.answered(sent)

    def _abandon(self, exchange: Exchange) -> None:
        """The client has left while its request was upstream."""
        assert exchange.upstream is not None
        exchange.upstream.abandon()
        self.finish(exchange)

    def _answer_lines(self, exchange: Exchange, response: Response, lines: list[bytes]) -> list[bytes]:
        """Return the field lines of an answer that is passed on."""
        plan = exchange.plan
        exchange.status, exchange.phase = response.status, ANSWERED
        lines += plan.response_rules.filter(response.fields)
        if plan.guard.origins.listed:
            lines += plan.guard.answer_lines(exchange.page, response.fields)
        return lines

    async def _see_through(self, exchange: Exchange, way: Coroutine[None, None, Sent]) -> Sent:
        """Go a way to its end, whatever happens."""
        try:
            return await way
        except asyncio.CancelledError:
            if exchange.status != 101:  # that is how tunnels end
                exchange.outcome = "aborted"
            raise
        except Exception as error:
            return self._give_up(exchange, error)
        finally:
            try:
                if exchange.upload is not None:
                    await exchange.upload.stop()
            finally:
                self.finish(exchange)

    def finish(self, exchange: Exchange) -> None:
        """A request has ended: count it, log it, and let go of its content."""
        self.active -= 1
        exchange.phase = ENDED
        seconds = self._loop.time() - exchange.started
        if self._observer is not None:
            self._observer.finished(exchange, seconds)
        if self._access.enabled:
            self._access.finished(exchange, seconds)
        exchange.content.close()

    def _give_up(self, exchange: Exchange, error: Exception) -> Sent:
        """Answer what cannot be forwarded, if there is somebody to answer."""
        if isinstance(error, Refusal):
            return self._refuse(exchange, error)
        if isinstance(error, CutOff):
            exchange.outcome = "cut_off"
            self._warn(exchange, error.refusal)
            return CLOSED
        if isinstance(error, ClientGone):
            exchange.outcome = "aborted"
            return CLOSED
        log.error("request.failed", request_id=exchange.id, exc_info=error)
        return self._refuse(exchange, InternalError("The proxy failed; its log says why."))

    def _guard(self, exchange: Exchange) -> Sent | None:
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

    def _choose(self, exchange: Exchange) -> None:
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
        if route.send is not BEARER:
            exchange.tail, exchange.cookies = route.send.without_client_s(exchange.tail)
        if route.passes:
            bring_own(exchange)
        exchange.route, exchange.where = route, route.name

    def _stays_open(self, exchange: Exchange) -> bool:
        """Tell whether the client's connection may carry another request after this one."""
        return exchange.keep_alive and not self._draining

    def _answer(self, exchange: Exchange, answer: Callable[..., bytes]) -> Sent:
        """Answer an OPTIONS that is meant for us."""
        exchange.status, exchange.outcome = 204, "answered"
        keep_alive = self._stays_open(exchange)
        exchange.connection.write(answer(keep_alive=keep_alive))
        return OPEN if keep_alive else CLOSED

    def _refuse(self, exchange: Exchange, refusal: Refusal) -> Sent:
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
