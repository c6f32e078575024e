"""What an answer means, as tables."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.issuers.judged import Judged, OddTokenType, UnusableToken, is_lost
from reauth_proxy.issuers.pointer import parse
from reauth_proxy.issuers.reply import Answer, Pointers, from_json_api, from_oauth2
from reauth_proxy.session.tokens import Denied, Issued, Secret, Unavailable

NOW = 1_800_000_000.0
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
TOKEN = "access-CANARY-1"


def oauth2(status: int = 200, content: object = None, content_type: str = JSON, **fields: Any) -> Any:
    return judged(status, content, content_type, **fields).reply


def judged(status: int = 200, content: object = None, content_type: str = JSON, **fields: Any) -> Judged:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return from_oauth2(Answer(status, body, content_type, **fields), NOW)


def tokens(**more: object) -> dict[str, object]:
    return {"access_token": TOKEN, "token_type": "Bearer", **more}


def jwt(**claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(claims)}.sig"


def test_a_full_answer_is_issued() -> None:
    reply = oauth2(content=tokens(refresh_token="refresh-CANARY-2", expires_in=3600))
    assert reply == Issued(Secret(TOKEN), Secret("refresh-CANARY-2"), 3600.0)


@pytest.mark.parametrize("status", [200, 201, 203])
def test_every_2xx_with_a_token_is_issued(status: int) -> None:
    assert oauth2(status, tokens()) == Issued(Secret(TOKEN), None, None)


@pytest.mark.parametrize("absent", [None, ""])
def test_an_empty_refresh_token_keeps_the_present_one(absent: object) -> None:
    assert oauth2(content=tokens(refresh_token=absent)).refresh_token is None


@pytest.mark.parametrize("unusable", ["a\r\nX: y", "a\x00", "\ud800", "a\x85b", True, 1.5, {"a": 1}, "x" * 70_000])
def test_a_refresh_token_that_cannot_be_kept_is_replaced_by_one_that_is_never_sent(unusable: object) -> None:
    found = judged(content=tokens(refresh_token=unusable))
    assert found.reply == Issued(Secret(TOKEN), None, None)
    assert found.remarks == (UnusableToken("the new refresh token cannot be stored or sent"),)
    kept = found.with_stand_in()
    assert isinstance(kept, Issued)
    assert kept.refresh_token is not None
    assert is_lost(kept.refresh_token)
    assert not is_lost(Secret("refresh-CANARY-1"))


def test_what_stands_in_differs_from_loss_to_loss_and_tells_nothing() -> None:
    kept = [judged(content={"access_token": one, "refresh_token": True}).with_stand_in() for one in ("a", "b", "a")]
    stand_ins = [one.refresh_token for one in kept if isinstance(one, Issued)]
    assert stand_ins[0] == stand_ins[2] != stand_ins[1]
    assert judged(content=tokens(refresh_token="r")).with_stand_in() == Issued(Secret(TOKEN), Secret("r"), None)


@pytest.mark.parametrize("nothing", [None, "", 0, False, [], {}])
def test_nothing_in_place_of_a_refresh_token_keeps_the_present_one(nothing: object) -> None:
    assert judged(content=tokens(refresh_token=nothing)) == Judged(Issued(Secret(TOKEN), None, None))


@pytest.mark.parametrize(
    ("literal", "token"),
    [
        ("12345", "12345"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("9" * 3000, "9" * 3000),
    ],
    ids=["short", "30 digits", "3000 digits"],
)
@pytest.mark.parametrize("member", ["access_token", "refresh_token"])
def test_a_token_that_is_a_json_integer_is_its_literal_text(member: str, literal: str, token: str) -> None:
    other = "refresh_token" if member == "access_token" else "access_token"
    reply = oauth2(content=f'{{"{other}": "other", "{member}": {literal}}}'.encode())
    assert reply == Issued(
        *(Secret(token if name == member else "other") for name in ("access_token", "refresh_token")), None
    )


@pytest.mark.parametrize(
    "literal", ["1e400", "-1e400", "1.0", "1E2", "-0", "true", "[1]", '{"a": 1}', "NaN", "9" * 5000]
)
def test_other_json_values_are_no_access_token(literal: str) -> None:
    reply = oauth2(content=f'{{"access_token": {literal}, "refresh_token": "r"}}'.encode())
    assert isinstance(reply, Unavailable)
    assert (reply.misconfigured, reply.answered, reply.refresh_token) == (True, True, Secret("r"))


@pytest.mark.parametrize("written", ["Bearer a-CANARY", "bearer a-CANARY", "BEARER   a-CANARY"])
def test_a_scheme_before_the_access_token_is_removed(written: str) -> None:
    assert oauth2(content=tokens(access_token=written)).access_token == Secret("a-CANARY")
    assert json_api(content={"data": {"token": written}}).access_token == Secret("a-CANARY")


@pytest.mark.parametrize(
    "unusable",
    [None, "", 0, True, [], {}, "a b", "Bearer ", "a\r\nX: y", "a\n", "a\x7f", "tökén", "\ud800", "x" * 70_000],
    ids=lambda value: repr(value)[:16],
)
def test_a_2xx_without_a_usable_access_token_hands_its_refresh_token_on(unusable: object) -> None:
    reply = oauth2(content={"access_token": unusable, "token_type": "Bearer", "refresh_token": "r"})
    assert isinstance(reply, Unavailable)
    assert (reply.misconfigured, reply.answered, reply.broken) == (True, True, False)
    assert reply.refresh_token == Secret("r")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "at /access_token; there are no members to name"),
        ([], "at /access_token; a list is there"),
        (None, "at /access_token; it holds no object"),
        (7, "at /access_token; it holds no object"),
        ({"accessToken": "CANARY", "ok": True}, "at /access_token; the members there are accessToken, ok"),
        ({"a b": 1, "x" * 41: 2, "é": 3, "fine.name-1_": "CANARY"}, "the members there are fine.name-1_"),
    ],
    ids=["empty", "list", "null", "number", "other names", "odd names"],
)
def test_a_2xx_without_an_access_token_says_where_it_was_looked_for(content: object, words: str) -> None:
    reply = oauth2(content=content)
    assert reply.cause.endswith(words)
    assert (reply.misconfigured, reply.answered) == (True, True)
    assert "CANARY" not in reply.cause


def test_at_most_ten_members_are_named() -> None:
    cause = oauth2(content={f"m{number:02}": 1 for number in range(30)}).cause
    assert "m09" in cause
    assert "m10" not in cause


def test_a_token_of_64_kib_is_usable() -> None:
    assert isinstance(oauth2(content=tokens(access_token="x" * 65_536)), Issued)


@pytest.mark.parametrize(
    ("content", "content_type", "cause"),
    [
        (b"", JSON, "no content"),
        (b" \n", JSON, "no content"),
        (b'{"access_token": "CAN', JSON, "not JSON"),
        (b"\xff\xfe\xfa", JSON, "not JSON"),
        (b"<!doctype html><p>CANARY", "text/html", "HTML where JSON was due"),
        (b"  <html>CANARY", JSON, "HTML where JSON was due"),
        (b"hello CANARY", "text/plain", "not JSON"),
        (b"[" * 200_000, JSON, "not JSON"),
        (b"foo=bar", FORM, "not JSON"),
    ],
)
def test_a_2xx_that_does_not_parse_is_unavailable(content: bytes, content_type: str, cause: str) -> None:
    reply = oauth2(200, content, content_type)
    assert isinstance(reply, Unavailable)
    assert cause in reply.cause
    assert not reply.misconfigured
    assert not reply.broken
    # A page is not the token endpoint's; whatever else came with a 2xx may have used the token up.
    assert reply.answered is ("HTML" not in cause)
    assert "CANARY" not in repr(reply)


def test_204_is_unavailable() -> None:
    assert isinstance(oauth2(204, b"", ""), Unavailable)


@pytest.mark.parametrize("content_type", ["text/html", "text/plain", "", "application/x-www-form-urlencoded"])
def test_json_is_json_whatever_its_content_type(content_type: str) -> None:
    assert isinstance(oauth2(200, json.dumps(tokens()).encode(), content_type), Issued)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_in_any_unicode_encoding_is_read(encoding: str) -> None:
    assert isinstance(oauth2(200, json.dumps(tokens()).encode(encoding)), Issued)


@pytest.mark.parametrize("content_type", [FORM, "text/plain", JSON, "text/html", ""])
def test_a_form_encoded_answer_is_read(content_type: str) -> None:
    reply = oauth2(200, b"access_token=a%2BCANARY&refresh_token=r&expires_in=60&token_type=bearer", content_type)
    assert reply == Issued(Secret("a+CANARY"), Secret("r"), 60.0)


def test_a_form_encoded_error_is_read() -> None:
    assert oauth2(200, b"error=invalid_grant", FORM) == Denied("invalid_grant")
    assert oauth2(200, b"error=bad_refresh_token", FORM) == Denied("bad_refresh_token")


@pytest.mark.parametrize("error", ["bad_refresh_token", "invalid_refresh_token"])
def test_what_github_and_slack_say_for_invalid_grant_is_denied(error: str) -> None:
    assert oauth2(content={"ok": False, "error": error}) == Denied(error)


@pytest.mark.parametrize("error", ["invalid_grant", "invalid_client", "server_error"])
def test_an_error_beside_a_new_refresh_token_does_not_throw_that_away(error: str) -> None:
    reply = oauth2(content={"error": error, "refresh_token": "r"})
    assert isinstance(reply, Unavailable)
    assert (reply.answered, reply.refresh_token) == (True, Secret("r"))


def test_an_error_that_nobody_knows_in_a_2xx_is_no_refusal() -> None:
    reply = oauth2(content={"ok": False, "error": "CANARY-code"})
    assert (reply.misconfigured, reply.answered) == (True, True)
    assert reply.cause.endswith("the members there are ok, error")


@pytest.mark.parametrize("status", [200, 400, 401, 403, 422])
def test_invalid_grant_is_denied(status: int) -> None:
    assert oauth2(status, {"error": "invalid_grant", "error_description": "CANARY"}) == Denied("invalid_grant")


@pytest.mark.parametrize("status", [200, 400, 401, 403])
@pytest.mark.parametrize(
    "error",
    ["invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_request", "invalid_scope"],
)
def test_other_errors_of_rfc_6749_are_a_misconfiguration(status: int, error: str) -> None:
    reply = oauth2(status, {"error": error, "error_description": "CANARY"})
    assert reply.misconfigured
    assert error in reply.cause
    assert "CANARY" not in reply.cause


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("error", ["temporarily_unavailable", "server_error"])
def test_errors_that_pass_are_unavailable(status: int, error: str) -> None:
    reply = oauth2(status, {"error": error})
    assert isinstance(reply, Unavailable)
    assert not reply.misconfigured


def test_an_unregistered_error_code_is_not_repeated() -> None:
    reply = oauth2(400, {"error": "CANARY-code"})
    assert reply.misconfigured
    assert "CANARY" not in reply.cause


@pytest.mark.parametrize("status", [404, 405, 415, 400, 401, 403, 406, 409, 410, 422])
def test_a_4xx_without_a_known_error_is_a_misconfiguration(status: int) -> None:
    assert oauth2(status, {"message": "CANARY"}).misconfigured


@pytest.mark.parametrize(("status", "misconfigured"), [(400, False), (403, False), (404, True)])
def test_html_from_a_firewall_is_not_a_misconfiguration_unless_the_status_says_so(
    status: int, misconfigured: bool
) -> None:
    reply = oauth2(status, b"<html>Blocked", "text/html")
    assert isinstance(reply, Unavailable)
    assert reply.misconfigured is misconfigured


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
def test_redirects_are_a_misconfiguration(status: int) -> None:
    reply = oauth2(status, b"")
    assert reply.misconfigured
    assert "redirects are not followed" in reply.cause


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_a_passing_status_is_unavailable_even_with_invalid_grant_in_it(status: int) -> None:
    reply = oauth2(status, {"error": "invalid_grant"}, retry_after="7")
    assert reply == Unavailable(f"the token endpoint answered {status}", 7.0)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer", None, ""])
def test_the_bearer_type_is_taken_in_any_case_or_left_out(scheme: object) -> None:
    assert isinstance(oauth2(content=tokens(token_type=scheme)), Issued)


@pytest.mark.parametrize("scheme", ["DPoP", "dpop", "MAC", "mac", "N_A"])
def test_a_token_that_a_bearer_cannot_use_is_a_misconfiguration_that_keeps_the_refresh_token(scheme: str) -> None:
    reply = oauth2(content=tokens(token_type=scheme, refresh_token="r"))
    assert isinstance(reply, Unavailable)
    assert (reply.misconfigured, reply.answered, reply.refresh_token) == (True, True, Secret("r"))


@pytest.mark.parametrize(
    ("scheme", "text", "name"),
    [
        ("JWT", True, "jwt"),
        ("Access_Token", True, "access_token"),
        ("CANARY", True, None),
        ("Bearer a-CANARY", True, None),
        (7, False, None),
        (["bearer"], False, None),
        (True, False, None),
    ],
)
def test_an_odd_type_is_sent_as_bearer_and_remarked_on(scheme: object, text: bool, name: str | None) -> None:
    found = judged(content=tokens(token_type=scheme, refresh_token="r"))
    assert found.reply == Issued(Secret(TOKEN), Secret("r"), None)
    assert found.remarks == (OddTokenType(text, name),)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", None, "", 0, False])
def test_the_usual_type_and_none_are_not_remarked_on(scheme: object) -> None:
    assert judged(content=tokens(token_type=scheme)).remarks == ()


def test_an_error_that_is_not_a_code_does_not_hide_the_tokens() -> None:
    assert isinstance(oauth2(content=tokens(error=None)), Issued)
    assert isinstance(oauth2(content=tokens(error="")), Issued)
    assert oauth2(content=tokens(error="invalid_grant")) == Denied("invalid_grant")


def test_a_jwt_tells_its_lifetime_where_the_answer_does_not() -> None:
    value = jwt(iat=NOW - 100, exp=NOW + 200)
    assert oauth2(content=tokens(access_token=value)).lifetime == 300.0
    assert oauth2(content=tokens(access_token=value, expires_in=60)).lifetime == 60.0
    assert oauth2(content=tokens(access_token=value, expires_in="abc")).lifetime == 300.0


@pytest.mark.parametrize("value", [0, -5, "0", "soon", None])
def test_a_lifetime_of_nothing_is_unknown(value: object) -> None:
    assert oauth2(content=tokens(expires_in=value)).lifetime is None
    assert json_api(content={"data": {"token": TOKEN, "ttl": value}}).lifetime is None


@pytest.mark.parametrize("name", ["refresh_expires_in", "refresh_token_expires_in"])
@pytest.mark.parametrize(
    ("value", "seconds"), [(1800, 1800.0), ("1800", 1800.0), (0, None), (-1, None), ("never", None)]
)
def test_the_lifetime_of_the_refresh_token_is_read(name: str, value: object, seconds: float | None) -> None:
    assert oauth2(content=tokens(**{name: value})).refresh_lifetime == seconds


def test_the_first_lifetime_of_the_refresh_token_counts() -> None:
    assert oauth2(content=tokens(refresh_expires_in=1, refresh_token_expires_in=2)).refresh_lifetime == 1.0
    assert oauth2(content=tokens(refresh_expires_in=0, refresh_token_expires_in=2)).refresh_lifetime == 2.0


def test_a_wrong_clock_of_ours_is_seen_by_the_date_of_the_answer() -> None:
    theirs = NOW - 3600
    date = "Fri, 15 Jan 2027 07:00:00 GMT"
    assert oauth2(content=tokens(access_token=jwt(exp=theirs + 120)), date=date).lifetime == 120.0
    assert oauth2(content=tokens(access_token=jwt(exp=NOW + 120))).lifetime == 120.0


POINTERS = Pointers(
    parse("/data/token"),
    parse("/data/refresh"),
    expires_in=parse("/data/ttl"),
    expires_at=parse("/data/until"),
    refresh_expires_in=(parse("/data/refresh_ttl"),),
)


def json_api(status: int = 200, content: object = None, content_type: str = JSON, **fields: Any) -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return from_json_api(Answer(status, body, content_type, **fields), POINTERS, {400, 401, 403, 500}, NOW).reply


def test_pointers_find_the_tokens() -> None:
    reply = json_api(content={"data": {"token": TOKEN, "refresh": "r", "ttl": "90"}})
    assert reply == Issued(Secret(TOKEN), Secret("r"), 90.0)


def test_expires_at_is_used_where_expires_in_is_missing() -> None:
    assert json_api(content={"data": {"token": TOKEN, "until": NOW + 30}}).lifetime == 30.0
    assert json_api(content={"data": {"token": TOKEN, "until": (NOW + 30) * 1000, "ttl": None}}).lifetime == 30.0
    assert json_api(content={"data": {"token": TOKEN, "until": "2027-01-15T08:00:30Z"}}).lifetime == 30.0


def test_a_pointer_finds_the_lifetime_of_the_refresh_token() -> None:
    assert json_api(content={"data": {"token": TOKEN, "refresh_ttl": "90"}}).refresh_lifetime == 90.0
    assert json_api(content={"data": {"token": TOKEN, "refresh_ttl": 0}}).refresh_lifetime is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"token": TOKEN}, "at /data/token; the members there are token"),
        ({"data": {"tok": TOKEN, "refresh": "r"}}, "at /data/token; the members there are tok, refresh"),
        ({"data": [TOKEN]}, "at /data/token; a list is there"),
    ],
)
def test_a_wrong_pointer_is_a_misconfiguration_that_names_the_members(content: object, words: str) -> None:
    reply = json_api(content=content)
    assert reply.cause.endswith(words)
    assert (reply.misconfigured, reply.answered, "CANARY" in reply.cause) == (True, True, False)
    assert reply.refresh_token == (Secret("r") if "refresh" in words else None)


@pytest.mark.parametrize("status", [400, 401, 403, 500])
@pytest.mark.parametrize("content", [b"", b"<html>", b"{}"])
def test_a_denied_status_is_a_verdict_whatever_comes_with_it(status: int, content: bytes) -> None:
    assert json_api(status, content) == Denied(f"status_{status}")


@pytest.mark.parametrize("status", [408, 409, 410, 422, 429, 501, 502, 503, 504])
def test_other_statuses_of_a_json_api_are_unavailable(status: int) -> None:
    reply = json_api(status, {"data": {"token": TOKEN}}, retry_after="Fri, 15 Jan 2027 08:00:09 GMT")
    assert isinstance(reply, Unavailable)
    assert (reply.retry_after, reply.misconfigured) == (9.0, False)


@pytest.mark.parametrize("status", [302, 404, 405, 415])
def test_a_json_api_that_is_not_there_is_a_misconfiguration(status: int) -> None:
    assert json_api(status, b"").misconfigured


@pytest.mark.parametrize("content", [b"", b"<html>", b'{"data": {"tok', b"access_token=a"])
def test_a_json_api_that_answers_something_else_is_unavailable(content: bytes) -> None:
    reply = json_api(200, content, FORM)
    assert isinstance(reply, Unavailable)
    assert not reply.misconfigured


def test_an_answer_does_not_show_its_content() -> None:
    assert "CANARY" not in repr(Answer(200, json.dumps(tokens()).encode()))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["bearer", "invalid_grant"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
names = st.sampled_from(["access_token", "refresh_token", "expires_in", "token_type", "error", "data"])


@given(st.integers(100, 599), st.dictionaries(names, anything), st.none() | st.text(), st.none() | st.text())
def test_no_json_is_too_strange(status: int, content: dict[str, object], wait: str | None, date: str | None) -> None:
    reply = oauth2(status, content, retry_after=wait, date=date)
    assert isinstance(reply, Issued | Denied | Unavailable)
    if isinstance(reply, Issued):
        assert 200 <= status < 300
        assert reply.access_token.reveal().isascii()
        assert reply.access_token.reveal().isprintable()
        assert reply.lifetime is None or 0 <= reply.lifetime < 1e9
    assert isinstance(json_api(status, content), Issued | Denied | Unavailable)


@given(st.integers(100, 599), st.binary(), st.sampled_from([JSON, FORM, "text/plain", "text/html", ""]))
def test_no_content_is_too_strange(status: int, content: bytes, content_type: str) -> None:
    assert isinstance(oauth2(status, content, content_type), Issued | Denied | Unavailable)
    assert isinstance(json_api(status, content, content_type), Issued | Denied | Unavailable)
