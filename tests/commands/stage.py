"""A config file for the commands, an authorization server to log in at, and a person with a browser."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from reauth_proxy.session.tokens import StoredSession
from reauth_proxy.stores.file import FileStore
from tests.fakes.client import Answer, fetch
from tests.fakes.files import write_secret
from tests.fakes.login import LoginServer
from tests.fakes.preloaded import FORK_SERVER
from tests.fakes.program import Program


def endpoint(server: LoginServer, **more: Any) -> dict[str, Any]:
    """Return a token endpoint's settings, by discovery."""
    return {"issuer": server.issuer, "client_id": "web", "scope": "openid offline_access", **more}


def write_config(directory: Path, credential: dict[str, Any], **more: Any) -> Path:
    """Write a file whose store is `session.json` beside it."""
    settings = {
        "listen": "127.0.0.1:0",
        "upstream": "http://127.0.0.1:1",
        "credential": credential,
        "store": {"type": "file", "path": str(directory / "session.json")},
        **more,
    }
    return write_secret(directory / "config.yaml", yaml.safe_dump(settings))


async def stored(directory: Path) -> StoredSession | None:
    """Return what the store holds."""
    store = FileStore(directory / "session.json")
    try:
        return await store.load()
    finally:
        await store.close()


async def put(directory: Path, session: StoredSession) -> None:
    """Put something into the store."""
    store = FileStore(directory / "session.json")
    async with store.lock():
        await store.save(session)
    await store.close()


async def address(program: Program) -> str:
    """Return the address that the command says."""
    out = await program.says("Waiting for it to come back")
    found = re.search(r"^  (http\S+)$", out, re.MULTILINE)
    assert found is not None
    return found[1]


async def browse(url: str) -> Answer:
    """Go to a URL and follow redirects, as a browser does; return the last page."""
    for _ in range(10):
        parts = urlsplit(url)
        page = await fetch(url, f"{parts.path}?{parts.query}")
        if page.status not in (302, 303):
            return page
        url = page.value("Location") or ""
    raise AssertionError("redirected in circles")


async def run(*arguments: str, stdin: bytes = b"", **environ: str) -> tuple[int, str, str]:
    """Run a command to its end; return its status and what it said, in which no token is."""
    env = {**os.environ, "PYTHONWARNINGS": "error", **environ}
    process = await FORK_SERVER.launch(*arguments, env=env, stdin=stdin)
    out, err = await process.communicate()
    assert b"CANARY" not in out + err
    assert b"Traceback" not in err
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
