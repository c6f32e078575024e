"""What a session is made of, as plain data. Pure: no clock, no I/O, no logging.

Times are of two kinds, and an :class:`Instant` holds both: monotonic seconds, which nobody can set, and
wall-clock seconds, which go on while a laptop sleeps.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final
from weakref import ref

_HIDDEN: Final = "Secret(…)"


class Secret:
    """A string that never shows itself: not in repr, str, format, pickles or comparisons' timing.

    Args:
        watched: it is one of :func:`watched`; False for what only might be secret, such as a parameter.
    """

    __slots__ = ("__weakref__", "_value")

    def __init__(self, value: str, *, watched: bool = True) -> None:
        self._value = value
        if watched:
            number = next(_numbers)
            _watched[number] = ref(self, lambda _: _watched.pop(number, None))

    def reveal(self) -> str:
        """Return the hidden string; call it only where the secret goes on the wire or to its store."""
        return self._value

    def fingerprint(self) -> str:
        """Return 16 hex digits that tell two secrets apart and give neither away."""
        return hashlib.sha256(b"reauth-proxy fingerprint\0" + self._value.encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        return _HIDDEN

    def __str__(self) -> str:
        return _HIDDEN

    def __format__(self, spec: str) -> str:
        return _HIDDEN

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


#: By a number of its own: of two that are equal, each counts for as long as it lives.
_watched: Final[dict[int, ref[Secret]]] = {}
_numbers: Final = count()


def watched() -> dict[int, Secret]:
    """Return the secrets that this process still holds, for whoever keeps them in; no number comes twice."""
    # The copy is made in one step: while we look, the collector and other threads take out and put in.
    return {number: secret for number, held in _watched.copy().items() if (secret := held()) is not None}


#: Stands where a session keeps its refresh token, under a grant that has none (RFC 6749 section 4.4). No secret.
STAND_IN: Final = Secret("reauth-proxy:client_credentials", watched=False)


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment on both clocks, in seconds."""

    monotonic: float
    wall: float

    def after(self, seconds: float) -> Instant:
        """Return the moment that many seconds later."""
        return Instant(self.monotonic + seconds, self.wall + seconds)

    def reached(self, now: Instant) -> bool:
        """Tell whether either clock of `now` says that this moment has come."""
        return now.monotonic >= self.monotonic or now.wall >= self.wall


@dataclass(frozen=True, slots=True)
class AccessToken:
    """One access token of a session.

    Attributes:
        value: the token itself.
        generation: grows by one with every access token issued to the session.
        expires: when it must no longer be sent; None where the token endpoint did not say.
        renew: when a refresh behind the scenes is due (start of the `ahead` window); None as above.
        life: number of the life that it belongs to, in this process; nothing crosses from one life to another.
    """

    value: Secret
    generation: int
    expires: Instant | None
    renew: Instant | None
    life: int = 0

    def of_generation(self, generation: int) -> AccessToken:
        """Return the same token with another number."""
        return self if self.generation == generation else replace(self, generation=generation)

    def in_life(self, life: int) -> AccessToken:
        """Return the same token in the life of that number."""
        return replace(self, life=life)


@dataclass(frozen=True, slots=True)
class Issued:
    """The token endpoint issued tokens (RFC 6749 section 5.1).

    Attributes:
        refresh_token: the rotated refresh token; None keeps the present one (section 6).
        lifetime: seconds from the answer's arrival until the access token expires; None where unknown.
        refresh_lifetime: the same of the refresh token; None where unknown, or where it never expires.
    """

    access_token: Secret
    refresh_token: Secret | None
    lifetime: float | None
    refresh_lifetime: float | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """The refresh token is no good any more (RFC 6749 section 5.2 invalid_grant, or a status that says so).

    Attributes:
        error: a short code, such as ``invalid_grant`` or ``status_401``; safe to log.
    """

    error: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No verdict on the refresh token could be had.

    Attributes:
        cause: what happened, for people; holds nothing that the endpoint sent.
        retry_after: seconds that the endpoint asked us to wait (RFC 9110 section 10.2.3), or None.
        misconfigured: trying again cannot help until somebody mends the configuration (invalid_client and the like).
        broken: no whole answer came, though the request may have been sent; to be repeated promptly, because an answer
            with a rotated token may have been lost.
        answered: the status of the answer was a 2xx, so that the refresh token may be used up: nothing is repeated by
            itself.
        refresh_token: a new refresh token that came in an answer which is otherwise of no use; it has to be stored.
    """

    cause: str
    retry_after: float | None = None
    misconfigured: bool = False
    broken: bool = False
    answered: bool = False
    refresh_token: Secret | None = None


TokenReply = Issued | Denied | Unavailable


@dataclass(frozen=True, slots=True)
class StoredSession:
    """What a store keeps of a session.

    Fingerprints are what :meth:`Secret.fingerprint` returns.

    Attributes:
        refresh_token: None once signed out.
        access_token: the newest one, so that a restart or another process need not refresh.
        expires_at: wall-clock expiry of `access_token` in epoch seconds, or None where unknown.
        generation: of `access_token`; 0 before the first.
        life: fingerprint of the refresh token that this life began with, or None where nobody knows.
        configured: fingerprint of the configured refresh token that was dealt with last, or None.
        roots: fingerprints of the refresh tokens that this life and those before it began with, and of those that were
            configured meanwhile; the newest last. One of them that is configured is no news.
        spent: fingerprints of the refresh tokens that this life was rotated away from; the newest last.
        signed_out: the reason of the sign-out, or None.
        refused: the refresh token whose refusal ended the session; it is tried again where the endpoint's configuration
            has changed.
        denials: fingerprints of refresh tokens, each with an ``@`` and the fingerprint of the token endpoint's
            configuration that it was refused by; the newest last.
        refresh_expires_at: wall-clock expiry of `refresh_token` in epoch seconds, or None where unknown.
        used_at: when, in epoch seconds, a token request with this refresh token began whose answer has not been saved;
            None if there is none. A journal mark: two sessions that differ in it alone are equal.
        answered: fingerprint of the token endpoint's configuration, if by that the request was answered with a 2xx of
            which nothing could be read: only a request asks again. Part of the mark.
    """

    refresh_token: Secret | None
    access_token: Secret | None = None
    expires_at: float | None = None
    generation: int = 0
    life: str | None = None
    configured: str | None = None
    roots: tuple[str, ...] = ()
    spent: tuple[str, ...] = ()
    signed_out: str | None = None
    refused: Secret | None = None
    denials: tuple[str, ...] = ()
    refresh_expires_at: float | None = None
    used_at: float | None = field(default=None, compare=False)
    answered: str | None = field(default=None, compare=False)

    @property
    def line(self) -> str:
        """What a refresh must find again when it saves: the life, and whether it has ended. Text without spaces."""
        life = self.life or "-"
        return life if self.refresh_token is not None else f"{life}/{self.signed_out or '-'}"
