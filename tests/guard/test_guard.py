"""The guard as a whole: what is asked, and in which order."""

from __future__ import annotations

import pytest

from reauth_proxy.errors import ClientDenied, HostDenied, OriginDenied, PathDenied
from reauth_proxy.guard.guard import Guard
from reauth_proxy.guard.hosts import Hosts
from reauth_proxy.guard.origins import Origins
from reauth_proxy.guard.paths import PathRules
from reauth_proxy.session.tokens import Secret

PAGE = b"http://localhost:5173"
STRICT = Guard(Hosts(["h"]), Origins([PAGE.decode()]), Secret("CANARY"), PathRules(deny=["GET /no"]))


def test_by_default_curl_passes_and_a_page_does_not() -> None:
    guard = Guard()
    assert guard.page(b"localhost:8080", None) is None
    guard.client(None)
    guard.path("GET", b"//a/../%2f")
    with pytest.raises(OriginDenied):
        guard.page(b"localhost:8080", [b"origin", b"http://localhost:3000"])


def test_the_host_is_asked_first() -> None:
    with pytest.raises(HostDenied):
        STRICT.page(b"evil.example", [b"origin", b"http://evil.example"])


def test_a_listed_page_is_named() -> None:
    assert STRICT.page(b"h", [b"Origin", PAGE]) == PAGE


def test_the_client_token_and_the_path_are_asked_where_they_are_configured() -> None:
    with pytest.raises(ClientDenied):
        STRICT.client(None)
    STRICT.client([(b"reauth-client-token", b"CANARY")])
    with pytest.raises(PathDenied):
        STRICT.path("GET", b"/no")


def test_answers_vary_by_origin_where_origins_are_listed() -> None:
    assert Guard().answer_lines(None) == []
    assert STRICT.answer_lines(None) == [b"Vary: Origin"]
    assert b"Access-Control-Allow-Origin: " + PAGE in STRICT.answer_lines(PAGE)


def test_it_does_not_show_its_secret() -> None:
    assert "CANARY" not in repr(STRICT)
