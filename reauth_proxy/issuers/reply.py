"""What a token endpoint's answer means: Issued, Denied or Unavailable. Pure.

Denied ends a session, so it takes a clear word of the endpoint: invalid_grant (RFC 6749 section 5.2), or a status that
the config lists as denied. Everything else is Unavailable and keeps the refresh token. Tokens that are in an answer
come before everything that is wrong with it: the refresh token that was sent is used up by then.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Final

from reauth_proxy.issuers import content, jwt, lifetimes, pointer
from reauth_proxy.issuers.judged import Judged, OddTokenType, Remark, UnusableToken
from reauth_proxy.issuers.refusals import by_error, by_status, misconfigured
from reauth_proxy.session.tokens import Denied, Issued, Secret, Unavailable

#: Longer tokens are not usable, in characters.
LONGEST_TOKEN: Final = 64 * 1024
#: Types of tokens that are no use without what only their client knows (RFC 9449, RFC 8693 section 2.2.1).
_NOT_BEARER: Final = frozenset({"dpop", "mac", "n_a"})
_ACCESS_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_ERROR: Final = re.compile(r"[a-z_]{1,64}")
#: What servers write instead of Bearer. Only these are told, for anything else could be a secret.
_KNOWN_TYPES: Final = frozenset(
    {"access_token", "accesstoken", "api", "basic", "bearer_token", "bearertoken", "bot", "jwt", "oauth", "oauth2"}
    | {"session", "token", "user"}
)
_SCHEME: Final = re.compile(r"^bearer +", re.IGNORECASE)
_MEMBER: Final = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_MOST_MEMBERS: Final = 10
#: Neither control characters nor halves of surrogate pairs, which no store and no request could hold.
_REFRESH_TOKEN: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


def media_type(field: str) -> str:
    """Return the media type of a Content-Type field without parameters, in lower case; "" if there is none."""
    return field.partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """One HTTP answer.

    Attributes:
        body: the content, unpacked.
        content_type: the media type without parameters, in lower case; "" if there is none.
        retry_after, date: the fields of that name, or None.
        cut: why the end of the content may be missing, as in "its answer ..."; "" if it is not. Only of a 2xx.
    """

    status: int
    body: bytes
    content_type: str = ""
    retry_after: str | None = None
    date: str | None = None
    cut: str = ""

    def __repr__(self) -> str:
        # The body holds tokens.
        return f"<Answer {self.status} {len(self.body)} bytes>"


@dataclass(frozen=True, slots=True)
class Pointers:
    """Where an endpoint puts things in its answer.

    Attributes:
        refresh_expires_in: the first that can be read counts.
    """

    access_token: pointer.Pointer
    refresh_token: pointer.Pointer | None = None
    expires_in: pointer.Pointer | None = None
    expires_at: pointer.Pointer | None = None
    refresh_expires_in: tuple[pointer.Pointer, ...] = ()


#: RFC 6749 section 5.1, and what others added: Keycloak, GitHub and Slack.
_OAUTH2: Final = Pointers(
    ("access_token",),
    ("refresh_token",),
    ("expires_in",),
    refresh_expires_in=(("refresh_expires_in",), ("refresh_token_expires_in",)),
)


@dataclass(frozen=True, slots=True, repr=False)
class _Found:
    """What an answer holds.

    Attributes:
        document: the parsed content that was chosen.
        part: it breaks off.
        nothing: there is none, and why.
        lost: there was a refresh token, and it cannot be used or has no end.
    """

    document: object = None
    access_token: Secret | None = None
    refresh_token: Secret | None = None
    lost: bool = False
    part: bool = False
    nothing: str = ""


def from_oauth2(answer: Answer, now: float) -> Judged:
    """Type the answer of an RFC 6749 token endpoint.

    Args:
        now: wall clock at the answer's arrival, epoch seconds.
    """
    verdict = by_status(answer.status, lifetimes.retry_after(answer.retry_after, now))
    if verdict is not None:
        return Judged(verdict)
    wait = lifetimes.retry_after(answer.retry_after, now)
    found = _found(answer, _OAUTH2, forms=True)
    fields = found.document if isinstance(found.document, dict) else {}
    status = answer.status
    refused = by_error(fields.get("error"), status, wait) if not found.part else None
    if refused is not None:
        if _is_good(answer) and found.refresh_token is not None:
            # It contradicts itself. The new token is worth a try; a refusal would throw it away.
            cause = f"the token endpoint answered {status} with an error and a refresh token"
            return Judged(
                Unavailable(cause, wait, misconfigured=True, answered=True, refresh_token=found.refresh_token)
            )
        return Judged(refused)
    if _is_good(answer):
        return _tokens(found, _OAUTH2, answer, now, fields.get("token_type"))
    if status in (400, 401, 403) and found.nothing and _is_html(answer):
        # A captive portal or a firewall spoke, not the token endpoint.
        return Judged(Unavailable(f"the token endpoint answered {status} with {found.nothing}", wait))
    cause = f"the token endpoint answered {status} without an error code of RFC 6749; check url"
    return Judged(misconfigured(cause, wait))


def from_client_credentials(answer: Answer, now: float) -> Judged:
    """Type the answer to a client that asked for itself (RFC 6749 section 4.4).

    There is no refresh token that could have ended, so a refusal is about the client, and somebody's mistake.

    Args:
        now: wall clock at the answer's arrival, epoch seconds.
    """
    judged = from_oauth2(answer, now)
    verdict = judged.reply
    if isinstance(verdict, Denied):
        cause = f"the token endpoint refused the client ({verdict.error}); check client_id, client_secret and scope"
        return Judged(misconfigured(cause, None))
    # What could refresh is not to be had this way (section 4.4.3), and the client can always ask again.
    if isinstance(verdict, Issued):
        verdict = replace(verdict, refresh_token=None, refresh_lifetime=None)
    else:
        verdict = replace(verdict, refresh_token=None)
    return Judged(verdict, tuple(one for one in judged.remarks if not isinstance(one, UnusableToken)))


def error_code(answer: Answer) -> str | None:
    """Return the error code of an answer (RFC 6749 section 5.2, RFC 8628 section 3.5), None where there is none."""
    found = _found(answer, _OAUTH2, forms=True)
    error = found.document.get("error") if isinstance(found.document, dict) and not found.part else None
    return error if isinstance(error, str) and _ERROR.fullmatch(error) else None


def from_json_api(answer: Answer, pointers: Pointers, denied_statuses: Collection[int], now: float) -> Judged:
    """Type the answer of a hand-made API. A status listed as denied is a verdict whatever comes with it.

    Args:
        now: wall clock at the answer's arrival, epoch seconds.
    """
    status = answer.status
    if status in denied_statuses:
        return Judged(Denied(f"status_{status}"))
    verdict = by_status(answer.status, lifetimes.retry_after(answer.retry_after, now))
    if verdict is not None:
        return Judged(verdict)
    if not _is_good(answer):
        wait = lifetimes.retry_after(answer.retry_after, now)
        cause = f"the token endpoint answered {status}, which is not among denied_statuses"
        return Judged(Unavailable(cause, wait))
    return _tokens(_found(answer, pointers, forms=False), pointers, answer, now)


def _is_good(answer: Answer) -> bool:
    return 200 <= answer.status < 300


def _found(answer: Answer, pointers: Pointers, *, forms: bool) -> _Found:
    """Return what the answer holds: of several documents the one with tokens, one that is whole before a part."""
    text = content.text(answer.body)
    candidates = list(_candidates(answer, text, pointers, forms=forms))
    for wanted in ("access_token", "refresh_token"):
        for one in candidates:
            if getattr(one, wanted) is not None:
                return one
    if not answer.body.strip():
        return _Found(nothing="no content")
    if not candidates or candidates[0].part or (_is_html(answer) and not _speaks(candidates)):
        nothing = "HTML where JSON was due" if _is_html(answer) else "something that is not JSON"
        return _Found(nothing=nothing, lost=any(one.lost for one in candidates))
    return next((one for one in candidates if _error(one) is not None), candidates[0])


def _candidates(answer: Answer, text: str, pointers: Pointers, *, forms: bool) -> Iterator[_Found]:
    found = content.documents(text)
    for document in found.whole:
        yield _look(document, pointers)
    fields = content.form(text, whole=not answer.cut) if forms and not found.whole else None
    if fields is not None and not fields.keys().isdisjoint(("access_token", "refresh_token", "error")):
        one = _look(fields, pointers)
        yield replace(one, part=bool(answer.cut), lost=one.lost or (bool(answer.cut) and _cut_form_lost(text)))
    if _is_good(answer):
        for part in found.parts:
            one = _look(part.document, pointers)
            where = pointers.refresh_token
            cut = one.refresh_token is None and bool(where) and part.path[: len(where or ())] == where
            yield replace(one, part=True, lost=one.lost or cut)


def _cut_form_lost(text: str) -> bool:
    return text.strip().rpartition("&")[2].startswith("refresh_token")


def _look(document: object, pointers: Pointers) -> _Found:
    """Read the tokens of a document."""

    def at(where: pointer.Pointer | None) -> object:
        return None if where is None else pointer.resolve(document, where)

    written = at(pointers.refresh_token)
    refresh_token = as_refresh_token(_literal(written))
    # Nothing, in the ways that hand-made APIs write it.
    lost = refresh_token is None and bool(written)
    access_token = _literal(at(pointers.access_token))
    if isinstance(access_token, str):
        access_token = _SCHEME.sub("", access_token)
    return _Found(document, as_access_token(access_token), refresh_token, lost)


def _literal(value: object) -> object:
    """Return a token that is a JSON integer as its text; 0 is none."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and value else value


