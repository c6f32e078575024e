"""Which fields are removed, kept and added, on requests and on responses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.forward.fields import FieldChanges, RequestRules, ResponseRules, challenges

PLAIN = RequestRules(FieldChanges())


def forwarded(*fields: tuple[bytes, bytes], rules: RequestRules = PLAIN) -> list[bytes]:
    return rules.filter(fields).lines


@pytest.mark.parametrize(
    "name",
    [
        b"Connection",
        b"Keep-Alive",
        b"Proxy-Connection",
        b"Proxy-Authorization",
        b"Proxy-Authenticate",
        b"Proxy-Anything",
        b"TE",
        b"Trailer",
        b"Transfer-Encoding",
        b"Upgrade",
        b"HTTP2-Settings",
        b"Authorization",
        b"authorization",
        b"AUTHORIZATION",
        b"Forwarded",
        b"X-Forwarded-For",
        b"X-Forwarded-Host",
        b"X-Forwarded-Anything",
        b"X_Forwarded_For",
        b"x-forwarded_for",
        b"Reauth-Client-Token",
        b"Reauth_Signal",
        b"Host",
        b"Expect",
        b"X-Request-Id",
        b"X_Request_Id",
        b"Content_Length",
    ],
)
def test_a_request_field_that_is_not_the_clients_to_send_is_removed(name: bytes) -> None:
    assert forwarded((name, b"x"), (b"Accept", b"*/*")) == [b"Accept: */*"]


@pytest.mark.parametrize(
    "name", [b"Cookie", b"Accept", b"X-Host", b"Via", b"User-Agent", b"Content-Type", b"X-Y_Z", b"_", b"Authorizations"]
)
def test_any_other_request_field_passes_as_it_is(name: bytes) -> None:
    assert forwarded((name, b"a, b;  c")) == [name + b": a, b;  c"]


def test_order_repeats_and_spelling_survive() -> None:
    sent = [(b"b", b"1"), (b"A", b"2"), (b"b", b"3"), (b"B", b""), (b"a", b"\xe9\xff")]
    assert forwarded(*sent) == [b"b: 1", b"A: 2", b"b: 3", b"B: ", b"a: \xe9\xff"]


def test_rfc9110_7_6_1_fields_that_connection_names_are_removed() -> None:
    sent = [
        (b"X-Hop", b"1"),
        (b"Connection", b"X-Hop, close"),
        (b"connection", b" ,x-other,"),
        (b"X-Other", b"2"),
        (b"C", b"3"),
    ]
    assert forwarded(*sent) == [b"C: 3"]


def test_connection_cannot_name_away_the_length_of_the_content() -> None:
    sent = [(b"Connection", b"content-length"), (b"Content-Length", b"3")]
    found = PLAIN.filter(sent)
    assert found.lines == [b"Content-Length: 3"]
    assert found.length == b"3"


def test_connection_cannot_name_away_what_the_configuration_sets() -> None:
    rules = RequestRules(FieldChanges(set={"X-Tenant": "acme"}))
    assert forwarded((b"Connection", b"x-tenant"), (b"x-tenant", b"evil"), rules=rules) == [b"X-Tenant: acme"]


def test_what_the_proxy_itself_needs_is_noted() -> None:
    found = PLAIN.filter(
        [
            (b"Host", b"localhost:8080"),
            (b"X-Request-Id", b"abc"),
            (b"Expect", b"100-continue"),
            (b"Transfer-Encoding", b"gzip"),
            (b"transfer-encoding", b"chunked"),
            (b"Upgrade", b"websocket"),
        ]
    )
    assert (found.host, found.request_id, found.expect) == (b"localhost:8080", b"abc", b"100-continue")
    assert (found.coding, found.upgrade) == (b"gzip,chunked", b"websocket")
    assert found.lines == []


def test_a_default_is_added_only_where_there_is_none() -> None:
    rules = RequestRules(FieldChanges(default={"Accept": "application/json"}))
    assert forwarded(rules=rules) == [b"Accept: application/json"]
    assert forwarded((b"accept", b"text/html"), rules=rules) == [b"accept: text/html"]
    assert forwarded((b"accept", b"a"), (b"Connection", b"accept"), rules=rules) == [b"Accept: application/json"]


def test_set_replaces_and_remove_removes() -> None:
    rules = RequestRules(FieldChanges(set={"X-A": "new"}, remove=("Cookie",)))
    assert forwarded((b"x-a", b"old"), (b"cookie", b"c"), (b"D", b"d"), rules=rules) == [b"D: d", b"X-A: new"]


def test_the_memory_of_spellings_is_bounded() -> None:
    rules = RequestRules(FieldChanges())
    for number in range(3000):
        rules.filter([(b"X-%d" % number, b"")])
    assert len(rules._table.known) == 1024
    assert forwarded((b"AUTHorization", b"x"), (b"X-2999", b"y"), rules=rules) == [b"X-2999: y"]


@given(
    st.lists(
        st.tuples(
            st.from_regex(rb"[A-Za-z0-9_-]{1,20}", fullmatch=True),
            st.from_regex(rb"[!-~\x80-\xff]{0,20}", fullmatch=True),
        )
    )
)
def test_no_combination_of_fields_lets_a_client_authorize_itself(sent: list[tuple[bytes, bytes]]) -> None:
    for line in PLAIN.filter(sent).lines:
        name = line.partition(b":")[0].lower().replace(b"_", b"-")
        assert name not in (b"authorization", b"host", b"transfer-encoding", b"connection")
        assert not name.startswith((b"x-forwarded-", b"reauth-", b"proxy-"))
        assert not {13, 10} & set(line)


RESPONSES = ResponseRules(FieldChanges())


def test_response_fields_lose_what_is_hop_by_hop_and_what_only_the_proxy_may_say() -> None:
    sent = [
        (b"Server", b"x"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"Connection", b"X-Hop"),
        (b"X-Hop", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Reauth-Signal", b"logout"),
        (b"reauth_signal", b"logout"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Proxy-Status", b"other"),
        (b"WWW-Authenticate", b"Basic"),
    ]
    assert RESPONSES.filter(sent) == [
        b"Server: x",
        b"Set-Cookie: a=1",
        b"Set-Cookie: b=2",
        b"Proxy-Status: other",
        b"WWW-Authenticate: Basic",
    ]


def test_responses_can_be_changed_by_the_configuration() -> None:
    rules = ResponseRules(FieldChanges(set={"X-Frame-Options": "DENY"}, remove=("Server",)))
    assert rules.filter([(b"server", b"x"), (b"x-frame-options", b"ALLOW"), (b"A", b"b")]) == [
        b"A: b",
        b"X-Frame-Options: DENY",
    ]


def test_challenges_are_found_in_every_spelling_and_field() -> None:
    sent = [(b"www-authenticate", b"Basic"), (b"A", b"b"), (b"WWW-Authenticate", b"Bearer")]
    assert challenges(sent) == [b"Basic", b"Bearer"]


@pytest.mark.parametrize(("sent", "seen"), [(b"010", b"10"), (b"0", b"0"), (b"000", b"0"), (b"100", b"100")])
def test_a_length_loses_the_zeros_that_some_take_for_octal(sent: bytes, seen: bytes) -> None:
    assert forwarded((b"content-length", sent)) == [b"content-length: " + seen + b""]
