"""An authorization server and an upstream for each test; and no test leaves a task behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.upstream import FakeUpstream


@pytest.fixture(autouse=True)
async def no_task_left_behind() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=5)  # connections that are being closed
    assert not left


@pytest.fixture
async def authorization() -> AsyncIterator[FakeAuthorizationServer]:
    async with FakeAuthorizationServer() as server:
        yield server


@pytest.fixture
async def upstream(authorization: FakeAuthorizationServer) -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream(authorization) as server:
        yield server
