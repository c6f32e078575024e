"""The real daemon, which says first which parser it has: ``python -m tests.raw.telling --config FILE``."""

from __future__ import annotations

import sys

from aiohttp import http_parser, web_protocol

from reauth_proxy.cli import main

PYTHON = "requests are read by aiohttp's Python parser"
C = "requests are read by aiohttp's C parser"


def parser() -> str:
    """Return which one this process has."""
    return PYTHON if web_protocol.HttpRequestParser is http_parser.HttpRequestParserPy else C


if __name__ == "__main__":
    sys.stderr.write(parser() + "\n")
    sys.stderr.flush()
    main()
