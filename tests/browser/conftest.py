"""One browser for all tests of a module; where there is none, the reason."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.browser.chromium import Browser, chromium, executable
from tests.browser.stage import Stage, staged


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    if executable() is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    async with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(browser: Browser) -> AsyncIterator[Stage]:
    """The proxy as it comes."""
    async with staged(browser) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def listing(browser: Browser) -> AsyncIterator[Stage]:
    """A proxy that has the pages' origins in `access.origins`."""
    async with staged(browser, access={"origins": ["http://127.0.0.1:PAGES", "http://evil.test:PAGES"]}) as running:
        yield running
