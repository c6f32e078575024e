"""How the access token goes upstream, by a real daemon: as the credential says, or as the route does."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import fetch
from tests.fakes.daemon import running_daemon
from tests.fakes.upstream import Behaviour, Exchange, FakeUpstream

PATH = "/public/mine"
#: The client token.
TOKEN = "CANARY-" + "0123456789abcdef" * 2


def wants(authorization: FakeAuthorizationServer, name: str, before: str) -> Behaviour:
    """Take a valid token that is in one field, once, behind `before`."""

    async def judge(exchange: Exchange) -> None:
        values = exchange.received.values(name)
        valid = len(values) == 1 and values[0].startswith(before)
        valid = valid and authorization.valid(values[0].removeprefix(before))
        await exchange.answer(200 if valid else 401)

    return judge


WAYS: list[tuple[dict[str, Any], str, str]] = [
    ({"header": "X-Auth-Token", "scheme": ""}, "X-Auth-Token", ""),
    ({"header": "X-Auth-Token", "scheme": "JWT"}, "X-Auth-Token", "JWT "),
    ({"scheme": "token"}, "Authorization", "token "),
    ({"scheme": ""}, "Authorization", ""),
    ({"cookie": "jwt"}, "Cookie", "a=b; jwt="),
]


@pytest.mark.parametrize(("send", "name", "before"), WAYS)
async def test_each_token_goes_as_the_credential_says(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, send: dict[str, Any], name: str, before: str
) -> None:
    upstream.on[PATH] = wants(authorization, name, before)
    evil = [("X-Auth-Token", "evil"), ("x_auth_token", "evil"), ("Cookie", "a=b; jwt=evil"), ("Authorization", "evil")]
    fields = [field for field in evil if field[0].lower().replace("_", "-") == name.lower()] or evil[:1]
    if name == "Authorization":
        fields = evil[3:]
    async with running_daemon(authorization, upstream, credential={"send": send}) as daemon:
        assert (await fetch(daemon.url, PATH, fields=fields)).status == 200
        authorization.revoke_access()
        assert (await fetch(daemon.url, PATH, fields=fields)).status == 200
    assert authorization.count == 2, "the first token, and one refresh"
    assert len(upstream.requests) == 3
    assert not any("evil" in value for request in upstream.requests for _, value in request.fields)


async def test_a_route_may_want_it_in_another_way(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    upstream.on[PATH] = wants(authorization, "X-Auth-Token", "")
    upstream.on["/public/theirs"] = wants(authorization, "Authorization", "Bearer ")
    routes = [
        {"path": PATH, "upstream": upstream.url, "send": {"header": "X-Auth-Token", "scheme": ""}},
        {"path": "/", "upstream": upstream.url},
    ]
    async with running_daemon(authorization, upstream, upstream=None, routes=routes) as daemon:
        assert (await fetch(daemon.url, PATH)).status == 200
        assert (await fetch(daemon.url, "/public/theirs", fields=[("X-Auth-Token", "theirs")])).status == 200
    mine, theirs = upstream.requests
    assert mine.values("authorization") == []
    assert theirs.values("x-auth-token") == ["theirs"], "it says nothing there that only we may say"


@pytest.mark.parametrize(
    ("fields", "passed"),
    [
        ([("Authorization", "Basic mine")], []),
        ([("Authorization", "Basic mine"), ("Reauth-Client-Token", TOKEN)], ["Basic mine"]),
        ([("Authorization", "Basic " + b64encode(f"x:{TOKEN}".encode()).decode())], []),
        ([("Reauth-Client-Token", TOKEN)], []),
    ],
)
async def test_a_client_s_own_authorization_passes_but_never_the_client_token(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, fields: list[tuple[str, str]], passed: list[str]
) -> None:
    routes = [{"path": "/", "upstream": upstream.url, "credential": "client"}]
    access = {"client_token": TOKEN}
    async with running_daemon(authorization, upstream, upstream=None, routes=routes, access=access) as daemon:
        answer = await fetch(daemon.url, "/public", fields=fields)
    seen = [request.values("authorization") for request in upstream.requests]
    refused = fields == [("Authorization", "Basic mine")]
    assert (answer.status, seen) == ((401, []) if refused else (200, [passed]))
    assert not any(TOKEN in value for request in upstream.requests for _, value in request.fields)
    assert authorization.count == 0


async def test_without_a_client_token_a_client_brings_what_it_likes(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    routes = [{"path": "/", "upstream": upstream.url, "credential": "client"}]
    async with running_daemon(authorization, upstream, upstream=None, routes=routes) as daemon:
        for fields in ([("Authorization", "Basic mine")], [("authorization", "Bearer mine")], []):
            answer = await fetch(daemon.url, "/public", fields=fields)
            assert answer.status == 200
        assert (await fetch(daemon.url, "/private", fields=[("Authorization", "Bearer mine")])).status == 401
    values = [request.values("authorization") for request in upstream.requests]
    assert values == [["Basic mine"], ["Bearer mine"], [], ["Bearer mine"]]
    assert authorization.count == 0, "a 401 there is none of ours"


async def test_nobody_brings_a_token_of_his_own_while_there_is_no_session(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    send = {"cookie": "jwt"}
    async with running_daemon(authorization, upstream, credential={"refresh_token": None, "send": send}) as daemon:
        assert (await fetch(daemon.url, "/public", fields=[("Cookie", "jwt=evil; a=b")])).status == 200
    assert upstream.requests[0].values("cookie") == ["a=b"]
