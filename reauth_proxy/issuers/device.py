"""Signing in on another device (RFC 8628): show a code, and ask until somebody has entered it there."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from reauth_proxy.errors import LoginError
from reauth_proxy.issuers import lifetimes, reply
from reauth_proxy.issuers.client import revealed
from reauth_proxy.issuers.oauth2 import OAuth2Endpoint
from reauth_proxy.issuers.remarks import told
from reauth_proxy.issuers.reply import Answer
from reauth_proxy.session.tokens import Denied, Issued, Secret, TokenReply, Unavailable

GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
#: Seconds between two questions where the server does not say (section 3.2), what slow_down adds (section 3.5), and the
#: most that they may be apart.
_INTERVAL: Final = 5.0
_SLOWER: Final = 5.0
_LONGEST_INTERVAL: Final = 60.0
#: Seconds that a code lives at most, whatever the server says.
_LONGEST_LIFE: Final = 1800.0
#: Seconds that one call may take.
_TIMEOUT: Final = 30.0
_SHOWABLE: Final = re.compile(r"[\x20-\x7e]{1,2048}")


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What a person needs, and how to go on (section 3.2).

    Attributes:
        complete_uri: the page with the code filled in, where there is one.
        lifetime, interval: seconds.
    """

    code: Secret
    user_code: str
    uri: str
    complete_uri: str | None
    lifetime: float
    interval: float


async def start(endpoint: OAuth2Endpoint, url: str) -> DeviceCode | Unavailable:
    """Ask for a code.

    Args:
        url: of the device authorization endpoint.
    """
    settings = endpoint.client.settings
    form = revealed(settings.authorization_params)
    if settings.scope:
        form["scope"] = settings.scope
    answer = await _bounded(endpoint.client.post(url, form))
    if isinstance(answer, Unavailable):
        return answer
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        found = None
    if answer.status != 200 or not isinstance(found, dict):
        error = reply.error_code(answer)
        what = f"{answer.status} {error}" if error else f"{answer.status}"
        return Unavailable(
            f"the device authorization endpoint answered {what}", misconfigured=answer.status < 500 and not answer.cut
        )
    code, user_code = found.get("device_code"), found.get("user_code")
    uri, complete = found.get("verification_uri"), found.get("verification_uri_complete")
    if not isinstance(code, str) or not code or not _shows(user_code) or not _leads_somewhere(uri):
        return Unavailable("the device authorization endpoint sent no code or no address", misconfigured=True)
    lifetime = lifetimes.expires_in(found.get("expires_in"))
    interval = lifetimes.number(found.get("interval"))
    return DeviceCode(
        Secret(code),
        str(user_code),
        str(uri),
        complete if _leads_somewhere(complete) else None,
        min(lifetime or _LONGEST_LIFE, _LONGEST_LIFE),
        min(max(_INTERVAL if interval is None else interval, 1.0), _LONGEST_INTERVAL),
    )


async def wait(
    endpoint: OAuth2Endpoint,
    device: DeviceCode,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Issued:
    """Ask for the tokens until they are issued (section 3.5).

    Raises:
        LoginError: they were refused, or the code has expired.
    """
    end, interval = clock() + device.lifetime, device.interval
    while True:
        if clock() + interval > end:
            raise LoginError("The code has expired before anybody entered it; run the command again.")
        await sleep(interval)
        answer = await _bounded(endpoint.ask({"grant_type": GRANT, "device_code": device.code.reveal()}))
        match answer if isinstance(answer, Unavailable) else _said(answer):
            case Issued() as issued:
                return issued
            case "authorization_pending":
                continue
            case "slow_down":
                interval = min(interval + _SLOWER, _LONGEST_INTERVAL)
            case "access_denied":
                raise LoginError("The login was refused (access_denied).")
            case "expired_token":
                raise LoginError("The code has expired before anybody entered it; run the command again.")
            case Unavailable(cause, misconfigured=True):
                raise LoginError(f"The login did not work: {cause}.")
            case Unavailable():
                interval = min(interval * 2, _LONGEST_INTERVAL)
            case Denied(error):
                raise LoginError(f"The authorization server refused the code ({error}).")


def _said(answer: Answer) -> str | TokenReply:
    error = reply.error_code(answer)
    if error in ("authorization_pending", "slow_down", "access_denied", "expired_token"):
        return error
    return told(reply.from_oauth2(answer, time.time()))


async def _bounded(call: Awaitable[Answer | Unavailable]) -> Answer | Unavailable:
    try:
        async with asyncio.timeout(_TIMEOUT):
            return await call
    except TimeoutError:
        return Unavailable(f"no answer within {_TIMEOUT:g} s")


def _shows(text: object) -> bool:
    return isinstance(text, str) and _SHOWABLE.fullmatch(text) is not None


def _leads_somewhere(url: object) -> bool:
    if not isinstance(url, str) or not _shows(url):
        return False
    try:
        return urlsplit(url).scheme in ("https", "http")
    except ValueError:
        return False
