"""`reauth-proxy check --probe`: who is there, and who is not."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import yaml

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.certificates import Authority
from tests.fakes.daemon import settings
from tests.fakes.files import write_secret
from tests.fakes.leaks import leaks
from tests.fakes.login import login_server
from tests.fakes.program import program
from tests.fakes.upstream import FakeUpstream, upstream_server


async def checked(directory: Path, made: dict[str, Any]) -> tuple[int, str]:
    """Run it; return exit status and what it says."""
    config = write_secret(directory / "config.yaml", yaml.safe_dump(made))
    async with program("check", "--config", str(config), "--probe") as running:
        code = await running.ended()
        assert not leaks(running.out)
        assert "Traceback" not in running.out
        return code, running.out


async def test_everybody_is_there(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    store = {"type": "file", "path": str(tmp_path / "session.json")}
    code, out = await checked(tmp_path, settings(authorization, upstream, store=store))
    assert code == 0, out
    assert f"✓ upstream {upstream.url}: answers, with 401 (" in out
    assert "✓ token endpoint of default: answers, with" in out
    assert "✓ store of default: can be written, and is empty" in out
    assert upstream.count == 1
    assert upstream.seen("/")[0].token is None
    assert authorization.issued == 0


async def test_an_issuer_says_what_it_has(upstream: FakeUpstream, tmp_path: Path) -> None:
    async with login_server() as server:
        endpoint = {"url": None, "issuer": server.issuer, "client_id": "web"}
        code, out = await checked(tmp_path, settings(server, upstream, credential={"token_endpoint": endpoint}))
        assert code == 0, out
        assert "discovered: token, authorization, device, revocation" in out


async def test_who_is_not_there_is_told_and_the_others_are_asked_all_the_same(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    upstream.close_listener()
    made = settings(authorization, upstream)
    made["credential"]["token_endpoint"] = {"issuer": "http://127.0.0.1:1", "client_id": "web"}
    code, out = await checked(tmp_path, made)
    assert code == 1
    assert out.count("✗") == 2
    assert "cannot be reached" in out
    assert "✓ store of default" in out


async def test_a_certificate_that_is_not_accepted_is_told(
    authorization: FakeAuthorizationServer, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    context: ssl.SSLContext = authority.server("localhost")
    async with upstream_server(authorization, tls=context) as upstream:
        code, out = await checked(tmp_path, settings(authorization, upstream))
        assert code == 1
        assert "its certificate is not accepted" in out
        assert "tls.ca_file" in out
