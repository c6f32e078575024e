"""Whom the daemon speaks to, and whom not: certificates and versions, towards upstreams and token endpoints."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from reauth_proxy.config.model import TLS
from reauth_proxy.daemon import sessions
from reauth_proxy.errors import ConfigError
from tests.fakes.authorization import FakeAuthorizationServer, Reply, authorization_server
from tests.fakes.certificates import Authority, only
from tests.fakes.client import fetch
from tests.fakes.daemon import RunningDaemon, daemon_process, running_daemon
from tests.fakes.upstream import FakeUpstream, upstream_server

HERE = "127.0.0.1"


@asynccontextmanager
async def servers(
    token_endpoint: ssl.SSLContext | None, api: ssl.SSLContext | None
) -> AsyncIterator[tuple[FakeAuthorizationServer, FakeUpstream]]:
    async with (
        authorization_server(tls=token_endpoint) as authorization,
        upstream_server(authorization, api) as upstream,
    ):
        # What a server makes of a handshake that a client breaks off is not what is tested here.
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        yield authorization, upstream


@asynccontextmanager
async def daemon_between(
    token_endpoint: ssl.SSLContext | None, api: ssl.SSLContext | None, **tls: Any
) -> AsyncIterator[tuple[RunningDaemon, FakeAuthorizationServer, FakeUpstream]]:
    patience = {"retry_for": 0, "timeout": "5s"}
    async with (
        servers(token_endpoint, api) as (authorization, upstream),
        running_daemon(authorization, upstream, tls=tls, refresh=patience) as daemon,
    ):
        yield daemon, authorization, upstream


async def test_both_are_verified_by_the_configured_authority(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    async with daemon_between(ca.server(HERE), ca.server(HERE), ca_file=str(ca.file)) as (daemon, authorization, _):
        assert (await fetch(daemon.url)).status == 200
    assert authorization.count == 1


def wrong_servers(directory: Path) -> dict[str, tuple[ssl.SSLContext, str]]:
    """Return servers that must not be spoken to, and what is said of each."""
    ca, other = Authority(directory), Authority(directory, "another")
    refused = "certificate was not accepted"
    return {
        "another authority": (other.server(HERE), f"{refused} (unable to get local issuer certificate)"),
        "expired": (ca.server(HERE, days=-1), f"{refused} (certificate has expired)"),
        "another name": (ca.server("other.test"), f"{refused} (IP address mismatch"),
        # asyncio's server ends the connection instead of saying why.
        "TLS 1.1": (only(ca.server(HERE), ssl.TLSVersion.TLSv1_1), "reset"),
        "TLS 1.0": (only(ca.server(HERE), ssl.TLSVersion.TLSv1), "reset"),
    }


WRONG = ["another authority", "expired", "another name", "TLS 1.1", "TLS 1.0"]


@pytest.mark.parametrize("wrong", WRONG)
async def test_an_upstream_that_cannot_be_trusted_gets_no_token(tmp_path: Path, wrong: str) -> None:
    context, why = wrong_servers(tmp_path)[wrong]
    async with daemon_between(None, context, ca_file=str(tmp_path / "authority.pem")) as (daemon, _, upstream):
        answer = await fetch(daemon.url)
        assert answer.status == 502
        assert why.encode() in answer.content
    assert upstream.count == 0


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_token_endpoint_that_cannot_be_trusted_gets_no_refresh_token(tmp_path: Path, wrong: str) -> None:
    context, why = wrong_servers(tmp_path)[wrong]
    async with daemon_between(context, None, ca_file=str(tmp_path / "authority.pem")) as (daemon, authorization, _):
        answer = await fetch(daemon.url)
        assert answer.value("Reauth-Signal") == "logout;reason=refresh_unavailable"
        assert why in daemon.events("refresh.unavailable")[0]["problem"]
    assert authorization.count == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1])
async def test_the_control_an_old_client_is_served_by_those_servers(tmp_path: Path, version: ssl.TLSVersion) -> None:
    ca = Authority(tmp_path)
    client = only(ssl.create_default_context(cafile=ca.file), version)
    async with servers(only(ca.server(HERE), version), None) as (authorization, _):
        _, writer = await asyncio.open_connection(HERE, authorization.port, ssl=client)
        assert writer.get_extra_info("ssl_object").version() == {769: "TLSv1", 770: "TLSv1.1"}[version]
        writer.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken(tmp_path: Path, version: ssl.TLSVersion) -> None:
    ca = Authority(tmp_path)
    contexts = [only(ca.server(HERE), version) for _ in range(2)]
    async with daemon_between(*contexts, ca_file=str(ca.file)) as (daemon, _, _):
        assert (await fetch(daemon.url)).status == 200


@pytest.mark.parametrize("one_file", [False, True])
async def test_servers_that_want_a_client_certificate_get_it(tmp_path: Path, one_file: bool) -> None:
    ca, clients = Authority(tmp_path), Authority(tmp_path, "clients")
    certificate, key = clients.issue("web", client=True)
    tls = {"ca_file": str(ca.file), "client_cert": str(certificate), "client_key": str(key)}
    if one_file:
        key.write_bytes(certificate.read_bytes() + key.read_bytes())
        tls = {"ca_file": str(ca.file), "client_cert": str(key)}
    wants = [ca.server(HERE, clients=clients) for _ in range(2)]
    async with daemon_between(*wants, **tls) as (daemon, authorization, _):
        assert (await fetch(daemon.url)).status == 200
    assert authorization.count == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("brought", ["none", "of another authority"])
async def test_without_the_right_client_certificate_nothing_is_told_and_nothing_lost(
    tmp_path: Path, brought: str, version: ssl.TLSVersion
) -> None:
    ca, clients, others = Authority(tmp_path), Authority(tmp_path, "clients"), Authority(tmp_path, "others")
    tls = {"ca_file": str(ca.file)}
    if brought != "none":
        certificate, key = others.issue("web", client=True)
        tls |= {"client_cert": str(certificate), "client_key": str(key)}
    wants = [only(ca.server(HERE, clients=clients), version) for _ in range(2)]
    async with daemon_between(wants[0], None, **tls) as (daemon, authorization, _):
        answer = await fetch(daemon.url)
        assert answer.value("Reauth-Signal") == "logout;reason=refresh_unavailable"
        assert daemon.events("refresh.unavailable")
        assert authorization.count == 0
    async with daemon_between(None, wants[1], **tls) as (daemon, _, upstream):
        assert (await fetch(daemon.url)).status == 502
        assert upstream.count == 0


async def test_verification_can_be_turned_off_and_nothing_else_goes_with_it(tmp_path: Path) -> None:
    wrong = wrong_servers(tmp_path)
    async with daemon_between(wrong["expired"][0], wrong["another name"][0], verify=False) as (daemon, _, _):
        assert (await fetch(daemon.url)).status == 200
    async with daemon_between(None, wrong["TLS 1.1"][0], verify=False) as (daemon, _, _):
        assert (await fetch(daemon.url)).status == 502


async def test_files_of_certificates_are_read_again_at_sighup(tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    clients = Authority(tmp_path, "clients")
    trusted, own, own_key = tmp_path / "trusted.pem", tmp_path / "own.pem", tmp_path / "own.key"
    certificate, key = Authority(tmp_path, "nobody").issue("web", client=True)
    trusted.write_bytes(old.file.read_bytes())
    own.write_bytes(certificate.read_bytes())
    key.rename(own_key)
    tls = {"ca_file": str(trusted), "client_cert": str(own), "client_key": str(own_key)}
    async with (
        servers(None, new.server(HERE, clients=clients)) as (authorization, upstream),
        daemon_process(tmp_path, authorization, upstream, tls=tls) as daemon,
    ):
        assert (await fetch(daemon.url)).status == 502
        trusted.write_bytes(new.file.read_bytes())
        daemon.signal(signal.SIGHUP)
        await daemon.logged("config.reloaded")
        assert (await fetch(daemon.url)).status == 502, "its own certificate is not yet the right one"
        certificate, key = clients.issue("web", client=True)
        own.write_bytes(certificate.read_bytes())
        own_key.write_bytes(key.read_bytes())
        daemon.signal(signal.SIGHUP)
        await daemon.logged("config.reloaded", 2)
        assert (await fetch(daemon.url)).status == 200
        own_key.write_bytes(b"no key")
        daemon.signal(signal.SIGHUP)
        assert "tls.client_cert" in str((await daemon.logged("config.rejected"))["problems"])
        assert (await fetch(daemon.url)).status == 200, "nothing has changed"


async def test_nobody_gets_the_keys_of_a_connection_by_sslkeylogfile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    ca = Authority(tmp_path)
    contexts = [ca.server(HERE) for _ in range(2)]
    async with daemon_between(*contexts, ca_file=str(ca.file)) as (daemon, _, _):
        assert (await fetch(daemon.url)).status == 200
    written = (tmp_path / "keys").read_text() if (tmp_path / "keys").exists() else ""
    assert [line for line in written.splitlines() if not line.startswith("#")] == []


def test_a_key_with_a_passphrase_is_told_and_nobody_is_asked_on_the_terminal(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue("web", client=True)
    loaded = load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"CANARY")))
    tls = TLS(client_cert=certificate, client_key=key)
    with pytest.raises(ConfigError, match=r"tls.client_cert: .* and its key cannot be used") as caught:
        sessions.tls_context(tls)
    assert "passphrase" in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_token_endpoint_s_redirect_is_not_followed(status: int) -> None:
    async with authorization_server() as elsewhere, daemon_between(None, None) as (daemon, authorization, _):
        authorization.next(Reply(status, {"Location": elsewhere.url}))
        await fetch(daemon.url)
        assert "redirects are not followed" in daemon.events("refresh.unavailable")[0]["problem"]
    assert (authorization.count, elsewhere.count) == (1, 0)


async def test_the_environment_and_netrc_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login CANARY password CANARY\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    cookie = {"Set-Cookie": "session=CANARY; Path=/", "Content-Type": "text/html"}
    async with daemon_between(None, None) as (daemon, authorization, upstream):
        authorization.next(Reply(503, cookie, b"<html>"))
        await fetch(daemon.url)
        daemon.pass_time(120)
        assert (await fetch(daemon.url)).status == 200
    assert not {"Cookie", "Authorization", "Proxy-Authorization"} & set(authorization.calls[1].headers)
    assert upstream.count == 1
