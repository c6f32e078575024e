"""Sends a request upstream once, with its content."""

from __future__ import annotations

from reauth_proxy.forward.content import Content, Kept, Streamed
from reauth_proxy.forward.exchange import Exchange
from reauth_proxy.forward.request import ClientRequest
from reauth_proxy.forward.route import Response
from reauth_proxy.forward.upload import Upload
from reauth_proxy.session.tokens import AccessToken


def is_long(content: Content) -> bool:
    """Tell whether content had better not be rejected after it was sent: it is too long to be sent twice."""
    return isinstance(content, Streamed) and content.too_long


async def send(exchange: Exchange, client: ClientRequest, token: AccessToken | None) -> Response:
    """Send a request once, and return the head of what comes back."""
    route = exchange.route
    content = exchange.content
    exchange.token, exchange.generation = token, 0 if token is None else token.generation
    request_id = exchange.id.encode()
    interim = None if client.old else exchange.interim
    if isinstance(content, Kept):
        head = client.head(route, request_id, token)
        return await route.exchange(head + content.wire, client.method, websocket=client.websocket, interim=interim)
    # Content too long to be sent twice had better be rejected before it is sent.
    expect = client.expects or is_long(content)
    exchange.upload = Upload(exchange.connection, content, expect=expect, client_expects=client.expects)
    head = client.head(route, request_id, token, expect=expect)
    response = await exchange.upload.exchange(route, head, client.method, interim)
    if response.status == 417 and expect and not client.expects and content.replayable:
        # It was we who expected: RFC 9110 section 10.1.1 has the request repeated without.
        route.discard(response)
        await exchange.upload.stop()
        exchange.upload = Upload(exchange.connection, content, expect=False, client_expects=False)
        return await exchange.upload.exchange(route, client.head(route, request_id, token), client.method, interim)
    return response
