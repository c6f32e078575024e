"""The status page in a real browser: it follows what happens, breaks none of its own rules, and keeps nobody out."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from reauth_proxy.session.tokens import Secret
from tests.browser.chromium import Browser, Page
from tests.fakes.authorization import FakeAuthorizationServer, authorization_server
from tests.fakes.client import fetch
from tests.fakes.daemon import RunningDaemon, running_daemon
from tests.fakes.leaks import leaks
from tests.fakes.npm import installed
from tests.fakes.upstream import upstream_server

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

#: What a page must not do: anything that the console calls an error, or the policy a violation.
DOMAINS = ("Log", "Runtime", "Audits")


@asynccontextmanager
async def opened(browser: Browser) -> AsyncIterator[tuple[Page, RunningDaemon, FakeAuthorizationServer]]:
    """The page of a daemon, whose console and policy have nothing to say at the end."""
    async with (
        authorization_server() as authorization,
        upstream_server(authorization) as upstream,
        running_daemon(authorization, upstream, control={"listen": "127.0.0.1:0"}) as daemon,
        browser.page() as page,
    ):
        heard = await page.listen(*DOMAINS)
        assert daemon.control_url is not None
        await page.visit(daemon.control_url)
        await shows(page, "#ready", "ready")
        yield page, daemon, authorization
        assert not leaks(await page.text())
        assert not [told for told in map(complaint, heard) if told is not None]


def complaint(message: dict[str, Any]) -> str | None:
    """Return what an event of the browser complains of, if it does."""
    params = message["params"]
    match message["method"]:
        case "Runtime.exceptionThrown":
            return str(params["exceptionDetails"])
        case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
            return str(params["args"])
        case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
            return str(params["entry"])
        case "Audits.issueAdded":
            return str(params["issue"])
    return None


async def test_the_browser_would_tell_of_a_violation_and_an_error(browser: Browser) -> None:
    for wrong in (
        "document.body.insertAdjacentHTML('beforeend', '<p style=color:red>')",
        "document.body.append(Object.assign(document.createElement('script'), {text: '1'}))",
        "fetch('http://localhost:9/').catch(() => 0)",
        "console.error('wrong')",
        "setTimeout(() => { throw new Error('wrong') })",
    ):
        with pytest.raises(AssertionError, match="assert not"):  # noqa: PT012 - it is raised at the end
            async with opened(browser) as (page, *_):
                await page.run(f"({wrong}, 1)")
                await page.hears(lambda message: complaint(message) is not None)


async def shows(page: Page, selector: str, text: str) -> None:
    """Return once an element says this."""
    await page.until(f"document.querySelector({selector!r})?.textContent.includes({text!r})")


async def push(page: Page, selector: str) -> None:
    await page.run(f"document.querySelector({selector!r}).click()")


async def test_it_follows_a_refresh_a_storm_a_sign_out_and_a_return(browser: Browser) -> None:
    async with opened(browser) as (page, daemon, authorization):
        await shows(page, ".state", "Stale")
        await shows(page, ".reason", "No request has needed a token yet")
        await fetch(daemon.url, "/a")
        await shows(page, ".state", "Fresh")
        await shows(page, ".generation", "generation 1")
        await shows(page, ".expires", "expires in")
        await shows(page, "#refreshes-now", "issued at")

        authorization.revoke_access()
        authorization.hold()
        storm = [asyncio.create_task(fetch(daemon.url, f"/{number}")) for number in range(200)]
        await shows(page, ".state", "Refreshing")
        await shows(page, "dd.parked", "200")
        authorization.release()
        assert {answer.status for answer in await asyncio.gather(*storm)} == {200}
        await shows(page, "dd.parked", "0")
        await shows(page, ".generation", "generation 2")
        await shows(page, "#notable td.last", "sent again with a newer one")
        rows = await page.run("document.querySelectorAll('#notable tr').length")
        assert rows == 50
        await page.until("document.querySelectorAll('#traffic rect.replayed').length")

        await push(page, "button.leave")
        assert await page.run("document.querySelector('#ask').open")
        await push(page, "#ask-no")
        assert daemon.session.generation == 2, "asked first"
        assert daemon.session.stats.logouts == 0
        await push(page, "button.leave")
        await push(page, "#ask-yes")
        await shows(page, ".state", "Signed out")
        await shows(page, ".reason", "Somebody signed out")
        await shows(page, "#ready", "not ready")
        assert await page.run("document.querySelector('button.refresh').disabled")

        await daemon.session.sign_in(Secret(authorization.login()))
        await shows(page, ".state", "Stale")
        await push(page, "button.refresh")
        await push(page, "#ask-yes")
        await shows(page, ".state", "Fresh")
        await shows(page, ".generation", "generation 3")
        await shows(page, "#ready", "ready")


async def test_a_refusal_is_told_with_its_reason_and_what_went_wrong_stands_out(browser: Browser) -> None:
    async with opened(browser) as (page, daemon, authorization):
        authorization.revoke_refresh()
        await fetch(daemon.url, "/a")
        await shows(page, ".reason", "refused the refresh token")
        await shows(page, "#notable td.last", "Log in again")
        await page.until("document.querySelectorAll('#refreshes rect.denied').length")
        await push(page, "details summary")
        await shows(page, "#attempts", "invalid_grant")


async def test_a_path_cannot_become_markup(browser: Browser) -> None:
    async with opened(browser) as (page, daemon, authorization):
        authorization.revoke_refresh()
        await fetch(daemon.url, "/<img/src=x/onerror=document.title='pwned'>")
        await shows(page, "#notable code", "<img/src=x")
        assert await page.run("document.querySelectorAll('#notable img').length") == 0
        assert "pwned" not in str(await page.run("document.title"))


async def test_it_comes_back_when_the_daemon_does(browser: Browser) -> None:
    async with opened(browser) as (page, daemon, _):
        await page.run("events.close(), events.dispatchEvent(new Event('error'))")
        await shows(page, "#ready", "no connection")
        assert daemon.control_url is not None
        await page.visit(daemon.control_url)
        await shows(page, "#ready", "ready")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390], ids=["desk", "phone"])
async def test_nobody_is_kept_out(browser: Browser, scheme: str, width: int) -> None:
    """axe-core finds nothing serious, in both colour schemes and on a phone, with everything on the page."""
    axe = (await asyncio.to_thread(installed, Path(__file__).parent / "axe" / "package.json")) / "node_modules/axe-core"
    async with opened(browser) as (page, daemon, authorization):
        await page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=1400, deviceScaleFactor=1, mobile=width < 500
        )
        await page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await fetch(daemon.url, "/a")
        authorization.revoke_access()
        await fetch(daemon.url, "/b")
        await shows(page, "#notable td.last", "sent again")
        for button in ("details summary", "button.leave"):
            await push(page, button)
            await page.run((axe / "axe.min.js").read_text() + "; 1")
            found = await page.run("axe.run(document, {resultTypes: ['violations']})")
            bad = [
                (one["id"], one["impact"], [node["target"] for node in one["nodes"]])
                for one in found["violations"]
                if one["impact"] in ("serious", "critical")
            ]
            assert not bad
        await push(page, "#ask-no")
        assert await page.run("document.documentElement.scrollWidth") <= width, "nothing hangs out at the side"
        if directory := os.environ.get("REAUTH_SCREENSHOTS"):
            picture = (await page.call("Page.captureScreenshot", format="png"))["data"]
            (Path(directory) / f"status-{scheme}-{width}.png").write_bytes(base64.b64decode(picture))


async def test_it_can_be_used_with_a_keyboard_alone(browser: Browser) -> None:
    async with opened(browser) as (page, daemon, _):
        await fetch(daemon.url, "/a")
        await shows(page, ".state", "Fresh")
        await page.run("document.querySelector('button.refresh').focus()")
        for key in ("Enter", "Tab", "Enter"):  # asks; from Cancel to Refresh now; does it
            for kind in ("keyDown", "keyUp"):
                text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
                code = 13 if key == "Enter" else 9
                await page.call(
                    "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text
                )
        await shows(page, ".generation", "generation 2")
