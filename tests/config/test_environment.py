from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.config.environment import Reading, interpolate, read_secret
from reauth_proxy.config.problems import Text, got
from reauth_proxy.session.tokens import Secret
from tests.fakes.files import write_secret

ENVIRON = {"HOST": "api.example.com", "EMPTY": "", "TOKEN": "CANARY-1", "TRICKY": "a: {b: ${HOST}}"}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("plain", "plain"),
        ("https://${HOST}/v2", "https://api.example.com/v2"),
        ("${HOST}${HOST}", "api.example.comapi.example.com"),
        ("${NOPE:-there}", "there"),
        ("${EMPTY:-there}", "there"),
        ("${NOPE:-}", ""),
        ("${EMPTY}", ""),
        ("${HOST:-there}", "api.example.com"),
        ("$${HOST}", "${HOST}"),
        ("$HOST $$ $", "$HOST $$ $"),
        ("${TRICKY}", "a: {b: ${HOST}}"),
    ],
)
def test_variables_are_filled_in(written: str, read: str) -> None:
    assert interpolate(written, ENVIRON) == read


def test_a_variable_without_a_value_is_told_by_name() -> None:
    with pytest.raises(
        ValueError, match=r"^the environment variable NOPE is not set; set it, or write \$\{NOPE:-default\}$"
    ):
        interpolate("x${NOPE}", ENVIRON)


@pytest.mark.parametrize("written", ["${", "${}", "${1A}", "${A B}", "${HOST:?no}", "${HOST", "${HOST:-x", "${a-b}"])
def test_other_braces_are_told(written: str) -> None:
    with pytest.raises(
        ValueError, match=r"^expected \$\{NAME\} or \$\{NAME:-default\}; a literal \$\{ is written \$\$\{$"
    ):
        interpolate(written, ENVIRON)


def test_what_came_from_the_environment_is_not_shown() -> None:
    assert got(interpolate("${TOKEN}", ENVIRON)) == "got something else from the environment"
    assert got(interpolate("${NOPE:-soon}", ENVIRON)) == 'got "soon"'


@given(st.text(), st.dictionaries(st.from_regex(r"[A-Z]{1,3}", fullmatch=True), st.text()))
def test_whatever_is_written_is_filled_in_or_told(written: str, environ: dict[str, str]) -> None:
    try:
        read = interpolate(written, environ)
    except ValueError:
        assert "${" in written
    else:
        assert "${" in written or read == written


@given(st.text())
def test_a_value_is_never_looked_into(value: str) -> None:
    assert interpolate("<${A}>", {"A": value}) == f"<{value}>"


def test_a_path_begins_at_home_or_beside_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    reading = Reading({}, Path("/etc/proxy"))
    assert reading.path("~/a") == Path("/home/me/a")
    assert reading.path("a/b") == Path("/etc/proxy/a/b")
    assert reading.path("/a") == Path("/a")


def test_a_secret_is_text_or_in_the_environment() -> None:
    reading = Reading(ENVIRON)
    assert read_secret(Text("CANARY-0"), reading) == Secret("CANARY-0")
    assert read_secret({"env": Text("TOKEN")}, reading) == Secret("CANARY-1")
    assert type(read_secret(Text("CANARY-0"), reading).reveal()) is str


@pytest.mark.parametrize(
    ("content", "secret"),
    [(b"CANARY\n", "CANARY"), (b"CANARY\r\n", "CANARY"), (b"CANARY", "CANARY"), (b"\xef\xbb\xbfCANARY", "CANARY"),
     (b"a\nb\n\n", "a\nb\n"), (b"x" * 65_536, "x" * 65_536)],
)  # fmt: skip
def test_a_secret_is_in_a_file(tmp_path: Path, content: bytes, secret: str) -> None:
    write_secret(tmp_path / "secret", content)
    assert read_secret({"file": "secret"}, Reading({}, tmp_path)) == Secret(secret)
    assert read_secret({"file": str(tmp_path / "secret")}, Reading({}, Path("/elsewhere"))) == Secret(secret)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "it is empty"),
        (" ", "it is empty"),
        (5, "expected text, {env: NAME} or {file: PATH}"),
        (["CANARY"], "expected text, {env: NAME} or {file: PATH}"),
        ({}, "expected text, {env: NAME} or {file: PATH}"),
        ({"env": "A", "file": "b"}, "expected text, {env: NAME} or {file: PATH}"),
        ({"environment": "A"}, "expected text, {env: NAME} or {file: PATH}"),
        ({"env": "NOPE"}, "the environment variable NOPE is not set"),
        ({"env": "EMPTY"}, "the environment variable EMPTY is empty"),
        ({"env": "${TOKEN}"}, "expected a variable's name after env: such as REFRESH_TOKEN"),
        ({"env": None}, "expected a variable's name after env:, got nothing"),
        ({"env": Text("CANARY", hidden=True)}, "the environment variable that it names is not set"),
        ({"file": ""}, 'expected a path after file:, got ""'),
        ({"file": "a\0b"}, "a path cannot hold a NUL character"),
        ({"file": "/nope/CANARY"}, "the file /nope/CANARY cannot be read: no such file or directory"),
        (
            {"file": Text("/nope/CANARY", hidden=True)},
            "the file that it names cannot be read: no such file or directory",
        ),
        ({"file": "/nope\n\x1b"}, 'the file "/nope\\n\\u001b" cannot be read: no such file or directory'),
        ({"file": "/"}, "the file / cannot be read: is a directory"),
        (
            {"file": "~nobody-has-this-name/x"},
            "the home directory that ~ stands for is not known; write the path in full",
        ),
        ("\udcff", "it is not text in UTF-8"),
    ],
)
def test_what_is_no_secret_is_told(written: object, told: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        read_secret(written, Reading(ENVIRON))
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "is empty"), (b"\n", "is empty"), (b"\xff\xfe", "is not text in UTF-8"),
     (b"x" * 65_537, "is larger than 64 KiB, and so no secret")],
)  # fmt: skip
def test_a_file_that_holds_no_secret_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    path = write_secret(tmp_path / "secret", content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        read_secret({"file": "secret"}, Reading({}, tmp_path))
    assert str(caught.value) == f"the file {path} {told}"
