"""The authorization code grant with PKCE: the request, every answer that a browser may bring, the exchange."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
import pytest_asyncio

from reauth_proxy.issuers.authorization_code import Attempt, Code, Refused, Stray, begin, exchange, judge
from reauth_proxy.issuers.client import OAuth2Settings
from reauth_proxy.issuers.discovery import Endpoints
from reauth_proxy.issuers.oauth2 import OAuth2Endpoint
from reauth_proxy.session.tokens import Denied, Issued, Secret
from tests.fakes.client import fetch
from tests.fakes.login import LoginServer, login_server

ENDPOINTS = Endpoints(
    "https://id.example/token", "https://id.example/authorize?tenant=a%20b", issuer="https://id.example"
)
REDIRECT = "http://127.0.0.1:1234/callback"
SETTINGS = OAuth2Settings(
    "web app", client_auth="none", scope="openid offline_access", authorization_params={"prompt": "consent", "uri": "x"}
)


def attempt(*, names_issuer: bool = False, issuer: str | None = "https://id.example") -> Attempt:
    return Attempt("u", REDIRECT, Secret("state-CANARY"), Secret("verifier-CANARY"), issuer, names_issuer)


def test_the_request_says_everything_once() -> None:
    made = begin(ENDPOINTS, SETTINGS, REDIRECT)
    parts = urlsplit(made.url)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "id.example", "/authorize")
    challenge = base64.urlsafe_b64encode(hashlib.sha256(made.verifier.reveal().encode()).digest()).rstrip(b"=").decode()
    assert sorted(parse_qsl(parts.query, strict_parsing=True)) == sorted(
        [
            ("tenant", "a b"),
            ("prompt", "consent"),
            ("uri", "x"),
            ("response_type", "code"),
            ("client_id", "web app"),
            ("redirect_uri", REDIRECT),
            ("scope", "openid offline_access"),
            ("state", made.state.reveal()),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
        ]
    )


def test_no_two_attempts_share_a_state_or_a_verifier_and_both_are_long_enough() -> None:
    made = [begin(ENDPOINTS, SETTINGS, REDIRECT) for _ in range(50)]
    assert len({one.state for one in made}) == len({one.verifier for one in made}) == 50
    assert all(43 <= len(one.verifier.reveal()) <= 128 for one in made), "RFC 7636 section 4.1"
    assert made[0].state.reveal() not in repr(made[0])


GOOD = {"code": "code-CANARY", "state": "state-CANARY"}


@pytest.mark.parametrize("given", [GOOD, {**GOOD, "iss": "https://id.example"}, {**GOOD, "session_state": "x"}])
def test_a_good_answer_is_a_code(given: dict[str, str]) -> None:
    assert judge(urlencode(given), attempt()) == Code(Secret("code-CANARY"))


@pytest.mark.parametrize(
    "query",
    [
        "",
        "code=code-CANARY",
        urlencode({**GOOD, "state": "state-CANARX"}),
        urlencode({**GOOD, "state": ""}),
        urlencode({**GOOD, "state": "é"}),
        urlencode({"error": "access_denied"}),
        urlencode(GOOD) + "&code=other",
        urlencode(GOOD) + "&state=state-CANARY",
        urlencode(GOOD) + "&x=" * 40,
    ],
)
def test_what_does_not_belong_to_the_attempt_changes_nothing(query: str) -> None:
    found = judge(query, attempt())
    assert isinstance(found, Stray)
    assert "CANAR" not in repr(found)


@pytest.mark.parametrize(
    ("given", "names_issuer", "error"),
    [
        ({**GOOD, "iss": "https://evil.example"}, False, "wrong_issuer"),
        ({**GOOD, "iss": "https://evil.example"}, True, "wrong_issuer"),
        ({**GOOD, "iss": "https://id.example/"}, True, "wrong_issuer"),
        (GOOD, True, "wrong_issuer"),
        ({**GOOD, "code": ""}, False, "no_code"),
        ({**GOOD, "code": "x" * 8193}, False, "no_code"),
        ({"state": "state-CANARY"}, False, "no_code"),
        ({"state": "state-CANARY", "error": "access_denied"}, False, "access_denied"),
        ({**GOOD, "error": "server_error"}, False, "server_error"),
        ({"state": "state-CANARY", "error": ""}, False, "error"),
    ],
)
def test_what_belongs_to_the_attempt_and_has_no_good_code_ends_it(
    given: dict[str, str], names_issuer: bool, error: str
) -> None:
    found = judge(urlencode(given), attempt(names_issuer=names_issuer))
    assert isinstance(found, Refused)
    assert found.error == error
    assert "CANARY" not in repr(found)


def test_a_description_is_shown_without_what_could_play_with_a_terminal() -> None:
    given = {"state": "state-CANARY", "error": "access_denied", "error_description": "no\x1b[2J\r\nway é" + "x" * 500}
    found = judge(urlencode(given), attempt())
    assert isinstance(found, Refused)
    assert found.description.startswith("no?[2J??way ?xxx")
    assert len(found.description) == 300
    assert str(Refused("access_denied")) == "access_denied"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[LoginServer]:
    async with login_server() as server:
        yield server


async def test_the_code_is_redeemed_with_its_verifier_once(server: LoginServer) -> None:
    issuer = OAuth2Endpoint(OAuth2Settings("web", issuer=server.issuer, client_auth="none", params={"audience": "api"}))
    endpoints = await issuer.client.endpoints()
    assert isinstance(endpoints, Endpoints)
    made = begin(endpoints, issuer.client.settings, REDIRECT)
    parts = urlsplit(made.url)
    answer = await fetch(server.issuer, f"{parts.path}?{parts.query}")
    location = urlsplit(answer.value("Location") or "")
    assert location._replace(query="").geturl() == REDIRECT
    code = judge(location.query, made)
    assert isinstance(code, Code)
    issued = await exchange(issuer, made, code)
    assert isinstance(issued, Issued)
    assert issued.refresh_token is not None
    assert server.calls[-1].form == {
        "grant_type": "authorization_code",
        "code": parse_qs(location.query)["code"][0],
        "redirect_uri": REDIRECT,
        "code_verifier": made.verifier.reveal(),
        "client_id": "web",
        "audience": "api",
    }
    assert await exchange(issuer, made, code) == Denied("invalid_grant")
    await issuer.close()


async def test_a_code_with_another_verifier_is_worth_nothing(server: LoginServer) -> None:
    issuer = OAuth2Endpoint(OAuth2Settings("web", issuer=server.issuer, client_auth="none"))
    endpoints = await issuer.client.endpoints()
    assert isinstance(endpoints, Endpoints)
    theirs, ours = (begin(endpoints, issuer.client.settings, REDIRECT) for _ in range(2))
    parts = urlsplit(theirs.url)
    answer = await fetch(server.issuer, f"{parts.path}?{parts.query}")
    code = parse_qs(urlsplit(answer.value("Location") or "").query)["code"][0]
    assert await exchange(issuer, ours, Code(Secret(code))) == Denied("invalid_grant")
    await issuer.close()
