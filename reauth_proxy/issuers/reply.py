"""What a token endpoint's answer means: Issued, Denied or Unavailable. Pure.

Denied ends a session, so it takes a clear word of the endpoint: invalid_grant (RFC 6749 section 5.2), a status that the
config lists as denied, or a 2xx answer that parses and holds no usable token. Everything else is Unavailable and keeps
the refresh token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl

from reauth_proxy.issuers import jwt, lifetimes, pointer
from reauth_proxy.session.tokens import Denied, Issued, Secret, TokenReply, Unavailable

#: Longer tokens are not usable, in characters.
LONGEST_TOKEN: Final = 64 * 1024
#: RFC 6749 section 5.2 without invalid_grant: trying again cannot help until somebody mends the configuration.
_MISTAKES: Final = {
    "invalid_request": "the request lacks something; see params and client_auth",
    "invalid_client": "check client_id, client_secret and client_auth",
    "unauthorized_client": "the client is not allowed to use this grant",
    "unsupported_grant_type": "the token endpoint does not know this grant; check url",
    "invalid_scope": "check scope",
}
#: RFC 6749 section 4.1.2.1 codes that some servers use at the token endpoint too.
_TRANSIENT: Final = frozenset({"temporarily_unavailable", "server_error"})
_ACCESS_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_ERROR: Final = re.compile(r"[a-z_]{1,64}")
#: Neither control characters nor halves of surrogate pairs, which no store and no request could hold.
_REFRESH_TOKEN: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """One HTTP answer, read whole.

    Attributes:
        content_type: the media type without parameters, in lower case; "" if there is none.
        retry_after, date: the fields of that name, or None.
    """

    status: int
    body: bytes
    content_type: str = ""
    retry_after: str | None = None
    date: str | None = None

    def __repr__(self) -> str:
        # The body holds tokens.
        return f"<Answer {self.status} {len(self.body)} bytes>"


@dataclass(frozen=True, slots=True)
class Pointers:
    """Where a hand-made API puts things in its answer."""

    access_token: pointer.Pointer
    refresh_token: pointer.Pointer | None = None
    expires_in: pointer.Pointer | None = None
    expires_at: pointer.Pointer | None = None


@dataclass(frozen=True, slots=True)
class _Unparsable:
    """The content is not what was due; `why` holds nothing of it."""

    why: str


def from_oauth2(answer: Answer, now: float) -> TokenReply:
    """Type the answer of an RFC 6749 token endpoint.

    Args:
        now: wall clock at the answer's arrival, epoch seconds.
    """
    status = answer.status
    verdict = _by_status(answer, now)
    if verdict is not None:
        return verdict
    wait = lifetimes.retry_after(answer.retry_after, now)
    document = _document(answer, forms=True)
    fields = document if isinstance(document, dict) else {}
    if isinstance(error := fields.get("error"), str):
        if error == "invalid_grant":
            return Denied("invalid_grant")
        if error in _MISTAKES:
            return _misconfigured(f"the token endpoint answered {status} {error}: {_MISTAKES[error]}", wait)
        if error in _TRANSIENT:
            return Unavailable(f"the token endpoint answered {status} {error}", wait)
    if 200 <= status < 300:
        if isinstance(document, _Unparsable):
            return Unavailable(f"the token endpoint answered {status} with {document.why}", wait)
        return _oauth2_tokens(fields, answer, now)
    if status in (400, 401, 403) and isinstance(document, _Unparsable) and _is_html(answer):
        # A captive portal or a firewall spoke, not the token endpoint.
        return Unavailable(f"the token endpoint answered {status} with {document.why}", wait)
    return _misconfigured(f"the token endpoint answered {status} without an error code of RFC 6749; check url", wait)


def from_client_credentials(answer: Answer, now: float) -> TokenReply:
    """Type the answer to a client that asked for itself (RFC 6749 section 4.4).

    There is no refresh token that could have ended, so a refusal is about the client, and somebody's mistake.

    Args:
        now: wall clock at the answer's arrival, epoch seconds.
    """
    verdict = from_oauth2(answer, now)
    if isinstance(verdict, Denied):
        cause = f"the token endpoint refused the client ({verdict.error}); check client_id, client_secret and scope"
        return _misconfigured(cause, None)
    # What could refresh is not to be had this way (section 4.4.3), and the client can always ask again.
    return replace(verdict, refresh_token=None) if isinstance(verdict, Issued) else verdict


def error_code(answer: Answer) -> str | None:
    """Return the error code of an answer (RFC 6749 section 5.2, RFC 8628 section 3.5), None where there is none."""
    document = _document(answer, forms=True)
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, str) and _ERROR.fullmatch(error) else None


def from_json_api(answer: Answer, pointers: Pointers, denied_statuses: Collection[int], now: float) -> TokenReply:
    """Type the answer of a hand-made API. A status listed as denied is a verdict whatever comes with it.

    Args:
        now: wall clock at the answer's arrival, epoch seconds.
    """
    status = answer.status
    if status in denied_statuses:
        return Denied(f"status_{status}")
    verdict = _by_status(answer, now)
    if verdict is not None:
        return verdict
    wait = lifetimes.retry_after(answer.retry_after, now)
    if not 200 <= status < 300:
        return Unavailable(f"the token endpoint answered {status}, which is not among denied_statuses", wait)
    document = _document(answer, forms=False)
    if isinstance(document, _Unparsable):
        return Unavailable(f"the token endpoint answered {status} with {document.why}", wait)

    def at(where: pointer.Pointer | None) -> object:
        return None if where is None else pointer.resolve(document, where)

    lifetime = lifetimes.expires_in(at(pointers.expires_in))
    if lifetime is None:
        lifetime = lifetimes.expires_at(at(pointers.expires_at), lifetimes.their_now(answer.date, now))
    return _tokens(at(pointers.access_token), at(pointers.refresh_token), lifetime, answer, now)


def _by_status(answer: Answer, now: float) -> Unavailable | None:
    """Return the verdict of a status that speaks for itself, whatever the content says."""
    status = answer.status
    wait = lifetimes.retry_after(answer.retry_after, now)
    if 300 <= status < 400:
        return _misconfigured(f"the token endpoint answered {status}, and redirects are not followed; check url", wait)
    if status in (404, 405, 415):
        return _misconfigured(f"the token endpoint answered {status}; check url", wait)
    if status in (408, 429) or not 200 <= status < 500:
        return Unavailable(f"the token endpoint answered {status}", wait)
    return None


def _misconfigured(cause: str, wait: float | None) -> Unavailable:
    return Unavailable(cause, wait, misconfigured=True)


def _document(answer: Answer, *, forms: bool) -> object:
    """Return the parsed content, or _Unparsable; JSON is JSON whatever its content type."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        pass  # The error would drag the content along.
    if forms and answer.content_type in ("application/x-www-form-urlencoded", "text/plain"):
        fields = dict(parse_qsl(answer.body.decode("ascii", "replace")))
        if "access_token" in fields or "error" in fields:
            return fields
    if not answer.body.strip():
        return _Unparsable("no content")
    return _Unparsable("HTML where JSON was due" if _is_html(answer) else "something that is not JSON")


