"""The proxy's own answers, as plain data and bytes. Pure.

Each is problem+json (RFC 9457) with Proxy-Status (RFC 9209); the logout answer also carries the signal that a frontend
reads and the challenge of RFC 6750 section 3. None echoes what a client or an upstream sent.
"""

from __future__ import annotations

import json
import math
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from reauth_proxy.errors import LoggedOut, Refusal

#: Appended to a 401 whose request could not be sent again: the token is new now, the client may repeat it.
RESEND: Final = b"Reauth-Signal: resend\r\n"
#: The interim answer to `Expect: 100-continue` (RFC 9110 section 15.2.1).
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class InternalError(Refusal):
    """A defect of the proxy itself; the log has the rest."""

    code, status, title = "internal_error", 500, "Internal error"
    proxy_error = "proxy_internal_error"
    closes = True


def _quoted(text: str) -> str:
    """Return `text` as a quoted-string of visible ASCII (RFC 9110 section 5.6.4)."""
    plain = text.encode("ascii", "replace").decode()
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def content(refusal: Refusal) -> bytes:
    """Return the JSON content of an answer (RFC 9457 section 3)."""
    members: dict[str, str | int] = {
        "type": "about:blank",
        "title": refusal.title,
        "status": refusal.status,
        "code": refusal.code,
    }
    if isinstance(refusal, LoggedOut):
        members["signal"] = "logout"
        members["reason"] = refusal.reason
    members["detail"] = refusal.detail
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


def fields(refusal: Refusal) -> list[tuple[str, str]]:
    """Return the fields of an answer, in the order in which they are sent."""
    found: list[tuple[str, str]] = []
    if isinstance(refusal, LoggedOut):
        found.append(("WWW-Authenticate", f'Bearer error="invalid_token", error_description={_quoted(refusal.detail)}'))
        found.append(("Reauth-Signal", f"logout;reason={refusal.reason}"))
    found.append(("Proxy-Status", f"reauth-proxy; error={refusal.proxy_error}; details={_quoted(refusal.detail)}"))
    if refusal.retry_after is not None:
        found.append(("Retry-After", str(max(1, math.ceil(refusal.retry_after)))))
    found.append(("Cache-Control", "no-store"))
    found.append(("Content-Type", "application/problem+json"))
    return found


def render(refusal: Refusal, *, head: bool, keep_alive: bool, date: float | None = None) -> bytes:
    """Return the whole answer as bytes.

    Args:
        head: the request's method is HEAD: the content is left out, its length is not (RFC 9110 section 9.3.2).
        keep_alive: whether the connection stays open afterwards.
        date: epoch seconds for the Date field, or None for now.
    """
    body = content(refusal)
    lines = [f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in fields(refusal)]
    lines.append(f"Date: {formatdate(date, usegmt=True)}")
    lines.append(f"Content-Length: {len(body)}")
    if not keep_alive:
        lines.append("Connection: close")
    head_bytes = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
    return head_bytes if head else head_bytes + body
