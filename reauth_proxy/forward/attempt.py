"""Sends a request upstream once, with its content."""

from __future__ import annotations

from reauth_proxy.forward.content import Content, Kept, Streamed
from reauth_proxy.forward.exchange import Exchange
from reauth_proxy.forward.request import head
from reauth_proxy.forward.upload import Upload
from reauth_proxy.session.tokens import AccessToken
from reauth_proxy.upstream import exchange as upstream
from reauth_proxy.upstream.exchange import Response


def is_long(content: Content) -> bool:
    """Tell whether content had better not be rejected after it was sent: it is too long to be sent twice."""
    return isinstance(content, Streamed) and content.too_long


async def send(exchange: Exchange, token: AccessToken | None) -> Response:
    """Send a request once, and return the head of what comes back."""
    route = exchange.route
    content = exchange.content
    exchange.token, exchange.generation = token, 0 if token is None else token.generation
    interim = None if exchange.old else exchange.interim
    if isinstance(content, Kept):
        data = head(exchange, token) + content.wire
        return await upstream.exchange(
            route.pool, data, exchange.method, route.response_timeout, websocket=exchange.websocket, interim=interim
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
