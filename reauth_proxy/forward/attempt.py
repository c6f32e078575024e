"""Sends a request upstream once, with its content."""

from __future__ import annotations

from collections.abc import Callable

from reauth_proxy.forward.content import Content, Kept, Streamed, at_hand
from reauth_proxy.forward.exchange import SENT, Exchange
from reauth_proxy.forward.request import head
from reauth_proxy.forward.spool import Spool
from reauth_proxy.forward.upload import Upload
from reauth_proxy.http1.outbox import Outbox
from reauth_proxy.upstream import exchange as upstream
from reauth_proxy.upstream.exchange import Response


def is_long(content: Content) -> bool:
    """Tell whether content had better not be rejected after it was sent: it is too long to be sent twice."""
    return isinstance(content, Streamed) and content.too_long


def send_now(exchange: Exchange, spool: Spool, outbox: Outbox, receiver: Callable[[], None]) -> bool:
    """Send a request on which nothing has to wait: all of it is here, and so are a token and a connection.

    Args:
        spool: counts the content that is kept.
        outbox: writes it.
        receiver: is called once, when the answer's head has come or never will.

    Returns:
        Whether it was sent. Where it was not, nothing of it was.

    Raises:
        ContentTooLarge: it is refused.
    """
    request, route = exchange.request, exchange.route
    if not request.body.complete or exchange.expects or exchange.websocket or route.login is not None:
        return False
    token = route.session.usable()
    if token is None or token.life != route.session.life:
        return False
    content = exchange.content
    if exchange.length or request.chunked:
        longest = exchange.plan.limits.content
        found = at_hand(request.body, exchange.length, chunked=request.chunked, spool=spool, longest=longest)
        assert found is not None, "all of it is here"
        content = exchange.content = found
    if isinstance(content, Streamed):
        return False
    method = exchange.method
    if not route.pool.idle:
        return False
    data = head(exchange, token) + content.wire  # First: whatever is wrong with it must not cost a connection.
    connection = upstream.take(route.pool, method)
    if connection is None:
        return False
    exchange.token, exchange.generation = token, token.generation
    exchange.upstream, exchange.phase = connection, SENT
    interim = None if exchange.old else exchange.interim
    upstream.begin(connection, data, method, route.response_timeout, interim=interim, outbox=outbox, receiver=receiver)
    return True


async def send(exchange: Exchange) -> Response:
    """Send a request once with its token, or wait for it if that was done, and return the head of what comes back."""
    route, content, token = exchange.route, exchange.content, exchange.token
    exchange.generation = 0 if token is None else token.generation
    exchange.phase = SENT
    interim = None if exchange.old else exchange.interim
    if isinstance(content, Kept):
        return await upstream.exchange(
            route.pool,
            lambda: head(exchange, token) + content.wire,
            exchange.method,
            route.response_timeout,
            websocket=exchange.websocket,
            interim=interim,
            begun=exchange.upstream,
        )
    # Content too long to be sent twice had better be rejected before it is sent.
    expect = exchange.expects or is_long(content)
    exchange.upload = Upload(exchange.connection, content, expect=expect, client_expects=exchange.expects)
    data = head(exchange, token, expect=expect)
    response = await exchange.upload.exchange(route, data, exchange.method, interim)
    if response.status == 417 and expect and not exchange.expects and content.replayable:
        # It was we who expected: RFC 9110 section 10.1.1 has the request repeated without.
        response.discard()
        await exchange.upload.stop()
        exchange.upload = Upload(exchange.connection, content, expect=False, client_expects=False)
        return await exchange.upload.exchange(route, head(exchange, token), exchange.method, interim)
    return response
