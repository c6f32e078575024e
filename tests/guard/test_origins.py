"""Whether a browser asks for a page that may."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.errors import OriginDenied
from reauth_proxy.guard.origins import Origins, origin_of, own_origin

LISTED = "http://localhost:5173"
ORIGINS = Origins([LISTED, "https://app.example.com"])
HOST = b"localhost:8080"


def judged(origin: str | None = None, site: str | None = None, referer: str | None = None, host: bytes = HOST) -> str:
    """Return "own", "denied", or the listed origin."""
    marks: list[bytes] = []
    for name, value in ((b"Origin", origin), (b"Sec-Fetch-Site", site), (b"referer", referer)):
        if value is not None:
            marks += (name, value.encode())
    try:
        found = ORIGINS.judge(host, marks)
    except OriginDenied:
        return "denied"
    return "own" if found is None else found.decode()


@pytest.mark.parametrize(
    ("origin", "site", "referer", "verdict"),
    [
        # No browser.
        (None, None, None, "own"),
        # A person at the address bar; the proxy's own pages.
        (None, "none", None, "own"),
        (None, "same-origin", "http://localhost:8080/page?x=1", "own"),
        ("http://localhost:8080", "same-origin", "http://localhost:8080/", "own"),
        ("http://localhost:8080", None, None, "own"),
        (None, None, "http://localhost:8080/page", "own"),
        (None, None, "http://LOCALHOST:8080/page", "own"),
        (None, None, "http://localhost:8080", "own"),
        (None, None, "http://localhost:8080?x", "own"),
        (None, None, "", "own"),
        # A listed page: fetch, form, WebSocket; and what has no Origin, such as an image.
        (LISTED, None, None, LISTED),
        (LISTED, "same-site", "http://localhost:5173/x", LISTED),
        (LISTED, "cross-site", None, LISTED),
        ("https://app.example.com", "cross-site", None, "https://app.example.com"),
        (None, "same-site", "http://localhost:5173/", LISTED),
        (None, "cross-site", "https://app.example.com/deep/page", "https://app.example.com"),
        (None, None, "http://localhost:5173/", LISTED),
        # Another port, name, scheme; nearly the same.
        ("http://localhost:3000", "same-site", None, "denied"),
        ("http://localhost:80", None, None, "denied"),
        ("http://localhost", None, None, "denied"),
        ("http://127.0.0.1:8080", "cross-site", None, "denied"),
        ("http://[::1]:8080", None, None, "denied"),
        ("https://localhost:8080", None, None, "denied"),
        ("http://localhost:8080.evil.example", None, None, "denied"),
        ("http://localhost:80801", None, None, "denied"),
        ("http://evil.example", "cross-site", None, "denied"),
        ("http://evil.example:8080", None, None, "denied"),
        ("http://user@localhost:8080", None, None, "denied"),
        ("http://localhost:8080/", None, None, "denied"),
        ("http://localhost:8080 http://evil.example", None, None, "denied"),
        ("http://evil.example, http://localhost:8080", None, None, "denied"),
        ("HTTP://LOCALHOST:8080", None, None, "denied"),
        (LISTED + "/", None, None, "denied"),
        (LISTED + "0", None, None, "denied"),
        ("https://localhost:5173", None, None, "denied"),
        ("https://app.example.com.evil.example", None, None, "denied"),
        ("https://evil-app.example.com", None, None, "denied"),
        ("https://app.example.com:443", None, None, "denied"),
        ("null", None, None, "denied"),
        ("null", "cross-site", None, "denied"),
        ("null", "same-origin", "http://localhost:8080/", "denied"),
        ("", None, None, "denied"),
        ("file://", None, None, "denied"),
        ("chrome-extension://abcdef", "none", None, "denied"),
        ("*", None, None, "denied"),
        # No Origin: images, scripts, links, and pages that hide where they are.
        (None, "cross-site", None, "denied"),
        (None, "same-site", None, "denied"),
        (None, "Same-Origin", None, "denied"),
        (None, "same-origin, none", None, "denied"),
        (None, "", None, "denied"),
        (None, "unheard-of", None, "denied"),
        (None, "cross-site", "http://localhost:8080/", "denied"),
        (None, "same-site", "http://evil.example/", "denied"),
        (None, "none", "http://evil.example/", "denied"),
        (None, "same-origin", "http://evil.example/", "denied"),
        (None, None, "http://evil.example/", "denied"),
        (None, None, "http://evil.example/http://localhost:8080/", "denied"),
        (None, None, "http://evil.example/?http://localhost:5173/", "denied"),
        (None, None, "http://localhost:8080@evil.example/", "denied"),
        (None, None, "http://localhost:8080.evil.example/", "denied"),
        (None, None, "https://localhost:8080/", "denied"),
        (None, None, "//localhost:8080/", "denied"),
        (None, None, "/page", "denied"),
        (None, None, "about:blank", "denied"),
        # Fields that contradict each other.
        ("http://localhost:8080", "cross-site", None, "denied"),
        ("http://localhost:8080", None, "http://evil.example/", "denied"),
        ("http://localhost:8080", None, LISTED + "/", "denied"),
        ("http://evil.example", "same-origin", None, "denied"),
        ("http://evil.example", "none", LISTED + "/", "denied"),
    ],
)
def test_a_verdict(origin: str | None, site: str | None, referer: str | None, verdict: str) -> None:
    assert judged(origin, site, referer) == verdict


@pytest.mark.parametrize(
    ("host", "own"),
    [
        (b"localhost:8080", b"http://localhost:8080"),
        (b"LocalHost:8080", b"http://localhost:8080"),
        (b"localhost", b"http://localhost"),
        (b"localhost:80", b"http://localhost"),
        (b"localhost:", b"http://localhost"),
        (b"[::1]:8080", b"http://[::1]:8080"),
    ],
)
def test_the_proxy_s_own_origin_is_as_a_browser_writes_it(host: bytes, own: bytes) -> None:
    assert own_origin(host) == own
    assert judged(own.decode(), host=host) == "own"


@pytest.mark.parametrize("field", [b"origin", b"referer", b"sec-fetch-site"])
def test_a_field_that_comes_twice_is_refused_even_if_each_would_pass(field: bytes) -> None:
    value = {b"origin": b"http://localhost:8080", b"referer": b"http://localhost:8080/", b"sec-fetch-site": b"none"}
    with pytest.raises(OriginDenied):
        ORIGINS.judge(HOST, [field, value[field], field.upper(), value[field]])


def test_several_sites_are_not_mended_by_a_listed_referer() -> None:
    site = (b"sec-fetch-site", b"none")
    with pytest.raises(OriginDenied):
        ORIGINS.judge(HOST, [*site, *site, b"referer", LISTED.encode() + b"/"])


def test_what_is_remembered_is_bounded_and_stays_true() -> None:
    origins = Origins([LISTED])
    for number in range(3000):
        assert origins.judge(HOST, [b"Referer", b"http://localhost:8080/%d" % number]) is None
        assert len(origins._judged) <= 1024
    long = [b"Referer", b"http://localhost:8080/" + b"x" * 1000]
    origins._judged.clear()
    assert origins.judge(HOST, long) is None
    assert not origins._judged
    assert origins.judge(HOST, [b"Origin", LISTED.encode()]) == origins.judge(HOST, [b"Origin", LISTED.encode()])
    for _ in range(2):
        with pytest.raises(OriginDenied):
            origins.judge(b"localhost:9090", [b"Referer", b"http://localhost:8080/1"])


def test_without_a_host_no_page_is_the_proxy_s_own() -> None:
    assert ORIGINS.judge(None, []) is None
    with pytest.raises(OriginDenied):
        ORIGINS.judge(None, [b"origin", b"http://"])


@given(st.binary(max_size=60))
def test_no_other_origin_gets_through(origin: bytes) -> None:
    allowed = {b"http://localhost:8080", *ORIGINS.listed}
    try:
        ORIGINS.judge(HOST, [b"origin", origin])
    except OriginDenied:
        assert origin not in allowed
    else:
        assert origin in allowed


@given(st.binary(max_size=60))
def test_the_origin_of_a_referer_ends_where_its_authority_does(rest: bytes) -> None:
    for mark in (b"/", b"?", b"#"):
        assert origin_of(b"http://Localhost:8080" + mark + rest) == b"http://localhost:8080"
