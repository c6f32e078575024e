"""What is wrong with a store: the oldest trouble is told, until all of it is over."""

from __future__ import annotations

import structlog

from reauth_proxy.errors import StoreError
from reauth_proxy.session.problems import Problems


def test_the_oldest_problem_is_told_until_it_is_mended() -> None:
    with structlog.testing.capture_logs() as logs:
        problems = Problems("default")
        assert not problems
        assert problems.first is None
        problems.mended("read")  # Nothing was wrong.
        problems.complain("written", StoreError("no space left on the device"))
        problems.complain("read", StoreError("input/output error"))
        assert problems.first == "no space left on the device"
        assert "written" in problems
        problems.mended("written")
        assert problems.first == "input/output error"
        problems.mended("read", "locked")
        assert not problems
    assert [line["event"] for line in logs] == ["store.failed", "store.failed", "store.mended"]
    assert [line.get("to_be") for line in logs] == ["written", "read", None]


def test_an_error_of_this_program_is_told_without_its_text() -> None:
    with structlog.testing.capture_logs() as logs:
        problems = Problems("default")
        problems.complain("written", KeyError("CANARY"))
    assert "KeyError" in str(problems.first)
    assert "CANARY" not in f"{problems.first} {logs}"
