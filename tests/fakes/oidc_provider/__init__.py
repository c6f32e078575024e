"""node-oidc-provider as a process, installed by npm into a cache directory when it is first needed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp

from tests.fakes.arrivals import PATIENCE
from tests.fakes.npm import installed

HERE = Path(__file__).parent


@dataclass
class OidcProvider:
    """A running provider, whose API is at `api`."""

    issuer: str

    @property
    def api(self) -> str:
        return f"{self.issuer}/api"

    async def counts(self) -> dict[str, Any]:
        """Return the grants by type, the errors by code, and how many grants were revoked."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.issuer}/counts") as response:
            found: dict[str, Any] = json.loads(await response.text())
            return found


@asynccontextmanager
async def oidc_provider(clients: Sequence[dict[str, Any]], *, lifetime: int = 600) -> AsyncIterator[OidcProvider]:
    """Run one with these clients (OpenID Connect Dynamic Client Registration 1.0 section 2).

    Args:
        lifetime: of access tokens, in seconds.
    """
    directory = await asyncio.to_thread(installed, HERE / "package.json")
    script = directory / "server.mjs"  # beside the packages, where Node.js looks for them
    script.write_bytes((HERE / "server.mjs").read_bytes())
    process = await asyncio.create_subprocess_exec(
        *("node", str(script)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # it warns at length that it is not set up for production
        cwd=directory,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps({"clients": list(clients), "lifetime": lifetime}).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            while not (line := (await process.stdout.readline()).decode()).startswith("ready "):
                assert line, "it ended before it was ready"
        yield OidcProvider(f"http://127.0.0.1:{int(line.split()[1])}")
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


class Person:
    """Somebody with a browser: keeps cookies, follows redirects, and submits every form that comes up."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self) -> Person:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def sign_in(self, url: str, *, refuse: bool = False) -> str:
        """Go to a URL, log in and agree; return the last page.

        Args:
            refuse: abort instead of logging in.
        """
        async with self._session.get(url) as response:
            page, url = await response.text(), str(response.url)
        for _ in range(10):
            form = re.search(r'<form[^>]* action="([^"]+)"', page)
            if form is None:
                return page
            abort = re.search(r'href="([^"]+/abort)"', page)
            if refuse and abort is not None:
                async with self._session.get(urljoin(url, unescape(abort[1]))) as response:
                    return await response.text()
            fields = {}
            for tag in re.findall(r"<input[^>]*>", page):
                found = dict(re.findall(r'([a-z]+)="([^"]*)"', tag))
                if "name" in found:
                    fields[unescape(found["name"])] = unescape(found.get("value", "")) or "alice"
            async with self._session.post(urljoin(url, unescape(form[1])), data=fields) as response:
                page, url = await response.text(), str(response.url)
        raise AssertionError("one form after the other")
