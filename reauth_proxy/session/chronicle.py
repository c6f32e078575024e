"""What one refresh says of itself: in the log, in the counters, in the history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal

import structlog

from reauth_proxy.errors import LogoutReason, StoreError
from reauth_proxy.session.book import Book
from reauth_proxy.session.calls import where
from reauth_proxy.session.history import Outcome
from reauth_proxy.session.tokens import Denied, Instant, Issued, Unavailable

_log = structlog.get_logger()

Cause = Literal["rejected", "expired", "renewal", "interrupted", "asked", "configured"]

_UNANSWERED: Final = "an earlier request with this refresh token got no answer that was saved"
ROTATION_LOST: Final = f"rotation probably lost: {_UNANSWERED}, and the authorization server does not take it twice"
REFUSED: Final = "the refresh token was refused: revoked, expired, or used by somebody else"
_GOES_ON: Final = "the session that there was goes on; correct the refresh token in the configuration"
_CHANGED: Final = "another process changed the session"


class Chronicle:
    """Tells of one refresh.

    Args:
        name: of the credential.
        cause: what asked for the refresh.
    """

    def __init__(self, name: str, cause: Cause, book: Book, clock: Callable[[], Instant]) -> None:
        self._name = name
        self._cause = cause
        self._book = book
        self._clock = clock
        self._began = 0.0
        self.begins()

    def begins(self) -> None:
        """An attempt begins."""
        self._began = asyncio.get_running_loop().time()

    def started(self) -> None:
        """The refresh starts."""
        if self._cause == "interrupted":
            # Authorization servers that allow for lost answers do so for a short while only.
            _log.warning("refresh.interrupted", **self._who())
        _log.info("refresh.started", cause=self._cause, **self._who())

    def repeated(self) -> None:
        """A refresh token is sent again."""
        _log.warning("refresh.repeated", detail=_UNANSWERED, **self._who())

    def issued(self, issued: Issued, *, rotated: bool, resumed: bool) -> None:
        """There are new tokens.

        Args:
            resumed: those who waited had been told that there are none.
        """
        self._record("issued")
        _log.info("refresh.issued", rotated=rotated, expires_in=issued.lifetime, **self._who())
        if resumed:
            _log.info("session.resumed", **self._who())

    def adopted(self) -> None:
        """Another process has refreshed."""
        _log.info("refresh.adopted", **self._who())

    def discarded(self) -> None:
        """What was issued came too late."""
        _log.warning("refresh.discarded", problem=_CHANGED, **self._who())

    def denied(self, denied: Denied) -> None:
        """The refresh token was refused, which need not be the last word."""
        self._book.stats.denied += 1
        self._record("denied", denied.error)
        _log.warning("refresh.denied", error=denied.error, **self._who())

    def refused(self, denied: Denied) -> None:
        """A refresh token that was only tried was refused."""
        _log.error("credential.refused", error=denied.error, detail=_GOES_ON, **self._who())

    def signed_out(self, reason: LogoutReason, **more: object) -> None:
        """The session has ended."""
        _log.warning("session.signed_out", reason=reason, **more, **self._who())

    def unavailable(self, unavailable: Unavailable, attempt: int) -> None:
        """An attempt failed."""
        self._book.stats.unavailable += 1
        self._book.problem = unavailable.cause
        self._record("unavailable", unavailable.cause)
        _log.warning("refresh.unavailable", problem=unavailable.cause, attempt=attempt, **self._who())

    def gave_up(self, unavailable: Unavailable, pause: float) -> None:
        """Those who waited are told so.

        Args:
            pause: seconds of cool-off.
        """
        _log.error(
            "refresh.unavailable",
            problem=unavailable.cause,
            gave_up=True,
            misconfigured=unavailable.misconfigured,
            cool_off=round(pause, 1),
            **self._who(),
        )

    def failed(self, error: Exception) -> None:
        """Something that nobody expected."""
        _log.error("refresh.failed", **self._who(), **where(error))

    def still_locked(self, error: StoreError) -> None:
        """The store's lock could not be given back."""
        _log.error("store.failed", to_be="unlocked", error=str(error), **self._who())

    def _record(self, outcome: Outcome, problem: str | None = None) -> None:
        seconds = asyncio.get_running_loop().time() - self._began
        self._book.history.note(self._clock().wall, outcome, seconds, self._cause, problem)

    def _who(self) -> dict[str, object]:
        return {"credential": self._name, "generation": self._book.generation}
