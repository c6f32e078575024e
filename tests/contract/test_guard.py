"""Who may call: Host, origin, client token and path, as clients see it; and curl with no options at all."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import sys
from base64 import b64encode
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import InvalidStatus

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import Answer, connect, fetch
from tests.fakes.daemon import running_daemon
from tests.fakes.upstream import Exchange, FakeUpstream

PAGE = "http://localhost:5173"
EVIL = "http://evil.example"
TOKEN = "CANARY-of-clients"


def problem(answer: Answer) -> tuple[int, str]:
    """Return the status and code of an answer of the proxy's own, which has no signal."""
    assert answer.value("Reauth-Signal") is None
    return answer.status, json.loads(answer.content)["code"]


async def run(*command: str) -> tuple[int, str]:
    """Run a command; return its exit status and what it said."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def curl(*arguments: str) -> tuple[int, str]:
    """Run curl; return the status of the answer and its content."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    failed, output = await run("curl", "-s", "--max-time", "10", "-w", "\n%{http_code}", *arguments)
    assert failed == 0, output
    content, _, status = output.rpartition("\n")
    return int(status), content


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_curl_works_with_no_options(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, host: str
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        port = daemon.url.rpartition(":")[2]
        assert (await curl(f"{host}:{port}/orders?x=1"))[0] == 200
    assert [received.target for received in upstream.requests] == ["/orders?x=1"]
    assert upstream.requests[0].token is not None


async def test_curl_works_with_an_ipv6_address(authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> None:
    async with running_daemon(authorization, upstream, listen="[::1]:0") as daemon:
        port = daemon.url.rpartition(":")[2]
        assert (await curl("-g", f"[::1]:{port}/a"))[0] == 200
    assert upstream.count == 1


async def test_curl_works_with_a_unix_socket(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with running_daemon(authorization, upstream, listen=f"unix:{tmp_path}/p.sock"):
        assert (tmp_path / "p.sock").stat().st_mode & 0o777 == 0o600
        assert (await curl("--unix-socket", f"{tmp_path}/p.sock", "http://localhost/a"))[0] == 200
    assert upstream.count == 1


@pytest.mark.parametrize("host", ["evil.example", "localhost.", "127.0.0.1.nip.io", "0.0.0.0", "2130706433"])
async def test_another_host_gets_421_and_the_upstream_nothing(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, host: str
) -> None:
    async with running_daemon(authorization, upstream) as daemon, await connect(daemon.url) as client:
        client.host = f"{host}:8080"
        await client.request()
        answer = await client.answer()
        assert problem(answer) == (421, "host_denied")
        assert "access.hosts" in json.loads(answer.content)["detail"]
        assert await client.reader.read() == b"", "it is closed"
        assert (await fetch(daemon.url)).status == 200
    assert upstream.count == 1
    assert authorization.count == 1


async def test_a_listed_host_passes(authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> None:
    async with (
        running_daemon(authorization, upstream, access={"hosts": ["reauth-proxy"]}) as daemon,
        await connect(daemon.url) as client,
    ):
        client.host = "Reauth-Proxy:8080"
        await client.request()
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize(
    "field",
    [("Origin", EVIL), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site"), ("Referer", EVIL + "/page")],
    ids=lambda field: " ".join(field),
)
async def test_a_foreign_page_gets_403_whatever_the_method(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, method: str, field: tuple[str, str]
) -> None:
    content = b"x=1" if method in ("POST", "PUT", "PATCH") else b""
    async with running_daemon(authorization, upstream) as daemon:
        answer = await fetch(daemon.url, method=method, fields=[field], content=content)
    assert answer.status == 403
    assert not [name for name, _ in answer.fields if name.lower().startswith("access-control-")]
    if method != "HEAD":
        assert problem(answer) == (403, "origin_denied")
        assert "access.origins" in json.loads(answer.content)["detail"]
    assert upstream.count == authorization.count == 0


async def test_a_foreign_page_cannot_open_a_websocket(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        with pytest.raises(InvalidStatus) as refused:
            await connect_websocket(daemon.url.replace("http", "ws"), origin=EVIL)  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403
    assert upstream.count == 0


async def test_two_origins_are_refused(authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> None:
    async with running_daemon(authorization, upstream, access={"origins": [PAGE]}) as daemon:
        answer = await fetch(daemon.url, fields=[("Origin", PAGE), ("Origin", PAGE)])
    assert answer.status in (400, 403)
    assert upstream.count == 0


async def test_the_proxy_s_own_pages_pass(authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> None:
    async with running_daemon(authorization, upstream) as daemon:
        own = [("Origin", daemon.url), ("Sec-Fetch-Site", "same-origin"), ("Referer", f"{daemon.url}/page")]
        assert (await fetch(daemon.url, method="POST", fields=own, content=b"x")).status == 200
        assert (await fetch(daemon.url, fields=[("Sec-Fetch-Site", "none")])).status == 200
    assert upstream.requests[0].values("Origin") == [daemon.url]
    assert upstream.requests[0].values("Referer") == [f"{daemon.url}/page"]


async def says_its_own(exchange: Exchange) -> None:
    await exchange.answer(
        200,
        b"ok",
        ("Access-Control-Allow-Origin", "*"),
        ("access-control-allow-credentials", "false"),
        ("Access-Control-Allow-Private-Network", "true"),
        ("Access-Control-Expose-Headers", "X-Total"),
        ("X-Total", "3"),
    )


async def test_a_listed_page_may_read_what_the_proxy_decides_and_not_the_upstream(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    upstream.on["/"] = says_its_own
    async with running_daemon(authorization, upstream, access={"origins": [PAGE]}) as daemon:
        answer = await fetch(daemon.url, fields=[("Origin", PAGE), ("Sec-Fetch-Site", "same-site")])
        plain = await fetch(daemon.url)
    ours = {name.lower(): value for name, value in answer.fields if name.lower().startswith("access-control-")}
    assert ours == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "Reauth-Signal, Proxy-Status, Retry-After, X-Total",
    }
    assert answer.values("Vary") == ["Origin"]
    assert not [name for name, _ in plain.fields if name.lower().startswith("access-control-")]
    assert plain.values("Vary") == ["Origin"]


async def test_a_preflight_is_answered_here_even_where_a_client_token_is_due(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    access = {"origins": [PAGE], "client_token": TOKEN}
    fields = [
        ("Origin", PAGE),
        ("Access-Control-Request-Method", "PUT"),
        ("Access-Control-Request-Headers", "content-type, reauth-client-token"),
        ("Access-Control-Request-Private-Network", "true"),
    ]
    async with running_daemon(authorization, upstream, access=access) as daemon:
        answer = await fetch(daemon.url, "/orders", method="OPTIONS", fields=fields)
        foreign = await fetch(daemon.url, "/orders", method="OPTIONS", fields=[("Origin", EVIL), *fields[1:]])
    assert answer.status == 204
    assert answer.value("Access-Control-Allow-Origin") == PAGE
    assert answer.value("Access-Control-Allow-Methods") == "PUT"
    assert answer.value("Access-Control-Allow-Headers") == "content-type, reauth-client-token"
    assert answer.value("Access-Control-Allow-Private-Network") is None
    assert problem(foreign) == (403, "origin_denied")
    assert upstream.count == 0


async def test_an_options_request_that_is_no_preflight_passes(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, access={"origins": [PAGE]}) as daemon:
        assert (await fetch(daemon.url, method="OPTIONS", fields=[("Origin", PAGE)])).status == 200
    assert upstream.count == 1


async def test_a_listed_page_can_read_the_logout_signal(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    authorization.revoke_refresh()
    async with running_daemon(authorization, upstream, access={"origins": [PAGE]}) as daemon:
        answer = await fetch(daemon.url, fields=[("Origin", PAGE)])
    assert answer.status == 401
    assert answer.value("Reauth-Signal") == "logout;reason=refresh_denied"
    assert answer.value("Access-Control-Allow-Origin") == PAGE
    assert "Reauth-Signal" in (answer.value("Access-Control-Expose-Headers") or "")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([], 401),
        ([("Reauth-Client-Token", "wrong")], 401),
        ([("Authorization", "Bearer " + TOKEN)], 401),
        ([("Reauth-Client-Token", TOKEN)], 200),
        ([("Authorization", "Basic " + b64encode(f"me:{TOKEN}".encode()).decode())], 200),
    ],
    ids=["none", "wrong", "bearer", "field", "basic"],
)
async def test_a_client_needs_the_client_token_and_the_upstream_never_sees_it(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, fields: list[tuple[str, str]], status: int
) -> None:
    async with running_daemon(authorization, upstream, access={"client_token": TOKEN}) as daemon:
        answer = await fetch(daemon.url, fields=fields)
    assert answer.status == status
    if status == 401:
        assert problem(answer) == (401, "client_denied")
        assert answer.value("WWW-Authenticate") == 'Basic realm="reauth-proxy", charset="UTF-8"'
        assert upstream.count == 0
    else:
        (received,) = upstream.requests
        assert TOKEN not in str(received.fields)
        assert b64encode(f"me:{TOKEN}".encode()).decode() not in str(received.fields)
        assert received.token is not None


async def test_curl_can_bring_the_client_token_as_a_password(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, access={"client_token": TOKEN}) as daemon:
        assert (await curl("-u", f":{TOKEN}", daemon.url))[0] == 200
        assert (await curl(daemon.url))[0] == 401


async def test_path_rules_refuse_and_what_passes_is_forwarded_byte_for_byte(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    access = {"allow": ["GET /api/**"], "deny": ["* /api/admin/**"]}
    async with running_daemon(authorization, upstream, access=access) as daemon:
        assert (await fetch(daemon.url, "/api/%61%20b?x=/api/admin")).status == 200
        for target in ("/api/%61dmin", "/api/x/..%2fadmin", "/api;x/", "/", "/api//admin", "/api/ADMIN/x"):
            assert problem(await fetch(daemon.url, target)) == (403, "path_denied"), target
        assert problem(await fetch(daemon.url, "/api/a", method="POST", content=b"x")) == (403, "path_denied")
    assert [received.target for received in upstream.requests] == ["/api/%61%20b?x=/api/admin"]


needs_another_user = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0, reason="needs root on Linux, to become another user"
)


async def as_nobody(*arguments: str) -> tuple[int, str]:
    """Run curl as another user of this machine."""
    if shutil.which("curl") is None or shutil.which("su") is None:
        pytest.skip("needs curl and su")
    command = shlex.join(["curl", "-s", "--max-time", "10", "-w", "\n%{http_code}", *arguments])
    return await run("su", "-s", "/bin/sh", "nobody", "-c", command)


@pytest.mark.parametrize("target", ["/token", "/TOKEN/", "/%74oken?x", "/a/../token", "//token", "/token;x=1"])
async def test_nobody_can_call_the_token_endpoint_through_the_proxy(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, target: str
) -> None:
    endpoint = {"url": f"{upstream.url}/token", "client_id": "web", "client_auth": "none"}
    async with running_daemon(authorization, upstream, credential={"token_endpoint": endpoint}) as daemon:
        before = upstream.count
        answer = await fetch(daemon.url, target, method="POST", content=b"grant_type=refresh_token")
    assert problem(answer) == (403, "path_denied")
    assert upstream.count == before == 0


async def test_an_api_with_one_path_for_everything_can_be_let_through(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    endpoint = {"url": f"{upstream.url}/graphql", "client_id": "web", "client_auth": "none"}
    credential = {"refresh_token": None, "token_endpoint": endpoint}
    access = {"allow_token_endpoint": True}
    async with running_daemon(authorization, upstream, credential=credential, access=access) as daemon:
        await fetch(daemon.url, "/graphql", method="POST", content=b"{}")
    assert [received.target for received in upstream.requests] == ["/graphql"]


@needs_another_user
async def test_another_user_of_this_machine_gets_nothing_from_the_unix_socket_whatever_its_mode(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    place = Path(f"/tmp/reauth-proxy-test-{os.getpid()}.sock")  # where others may look
    async with running_daemon(authorization, upstream, listen=f"unix:{place}"):
        arguments = ("--unix-socket", str(place), "http://localhost/")
        assert await as_nobody(*arguments) == (7, "\n000")  # curl: could not connect
        place.chmod(0o777)
        failed, output = await as_nobody(*arguments)
        assert failed == 0
        content, _, status = output.rpartition("\n")
        assert (status, json.loads(content)["code"]) == ("401", "client_denied")
        assert (await curl(*arguments))[0] == 200
    assert upstream.count == 1


@needs_another_user
async def test_another_user_of_this_machine_gets_nothing_over_tcp_without_the_client_token(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, access={"client_token": TOKEN}) as daemon:
        failed, output = await as_nobody(daemon.url)
        assert failed == 0
        assert json.loads(output.rpartition("\n")[0])["code"] == "client_denied"
    assert upstream.count == 0
