"""`reauth-proxy status` and a daemon that runs."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import fetch
from tests.fakes.daemon import DaemonProcess, daemon_process
from tests.fakes.files import write_secret
from tests.fakes.leaks import leaks
from tests.fakes.program import program
from tests.fakes.upstream import FakeUpstream

TOKEN = "client-token-of-32-characters-0123"


async def status(config: Path, *options: str) -> tuple[int, str]:
    """Run it; return exit status, and what it says on both outputs."""
    async with program("status", "--config", str(config), *options) as running:
        code = await running.ended()
        assert not leaks(running.out)
        return code, running.out


def at(daemon: DaemonProcess, url: str) -> Path:
    """Return the daemon's file, with the address that it has really got."""
    daemon.write_config(control={"listen": url.removeprefix("http://")})
    return daemon.config_path


@pytest.fixture(params=["tcp", "unix"])
def control(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    return {"listen": "127.0.0.1:0" if request.param == "tcp" else f"unix:{tmp_path / 'control.sock'}"}


async def test_it_says_how_the_daemon_is_and_whether_it_is_ready(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path, control: dict[str, str]
) -> None:
    access = {"client_token": TOKEN}
    async with daemon_process(tmp_path, authorization, upstream, control=control, access=access) as daemon:
        where = (await daemon.logged("server.started"))["control"]
        config = daemon.config_path if control["listen"].startswith("unix") else at(daemon, where)
        fields = [("Reauth-Client-Token", TOKEN)]
        assert (await fetch(daemon.url, fields=fields)).status == 200
        code, out = await status(config)
        assert code == 0, out
        assert "ready" in out
        assert "default  fresh  generation 1" in out
        code, out = await status(config, "--json")
        assert (code, json.loads(out)["credentials"][0]["generation"]) == (0, 1)
        authorization.revoke_access()
        authorization.revoke_refresh()
        assert (await fetch(daemon.url, fields=fields)).status == 401
        code, out = await status(config)
        assert code == 1
        assert "default: the token endpoint refused the refresh token; log in again" in out


async def test_no_daemon_is_no_traceback(tmp_path: Path) -> None:
    config = write_secret(tmp_path / "config.yaml", LEAST + "control: {listen: '127.0.0.1:1'}")
    code, out = await status(config)
    assert code == 1
    assert "no daemon answers at 127.0.0.1:1 (connection refused); start it, or see `control.listen`" in out


async def test_a_control_plane_that_is_off_cannot_be_asked(tmp_path: Path) -> None:
    config = write_secret(tmp_path / "config.yaml", LEAST + "control: null")
    code, out = await status(config)
    assert code == 2
    assert "control.listen" in out


async def test_somebody_else_at_the_address_is_told(upstream: FakeUpstream, tmp_path: Path) -> None:
    address = upstream.url.removeprefix("http://").partition("/")[0]
    config = write_secret(tmp_path / "config.yaml", LEAST + f"control: {{listen: '{address}'}}")
    code, out = await status(config)
    assert code == 1
    assert "is not reauth-proxy" in out


async def test_a_wrong_client_token_is_told(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(
        tmp_path, authorization, upstream, control={"listen": "127.0.0.1:0"}, access={"client_token": TOKEN}
    ) as daemon:
        where = (await daemon.logged("server.started"))["control"].removeprefix("http://")
        text = LEAST + f"control: {{listen: '{where}'}}\naccess: {{client_token: {'x' * 32}}}"
        code, out = await status(write_secret(tmp_path / "other.yaml", text))
        assert code == 1
        assert "client token" in out


async def test_it_may_be_watched(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with daemon_process(tmp_path, authorization, upstream, control={"listen": "127.0.0.1:0"}) as daemon:
        config = at(daemon, (await daemon.logged("server.started"))["control"])
        async with program("status", "--config", str(config), "--watch") as running:
            await running.says("generation 0")
            await fetch(daemon.url)
            await running.says("generation 1")
            assert await running.end(signal.SIGINT) == 0


LEAST = """
upstream: http://127.0.0.1:1
credential: {token_endpoint: {url: "http://127.0.0.1:1/token", client_id: web}}
store: {type: memory}
"""
