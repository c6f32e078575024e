"""Begins to read a request's content: whole where it is small, later where it is not; and answers its Expect."""

from __future__ import annotations

from reauth_proxy.forward import content
from reauth_proxy.forward.content import EMPTY, Content
from reauth_proxy.forward.exchange import Exchange
from reauth_proxy.forward.spool import Keeping, Spool
from reauth_proxy.http1.wire import CONTINUE


async def receive(exchange: Exchange, keeping: Keeping, spool: Spool, longest: int) -> Content:
    """Read small content as a whole; leave the rest to be streamed.

    Args:
        longest: how long it may be; 0 for no limit.

    Raises:
        BadRequest, RequestTimeout, ContentTooLarge: it is refused.
        ClientGone: the client left in the middle.
    """
    if exchange.content is not EMPTY:
        return exchange.content  # It was all here.
    if exchange.expects:
        if exchange.length is not None and exchange.length <= keeping.memory:
            exchange.connection.write(CONTINUE)
            exchange.expects = False
        else:
            exchange.connection.holding = True
    request = exchange.request
    exchange.content = await content.read(
        request.body, exchange.length, chunked=request.chunked, spool=spool, longest=longest
    )
    return exchange.content
