"""Logs: JSON or colours, foreign loggers too, and never a secret."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from reauth_proxy.session.tokens import Secret
from reauth_proxy.telemetry import logs, redact
from tests.fakes.exchanges import exchange


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    logs.configure("info", "json")
    structlog.reset_defaults()
    root.setLevel(level)
    for handler in [handler for handler in root.handlers if type(handler).__name__ == "_Bridge"]:
        root.removeHandler(handler)


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_elsewhere_than_on_a_terminal_lines_are_json() -> None:
    out = io.StringIO()
    logs.configure("info", "auto", out)
    structlog.get_logger().info("refresh.issued", generation=3)
    (line,) = lines(out)
    assert (line["event"], line["level"], line["generation"]) == ("refresh.issued", "info", 3)
    assert line["timestamp"].endswith("Z")


def test_on_a_terminal_there_are_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Terminal()
    logs.configure("info", "auto", out)
    structlog.get_logger().info("refresh.issued")
    assert "\x1b[" in out.getvalue()


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    logs.configure("info", "auto", out)
    structlog.get_logger().info("refresh.issued")
    assert "\x1b[" not in out.getvalue()
    assert "refresh.issued" in out.getvalue()


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_the_least_that_is_shown(level: str, shown: int) -> None:
    out = io.StringIO()
    logs.configure(level, "json", out)
    log = structlog.get_logger()
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert len(lines(out)) == shown
    assert logs.access_log().enabled == (level in ("debug", "info"))


def test_standard_logging_comes_out_in_the_same_form() -> None:
    out = io.StringIO()
    logs.configure("info", "json", out)
    logging.getLogger("asyncio").warning("slow %s", "task")
    (line,) = lines(out)
    assert (line["event"], line["logger"], line["level"]) == ("slow task", "asyncio", "warning")


def test_no_secret_leaves_through_values_exceptions_or_foreign_loggers() -> None:
    out = io.StringIO()
    logs.configure("debug", "json", out)
    log = structlog.get_logger()
    log.info("x", url="https://h/?access_token=CANARYtoken", secret=Secret("CANARYsecret"))
    try:
        try:
            raise ValueError("refresh_token=CANARYinner")
        except ValueError as error:
            raise RuntimeError("Bearer CANARYouter") from error
    except RuntimeError:
        log.exception("failed")
        logging.getLogger("aiohttp.server").exception("Authorization: Bearer %s", "CANARYargument")
    assert "CANARY" not in out.getvalue()
    assert "RuntimeError" in lines(out)[1]["exception"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_secret_that_looks_like_nothing_is_hidden_in_a_traceback_too(form: str) -> None:
    held = Secret("CANARYplainword")
    out = io.StringIO()
    logs.configure("debug", form, out)
    try:
        raise KeyError(held.reveal(), [held.reveal().encode()])
    except KeyError:
        structlog.get_logger().exception("failed", more={held.reveal(): 1})
    assert "KeyError" in out.getvalue()
    assert redact.HIDDEN in out.getvalue()
    assert "CANARY" not in out.getvalue()


@pytest.mark.process
@pytest.mark.parametrize("where", ["main", "thread", "finalizer"])
def test_what_nobody_catches_is_a_log_line_without_secrets(where: str) -> None:
    program = f"""
import sys, threading
from reauth_proxy.session.tokens import Secret
from reauth_proxy.telemetry import logs, redact
logs.configure("info", "json")
logs.take_tracebacks()
held = Secret("CANARYplainword")
def fail():
    raise RuntimeError(f"{{held.reveal()}} and refresh_token=CANARY")
class Late:
    def __del__(self):
        fail()
if {where!r} == "thread":
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
elif {where!r} == "finalizer":
    Late()
else:
    fail()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    line = json.loads(done.stderr)
    assert (line["event"], line["level"], line["error"]) == ("server.crashed", "critical", "RuntimeError")
    assert "in fail" in line["exception"]
    assert "CANARY" not in done.stdout + done.stderr
    assert done.returncode == (where == "main")


def test_a_log_that_nobody_reads_is_no_reason_to_fail() -> None:
    logs.configure("info", "json", Broken())
    structlog.get_logger().info("x")
    closed = io.StringIO()
    logs.configure("info", "json", closed)
    closed.close()
    structlog.get_logger().info("x")


async def test_lines_of_both_kinds_stay_in_order() -> None:
    out = io.StringIO()
    logs.configure("info", "json", out)
    access = logs.access_log()
    access.finished(exchange(), 0.1)
    structlog.get_logger().info("server.drained")
    access.close()
    assert [line["event"] for line in lines(out)] == ["request.finished", "server.drained"]


async def test_for_people_the_access_log_is_a_line_like_any_other() -> None:
    out = io.StringIO()
    logs.configure("info", "console", out)
    access = logs.access_log()
    access.finished(exchange(path="/a\udcffb"), 0.1)
    access.close()
    assert "request.finished" in out.getvalue()
    assert "status=200" in out.getvalue()
