"""The proxy's own answers, as plain data and bytes. Pure.

Each is problem+json (RFC 9457) with Proxy-Status (RFC 9209); the logout answer also carries the signal that a frontend
reads and the challenge of RFC 6750 section 3. A browser that asks for a page gets one. None echoes what a client or an
upstream sent.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from reauth_proxy.errors import ClientDenied, LoggedOut, MethodNotSupported, Refusal

#: Appended to a 401 whose request could not be sent again: the token is new now, the client may repeat it.
RESEND: Final = b"Reauth-Signal: resend"
#: What a 405 has to name (RFC 9110 section 15.5.6): the methods that are passed on, of those that everybody knows.
ALLOWED: Final = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
#: Where this Python's own phrase is older than RFC 9110.
_PHRASES: Final = {413: "Content Too Large", 422: "Unprocessable Content"}


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


_ACCEPT: Final = re.compile(rb"\r\n[Aa][Cc][Cc][Ee][Pp][Tt]:([^\r\n]*)")

#: The page that a browser gets: no script, nothing from elsewhere.
_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{status} {title}</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto 0; padding: 0 1rem }}
h1 {{ font-size: 1.5rem }} code {{ font-size: .9rem }}</style>
<h1>{title}</h1>
<p>{detail}</p>
<p><code>{status} {code}</code>, said by reauth-proxy on this machine, not by the site behind it.</p>
</html>
"""
_PAGE_FIELDS: Final = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
]


def page(refusal: Refusal) -> bytes:
    """Return the page that says the same to a person."""
    code = refusal.code if not isinstance(refusal, LoggedOut) else f"{refusal.code}: {refusal.reason}"
    shown = {"title": refusal.title, "detail": refusal.detail, "code": code}
    return _PAGE.format(status=refusal.status, **{name: html.escape(text) for name, text in shown.items()}).encode()


def wants_page(accept: str | None) -> bool:
    """Tell whether an Accept field prefers text/html to JSON (RFC 9110 section 12.5.1); a wildcard does not."""
    best = {"text/html": 0.0, "application/json": 0.0, "application/problem+json": 0.0}
    for part in (accept or "").split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        if kind not in best:
            continue
        weight = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        try:
            best[kind] = max(best[kind], float(weight))
        except ValueError:
            continue
    return best["text/html"] > max(best["application/json"], best["application/problem+json"])


def asks_for_page(head: bytes) -> bool:
    """Tell the same of a header section that no parser took; False where it is not whole."""
    whole, end, _ = head.partition(b"\r\n\r\n")
    return bool(end) and wants_page(b",".join(_ACCEPT.findall(whole)).decode("latin-1"))


def fields(refusal: Refusal, *, as_page: bool = False) -> list[tuple[str, str]]:
    """Return the fields of an answer, in the order in which they are sent."""
    found: list[tuple[str, str]] = []
    if isinstance(refusal, LoggedOut):
        found.append(("WWW-Authenticate", f'Bearer error="invalid_token", error_description={_quoted(refusal.detail)}'))
        found.append(("Reauth-Signal", f"logout;reason={refusal.reason}"))
    if isinstance(refusal, ClientDenied):
        found.append(("WWW-Authenticate", 'Basic realm="reauth-proxy", charset="UTF-8"'))
    found.append(("Proxy-Status", f"reauth-proxy; error={refusal.proxy_error}; details={_quoted(refusal.detail)}"))
    if refusal.retry_after is not None:
        found.append(("Retry-After", str(max(1, math.ceil(refusal.retry_after)))))
    if isinstance(refusal, MethodNotSupported):
        found.append(("Allow", refusal.allowed or ALLOWED))
    found.append(("Cache-Control", "no-store"))
    found += _PAGE_FIELDS if as_page else [("Content-Type", "application/problem+json")]
    return found


def end_of_the_road(*, keep_alive: bool, date: float | None = None) -> bytes:
    """Return the answer to an OPTIONS that may make no more hops (RFC 9110 section 7.6.2)."""
    lines = ["HTTP/1.1 204 No Content", f"Allow: {ALLOWED}", f"Date: {formatdate(date, usegmt=True)}"]
    lines += [] if keep_alive else ["Connection: close"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def render(
    refusal: Refusal,
    *,
    head: bool,
    keep_alive: bool,
    as_page: bool = False,
    more: Iterable[bytes] = (),
    date: float | None = None,
) -> bytes:
    """Return the whole answer as bytes.

    Args:
        head: the request's method is HEAD: the content is left out, its length is not (RFC 9110 section 9.3.2).
        keep_alive: whether the connection stays open afterwards.
        as_page: for a browser that shows it to a person; else problem+json.
        more: field lines to add.
        date: epoch seconds for the Date field, or None for now.
    """
    body = page(refusal) if as_page else content(refusal)
    lines = [f"HTTP/1.1 {refusal.status} {_PHRASES.get(refusal.status, HTTPStatus(refusal.status).phrase)}"]
    lines += [f"{name}: {value}" for name, value in fields(refusal, as_page=as_page)]
    lines += [line.decode("ascii") for line in more]
    lines.append(f"Date: {formatdate(date, usegmt=True)}")
    lines.append(f"Content-Length: {len(body)}")
    if not keep_alive:
        lines.append("Connection: close")
    head_bytes = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
    return head_bytes if head else head_bytes + body
