"""What every test may use, and what must hold after every test."""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import os
from collections.abc import AsyncIterator, Iterator
from typing import Final

import hypothesis
import pytest
import pytest_asyncio

from tests.fakes.authorization import FakeAuthorizationServer, authorization_server
from tests.fakes.daemon import LOG_FILES
from tests.fakes.leaks import leaks
from tests.fakes.preloaded import FORK_SERVER
from tests.fakes.upstream import FakeUpstream, upstream_server

# Fewer examples every day; `make test SLOW=1` and CI look more closely. On a busy machine an example takes its time.
hypothesis.settings.register_profile("everyday", max_examples=25, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=100, deadline=None)
hypothesis.settings.load_profile("everyday")

#: Characters of a test's name, with its parameters.
LONGEST_NAME: Final = 100
_ROOM: Final = pytest.StashKey[int]()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many tests run at once: half of an everyday test's time is waiting for another process or a clock."""
    cores = os.cpu_count() or 1
    return 2 * cores if "not slow" in config.getoption("markexpr") else cores + 1


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Note how much room there is for each parameter in the test's name."""
    marks = metafunc.definition.iter_markers("parametrize")
    number = sum(mark.args[0].count(",") + 1 if isinstance(mark.args[0], str) else len(mark.args[0]) for mark in marks)
    room = LONGEST_NAME - len(metafunc.definition.name) - len("[]")
    metafunc.config.stash[_ROOM] = room // max(number, 1) - 2  # a dash, and a digit that tells equal ones apart


def pytest_make_parametrize_id(config: pytest.Config, val: object) -> str | None:
    """Cut a long parameter in a test's name; None leaves it to pytest."""
    if isinstance(val, bytes) and not (val.isascii() and val.decode().replace("\r\n", "").isprintable()):
        return f"{len(val)} bytes"  # compressed, encrypted: the same ones in each process, or not
    if not isinstance(val, str | bytes | int | float):
        return None
    room = config.stash[_ROOM]
    text = (ascii(val).lstrip("b")[1:-1] if isinstance(val, str | bytes) else str(val)).strip()
    return None if len(text) <= room else text[: max(room, 8) - 3] + "..."


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names that no terminal and no report shows whole."""
    long = [item.name for item in items if len(item.name) > LONGEST_NAME]
    if long:
        raise pytest.UsageError(f"names longer than {LONGEST_NAME} characters; name the parameters: {long}")


@pytest.fixture(scope="session", autouse=True)
def _bytecode_is_kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The programs that tests start find their bytecode, as an installation has it; it is made once in a run."""
    directory = tmp_path_factory.mktemp("bytecode")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONDONTWRITEBYTECODE", "")
        patch.setenv("PYTHONPYCACHEPREFIX", str(directory))
        yield


@pytest.fixture(scope="session", autouse=True)
def _fork_server(_bytecode_is_kept: None) -> Iterator[None]:
    """What tests forked daemons from ends with the run."""
    yield
    FORK_SERVER.stop()


@pytest.fixture(scope="module")
def demo_ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The demo's own ports, which the tests of one module have at a time, whoever else runs beside it."""
    shared = tmp_path_factory.getbasetemp().parent / "demo-ports"
    with shared.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest_asyncio.fixture
async def no_stray_tasks() -> AsyncIterator[None]:
    """After the test, no task is left that nobody waits for."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:  # tasks that only have to notice that their connection is closed
        _, left = await asyncio.wait(left, timeout=2.0)
    assert not left, f"tasks left behind: {left}"


@pytest.fixture(autouse=True)
def _tidy(request: pytest.FixtureRequest) -> None:
    """Look for stray tasks after each test that has an event loop, and after its fixtures have ended."""
    if inspect.iscoroutinefunction(getattr(request.node, "function", None)):
        request.getfixturevalue("no_stray_tasks")


@pytest.fixture(scope="session", autouse=True)
def _no_canary_in_any_log() -> Iterator[None]:
    """After the last test, no log of a daemon process holds a token."""
    yield
    leaky = [path for path in LOG_FILES if path.exists() and leaks(path.read_bytes())]
    assert not leaky, f"tokens in {leaky}"


@pytest.fixture(autouse=True)
def _no_canary_in_what_libraries_log(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """After each test, no record of standard logging holds a token; those that hide them are given some."""
    yield
    if "tests/telemetry" not in request.node.nodeid:
        assert not leaks("".join(record.getMessage() for record in caplog.get_records("call")))


@pytest_asyncio.fixture
async def authorization() -> AsyncIterator[FakeAuthorizationServer]:
    async with authorization_server() as server:
        yield server


@pytest_asyncio.fixture
async def upstream(authorization: FakeAuthorizationServer) -> AsyncIterator[FakeUpstream]:
    async with upstream_server(authorization) as server:
        yield server
