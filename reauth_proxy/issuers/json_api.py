"""The token endpoint of a hand-made JSON API: a request made from templates, an answer read by JSON Pointers."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from reauth_proxy.issuers import pointer, reply
from reauth_proxy.issuers.judged import is_lost
from reauth_proxy.issuers.remarks import told
from reauth_proxy.issuers.transport import Transport
from reauth_proxy.session.protocols import Confirm
from reauth_proxy.session.tokens import Denied, Secret, TokenReply, Unavailable

DENIED_STATUSES: Final = (400, 401, 403)
_PLACEHOLDER: Final = re.compile(r"\{(refresh_token|access_token)\}")
#: What a header field may hold without being read two ways (RFC 9110 section 5.5), kept to ASCII.
_FIELD_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class JsonSettings:
    """What a hand-made token endpoint is sent, and where it puts things.

    Attributes:
        headers, body: ``{refresh_token}`` and ``{access_token}`` are replaced in header values and in every string of
            the body; without an access token yet, the latter by nothing.
        body: any JSON value; None sends no content.
        access_token, refresh_token, expires_in, expires_at, refresh_expires_in: JSON Pointers (RFC 6901) into the
            answer.
        denied_statuses: what the API answers when the refresh token is no good.
    """

    url: str
    method: str = "POST"
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    body: object = None
    access_token: str = "/accessToken"  # noqa: S105 - a pointer
    refresh_token: str | None = None
    expires_in: str | None = None
    expires_at: str | None = None
    refresh_expires_in: str | None = None
    denied_statuses: Collection[int] = DENIED_STATUSES


class JsonEndpoint:
    """A :class:`~reauth_proxy.session.protocols.TokenEndpoint` for a hand-made API.

    Args:
        ssl, connect_timeout, trust_env: see :class:`~reauth_proxy.issuers.transport.Transport`.

    Raises ConfigError if a pointer is malformed.
    """

    def __init__(
        self,
        settings: JsonSettings,
        *,
        ssl: ssl.SSLContext | bool = True,
        connect_timeout: float = 5.0,
        trust_env: bool = False,
    ) -> None:
        self._settings = settings
        self._transport = Transport(ssl, connect_timeout, trust_env=trust_env)
        self._denied = frozenset(settings.denied_statuses)
        self._pointers = reply.Pointers(
            pointer.parse(settings.access_token),
            _optional(settings.refresh_token),
            _optional(settings.expires_in),
            _optional(settings.expires_at),
            () if settings.refresh_expires_in is None else (pointer.parse(settings.refresh_expires_in),),
        )

    async def refresh(
        self, refresh_token: Secret, access_token: Secret | None, confirm: Confirm | None = None
    ) -> TokenReply:
        """Exchange the refresh token in the way that the templates say."""
        if is_lost(refresh_token):
            return Denied("no_refresh_token")
        values = {
            "refresh_token": refresh_token.reveal(),
            "access_token": access_token.reveal() if access_token is not None else "",
        }
        headers = {"Content-Type": "application/json"} if self._settings.body is not None else {}
        for name, template in self._settings.headers.items():
            value = _fill_text(template, values)
            if not _FIELD_VALUE.fullmatch(value):
                return Unavailable(f"the header {name} cannot be sent with this token in it", misconfigured=True)
            headers = {key: kept for key, kept in headers.items() if key.lower() != name.lower()} | {name: value}
        content = None
        if self._settings.body is not None:
            content = json.dumps(fill(self._settings.body, values), separators=(",", ":")).encode("ascii")
        answer = await self._transport.send(
            self._settings.method, self._settings.url, headers, content, confirm=confirm
        )
        if isinstance(answer, Unavailable):
            return answer
        judged = reply.from_json_api(answer, self._pointers, self._denied, time.time())
        told(judged)
        return judged.with_stand_in()

    async def close(self) -> None:
        """Release the connections."""
        await self._transport.close()


def _optional(text: str | None) -> pointer.Pointer | None:
    return None if text is None else pointer.parse(text)


def fill(template: object, values: Mapping[str, str]) -> object:
    """Return the template with the placeholders in its strings replaced; what is put in is not looked at again."""
    if isinstance(template, str | Secret):
        return _fill_text(template, values)
    if isinstance(template, Mapping):
        return {name: fill(value, values) for name, value in template.items()}
    if isinstance(template, list | tuple):
        return [fill(value, values) for value in template]
    return template


def _fill_text(template: str | Secret, values: Mapping[str, str]) -> str:
    if isinstance(template, Secret):
        # A secret is not a template: braces in it are its own.
        return template.reveal()
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)
