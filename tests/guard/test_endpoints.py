"""A client cannot reach the token endpoint through the proxy, however it spells its path."""

from __future__ import annotations

import timeit
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.guard.endpoints import Sealed, refused_paths

UPSTREAM = "https://api.example.com/v2"
ENDPOINT = "https://api.example.com/v2/auth/RefreshToken"
SEALED = Sealed(UPSTREAM, [ENDPOINT])


@pytest.mark.parametrize(
    "target",
    [
        b"/auth/RefreshToken",
        b"/auth/RefreshToken?x=1",
        b"/auth/RefreshToken?",
        b"/auth/refreshtoken",
        b"/AUTH/REFRESHTOKEN",
        b"/auth/RefreshToken/",
        b"/auth/RefreshToken//",
        b"//auth/RefreshToken",
        b"/auth//RefreshToken",
        b"/auth/./RefreshToken",
        b"/auth/RefreshToken/.",
        b"/./auth/RefreshToken",
        b"/auth/x/../RefreshToken",
        b"/auth/RefreshToken/x/..",
        b"/../v2/auth/RefreshToken",
        b"/../../../v2/auth/RefreshToken",
        b"/x/../../v2/auth/RefreshToken",
        b"/auth//../auth/RefreshToken",
        b"/y//../auth/RefreshToken",
        b"/auth/Refresh%54oken",
        b"/auth/%52efreshToken",
        b"/auth%2fRefreshToken",
        b"/auth%2FRefreshToken",
        b"/%61uth/RefreshToken",
        b"/auth/%2e/RefreshToken",
        b"/auth/x/%2e%2e/RefreshToken",
        b"/auth/x/.%2e/RefreshToken",
        b"/auth/x%2f..%2fRefreshToken",
        b"/auth/%2552efreshToken",
        b"/auth/%252552efreshToken",
        b"/auth%252fRefreshToken",
        b"/y%252fz/../auth/RefreshToken",
        b"/auth/RefreshToken;x",
        b"/auth/RefreshToken;x=1;y=2",
        b"/auth/RefreshToken;/",
        b"/auth;x/RefreshToken",
        b"/auth/RefreshToken%3bx",
        b"/auth/x/..;/RefreshToken",
        b"/auth/x/..;a=b/RefreshToken",
        b"/;x/auth/RefreshToken",
        b"/auth\\RefreshToken",
        b"\\auth/RefreshToken",
        b"/auth%5cRefreshToken",
        b"/auth/x\\..\\RefreshToken",
        b"/auth/x%5c..%5cRefreshToken",
        b"/auth/RefreshToken.",
        b"/auth/RefreshToken%20",
        b"/auth/RefreshToken%00",
        b"/auth/RefreshToken%0a",
        b"/auth/RefreshToken%3fx=/1",
        b"/auth/RefreshToken%23/x",
        b"/auth/RefreshToken.json",
        b"/auth/RefreshToken.JSON?x",
        b"/auth/RefreshToken%2ejson",
        "/auth/Ref\u0072eshToken".encode(),
        "/auth/\uff32efreshToken".encode(),  # a full-width R
        "/auth/RefreshTo\u212aen".encode(),  # the Kelvin sign is a k
        quote("/auth/\uff32efreshToken").encode(),
    ],
)  # fmt: skip
def test_a_path_that_some_server_may_take_for_the_token_endpoint_is_refused(target: bytes) -> None:
    assert SEALED.refuses(target)


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/auth",
        b"/auth/",
        b"/auth/RefreshTokens",
        b"/auth/RefreshToken/history",
        b"/auth/RefreshTokenx",
        b"/x/auth/RefreshToken",
        b"/things?redirect=/v2/auth/RefreshToken",
        b"/things?x=/../auth/RefreshToken",
        b"/auth/RefreshToken/../Login",
        b"/../auth/RefreshToken",
        b"/files/a%2fb",
        b"/files/%ff%fe",
        b"/files/\xff",
        b"/a;b/c",
        b"/search/RefreshToken.d/x",
    ],
)
def test_any_other_path_passes(target: bytes) -> None:
    assert not SEALED.refuses(target)


