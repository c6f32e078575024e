"""What a rejected token leads to: a request waits for a newer one, and is sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import structlog

from reauth_proxy.errors import LoggedOut, RefreshUnavailable, TooManyParked
from reauth_proxy.forward.attempt import send
from reauth_proxy.forward.exchange import PARKED, Exchange
from reauth_proxy.http1 import problems
from reauth_proxy.session.state import Pause, Relay, Wait
from reauth_proxy.session.tokens import AccessToken
from reauth_proxy.upstream.exchange import Response

log = structlog.get_logger(__name__)

T = TypeVar("T", AccessToken, AccessToken | None)


async def parked(exchange: Exchange, wait: Coroutine[object, object, T], *, waits: bool, held: int = 0) -> T:
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
    loop = asyncio.get_running_loop()
    since = loop.time()
    exchange.phase = PARKED
    try:
        return await wait
    finally:
        exchange.content.waited()
        waited = loop.time() - since
        if waited > 0.001:
            exchange.parked += waited
            log.debug("request.parked", request_id=exchange.id, seconds=round(waited, 3))


async def replace(exchange: Exchange, rejected: Response, lines: list[bytes]) -> tuple[Response, bool]:
    """After a rejected token: get a newer one and send the request again, as the session decides.

    Args:
        lines: field lines to add to the answer; filled.

    Returns:
        The answer, and whether it is one to a request that was sent again.
    """
    route, replayable = exchange.route, exchange.content.replayable
    now = asyncio.get_running_loop().time()
    decision = route.decide(exchange.token, exchange.target, now, replayed=exchange.replayed, pauses=exchange.pauses)
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
        newer = await parked(exchange, ask, waits=waits, held=rejected.size_at_most)
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
    exchange.token, exchange.upstream = newer, None
    response = await send(exchange)
    exchange.outcome = "replayed"
    log.debug("request.replayed", request_id=exchange.id, generation=newer.generation, status=response.status)
    return response, True
