"""Where a login may end."""

from __future__ import annotations

import pytest

from reauth_proxy.errors import BadRequest
from reauth_proxy.frontend.signin import Going, destination

LISTED = frozenset({b"http://localhost:5173", b"https://app.example.com"})


@pytest.mark.parametrize(
    "wanted",
    [
        "/",
        "/app",
        "/app/?a=b&c=/x#frag",
        "/a//b",
        "http://localhost:5173",
        "http://localhost:5173/app?x=1",
        "HTTP://LOCALHOST:5173/app",
        "https://app.example.com/",
    ],
)
def test_a_login_may_end_at_a_path_here_or_at_a_page_of_a_listed_origin(wanted: str) -> None:
    assert destination(Going(b"localhost:8080", wanted, LISTED)) == wanted


def test_a_login_that_asks_for_nothing_ends_at_the_front() -> None:
    assert destination(Going(b"localhost:8080", None, LISTED)) == "/"


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/x\r\nSet-Cookie: a=b",
        "/x y",
        "/é",
        "/\t/evil.example",
        "\t//evil.example",
        " /x",
        "x",
        "javascript:alert(1)",
        "http://evil.example/",
        "http://localhost:5174/",
        "http://localhost:5173@evil.example/",
        "http://localhost:5173.evil.example/",
        "http://localhost:5173\\@evil.example/",
        "http:/localhost:5173",
        "http:localhost:5173",
        "https://localhost:5173/",
        "http://user@localhost:5173/",
        "data:text/html,x",
        "http://[evil",
        "/" + "x" * 3000,
    ],
)
def test_a_login_ends_nowhere_else(wanted: str) -> None:
    with pytest.raises(BadRequest, match="return_to"):
        destination(Going(b"localhost:8080", wanted, LISTED))
