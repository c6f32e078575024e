"""A headless Chromium, driven by the DevTools protocol over one WebSocket.

https://chromedevtools.github.io/devtools-protocol/ ; sessions are "flat": each message names its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.fakes.arrivals import PATIENCE

#: Names that pages are served under; nothing else resolves, so that nothing leaves this machine.
RESOLVER: Final = (
    "MAP evil.test 127.0.0.1, MAP rebound.test 127.0.0.3, MAP * ~NOTFOUND, EXCLUDE 127.0.0.*, EXCLUDE localhost"
)
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-popup-blocking",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
    "--password-store=basic",
    "--use-mock-keychain",
    # What the browser itself holds back is no merit of the proxy, and older browsers do not hold it back.
    "--disable-features=LocalNetworkAccessChecks,HttpsUpgrades,HttpsFirstBalancedMode,OptimizationHints,MediaRouter",
    f"--host-resolver-rules={RESOLVER}",
    "--remote-debugging-port=0",
)


def executable() -> str | None:
    """Return the path of a Chromium, if there is one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class ScriptFailed(AssertionError):
    """A page's script ended with an exception, or its page went away."""


class Browser:
    """A running Chromium."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loads: dict[str, asyncio.Future[None]] = {}
        #: What tabs have told of themselves since :meth:`Page.listen`, by their session.
        self.heard: dict[str, list[dict[str, Any]]] = {}
        self._told = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol; return its result."""
        message: dict[str, Any] = {"id": next(self._numbers), "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        answer = asyncio.get_running_loop().create_future()
        self._waiting[message["id"]] = answer
        await self._connection.send(json.dumps(message))
        async with asyncio.timeout(PATIENCE):
            return await answer

    def loaded(self, session: str) -> asyncio.Future[None]:
        """Return what is done when the page of a session has loaded next."""
        self._loads[session] = asyncio.get_running_loop().create_future()
        return self._loads[session]

    async def hears(self, session: str, true: Callable[[dict[str, Any]], bool]) -> None:
        """Return once a tab has told of an event like this."""
        async with asyncio.timeout(PATIENCE):
            while not any(map(true, self.heard[session])):
                self._told.clear()
                await self._told.wait()

    async def end(self) -> None:
        """Ask it to end."""
        with contextlib.suppress(ScriptFailed, ConnectionError, TimeoutError):
            await self.call("Browser.close")
        await self._connection.close()
        await self._reading

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):  # it ends with or without a close frame
            async for text in self._connection:
                self._take(json.loads(text))
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ScriptFailed("the browser ended"))

    def _take(self, message: dict[str, Any]) -> None:
        """Give an answer to whoever waits for it; remember an event."""
        if (answer := self._waiting.pop(message.get("id", 0), None)) is not None and not answer.done():
            if "error" in message:
                answer.set_exception(ScriptFailed(message["error"]["message"]))
            else:
                answer.set_result(message["result"])
            return
        if (session := message.get("sessionId")) in self.heard and "method" in message:
            self.heard[session].append(message)
            self._told.set()
        if message.get("method") == "Page.loadEventFired":
            waiting = self._loads.pop(message["sessionId"], None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """Open a tab; at the end it is closed, and what it opened."""
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        try:
            attached = await self.call("Target.attachToTarget", targetId=target, flatten=True)
            page = Page(self, attached["sessionId"])
            await self.call("Page.enable", page.session)
            yield page
        finally:
            tabs = (await self.call("Target.getTargets"))["targetInfos"]
            opened = [tab["targetId"] for tab in tabs if tab.get("openerId") == target]
            for tab in (*opened, target):
                await self.call("Target.closeTarget", targetId=tab)


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self.session = session

    async def visit(self, url: str) -> None:
        """Go there as somebody does who typed it into the address bar, and wait until it has loaded."""
        loaded = self._browser.loaded(self.session)
        await self._browser.call("Page.navigate", self.session, url=url, transitionType="typed")
        async with asyncio.timeout(PATIENCE):
            await loaded

    async def run(self, script: str) -> Any:
        """Evaluate an expression, wait for its promise, and return its value.

        Raises:
            ScriptFailed: it threw, or the page went away before it had ended.
        """
        result = await self._browser.call(
            "Runtime.evaluate",
            self.session,
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise ScriptFailed(details.get("exception", {}).get("description", details["text"]))
        return result["result"].get("value")

    async def until(self, condition: str) -> Any:
        """Return an expression's value once it is truthy; it is looked at after each change of the document."""
        return await self.run(
            f"""new Promise(resolve => {{
                const look = () => {{
                    const found = {condition};
                    if (found) {{ observer.disconnect(); resolve(found); }}
                }};
                const observer = new MutationObserver(look);
                observer.observe(document, {{subtree: true, childList: true, characterData: true, attributes: true}});
                look();
            }})"""
        )

    async def hears(self, true: Callable[[dict[str, Any]], bool]) -> None:
        """Return once the tab has told of an event like this, since :meth:`listen`."""
        await self._browser.hears(self.session, true)

    async def listen(self, *domains: str) -> list[dict[str, Any]]:
        """Return a list that grows with the events of domains of the protocol, such as Log or Network."""
        heard = self._browser.heard.setdefault(self.session, [])
        for domain in domains:
            await self._browser.call(f"{domain}.enable", self.session)
        return heard

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol for this tab."""
        return await self._browser.call(method, self.session, **params)

    async def text(self) -> str:
        """Return what it shows."""
        return str(await self.run("document.documentElement.outerHTML"))


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Browser]:
    """Run one with an empty profile in a directory that is there for it."""
    program = executable()
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program,
        *FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    said: list[str] = []
    draining: asyncio.Task[None] | None = None
    try:
        url = await _address(process, said)
        draining = asyncio.create_task(_drain(process))
        browser = Browser(await connect(url, max_size=None, proxy=None, compression=None, ping_interval=None))
        try:
            yield browser
        finally:
            await browser.end()
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if draining is not None:
            await draining


async def _address(process: asyncio.subprocess.Process, said: list[str]) -> str:
    """Return the WebSocket address that it says on standard error."""
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while line := (await process.stderr.readline()).decode(errors="replace"):
            said.append(line)
            if line.startswith("DevTools listening on "):
                return line.removeprefix("DevTools listening on ").strip()
    raise AssertionError(f"Chromium did not start:\n{''.join(said)}")


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    while await process.stderr.read(65536):
        pass
