"""What the log says to people who are not signed in."""

from __future__ import annotations

from pathlib import Path

import pytest

from reauth_proxy.daemon.ways_in import ways_in
from tests.config.reading import UPSTREAM, read

TCP = "http://127.0.0.1:8080"
UNIX = "unix:/run/proxy.sock"
LOGIN = "`reauth-proxy login --config config.yaml`"
JSON = "{type: json, url: 'https://id.example.com/refresh', body: '{refresh_token}', response: {access_token: /a}}"

CAPTURE = "capture: [{path: /v1/login, access_token: /a, refresh_token: /r}]\n"


def oauth2(keys: str) -> str:
    return f"{UPSTREAM}credential: {{token_endpoint: {{client_id: web, {keys}}}}}\n"


@pytest.mark.parametrize(
    ("text", "url", "told"),
    [
        (oauth2("issuer: 'https://id.example.com'"), TCP, f"run {LOGIN}, or open {TCP}/_reauth/login in a browser"),
        (oauth2("issuer: 'https://id.example.com'"), UNIX, f"run {LOGIN}"),
        (
            oauth2("url: 'https://id.example.com/t', authorization_url: 'https://id.example.com/a'"),
            TCP,
            f"run {LOGIN}, or open {TCP}/_reauth/login in a browser",
        ),
        (
            oauth2("url: 'https://id.example.com/t', device_authorization_url: 'https://id.example.com/d'"),
            TCP,
            "run `reauth-proxy login --config config.yaml --device`",
        ),
        (
            oauth2("url: 'https://id.example.com/t'"),
            TCP,
            "pipe a refresh token into `reauth-proxy login --config config.yaml --stdin`",
        ),
        (
            f"{UPSTREAM}credential: {{token_endpoint: {JSON}}}\n",
            TCP,
            "pipe a refresh token into `reauth-proxy login --config config.yaml --stdin`",
        ),
        (
            f"{UPSTREAM}credential: {{token_endpoint: {JSON}}}\n{CAPTURE}",
            TCP,
            "log in through the proxy at /v1/login",
        ),
    ],
    ids=["issuer", "issuer on a socket", "authorization URL", "device", "oauth2", "json", "capture"],
)
def test_the_ways_in_are_those_that_the_configuration_has(text: str, url: str, told: str) -> None:
    assert ways_in(read(text), "default", Path("config.yaml"), url) == told


ISSUER = oauth2("issuer: 'https://id.example.com'")


@pytest.mark.parametrize(
    ("keys", "url", "told"),
    [
        (
            "listen: 0.0.0.0:9000\naccess: {allow_remote: true}\n",
            "http://0.0.0.0:9000",
            f"run {LOGIN}, or open http://localhost:9000/_reauth/login in a browser",
        ),
        ("access: {client_token: of-this-machine-alone}\n", TCP, f"run {LOGIN}"),
        ("store: {type: memory}\n", TCP, f"open {TCP}/_reauth/login in a browser"),
        (
            "store: {type: memory}\n",
            UNIX,
            "put a refresh token into the configuration, as `refresh_token` of the credential",
        ),
    ],
    ids=["every address", "client token", "memory", "memory, on a socket"],
)
def test_no_way_is_named_that_leads_nowhere(keys: str, url: str, told: str) -> None:
    """The proxy does not answer to 0.0.0.0, a browser brings no client token, and no command sees another's memory."""
    assert ways_in(read(ISSUER + keys), "default", Path("config.yaml"), url) == told


def test_another_credential_and_an_odd_path_are_written_as_a_shell_takes_them() -> None:
    config = read(
        "routes: [{path: /a, upstream: 'https://a.example', credential: one},"
        " {path: /, upstream: 'https://b.example', credential: two}]\n"
        "credentials:\n"
        "  one: {token_endpoint: {issuer: 'https://id.example.com', client_id: web}}\n"
        f"  two: {{token_endpoint: {JSON}}}\n"
        "capture: [{path: /a/login, access_token: /a, refresh_token: /r}]\n"
    )
    login = "reauth-proxy login --config 'my config.yaml' --credential"
    assert ways_in(config, "one", Path("my config.yaml"), TCP) == (
        f"run `{login} one`, or open {TCP}/_reauth/login in a browser, or log in through the proxy at /a/login"
    )
    assert ways_in(config, "two", Path("my config.yaml"), TCP) == f"pipe a refresh token into `{login} two --stdin`"
