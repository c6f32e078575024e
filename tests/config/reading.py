"""Reads small texts as configurations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from reauth_proxy.config.load import parse
from reauth_proxy.config.model import Config
from reauth_proxy.errors import ConfigError

UPSTREAM = "upstream: https://api.example.com\n"
CREDENTIAL = "credential: {token_endpoint: {url: 'https://id.example.com/token', client_id: web}}\n"
#: The smallest configuration; three lines less than any other key is on.
LEAST = UPSTREAM + CREDENTIAL


def read(text: str, environ: Mapping[str, str] | None = None, base: Path = Path("/base")) -> Config:
    return parse(text, "c.yaml", environ or {}, base)


def problems(text: str, environ: Mapping[str, str] | None = None, base: Path = Path("/base")) -> list[str]:
    """Return what is told about a text, without the name of the file."""
    with pytest.raises(ConfigError) as caught:
        read(text, environ, base)
    assert all(problem.startswith("c.yaml:") and "\n" not in problem for problem in caught.value.problems)
    return [problem.removeprefix("c.yaml:") for problem in caught.value.problems]


def endpoint(text: str) -> str:
    """Return a configuration whose token endpoint has these keys."""
    keys = "".join(f"    {line}\n" for line in text.splitlines())
    return f"{UPSTREAM}credential:\n  token_endpoint:\n{keys}"
