"""`routes` and `credentials`."""

from __future__ import annotations

from pathlib import Path

import pytest

from reauth_proxy.errors import ConfigError
from tests.config.reading import CREDENTIAL, UPSTREAM, problems, read
from tests.fakes.files import write_secret

ENDPOINT = "{token_endpoint: {url: https://id.example.com/t, client_id: web}}"
TWO = f"credentials:\n  default: {ENDPOINT}\n  billing: {ENDPOINT}\n"
ROUTE = "{path: /, upstream: https://a.example}"


def test_upstream_and_credential_are_short_for_one_of_each() -> None:
    config = read(UPSTREAM + CREDENTIAL)
    (route,) = config.each_route
    assert (route.path, route.upstream, route.strip_path, route.credential) == ("/", config.upstream, False, "default")
    assert list(config.each_credential) == ["default"]


def test_several_routes_and_credentials() -> None:
    text = """\
routes:
  - {path: /billing, upstream: https://billing.example.com/v2, strip_path: true, credential: billing}
  - {path: /public/, upstream: https://www.example.com, credential: none}
  - {path: /, upstream: "unix:/run/api.sock"}
"""
    config = read(text + TWO)
    assert [(route.path, str(route.upstream), route.strip_path, route.credential) for route in config.each_route] == [
        ("/billing", "https://billing.example.com/v2", True, "billing"),
        ("/public/", "https://www.example.com", False, "none"),
        ("/", "unix:/run/api.sock", False, "default"),
    ]
    assert list(config.each_credential) == ["default", "billing"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (CREDENTIAL, "upstream: required, such as `upstream: https://api.example.com`"),
        (UPSTREAM, "credential: required, such as `credential:` with a `token_endpoint:` in it"),
        ("routes: []\n" + CREDENTIAL, "upstream: required, "),
        (UPSTREAM + CREDENTIAL + f"routes: [{ROUTE}]\n", "upstream: `upstream` is short for one in `routes`; "),
        (UPSTREAM + CREDENTIAL + TWO, "credential: `credential` is short for one in `credentials`; "),
        (CREDENTIAL + f"routes: [{ROUTE}, {ROUTE}]\n", "routes: there are two routes for /; remove one"),
        (
            CREDENTIAL
            + "routes: [{path: /a, upstream: https://a.example}, {path: /a/, upstream: https://b.example}]\n",
            "routes: there are two routes for /a/; remove one",
        ),
        (
            CREDENTIAL + "routes: [{path: /a, upstream: https://a.example, credential: billing}]\n",
            "routes: the route /a needs a credential called `billing`; there is default, or `none`",
        ),
        (UPSTREAM + f"credentials: {{billing: {ENDPOINT}}}\n", "upstream: this needs a credential called `default`; "),
        (
            CREDENTIAL + "routes: [{upstream: https://a.example}]\n",
            "routes[0].path: required, such as `path: /billing`",
        ),
        (CREDENTIAL + "routes: [{path: /}]\n", "routes[0].upstream: required, such as "),
        (CREDENTIAL + "routes: [{path: a, upstream: https://a.example}]\n", "routes[0].path: expected a path such as"),
        (
            CREDENTIAL + "routes: [{path: /a?b, upstream: https://a.example}]\n",
            "routes[0].path: expected a path such as",
        ),
        (CREDENTIAL + "routes: [{path: //, upstream: https://a.example}]\n", "routes[0].path: expected a path such as"),
        (CREDENTIAL + "routes: [{path: /a/.., upstream: https://a.example}]\n", "routes[0].path: a path here has no ."),
        (CREDENTIAL + "routes: [{path: /, upstraem: https://a.example}]\n", "did you mean `upstream`?"),
        (CREDENTIAL + "routes: [{path: /, upstream: http://a.example}]\n", "routes[0].upstream: plain http would show"),
        (CREDENTIAL + "listen: 127.0.0.1:80\nroutes: [{path: /, upstream: http://localhost}]\n", "go round in circles"),
        (
            UPSTREAM + f"credentials: {{none: {ENDPOINT}}}\n",
            "credentials.none: `none` is what routes without a token say",
        ),
        (UPSTREAM + f"credentials: {{a b: {ENDPOINT}}}\n", "expected a name of letters, digits, - and _"),
        (UPSTREAM + "credentials: {default: {}}\n", "credentials.default.token_endpoint: required, such as "),
        (
            UPSTREAM + "credentials: {default: {token_endpoint: {url: https://a.example/t}}}\n",
            "credentials.default.token_endpoint.client_id: required, such as `client_id: web`",
        ),
        (
            UPSTREAM + "credentials: {default: {token_endpoint: {url: https://a.example/t, client_id: a, body: {}}}}\n",
            "credentials.default.token_endpoint.body: unknown key with `type: oauth2`",
        ),
    ],
)
def test_a_mistake_is_told_where_it_is(text: str, told: str) -> None:
    assert any(told in problem for problem in problems(text)), problems(text)


