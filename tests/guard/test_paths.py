"""Path rules."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.errors import PathDenied
from reauth_proxy.guard.paths import PathRules, Rule, matches, one_reading, parse


@pytest.mark.parametrize(
    ("rule", "method", "path", "about"),
    [
        ("GET /api", "GET", "/api", True),
        ("GET /api", "HEAD", "/api", True),
        ("HEAD /api", "GET", "/api", False),
        ("GET /api", "POST", "/api", False),
        ("* /api", "POST", "/api", True),
        ("post /api", "POST", "/api", True),
        ("GET /api", "GET", "/api/", False),
        ("GET /api", "GET", "/apix", False),
        ("GET /api", "GET", "/API", False),
        ("GET /api/", "GET", "/api/", True),
        ("GET /", "GET", "/", True),
        ("GET /", "GET", "/a", False),
        ("GET /*", "GET", "/a", True),
        ("GET /*", "GET", "/", False),
        ("GET /*", "GET", "/a/b", False),
        ("GET /**", "GET", "/", True),
        ("GET /**", "GET", "/a/b/c", True),
        ("GET /api/**", "GET", "/api", True),
        ("GET /api/**", "GET", "/api/", True),
        ("GET /api/**", "GET", "/api/a/b", True),
        ("GET /api/**", "GET", "/apis", False),
        ("GET /api/**", "GET", "/x/api/a", False),
        ("GET /**/admin", "GET", "/admin", True),
        ("GET /**/admin", "GET", "/a/b/admin", True),
        ("GET /**/admin", "GET", "/a/b/admin/c", False),
        ("GET /**/admin/**", "GET", "/a/admin/c/d", True),
        ("GET /a/*/c", "GET", "/a/b/c", True),
        ("GET /a/*/c", "GET", "/a/b/b/c", False),
        ("GET /a*c", "GET", "/abc", True),
        ("GET /a*c", "GET", "/ac", True),
        ("GET /a*c", "GET", "/ab/c", False),
        ("GET /*.json", "GET", "/x.json", True),
        ("GET /*.json", "GET", "/x.json.exe", False),
        ("GET /a*b*c", "GET", "/axbxbxc", True),
        ("GET /ü b", "GET", "/ü b", True),
        ("GET /a.b", "GET", "/axb", False),
        ("GET /[ab]", "GET", "/a", False),
    ],
)
def test_what_a_rule_is_about(rule: str, method: str, path: str, about: bool) -> None:
    assert matches(parse(rule), method, path) is about


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("", "a method and a path"),
        ("GET", "a method and a path"),
        ("/api/**", "a method and a path"),
        ("GET api", "a method and a path"),
        ("GET  /api", "a method and a path"),
        ("GET,POST /api", "a method and a path"),
        ("G/T /api", "a method and a path"),
        ("GET /api?x", "no query"),
        ("GET /api#x", "no query"),
        ("GET /a%2Fb", "no percent escapes"),
        ("GET /a;b", "no query"),
        ("GET /a\\b", "no query"),
        ("GET /a**", "whole segments"),
        ("GET /a/***", "whole segments"),
        ("GET /a//b", "no empty segments"),
        ("GET /a/../b", "no empty segments"),
        ("GET /./b", "no empty segments"),
    ],
)
def test_what_is_no_rule(rule: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(rule)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/", "/"),
        (b"/a/b/", "/a/b/"),
        (b"/a?b=%2F..//;", "/a"),
        (b"/a%20b", "/a b"),
        (b"/%C3%BC", "/ü"),
        ("/ü".encode(), "/ü"),
        (b"/%61dmin", "/admin"),
        (b"/a...b/...", "/a...b/..."),
        (b"/a:b@c,d=e+f", "/a:b@c,d=e+f"),
    ],
)
def test_a_path_with_one_reading(target: bytes, path: str) -> None:
    assert one_reading(target) == path


@pytest.mark.parametrize(
    "target",
    [
        b"//",
        b"//admin",
        b"/a//b",
        b"/.",
        b"/..",
        b"/a/../admin",
        b"/a/./admin",
        b"/a/%2e%2e/admin",
        b"/a/.%2E/admin",
        b"/a/%2e/admin",
        b"/a/..?x",
        b"/a%2Fadmin",
        b"/a%2fadmin",
        b"/a%5Cadmin",
        b"/a%5cadmin",
        b"/a\\admin",
        b"/a\\..\\admin",
        b"/admin;x",
        b"/admin;/x",
        b"/admin%3Bx",
        b"/..;/admin",
        b"/%252e%252e/admin",
        b"/admin%252f",
        b"/admin%25",
        b"/admin%00",
        b"/admin%00.png",
        b"/admin%0a",
        b"/admin%7f",
        b"/admin%C2%85",
        b"/admin%3Fx",
        b"/admin%23x",
        b"/admin%",
        b"/admin%2",
        b"/admin%zz",
        b"/admin%u0061",
        b"/%C0%AFadmin",
        b"/%E0%80%AFadmin",
        b"/%c0%ae%c0%ae/admin",
        b"/\xff",
        b"/%ff",
        b"/%ED%A0%80",
    ],
)
def test_a_path_that_can_be_read_in_more_than_one_way(target: bytes) -> None:
    assert one_reading(target) is None
    for rules in (PathRules(allow=["* /**"]), PathRules(deny=["GET /other"])):
        with pytest.raises(PathDenied, match="more than one way"):
            rules.check("GET", target)


RULES = PathRules(allow=["GET /api/**", "POST /api/items"], deny=["* /api/admin/**", "GET /**/Secret"])


@pytest.mark.parametrize(
    ("method", "target", "passes"),
    [
        ("GET", b"/api/items", True),
        ("GET", b"/api/items?path=/api/admin", True),
        ("HEAD", b"/api/items", True),
        ("POST", b"/api/items", True),
        ("POST", b"/api/items/1", False),
        ("DELETE", b"/api/items", False),
        ("GET", b"/other", False),
        ("GET", b"/other?/api/items", False),
        ("GET", b"/api/admin", False),
        ("GET", b"/api/admin/", False),
        ("GET", b"/api/admin/users", False),
        ("GET", b"/api/%61dmin/users", False),
        ("GET", b"/api/ADMIN/users", False),
        ("GET", b"/api/administrator", True),
        ("GET", b"/api/x/secret", False),
        ("GET", b"/api/x/secret/", False),
        ("GET", b"/api/x/SECRET", False),
        ("HEAD", b"/api/x/secret", False),
        ("GET", b"/API/items", False),
    ],
)
def test_deny_wins_over_allow_and_what_is_not_allowed_is_refused(method: str, target: bytes, passes: bool) -> None:
    if passes:
        RULES.check(method, target)
    else:
        with pytest.raises(PathDenied, match=r"access\.allow"):
            RULES.check(method, target)


def test_deny_alone_lets_the_rest_pass() -> None:
    rules = PathRules(deny=["DELETE /**"])
    rules.check("GET", b"/a")
    with pytest.raises(PathDenied):
        rules.check("DELETE", b"/a")


@given(
    st.lists(st.sampled_from(["a", "b", "*", "**", "a*", "*b*"]), min_size=1, max_size=5),
    st.lists(st.sampled_from(["", "a", "b", "ab", "aab"]), min_size=1, max_size=6),
)
def test_it_matches_what_a_slow_but_plain_matcher_does(pattern: list[str], segments: list[str]) -> None:
    def text(glob: str, word: str) -> bool:
        if not glob:
            return not word
        if glob[0] == "*":
            return text(glob[1:], word) or (bool(word) and text(glob, word[1:]))
        return bool(word) and word[0] == glob[0] and text(glob[1:], word[1:])

    def plain(globs: list[str], words: list[str]) -> bool:
        if not globs:
            return not words
        if globs[0] == "**":
            return plain(globs[1:], words) or (bool(words) and plain(globs, words[1:]))
        same = bool(words) and text(globs[0], words[0]) and (globs[0] != "*" or words[0] != "")
        return same and plain(globs[1:], words[1:])

    assert matches(Rule("*", tuple(pattern)), "GET", "/" + "/".join(segments)) == plain(pattern, segments)


def test_no_path_makes_the_matcher_slow() -> None:
    rule = parse("GET /**/" + "*a" * 20 + "/**/" + "/**/".join(["*a*a"] * 5) + "/z")
    path = "/" + "/".join(["a" * 60] * 500)
    since = time.process_time()
    assert not matches(rule, "GET", path)
    assert time.process_time() - since < 10


@given(st.binary(max_size=40))
def test_any_target_has_one_reading_or_none(target: bytes) -> None:
    path = one_reading(b"/" + target)
    if path is not None:
        assert path.startswith("/")
        assert ".." not in path.split("/")
        assert not set(path) & set("\\;\0")


def test_what_is_remembered_is_bounded_and_by_method() -> None:
    rules = PathRules(allow=["GET /**"])
    for number in range(3000):
        rules.check("GET", b"/%d?x" % number)
        assert len(rules._passed) <= 1024
    rules.check("GET", b"/" + b"x" * 1000)
    assert ("GET", b"/" + b"x" * 1000) not in rules._passed
    for _ in range(2):
        with pytest.raises(PathDenied):
            rules.check("POST", b"/2999")
