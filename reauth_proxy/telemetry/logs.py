"""Logs by structlog: colours on a terminal, JSON lines elsewhere; standard logging comes out in the same form."""

from __future__ import annotations

import logging
import os
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TextIO

import structlog

from reauth_proxy.telemetry import redact
from reauth_proxy.telemetry.access import AccessLog, request_id
from reauth_proxy.telemetry.output import Output

if TYPE_CHECKING:
    from reauth_proxy.forward.exchange import Exchange

__all__ = ["AccessLog", "access_log", "configure", "finish", "request_id", "take_tracebacks"]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class _Logger:
    """What structlog writes to."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def msg(self, message: str) -> None:
        self._output.line(message)

    log = debug = info = warning = warn = error = exception = critical = fatal = failure = msg


class _Bridge(logging.Handler):
    """Hands records of standard logging (aiohttp's, asyncio's) to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= 40 else "warning" if record.levelno >= 30 else "info"
        if record.levelno < 20:
            level = "debug"
        exc_info = record.exc_info if record.exc_info and record.exc_info[1] is not None else None
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        getattr(structlog.get_logger(), level)(message, logger=record.name, exc_info=exc_info)


class _ConsoleAccessLog(AccessLog):
    """The access log for people: through structlog, in its colours."""

    def finished(self, exchange: Exchange, seconds: float) -> None:
        structlog.get_logger().info(
            "request.finished",
            method=exchange.method,
            path=exchange.path.encode("utf-8", "backslashreplace").decode(),
            status=exchange.status,
            outcome=exchange.outcome,
            generation=exchange.generation,
            duration=round(seconds, 4),
            bytes_out=exchange.size,
            request_id=exchange.id,
        )


_output = Output(sys.stderr)
_json = True
_enabled = True


def configure(level: str, format: str, stream: TextIO | None = None) -> None:  # noqa: A002 - the config key's name
    """Set up logging; may be called again.

    Args:
        level: debug, info, warning or error.
        format: console, json, or auto: console on a terminal, JSON elsewhere.
        stream: where lines go; stderr by default.
    """
    global _output, _json, _enabled
    target = sys.stderr if stream is None else stream
    terminal = getattr(target, "isatty", lambda: False)()
    if target is not _output.stream:
        access, _output = _output.access, Output(target)
        _output.access = access
    _json = format == "json" or (format == "auto" and not terminal)
    threshold = _LEVELS[level]
    _enabled = threshold <= 20
    renderer: Any = (
        structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=True)
        if _json
        else structlog.dev.ConsoleRenderer(
            colors=terminal and not os.environ.get("NO_COLOR"),
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact.processor,
            renderer,
            redact.line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _Logger(_output),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Bridge)]:
        root.removeHandler(handler)
    root.addHandler(_Bridge())
    root.setLevel(max(threshold, logging.INFO))


def finish() -> None:
    """Write what waits for a slow reader; at the end of the program."""
    _output.finish()


def take_tracebacks() -> None:
    """Have what nobody catches written as a log line, with its secrets hidden, instead of as it is."""
    sys.excepthook = _uncaught
    sys.unraisablehook = lambda raised: _uncaught(raised.exc_type, raised.exc_value, raised.exc_traceback)
    threading.excepthook = lambda raised: _uncaught(raised.exc_type, raised.exc_value, raised.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    exc_info = None if error is None else (kind, error, traceback)
    structlog.get_logger().critical("server.crashed", error=kind.__name__, exc_info=exc_info)


def access_log() -> AccessLog:
    """Return an access log in the form that was configured."""
    kind = AccessLog if _json else _ConsoleAccessLog
    access = kind(lambda text: _output.write(text), enabled=_enabled)
    _output.access = access
    return access
