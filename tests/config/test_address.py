from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.config.address import Listen, Url, is_loopback, parse_listen, parse_url


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("127.0.0.1:8080", Listen("tcp", "127.0.0.1", 8080)),
        ("[::1]:8080", Listen("tcp", "::1", 8080)),
        ("localhost:0", Listen("tcp", "localhost", 0)),
        ("0.0.0.0:65535", Listen("tcp", "0.0.0.0", 65_535)),
        ("unix:/run/proxy.sock", Listen("unix", path="/run/proxy.sock")),
    ],
)
def test_an_address_to_listen_on_reads_as_it_writes(written: str, meant: Listen) -> None:
    assert parse_listen(written) == meant
    assert str(meant) == written


@pytest.mark.parametrize(
    "written",
    ["", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:http", "*:8080", "::1:8080", "[::1]",
     "[::g]:80", "127.1:80", "0x7f000001:80", "256.0.0.1:80", "a b:80", "-a:80", "http://127.0.0.1:8080", "x:80/",
     "x:１", "[fe80::1%eth0]:80", 8080, None, ["127.0.0.1:8080"]],
)  # fmt: skip
def test_what_is_no_address_to_listen_on_is_told(written: object) -> None:
    with pytest.raises(
        ValueError, match=r"^expected host:port such as 127\.0\.0\.1:8080, \[::1\]:8080 in quotes, or unix:/path, got "
    ):
        parse_listen(written)


@pytest.mark.parametrize("written", ["unix:", "unix:proxy.sock", "unix:/run/", "unix:/a\0b"])
def test_a_unix_socket_has_an_absolute_path(written: str) -> None:
    with pytest.raises(
        ValueError, match=r"^expected unix: and an absolute path such as unix:/run/reauth-proxy\.sock, got "
    ):
        parse_listen(written)


def test_a_unix_socket_has_a_path_that_every_system_takes() -> None:
    with pytest.raises(ValueError, match=r"^the path of a Unix socket may have at most 103 bytes$"):
        parse_listen("unix:/" + "é" * 52)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("LOCALHOST.", True),
     ("api.localhost", True), ("0.0.0.0", False), ("::", False), ("localhost.example.com", False), ("10.0.0.1", False)],
)  # fmt: skip
def test_loopback_is_this_machine_only(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("https://api.example.com", ("https", "api.example.com", 443, "", "")),
        ("HTTPS://API.Example.com:8443/v2/", ("https", "api.example.com", 8443, "/v2/", "")),
        ("http://127.0.0.1:8490/api", ("http", "127.0.0.1", 8490, "/api", "")),
        ("http://[::1]:8080", ("http", "::1", 8080, "", "")),
        ("https://[2001:DB8::1]/a%20b", ("https", "2001:db8::1", 443, "/a%20b", "")),
    ],
)
def test_a_url_is_taken_apart_and_kept_as_written(written: str, meant: tuple[str, str, int, str, str]) -> None:
    url = parse_url(written)
    assert url == Url(*meant, text=written)
    assert str(url) == written


def test_a_query_is_for_token_endpoints_only() -> None:
    assert parse_url("https://a.example/token?p=b", query=True).query == "?p=b"
    with pytest.raises(ValueError, match=r"^a URL here must not have a query; remove the \? and what follows it$"):
        parse_url("https://a.example/token?")


@pytest.mark.parametrize(
    ("written", "authority"),
    [("https://a.example", "a.example"), ("https://a.example:443", "a.example"),
     ("http://a.example:443", "a.example:443"),
     ("http://[::1]:80", "[::1]"), ("http://[::1]:81", "[::1]:81")],
)  # fmt: skip
def test_the_host_field_leaves_out_the_schemes_own_port(written: str, authority: str) -> None:
    assert parse_url(written).authority == authority


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("api.example.com", 'expected a URL such as https://api.example.com, got "api.example.com"'),
        ("ftp://a.example", 'expected a URL such as https://api.example.com, got "ftp://a.example"'),
        ("", 'expected a URL such as https://api.example.com, got ""'),
        (None, "expected a URL such as https://api.example.com, got nothing"),
        (
            "https://u:CANARY@a.example",
            "a URL here must not hold a user name or password; remove what stands before the @",
        ),
        ("u:CANARY@a.example", "expected a URL such as https://api.example.com"),
        ("https://a.example/#x", "a URL here must not have a fragment; remove the # and what follows it"),
        ("https://a.example:0", 'expected a URL with a port from 1 to 65535, got "https://a.example:0"'),
        (
            "https://a.example/ü",
            "a URL may hold only ASCII letters, digits and marks; write the rest as percent escapes",
        ),
        (
            "https://a.example/%zz",
            "a URL may hold only ASCII letters, digits and marks; write the rest as percent escapes",
        ),
        (
            "https://a.example/a b",
            "a URL may hold only ASCII letters, digits and marks; write the rest as percent escapes",
        ),
    ],
)
def test_what_is_no_url_is_told_without_a_password(written: object, told: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        parse_url(written)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    "written", ["https://", "https:///x", "https://127.1", "https://ü.example", "https://a..b", "https://[::1"]
)
def test_a_url_has_a_host(written: str) -> None:
    with pytest.raises(
        ValueError,
        match=r"^expected a URL with a host name or an address \(ASCII; names beyond it in their xn-- form\)",
    ):
        parse_url(written)


@given(st.one_of(st.text(max_size=40), st.from_regex(r"https?://[^/?#]{0,20}[/?#]?.{0,10}", fullmatch=True)))
def test_whatever_is_written_is_a_url_without_surprises_or_told(written: str) -> None:
    try:
        url = parse_url(written)
    except ValueError:
        return
    assert url.scheme in ("http", "https")
    assert url.host.isascii()
    assert 1 <= url.port <= 65_535
    assert (url.path + url.authority).isprintable()
    assert not set(url.authority) & set(" @/?#\\")


def test_a_query_that_may_hold_a_key_is_shown_to_nobody() -> None:
    url = parse_url("https://id.example.com/token?key=CANARY", query=True)
    assert url.shown == "https://id.example.com/token?…"
    assert repr(url) == "<Url https://id.example.com/token?…>"
    assert str(url) == "https://id.example.com/token?key=CANARY", "it is called by all of it"
    for mistake in ("https:/id.example/?key=CANARY", "https://é.example/?key=CANARY", "https://a:0/?key=CANARY"):
        with pytest.raises(ValueError, match="expected a URL") as caught:
            parse_url(mistake, query=True)
        assert "CANARY" not in str(caught.value)
