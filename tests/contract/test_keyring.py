"""The daemon with its session in a keyring: a real backend of the keyring package, chosen as its users choose one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import fetch
from tests.fakes.daemon import DaemonProcess, cared_for, events, settings
from tests.fakes.upstream import FakeUpstream

PLAIN_FILE = "keyrings.alt.file.PlaintextKeyring"
NONE = "keyring.backends.fail.Keyring"


def in_keyring(
    directory: Path, authorization: FakeAuthorizationServer, upstream: FakeUpstream, backend: str
) -> DaemonProcess:
    directory.mkdir()
    overrides = {"refresh": {"min_interval": 0}, "store": {"type": "keyring", "key": "web"}}
    daemon = DaemonProcess(directory, settings(authorization, upstream, **overrides))
    daemon.environ |= {
        "PYTHON_KEYRING_BACKEND": backend,
        "XDG_DATA_HOME": str(directory.parent / "data"),
        "XDG_STATE_HOME": str(directory.parent / "state"),
    }
    return daemon


async def test_the_session_survives_in_the_keyring_and_two_daemons_share_it(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with (
        cared_for(in_keyring(tmp_path / "one", authorization, upstream, PLAIN_FILE)) as one,
        cared_for(in_keyring(tmp_path / "two", authorization, upstream, PLAIN_FILE)) as two,
    ):
        for daemon in (one, two):
            await daemon.start()
            assert (await fetch(daemon.url)).status == 200
        for _ in range(3):
            authorization.revoke_access()
            answers = await asyncio.gather(*(fetch(daemon.url) for daemon in (one, two) for _ in range(10)))
            assert [answer.status for answer in answers] == [200] * 20
        await one.kill()
        await one.start()
        assert (await fetch(one.url)).status == 200
    assert authorization.count == 4
    assert authorization.reuses == 0
    assert list((tmp_path / "data").rglob("keyring_pass.cfg"))


async def test_without_a_keyring_it_does_not_start_and_says_what_to_do(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with cared_for(in_keyring(tmp_path / "one", authorization, upstream, NONE)) as daemon:
        await daemon.launch()
        assert await daemon.ended() == 1
        (failed,) = events(daemon.log, "server.failed")
    assert "there is no keyring here" in failed["problem"]
    assert "type: file" in failed["problem"]
