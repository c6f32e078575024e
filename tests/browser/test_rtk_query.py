"""The example app in a real browser: two tabs, ten queries each, every second, with tokens that live for three."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from reauth_proxy.session.tokens import Secret
from tests.browser.chromium import Browser, Page
from tests.fakes.arrivals import PATIENCE
from tests.fakes.authorization import FakeAuthorizationServer, authorization_server
from tests.fakes.daemon import RunningDaemon, running_daemon
from tests.fakes.leaks import leaks
from tests.fakes.upstream import upstream_server

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "rtk-query"
LIFETIME: Final = 3.0
SECONDS: Final = 60.0


def npm(directory: Path, *arguments: str, **environ: str) -> None:
    """Run npm; skip the test where nothing is to be had."""
    done = subprocess.run(
        ["npm", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **environ},
    )
    if done.returncode != 0 and arguments[0] == "ci":
        pytest.skip(f"npm could not install the example's packages: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its packages installed."""
    if shutil.which("npm") is None:
        pytest.skip("Node.js and npm are needed")
    directory = tmp_path_factory.mktemp("app")
    listed = subprocess.run(["git", "ls-files", "."], cwd=EXAMPLE, capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(EXAMPLE / name, directory / name)
    npm(directory, "ci", "--no-audit", "--no-fund")
    return directory


@asynccontextmanager
async def api(authorization: FakeAuthorizationServer) -> AsyncIterator[str]:
    """An API that wants a good token."""

    async def orders(request: web.BaseRequest) -> web.Response:
        if not authorization.valid(request.headers.get("Authorization", "").removeprefix("Bearer ")):
            return web.json_response({"error": "unauthorized"}, status=401, headers={"WWW-Authenticate": "Bearer"})
        return web.json_response({"shop": request.query["shop"], "orders": 3})

    runner = web.ServerRunner(web.Server(orders, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def served(app: Path, proxy: str, port: int) -> AsyncIterator[str]:
    """The app, built for this proxy, as Vite serves it."""
    await asyncio.to_thread(npm, app, "run", "build", VITE_PROXY=proxy)
    process = await asyncio.create_subprocess_exec(
        *(
            "node",
            "node_modules/vite/bin/vite.js",
            "preview",
            "--port",
            str(port),
            "--strictPort",
            "--host",
            "localhost",
        ),
        cwd=app,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            while b"Local" not in (line := await process.stdout.readline()):
                assert line, "Vite ended"
        yield f"http://localhost:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


class Tab:
    """A tab of the app, with all that the network brought it."""

    def __init__(self, page: Page, heard: list[dict[str, Any]], proxy: str) -> None:
        self.page = page
        self._heard = heard
        self._proxy = proxy

    def answers(self, path: str) -> list[dict[str, Any]]:
        """Return the answers of the proxy to requests for a path."""
        found = [event["params"]["response"] for event in self._heard if event["method"] == "Network.responseReceived"]
        return [answer for answer in found if answer["url"].startswith(f"{self._proxy}{path}")]

    def failures(self) -> list[dict[str, Any]]:
        """Return the requests to which no answer came; those that were given up when the tab asked for no more."""
        return [event["params"] for event in self._heard if event["method"] == "Network.loadingFailed"]

    async def logged_out(self) -> str:
        """Return how often it was logged out, once it shows the login."""
        return str(await self.page.until("document.querySelector('#login')?.dataset.logouts"))

    async def seen(self) -> str:
        """Return everything that it has received: lines, fields, contents, and what it keeps."""
        bodies = []
        for event in self._heard:
            if event["method"] == "Network.loadingFinished":
                with contextlib.suppress(Exception):  # the browser forgets contents at last
                    number = event["params"]["requestId"]
                    bodies.append(await self.page.call("Network.getResponseBody", requestId=number))
        assert len(bodies) > 100
        kept = await self.page.run("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
        return json.dumps([self._heard, bodies, kept, await self.page.text()])


@asynccontextmanager
async def tab(browser: Browser, url: str, proxy: str) -> AsyncIterator[Tab]:
    async with browser.page() as page:
        # Else the browser slows the timers of the tab that is not in front.
        await page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        heard = await page.listen("Network")
        await page.visit(url)
        yield Tab(page, heard, proxy)


def expiries(daemon: RunningDaemon) -> int:
    """Return how many tokens expired, as the log says: each refresh was for one, about a lifetime after the last.

    On a busy machine a token may expire on its way to the API, which then rejects it.
    """
    started = daemon.events("refresh.started")
    assert {line["cause"] for line in started} <= {"expired", "rejected"}
    times = [datetime.fromisoformat(line["timestamp"]) for line in started]
    assert all((later - earlier).total_seconds() > 0.8 * LIFETIME for earlier, later in pairwise(times))
    return len(started)


async def test_two_tabs_never_notice_an_expiry_and_log_out_together(browser: Browser, app: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    origin = f"http://localhost:{port}"
    changes: dict[str, Any] = {"access": {"origins": [origin]}, "refresh": {"background": False, "ahead": 0}}
    async with (
        authorization_server(lifetime=LIFETIME) as authorization,
        upstream_server(authorization) as unused,
        api(authorization) as upstream,
        running_daemon(authorization, unused, upstream=upstream, **changes) as daemon,
        served(app, daemon.url, port) as url,
        tab(browser, url, daemon.url) as one,
        tab(browser, url, daemon.url) as two,
    ):
        await asyncio.sleep(SECONDS)
        for each in (one, two):
            assert len(each.answers("/orders")) >= 10 * (SECONDS - 5)
            assert Counter(answer["status"] for answer in each.answers("/orders")).keys() == {200}
            assert not each.failures()
            assert await each.page.run("document.querySelectorAll('.failed').length") == 0
        assert authorization.count == expiries(daemon)
        assert SECONDS / LIFETIME * 0.8 <= authorization.count <= SECONDS / LIFETIME + 2

        authorization.revoke_refresh()
        authorization.revoke_access()
        since = asyncio.get_running_loop().time()
        assert await asyncio.gather(one.logged_out(), two.logged_out()) == ["1", "1"]
        assert asyncio.get_running_loop().time() - since < 2.0
        assert [line["reason"] for line in daemon.events("session.signed_out")] == ["refresh_denied"]
        calls = authorization.count
        for each in (one, two):
            refused = [answer for answer in each.answers("/orders") if answer["status"] != 200]
            assert all(re.match("logout;", _field(answer, "Reauth-Signal")) for answer in refused)
            assert not leaks(await each.seen())

        await daemon.session.sign_in(Secret(authorization.login()))
        for each in (one, two):
            await each.page.until("document.querySelectorAll('li code').length")
        await authorization.arrived(calls + 1)
        assert authorization.count == calls + 1, "both tabs are back, with one refresh"


def _field(answer: dict[str, Any], name: str) -> str:
    return next((value for key, value in answer["headers"].items() if key.lower() == name.lower()), "")