def test_no_route_at_all_is_as_good_as_none() -> None:
    with pytest.raises(ConfigError):
        read("routes: []\ncredentials: {}\n")


ROUTES = f"routes:\n  - {ROUTE}\n"


@pytest.mark.parametrize("given", ["CANARY-1", "{env: TOKEN}", "'${TOKEN}'", "{file: token}"])
def test_two_credentials_with_one_refresh_token_are_refused(given: str, tmp_path: Path) -> None:
    """With rotation, each would use up the other's token."""
    write_secret(tmp_path / "token", "CANARY-1\n")
    lines = (
        f"  default: {{refresh_token: CANARY-1, {ENDPOINT[1:]}\n  billing: {{refresh_token: {given}, {ENDPOINT[1:]}\n"
    )
    (problem,) = problems(f"{ROUTES}credentials:\n{lines}", {"TOKEN": "CANARY-1"}, tmp_path)
    assert problem == (
        "3: credentials: `default` and `billing` have the same refresh token, and each would use up the other's; "
        "use one credential for both routes, or get a second token"
    )


def test_other_tokens_and_none_are_fine() -> None:
    own = "{grant: client_credentials, token_endpoint: {url: https://id.example.com/t, client_id: a, client_secret: b}}"
    lines = [f"default: {{refresh_token: CANARY-1, {ENDPOINT[1:]}", f"two: {{refresh_token: CANARY-2, {ENDPOINT[1:]}"]
    lines += [f"three: {ENDPOINT}", f"four: {ENDPOINT}", f"five: {own}", f"six: {own}"]
    read(ROUTES + "credentials:\n" + "".join(f"  {line}\n" for line in lines))


@pytest.mark.parametrize(
    ("send", "told"),
    [
        (
            "{header: X-Auth-Token}",
            "send: say what stands before the token in X-Auth-Token: ",
        ),
        ("{cookie: a, scheme: Bearer}", "send: `cookie` excludes `header` and `scheme`; remove one"),
        ("{header: Cookie, scheme: x}", "send.header: for a cookie, write `cookie: NAME`"),
        ("{header: Host, scheme: x}", "send.header: Host belongs to the proxy and cannot be changed"),
        ("{header: X-Forwarded-For, scheme: x}", "send.header: X-Forwarded-For belongs to the proxy"),
        ("{header: Origin, scheme: x}", "send.header: Origin belongs to the proxy"),
        ('{scheme: "two words"}', 'send.scheme: expected a scheme such as Bearer, or "" for none'),
        ('{cookie: "a=b"}', "send.cookie: expected the name of a cookie such as access_token"),
    ],
)
def test_what_cannot_bring_a_token(send: str, told: str) -> None:
    (problem,) = problems(UPSTREAM + f"credential: {ENDPOINT[:-1]}, send: {send}}}\n")
    assert problem.startswith(f"2: credential.{told}")