def _error(found: _Found) -> Denied | Unavailable | None:
    return by_error(found.document.get("error"), 0, None) if isinstance(found.document, dict) else None


def _speaks(candidates: list[_Found]) -> bool:
    """Tell whether what is in a page is a word of the token endpoint, and not a script's."""
    return any(not one.part and _error(one) is not None for one in candidates)


def _is_html(answer: Answer) -> bool:
    start = answer.body.lstrip()[:1]
    return start == b"<" or (answer.content_type in ("text/html", "application/xhtml+xml") and start not in b"{[")


def _tokens(found: _Found, pointers: Pointers, answer: Answer, now: float, scheme: object = None) -> Judged:
    """Type a 2xx. Whatever it lacks, a new refresh token in it is handed on."""
    status, wait = answer.status, lifetimes.retry_after(answer.retry_after, now)
    kept = found.refresh_token
    remarks: list[Remark] = []
    if found.lost:
        problem = "the new refresh token has no end" if found.part else "the new refresh token cannot be stored or sent"
        remarks.append(UnusableToken(problem))
    if found.nothing or (found.access_token is None and found.part):
        is_page = not answer.cut and found.nothing.startswith("HTML")
        what = f"and its answer {answer.cut}" if answer.cut else f"with {found.nothing or 'JSON that breaks off'}"
        cause = f"the token endpoint answered {status} {what}"
        return Judged(Unavailable(cause, wait, answered=not is_page, refresh_token=kept), tuple(remarks))
    if found.access_token is None:
        cause = f"the token endpoint answered {status} without a usable access token {_where(found.document, pointers)}"
        return Judged(Unavailable(cause, wait, misconfigured=True, answered=True, refresh_token=kept), tuple(remarks))
    kind = scheme.lower() if isinstance(scheme, str) else scheme
    if isinstance(kind, str) and kind in _NOT_BEARER:
        cause = "the token endpoint issued a token of another type than Bearer, which this program cannot use"
        return Judged(Unavailable(cause, wait, misconfigured=True, answered=True, refresh_token=kept), tuple(remarks))
    if kind and kind != "bearer":
        name = kind if isinstance(kind, str) and kind in _KNOWN_TYPES else None
        remarks.append(OddTokenType(isinstance(scheme, str), name))

    def at(where: pointer.Pointer | None) -> object:
        return None if where is None else pointer.resolve(found.document, where)

    their_now = lifetimes.their_now(answer.date, now)
    lifetime = lifetimes.expires_in(at(pointers.expires_in))
    if lifetime is None:
        lifetime = lifetimes.expires_at(at(pointers.expires_at), their_now)
    if lifetime is None:
        lifetime = jwt.lifetime(found.access_token.reveal(), their_now)
    lives = (lifetimes.expires_in(at(where)) for where in pointers.refresh_expires_in)
    refresh_lifetime = next((one for one in lives if one is not None), None)
    return Judged(Issued(found.access_token, kept, lifetime, refresh_lifetime), tuple(remarks), found.lost)


def _where(document: object, pointers: Pointers) -> str:
    """Say where a token was looked for, and which members are there: names only, and only harmless ones."""
    there = document
    for part in pointers.access_token[:-1]:
        deeper = pointer.resolve(there, (part,))
        if not isinstance(deeper, dict | list):
            break
        there = deeper
    if isinstance(there, dict):
        names = [name for name in there if _MEMBER.fullmatch(name)][:_MOST_MEMBERS]
        members = f"the members there are {', '.join(names)}" if names else "there are no members to name"
    else:
        members = "a list is there" if isinstance(there, list) else "it holds no object"
    return f"at /{'/'.join(pointers.access_token)}; {members}"


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