@pytest.mark.parametrize(
    ("upstream", "endpoint", "reachable"),
    [
        ("https://api.example.com", "https://api.example.com/token", True),
        ("https://api.example.com", "https://API.example.com./token", True),
        ("https://api.example.com", "https://api.example.com:443/token", True),
        ("https://api.example.com", "http://api.example.com/token", True),
        ("http://api.example.com", "https://api.example.com/token", True),
        ("http://127.0.0.1:8000", "http://localhost:8000/token", True),
        ("http://[::1]:8000", "http://127.0.0.1:8000/token", True),
        ("http://api.localhost:8000", "http://localhost:8000/token", True),
        ("http://[2001:db8::1]", "http://[2001:0db8:0:0::1]/token", True),
        ("https://api.example.com", "https://api.example.com:8443/token", False),
        ("https://api.example.com", "https://id.example.com/token", False),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8001/token", False),
        ("unix:/run/api.sock", "https://api.example.com/token", False),
    ],
)
def test_only_endpoints_on_the_upstream_are_reachable(upstream: str, endpoint: str, reachable: bool) -> None:
    assert (refused_paths(upstream, [endpoint]) != frozenset()) is reachable
    assert Sealed(upstream, [endpoint]).refuses(b"/token") is reachable


def test_an_endpoint_above_the_upstream_s_path_is_reached_only_by_climbing() -> None:
    sealed = Sealed("https://api.example.com/v2", ["https://api.example.com/oauth/token"])
    assert not sealed.refuses(b"/oauth/token")
    assert sealed.refuses(b"/../oauth/token")
    assert sealed.refuses(b"/%2e%2e/oauth/token")


def test_each_of_several_endpoints_is_refused_and_their_queries_do_not_matter() -> None:
    urls = ["https://api.example.com/v2/a?key=CANARY", "https://api.example.com/v2/b/", "https://other.example/v2/c"]
    sealed = Sealed(UPSTREAM, urls)
    assert [sealed.refuses(path) for path in (b"/a", b"/a?key=x", b"/b", b"/b/", b"/c")] == [True] * 4 + [False]
    assert "CANARY" not in repr(sealed)


def test_an_endpoint_with_escapes_in_its_own_path_is_refused_in_both_spellings() -> None:
    sealed = Sealed("https://api.example.com", ["https://api.example.com/a%20b/token.php"])
    for target in (b"/a%20b/token.php", b"/a%2520b/token.php", b"/A%20B/TOKEN.PHP"):
        assert sealed.refuses(target)


def test_without_an_endpoint_there_nothing_is_refused_whatever_it_looks_like() -> None:
    sealed = Sealed(UPSTREAM, ["https://id.example.com/v2/auth/RefreshToken"])
    assert not sealed.refuses(b"/auth/RefreshToken")
    assert not sealed.paths


SPELLINGS = st.sampled_from(
    [lambda text: text, str.upper, lambda text: quote(text, safe=""), lambda text: quote(quote(text, safe=""), safe="")]
)


@given(st.data())
def test_however_it_is_spelt_it_is_refused(data: st.DataObject) -> None:
    """Any mixture of escapes, case, empty, dotted and parametrised segments that leads there."""
    parts = []
    for segment in ("auth", "RefreshToken"):
        noise = st.sampled_from(["", ".", "%2e", "x/..", "x/%2e%2e", "x/..;y", ";z", "a//.."])
        parts += data.draw(st.lists(noise, max_size=2))
        spelt = "".join(data.draw(SPELLINGS)(character) for character in segment)
        parts.append(spelt + data.draw(st.sampled_from(["", ";v=1", ";"])))
    target = "/" + "/".join(parts) + data.draw(st.sampled_from(["", "/", "?a=b", "/?", "/."]))
    assert SEALED.refuses(target.encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_judged_without_an_error(target: bytes) -> None:
    SEALED.refuses(b"/" + target)


def test_a_long_path_is_judged_in_no_time() -> None:
    for target in (b"/%2525" * 5000, b"/.." * 10_000, b"/;" * 15_000, b"/" * 30_000, b"/a.b" * 8000):
        assert timeit.timeit(lambda: SEALED.refuses(target), number=1) < 2.0  # noqa: B023
