"""Which answers reject a token."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.session.challenge import Challenge, parse_challenges, rejects

ONLY_401 = frozenset({401})


@pytest.mark.parametrize(
    ("fields", "rejected"),
    [
        ([], True),
        ([b"Bearer"], True),
        (["bearer"], True),
        ([b"BEARER realm=x"], True),
        ([b'Bearer realm="api", error="invalid_token", error_description="The token expired"'], True),
        ([b'Bearer error="insufficient_scope"'], False),
        ([b"Bearer error=insufficient_scope, scope=admin"], False),
        ([b'Bearer ERROR = "insufficient_scope"'], False),
        ([b'Bearer realm="x" error="insufficient_scope"'], False),
        ([b'Bearer realm="no, error=\\"insufficient_scope\\", here"'], True),
        ([b'Bearer error="insuff\\icient_scope"'], False),
        ([b'Bearer error_description="insufficient_scope"'], True),
        ([b'Basic realm="x"'], False),
        ([b'Digest realm="a, Bearer b", nonce="c", qop="auth"'], False),
        ([b"Negotiate"], False),
        ([b"Negotiate YWJj=="], False),
        ([b"NTLM, Negotiate"], False),
        ([b'Basic realm="x", Bearer'], True),
        ([b'Basic realm="x", Bearer realm="y", charset="UTF-8"'], True),
        ([b"Negotiate YWJj==, Bearer"], True),
        ([b'Bearer error="insufficient_scope", Basic realm="x"'], False),
        ([b'Bearer error="insufficient_scope", Bearer error="invalid_token"'], True),
        ([b'Basic realm="x"', b'Bearer error="invalid_token"'], True),
        ([b'Basic realm="x"', b'Bearer error="insufficient_scope"'], False),
        ([b'Basic realm="unterminated, Bearer', b"Bearer"], True),
        ([b'Basic realm="unterminated, Bearer'], False),
        ([b", ,, Bearer ,"], True),
        ([b""], True),
        ([b'error="invalid_token"'], True),
        ([b"\xff\xfe\x00"], True),
    ],
)
def test_challenges(fields: list[bytes | str], rejected: bool) -> None:
    assert rejects(401, fields, ONLY_401) is rejected


@pytest.mark.parametrize("status", [200, 204, 302, 400, 403, 407, 500])
def test_other_statuses_reject_nothing(status: int) -> None:
    assert not rejects(status, [], ONLY_401)
    assert not rejects(status, [b"Bearer"], ONLY_401)


def test_statuses_can_be_configured() -> None:
    assert rejects(419, [], frozenset({401, 419}))
    assert not rejects(403, [b'Bearer error="insufficient_scope"'], frozenset({401, 403}))


def test_several_challenges_in_one_field() -> None:
    # RFC 9110 section 11.6.1
    value = 'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""'
    assert list(parse_challenges(value)) == [
        Challenge("basic", {"realm": "simple"}),
        Challenge("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
    ]


names = st.text("abcdefghijklmnopqrstuvwxyz-_", min_size=1, max_size=8)
written = st.lists(
    st.tuples(names, st.dictionaries(names, st.text(st.characters(codec="latin-1", categories=["L", "P", "Zs"])))),
    max_size=4,
)


@given(written)
def test_what_is_written_by_the_rules_is_read_back(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quote(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    value = ", ".join(
        f"{scheme} {', '.join(f'{name}={quote(text)}' for name, text in parameters.items())}".strip()
        for scheme, parameters in challenges
    )
    assert list(parse_challenges(value)) == [Challenge(scheme, parameters) for scheme, parameters in challenges]


@given(st.lists(st.binary() | st.text() | st.text('Bearer error="insufficient_scope",\\ =')))
def test_nonsense_never_raises(fields: list[bytes | str]) -> None:
    assert rejects(401, fields, ONLY_401) in (True, False)


@pytest.mark.parametrize(
    "nonsense",
    ['"' * 60_000, '"\\' * 30_000, "a=" * 30_000, ", " * 30_000, "a " * 30_000, "a" * 60_000, "x " + "a" * 60_000],
)
def test_long_nonsense_is_read_in_linear_time(nonsense: str) -> None:
    assert rejects(401, [nonsense, "Bearer"], ONLY_401)