def _is_html(answer: Answer) -> bool:
    return answer.content_type in ("text/html", "application/xhtml+xml") or answer.body.lstrip()[:1] == b"<"


def _oauth2_tokens(fields: dict[str, object], answer: Answer, now: float) -> TokenReply:
    lifetime = lifetimes.expires_in(fields.get("expires_in"))
    reply = _tokens(fields.get("access_token"), fields.get("refresh_token"), lifetime, answer, now)
    scheme = fields.get("token_type")
    if isinstance(reply, Issued) and scheme and (not isinstance(scheme, str) or scheme.lower() != "bearer"):
        return _misconfigured("the token endpoint issued a token of another type than Bearer", None)
    return reply


def _tokens(
    access_token: object, refresh_token: object, lifetime: float | None, answer: Answer, now: float
) -> TokenReply:
    usable = as_access_token(access_token)
    if usable is None:
        return Denied("no_usable_token")
    rotated: Secret | None = None
    if refresh_token is not None and refresh_token != "":
        rotated = as_refresh_token(refresh_token)
        if rotated is None:
            # The session can go on with neither the new token nor, if it was rotated, the old one. Trying again would
            # look like reuse, so a person has to see it.
            return _misconfigured("the token endpoint issued a refresh token that cannot be stored or sent", None)
    if lifetime is None:
        lifetime = jwt.lifetime(usable.reveal(), lifetimes.their_now(answer.date, now))
    return Issued(usable, rotated, lifetime)


def as_access_token(value: object) -> Secret | None:
    """Return an access token that can be sent (RFC 6750 section 2.1), None if the value is none."""
    return _secret(value, _ACCESS_TOKEN)


def as_refresh_token(value: object) -> Secret | None:
    """Return a refresh token that can be stored and sent, None if the value is none."""
    return _secret(value, _REFRESH_TOKEN)


def _secret(value: object, allowed: re.Pattern[str]) -> Secret | None:
    if isinstance(value, str) and len(value) <= LONGEST_TOKEN and allowed.fullmatch(value):
        return Secret(value)
    return None
