"""Pages of the proxy's own origin and of listed ones can do everything that a page can do, and people can visit."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from tests.browser.attempts import ATTEMPTS, SECRET, Attempt
from tests.browser.chromium import Browser
from tests.browser.stage import Stage, staged
from tests.fakes.arrivals import PATIENCE, until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

OWN: Final = tuple(attempt for attempt in ATTEMPTS if not attempt.foreign)
#: With no Origin and no Referer nobody can tell that the page's origin is listed.
LISTED: Final = tuple(attempt for attempt in OWN if attempt.arrives and not attempt.unnamed)
#: What asks for permission, and so names its Origin.
ASKING: Final = tuple(attempt for attempt in LISTED if attempt.cors)


def each(attempts: tuple[Attempt, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("attempt", attempts, ids=lambda attempt: attempt.name)


async def arrived(stage: Stage, path: str) -> list[str]:
    """Return the methods of what the upstream got for a path, once there is something."""
    async with asyncio.timeout(PATIENCE):
        await until(lambda: bool(stage.upstream.seen(path)))
    assert all(received.token for received in stage.upstream.seen(path))
    return [received.method for received in stage.upstream.seen(path)]


@each(OWN)
async def test_a_page_of_the_proxy_s_own_origin_can_do_it(stage: Stage, attempt: Attempt) -> None:
    path = stage.path(attempt)
    async with stage.page_at(stage.daemon.url) as page:
        read = await stage.make(page, attempt, stage.daemon.url + path)
        assert await arrived(stage, path) == [attempt.method]
    assert (SECRET in read) == attempt.reads


@pytest.mark.parametrize("host", ["127.0.0.1", "evil.test"], ids=["same_site", "cross_site"])
@each(LISTED)
async def test_a_page_of_a_listed_origin_can_do_it(listing: Stage, attempt: Attempt, host: str) -> None:
    """What the browser lets it read is for the browser to say; by CORS it is everything."""
    path = listing.path(attempt)
    async with listing.page_at(f"http://{host}:{listing.pages}") as page:
        read = await listing.make(page, attempt, listing.daemon.url + path)
        assert await arrived(listing, path) == [attempt.method]
    if attempt.cors:
        assert (SECRET in read) == attempt.reads


@each(ASKING)
async def test_beside_listed_origins_any_other_is_still_refused(listing: Stage, attempt: Attempt) -> None:
    before = listing.upstream.count
    path = listing.path(attempt)
    async with listing.page_at(f"http://localhost:{listing.pages}") as page:
        read = await listing.make(page, attempt, listing.daemon.url + path)
        async with asyncio.timeout(PATIENCE):
            judged = await listing.judged(path, 1)
    assert [line["status"] for line in judged] == [403]
    assert SECRET not in read
    assert listing.upstream.count == before


ANSWER: Final = """fetch(%r, {credentials: 'include'}).then(async (r) => [r.status, r.headers.get('Reauth-Signal'),
  !!r.headers.get('Proxy-Status'), r.headers.get('Retry-After'), (await r.json()).code])"""


async def test_a_script_of_a_listed_origin_reads_the_logout_signal(browser: Browser) -> None:
    async with staged(browser, access={"origins": ["http://127.0.0.1:PAGES"]}) as stage:
        await stage.daemon.session.sign_out()
        async with stage.page_at(f"http://127.0.0.1:{stage.pages}") as page:
            answer: list[Any] = await page.run(ANSWER % f"{stage.daemon.url}/anything")
    assert answer == [401, "logout;reason=signed_out", True, None, "logged_out"]


async def test_a_script_of_a_listed_origin_reads_when_to_try_again(browser: Browser) -> None:
    settings: dict[str, Any] = {
        "access": {"origins": ["http://127.0.0.1:PAGES"]},
        "refresh": {"retry_for": "100ms", "on_unavailable": "unavailable"},
        "credential": {"token_endpoint": {"url": "http://127.0.0.1:9/token"}},
    }
    async with staged(browser, **settings) as stage, stage.page_at(f"http://127.0.0.1:{stage.pages}") as page:
        status, signal, explained, retry_after, code = await page.run(ANSWER % f"{stage.daemon.url}/anything")
    assert (status, signal, explained, code) == (503, None, True, "refresh_unavailable")
    assert int(retry_after) > 0


async def test_a_browser_can_bring_the_client_token_as_a_password(browser: Browser) -> None:
    token = "a-client-token"
    async with staged(browser, access={"client_token": token}) as stage, browser.page() as page:
        path = stage.path(Attempt("visit", "", "page"))
        await page.visit(stage.daemon.url + path)
        assert stage.upstream.count == 0
        assert SECRET not in await page.text()
        await page.visit(stage.daemon.url.replace("//", f"//me:{token}@") + path)
        assert SECRET in await page.text()
    (visit,) = stage.upstream.seen(path)
    assert token not in str(visit)
    assert visit.token is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_who_types_the_address_gets_the_page_and_reloads_it(stage: Stage, host: str) -> None:
    attempt = Attempt("visit", "", "page")
    path = stage.path(attempt)
    async with stage.browser.page() as page:
        for _ in range(2):
            await page.visit(stage.daemon.url.replace("127.0.0.1", host) + path)
            assert SECRET in await page.text()
    visits = stage.upstream.seen(path)
    assert [received.values("sec-fetch-site") for received in visits] == [["none"], ["none"]]


async def test_links_forms_and_redirects_within_the_proxy_s_pages_work(stage: Stage) -> None:
    first, second = (stage.path(Attempt("within", "", "page")) for _ in range(2))
    async with stage.browser.page() as page:
        await page.visit(stage.daemon.url + first)
        await page.run(f"(() => {{ setTimeout(() => {{ location.href = '{second}'; }}, 0); }})()")
        assert await arrived(stage, second) == ["GET"]
    assert stage.upstream.seen(second)[0].values("sec-fetch-site") == ["same-origin"]
