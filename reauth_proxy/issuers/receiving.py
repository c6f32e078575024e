"""Reads the content of one answer: to its end, or as far as there is one."""

from __future__ import annotations

import asyncio
import math
from typing import Final, Protocol

from reauth_proxy.issuers import content

#: Longer answers are not read, in bytes.
LONGEST_ANSWER: Final = 1024 * 1024
#: Why an end may be missing, as in "its answer ...".
BROKE: Final = "broke off"
TOO_LONG: Final = "is longer than 1 MiB"
STOPPED: Final = "stopped before its end"
#: Moments that JSON which has not ended waits for more than its framing has announced.
_PATIENCE: Final = 4


class Incoming(Protocol):
    """Content as it comes."""

    @property
    def coding(self) -> str:
        """Return the field Content-Encoding."""

    @property
    def size(self) -> int:
        """Return a number that grows with whatever comes."""

    @property
    def too_long(self) -> bool:
        """Tell whether it is longer than what is read."""

    @property
    def complete(self) -> bool:
        """Tell whether it has all that its framing announced."""

    @property
    def beyond(self) -> bool:
        """Tell whether it has more than that."""

    @property
    def faulty(self) -> bool:
        """Tell whether its framing is so wrong that no end can be told by it."""

    @property
    def news(self) -> bool:
        """Tell whether something has come, or the end, that `more` has not told of."""

    async def more(self) -> bool:
        """Wait for more; False at an end. Raises whatever breaks it off."""

    def readings(self) -> tuple[bytes, ...]:
        """Return what the content may be, packed, likeliest first; the last is what else it is taken for."""


async def receive(incoming: Incoming, moment: float, silence: float) -> tuple[bytes, str]:
    """Return the content, unpacked, and why its end may be missing; "" if it is whole.

    Content that is complete by its own syntax is whole: there are servers that announce more than they send, or less,
    or forget the last chunk, and some of them keep the connection open. It waits a moment for the end that its framing
    is due, and where it is not complete by its syntax, for more than its framing announced.

    Args:
        moment: seconds.
        silence: seconds without a byte after which content that has begun is taken for all there is.
    """
    cut = await _read(incoming, moment, silence)
    body, is_whole = _chosen(incoming)
    if len(body) > LONGEST_ANSWER:
        return body[:LONGEST_ANSWER], TOO_LONG
    return body, "" if is_whole else cut


def _chosen(incoming: Incoming) -> tuple[bytes, bool]:
    """Return the content, unpacked, in the way of reading it that makes it whole, and whether there is one."""
    readings = list(dict.fromkeys(incoming.readings()))
    *_, last = incoming.readings()
    if incoming.too_long:
        readings = [last]
    bodies = {one: content.unpacked(one, incoming.coding, LONGEST_ANSWER + 1) for one in readings}
    for one in readings:
        if content.is_whole(content.text(bodies[one])):
            return bodies[one], True
    if len(readings) > 1:
        for one in readings:
            if content.holds_whole(content.text(bodies[one])):
                return bodies[one], False
    return bodies[last], False


async def _read(incoming: Incoming, moment: float, silence: float) -> str:
    """Take what comes; return why the end may be missing."""
    clock = asyncio.get_running_loop().time
    look: float | None = None  # when it is looked next whether the content is complete
    newest = clock()
    looked_at, was_long, whole, announced = -1, 0, False, False
    while True:
        if incoming.too_long:
            return TOO_LONG
        if incoming.complete and not announced:
            announced, looked_at, whole = True, incoming.size, _chosen(incoming)[1]
            if whole:
                return ""
        if look is None and (incoming.size or announced):
            was_long, look = incoming.size, newest + moment
        try:
            async with asyncio.timeout_at(look):
                more = await incoming.more()
        except TimeoutError:
            now, was_whole = clock(), whole
            if incoming.news:
                newest = now  # it came while this process was busy, or stopped
            if looked_at != incoming.size:
                looked_at, whole = incoming.size, _chosen(incoming)[1]
            if whole and (was_whole or was_long == incoming.size):
                return STOPPED
            if not whole and now - newest >= _patience(incoming, moment, silence, announced=announced):
                return STOPPED if incoming.beyond or not announced else ""
            was_long, look = incoming.size, clock() + moment
            continue
        except Exception:
            # Whatever ends it, what came before is all there is. The error's text holds parts of the answer.
            return "" if announced and not incoming.beyond else BROKE
        if not more:
            return ""
        newest = clock()


def _patience(incoming: Incoming, moment: float, silence: float, *, announced: bool) -> float:
    """Return how long content that is not whole waits for more."""
    if not (announced or incoming.faulty):
        return silence
    if silence == math.inf and not announced:
        return moment
    body, _ = _chosen(incoming)
    text = content.text(body)
    if content.documents(text).goes_on:
        return _PATIENCE * moment if announced else silence
    return moment if announced or content.holds_whole(text) else silence
