"""What those who wait for a refresh are told, and the errors that tell it to a client. Pure."""

from __future__ import annotations

import math
from typing import Final, Literal

from reauth_proxy.errors import Draining, LoggedOut, LogoutReason, RefreshUnavailable, Refusal
from reauth_proxy.session.state import BackOff, Closing, SignedOut
from reauth_proxy.session.tokens import AccessToken

Verdict = AccessToken | SignedOut | BackOff | Closing

_WHY: Final[dict[LogoutReason, str]] = {
    "no_session": "There is no session: nobody has logged in yet.",
    "refresh_denied": "The session has ended: the token endpoint refused the refresh token. Log in again.",
    "refresh_unavailable": "The session could not be renewed: the token endpoint is unavailable.",
    "signed_out": "The session has ended: somebody signed out. Log in again.",
}


def logged_out(reason: LogoutReason) -> LoggedOut:
    """Return the logout answer."""
    return LoggedOut(reason, _WHY[reason])


def unavailable(retry_after: float, answer: Literal["logout", "unavailable"]) -> Refusal:
    """Return the answer that the policy's `on_unavailable` asks for; Retry-After in whole seconds."""
    seconds = float(math.ceil(retry_after))
    if answer == "unavailable":
        return RefreshUnavailable(_WHY["refresh_unavailable"], seconds)
    return LoggedOut("refresh_unavailable", _WHY["refresh_unavailable"], seconds)


def draining() -> Draining:
    """Return the answer of a program that shuts down."""
    return Draining("The proxy is shutting down.", 1.0)


def token_or_raise(verdict: Verdict, answer: Literal["logout", "unavailable"]) -> AccessToken:
    """Return the token, or raise the error that the verdict stands for."""
    match verdict:
        case SignedOut(reason):
            raise logged_out(reason)
        case BackOff(retry_after):
            raise unavailable(retry_after, answer)
        case Closing():
            raise draining()
    return verdict
