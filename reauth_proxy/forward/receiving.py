"""Begins to read a request's content: whole where it is small, later where it is not; and answers its Expect."""

from __future__ import annotations

from aiohttp import web

from reauth_proxy.clients.connection import front_of
from reauth_proxy.clients.writing import write
from reauth_proxy.errors import BadRequest, Refusal
from reauth_proxy.forward import content
from reauth_proxy.forward.content import Content
from reauth_proxy.forward.request import ClientRequest
from reauth_proxy.forward.spool import Keeping, Spool
from reauth_proxy.http1.wire import CONTINUE


async def receive(
    request: web.BaseRequest, client: ClientRequest, keeping: Keeping, spool: Spool, longest: int
) -> Content:
    """Read small content as a whole; leave the rest to be streamed.

    Args:
        longest: how long it may be; 0 for no limit.

    Raises:
        BadRequest, ContentTooLarge: it is refused.
    """
    if client.expects:
        if client.length is not None and client.length <= keeping.memory:
            write(request, CONTINUE)
            client.expects = False
        else:
            front_of(request).holding = True
    try:
        return await content.read(
            request.content, length=client.length, chunked=client.chunked, spool=spool, longest=longest
        )
    except Refusal:
        raise
    except Exception as error:  # aiohttp has a handful: cut off, malformed chunks, connection lost
        raise BadRequest("The request's content broke off, or its framing is not valid.") from error
