"""Reads the content of one answer: to its end, or as far as there is one."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp

from reauth_proxy.issuers import content

#: Longer answers are not read, in bytes.
LONGEST_ANSWER: Final = 1024 * 1024
#: Why an end may be missing, as in "its answer ...".
BROKE: Final = "broke off"
TOO_LONG: Final = "is longer than 1 MiB"
STOPPED: Final = "stopped before its end"


async def receive(response: aiohttp.ClientResponse, moment: float, silence: float) -> tuple[bytes, str]:
    """Return the content, unpacked, and why its end may be missing; "" if it is whole.

    Content that is complete by its own syntax is whole: there are servers that announce more than they send, or forget
    the last chunk, and some of them keep the connection open. It waits a moment for the end that its framing is due.

    Args:
        moment: seconds.
        silence: seconds without a byte after which content that has begun is taken for all there is.
    """
    packed, cut = await _read(response, moment, silence)
    body = _unpacked(response, packed)
    if len(body) > LONGEST_ANSWER:
        return body[:LONGEST_ANSWER], TOO_LONG
    return body, cut if cut and not content.is_whole(content.text(body)) else ""


def _unpacked(response: aiohttp.ClientResponse, packed: bytes) -> bytes:
    return content.unpacked(packed, response.headers.get("Content-Encoding", ""), LONGEST_ANSWER + 1)


async def _read(response: aiohttp.ClientResponse, moment: float, silence: float) -> tuple[bytes, str]:
    """Return the content as it came, and why its end may be missing."""
    clock = asyncio.get_running_loop().time
    body = bytearray()
    look: float | None = None  # when it is looked next whether the content is complete
    newest = 0.0
    looked_at, was_long, complete = -1, 0, False
    while True:
        try:
            async with asyncio.timeout_at(look):
                chunk = await response.content.readany()
        except TimeoutError:
            now, was_complete = clock(), complete
            if looked_at != len(body):
                looked_at, complete = len(body), content.is_whole(content.text(_unpacked(response, bytes(body))))
            if complete and (was_complete or was_long == len(body)):
                return bytes(body), STOPPED
            if not complete and now - newest >= silence:
                return bytes(body), STOPPED
            was_long, look = len(body), now + moment
            continue
        except Exception:
            # Whatever ends it, what came before is all there is. The error's text holds parts of the answer.
            return bytes(body), BROKE
        if not chunk:
            return bytes(body), ""
        body += chunk
        newest = clock()
        if look is None:
            was_long, look = len(body), newest + moment
        if len(body) > LONGEST_ANSWER:
            return bytes(body), TOO_LONG
