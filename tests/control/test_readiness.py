"""When the daemon is ready, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reauth_proxy.control import readiness
from reauth_proxy.session.snapshot import Snapshot

WELL = Snapshot("fresh", 3, 41.0, None, 0, False, None)


@pytest.mark.parametrize(
    ("session", "says"),
    [
        (WELL, None),
        (replace(WELL, state="stale", generation=0, expires_in=None), None),
        (replace(WELL, state="stale", expires_in=0.0), None),
        (replace(WELL, state="refreshing"), None),
        (replace(WELL, problem="the last refresh failed, and this token still works"), None),
        (replace(WELL, state="signed_out", reason="no_session"), "nobody has logged in yet"),
        (replace(WELL, state="signed_out", reason="refresh_denied"), "refused the refresh token"),
        (replace(WELL, state="signed_out", reason="signed_out"), "somebody signed out"),
        (replace(WELL, state="stale", reason="refresh_unavailable", problem="none", usable=False), "unavailable: none"),
        (replace(WELL, state="refreshing", problem="no connection", usable=False), "unavailable: no connection"),
        (replace(WELL, state="refreshing", usable=False), None),
        (replace(WELL, state="stale", reason="refresh_unavailable"), "is unavailable"),
        (replace(WELL, store_failed=True), "the store fails"),
    ],
)
def test_a_session_s_problem(session: Snapshot, says: str | None) -> None:
    found = readiness.problem(session)
    assert found is None if says is None else found is not None and says in found


def test_each_problem_has_the_name_of_who_has_it() -> None:
    gone = replace(WELL, state="signed_out", reason="no_session")
    assert readiness.problems({"one": WELL, "two": WELL}, draining=False) == {}
    assert set(readiness.problems({"one": WELL, "two": gone}, draining=True)) == {"daemon", "two"}
