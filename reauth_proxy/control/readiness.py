"""Whether a request could be served with a token now, and if not, why, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reauth_proxy.errors import LogoutReason
from reauth_proxy.session.snapshot import Snapshot

_WHY: Final[Mapping[LogoutReason, str]] = {
    "no_session": "nobody has logged in yet; run `reauth-proxy login`, or put a refresh token into the configuration",
    "refresh_denied": "the token endpoint refused the refresh token; log in again",
    "refresh_unavailable": "the token endpoint is unavailable",
    "signed_out": "somebody signed out; log in again",
}
DRAINING: Final = "the daemon is shutting down"
_STORE: Final = "the store fails, so that what is refreshed would not survive this process; the log says why"

_REJECTED: Final = "an upstream rejected the access token, and none has accepted it since"
_UNANSWERED: Final = "the token endpoint has not answered the first token request yet"


def problem(snapshot: Snapshot) -> str | None:
    """Return why requests cannot be served with this session's token, None if they can."""
    if snapshot.problem is not None and not snapshot.usable:
        return f"{_WHY['refresh_unavailable']}: {snapshot.problem}"  # also while it is tried once more
    if snapshot.reason is not None:
        return _WHY[snapshot.reason]
    if snapshot.rejected:
        return _REJECTED
    if snapshot.untried and snapshot.state == "refreshing":
        return _UNANSWERED
    return _STORE if snapshot.store_failed else None


def problems(sessions: Mapping[str, Snapshot], *, draining: bool) -> dict[str, str]:
    """Return every problem, by the name of the credential, or `daemon`. None: the daemon is ready."""
    found = {"daemon": DRAINING} if draining else {}
    for name, snapshot in sessions.items():
        if (why := problem(snapshot)) is not None:
            found[name] = why
    return found
