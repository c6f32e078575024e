"""Where secrets may go, and by which proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reauth_proxy.issuers.places import is_safe, proxy_for
from reauth_proxy.issuers.reply import Answer
from reauth_proxy.issuers.transport import Transport
from reauth_proxy.session.tokens import Unavailable
from tests.fakes.certificates import Authority
from tests.issuers.endpoints import http_endpoint

PROXY = {"https": "http://user:CANARY%40@proxy.example:3128"}


@pytest.mark.parametrize(
    ("url", "safe", "safe_if_allowed"),
    [
        ("https://id.example/token", True, True),
        ("http://id.example/token", False, True),
        ("http://127.0.0.1:9/token", True, True),
        ("http://127.8.8.8/token", True, True),
        ("http://[::1]/token", True, True),
        ("http://localhost/token", True, True),
        ("http://127.0.0.1.evil.example/", False, True),
        ("https://user:pass@id.example/", False, False),
        ("ftp://id.example/", False, False),
        ("https://", False, False),
        ("//id.example/", False, False),
        ("https://id.example:99999/", False, False),
        ("https://id.exa\nmple/", False, False),
        ("https://idé.example/", False, False),
        ("", False, False),
    ],
)
def test_where_secrets_may_go(url: str, safe: bool, safe_if_allowed: bool) -> None:
    assert is_safe(url, allow_insecure=False) is safe
    assert is_safe(url, allow_insecure=True) is safe_if_allowed


@pytest.mark.parametrize(
    ("url", "proxies", "proxy"),
    [
        ("https://id.example/token", {}, None),
        ("https://id.example/token", {"http": "http://proxy.example:3128"}, None),
        ("https://id.example/token", {"https": "http://proxy.example:3128"}, "http://proxy.example:3128"),
        ("https://id.example/token", {"https": "proxy.example:3128"}, "http://proxy.example:3128"),
        ("https://id.example/token", {"all": "http://proxy.example:3128"}, "http://proxy.example:3128"),
        ("https://id.example/token", PROXY, "http://proxy.example:3128"),
        ("https://id.example/token", PROXY | {"no": "*"}, None),
        ("https://id.example/token", PROXY | {"no": "other.example, example"}, None),
        ("https://id.example:8443/token", PROXY | {"no": "id.example:8443"}, None),
        ("https://id.example/token", PROXY | {"no": "id.example:8443"}, "http://proxy.example:3128"),
        # No proxy gets to see a token, and this machine has none.
        ("http://id.example/token", PROXY | {"http": "http://proxy.example:3128"}, None),
        ("https://localhost:8443/token", PROXY, None),
        ("https://127.0.0.1:8443/token", PROXY, None),
        ("https://[::1]:8443/token", PROXY, None),
    ],
)
def test_which_proxy_leads_to_a_token_endpoint(url: str, proxies: dict[str, str], proxy: str | None) -> None:
    found = proxy_for(url, proxies)
    assert (None if found is None else str(found[0])) == proxy


def test_a_proxy_s_password_goes_into_a_field_of_its_own() -> None:
    found = proxy_for("https://id.example/token", PROXY)
    assert found is not None
    assert found[1] == {"Proxy-Authorization": "Basic dXNlcjpDQU5BUllA"}
    assert "CANARY" not in str(found[0])


@pytest.mark.parametrize("written", ["socks5://user:CANARY@h:1", "https://user:CANARY@h", "http://", "http://h:CANARY"])
async def test_a_proxy_that_is_none_is_told_without_its_password(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", written)
    transport = Transport(trust_env=True)
    reply = await transport.send("POST", "https://id.example/token", {}, b"x")
    assert reply == Unavailable(
        "cannot connect to id.example:443: HTTPS_PROXY is not an http URL such as http://proxy.example.com:3128",
        misconfigured=True,
    )
    await transport.close()


class Proxy:
    """Answers CONNECT with a tunnel to a port on loopback, wherever it was to lead, or with `refusal`."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.heads: list[bytes] = []
        self.refusal: bytes | None = None
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        if self.refusal is not None:
            writer.write(self.refusal)
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        behind = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(pass_on(reader, behind[1]), pass_on(behind[0], writer))


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()


async def test_the_environment_s_proxy_is_a_tunnel_and_only_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    client = ssl.create_default_context(cafile=authority.file)
    (tmp_path / "netrc").write_text("machine id.test login CANARY password CANARY\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with http_endpoint(authority.server("id.test")) as endpoint, proxy_to(endpoint.port) as proxy:
        monkeypatch.setenv("https_proxy", f"http://user:CANARY@127.0.0.1:{proxy.port}")
        url = f"https://id.test:{endpoint.port}/token"
        direct = Transport(client)
        assert isinstance(await direct.send("POST", url, {}, b"x"), Unavailable), "there is no such name"
        assert not proxy.heads
        transport = Transport(client, trust_env=True)
        assert isinstance(await transport.send("POST", url, {}, b"CANARY"), Answer)
        assert proxy.heads[0].startswith(f"CONNECT id.test:{endpoint.port} HTTP/1.1\r\n".encode())
        assert b"Proxy-Authorization: Basic dXNlcjpDQU5BUlk=\r\n" in proxy.heads[0]
        _, _, fields, _ = endpoint.asked[0]
        assert not {"Proxy-Authorization", "Authorization"} & set(fields), "netrc is not read, the proxy's stays there"
        proxy.refusal = b"HTTP/1.1 407 CANARY\r\nContent-Length: 0\r\n\r\n"
        refused = await transport.send("POST", url, {}, b"x")
        assert refused == Unavailable(
            f"the environment's proxy refused to connect to id.test:{endpoint.port}: it answered 407"
        )
        await direct.close()
        await transport.close()
    gone = await transport.send("POST", url, {}, b"x")
    assert gone == Unavailable(
        f"cannot connect to the environment's proxy for id.test:{endpoint.port}: connection refused"
    )
    await transport.close()
