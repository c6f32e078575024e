"""What the tests of the standards share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from reauth_proxy.daemon import listening
from tests.rfc.wire import Wire, wired


@pytest.fixture(autouse=True)
def _nobody_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the many daemons of these tests end without waiting for clients that are just connecting."""
    monkeypatch.setattr(listening, "LAST_CALL", 0.0)


@pytest_asyncio.fixture
async def wire() -> AsyncIterator[Wire]:
    """The daemon as it comes, between a client and an upstream."""
    async with wired() as running:
        yield running
