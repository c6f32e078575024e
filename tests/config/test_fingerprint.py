"""What makes another token endpoint, for a denial: whatever a request is made of, and nothing else."""

from __future__ import annotations

import pytest

from reauth_proxy.config.fingerprint import endpoint_id
from tests.config.reading import read

BASE = """
upstream: https://api.example.com
credential:
  refresh_token: "r-CANARY"
  token_endpoint: {url: "https://id.example.com/t", client_id: web, client_secret: "s-CANARY", scope: openid}
"""


def of(text: str) -> str:
    return endpoint_id(read(text).each_credential["default"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("client_id: web", "client_id: wbe"),
        ("s-CANARY", "t-CANARY"),
        ("id.example.com/t", "id.example.com/u"),
        ("scope: openid", "scope: openid offline_access"),
        ("scope: openid", "scope: openid, client_auth: client_secret_post"),
        ("scope: openid", "scope: openid, params: {audience: api}"),
        ("scope: openid", "scope: openid, headers: {X-A: b}"),
    ],
)
def test_whatever_a_request_is_made_of_is_in_it(old: str, new: str) -> None:
    assert of(BASE.replace(old, new)) != of(BASE)


@pytest.mark.parametrize(
    ("old", "new"), [("r-CANARY", "other-CANARY"), ("api.example.com", "www.example.com"), ("scope", " scope")]
)
def test_nothing_else_is(old: str, new: str) -> None:
    assert of(BASE.replace(old, new)) == of(BASE)


def test_it_shows_nothing() -> None:
    assert len(of(BASE)) == 16
    assert "CANARY" not in of(BASE)
