"""The proxy's own answers: Proxy-Status (RFC 9209), problem+json (RFC 9457), and a page for browsers.

Each answer is caused for real, with the daemon between a client and an upstream.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.fakes.authorization import oauth_error
from tests.fakes.client import Answer
from tests.rfc.wire import OK, Field, Wire, chunks, final, is_silent, response, wired

#: RFC 9209 section 2.3, and the registry that it began: error types, each with the statuses it is for; none: any.
REGISTERED: Mapping[str, frozenset[int]] = {
    "dns_timeout": frozenset({504}),
    "dns_error": frozenset({502}),
    "destination_not_found": frozenset({500}),
    "destination_unavailable": frozenset({502, 503}),
    "destination_ip_prohibited": frozenset({502}),
    "destination_ip_unroutable": frozenset({502}),
    "connection_refused": frozenset({502}),
    "connection_terminated": frozenset({502}),
    "connection_timeout": frozenset({504}),
    "connection_read_timeout": frozenset({504}),
    "connection_write_timeout": frozenset({504}),
    "connection_limit_reached": frozenset({503}),
    "tls_protocol_error": frozenset({502}),
    "tls_certificate_error": frozenset({502}),
    "tls_alert_received": frozenset({502}),
    "http_request_error": frozenset(range(400, 500)),
    "http_request_denied": frozenset({401, 403, 421}),
    "http_response_incomplete": frozenset({502}),
    "http_response_header_section_size": frozenset({502}),
    "http_response_header_size": frozenset({502}),
    "http_response_body_size": frozenset({502}),
    "http_response_trailer_section_size": frozenset({502}),
    "http_response_trailer_size": frozenset({502}),
    "http_response_transfer_coding": frozenset({502}),
    "http_response_content_coding": frozenset({502}),
    "http_response_timeout": frozenset({504}),
    "http_upgrade_failed": frozenset({502}),
    "http_protocol_error": frozenset({502, 505}),
    "proxy_internal_response": frozenset(),
    "proxy_internal_error": frozenset({500}),
    "proxy_configuration_error": frozenset({500}),
    "proxy_loop_detected": frozenset({502, 508}),
}


# -- structured fields, strictly (RFC 9651) ----------------------------------------------------------------------


class Token(str):
    """A token of a structured field, as opposed to a string."""

    __slots__ = ()


Bare = Token | str | int | float | bool
Member = tuple[Bare, dict[str, Bare]]

_NUMBER = re.compile(r"-?[0-9]{1,12}\.[0-9]{1,3}|-?[0-9]{1,15}")
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_GAP = re.compile(r"[ \t]*,[ \t]*")


class StructuredList:
    """Parses a List of Items with Parameters; anything that RFC 9651 section 4.2 would fail on is a ValueError."""

    def __init__(self, text: str) -> None:
        self.text = text.strip(" ")
        self.at = 0

    def parse(self) -> list[Member]:
        members = [self.item()]
        while self.at < len(self.text):
            self.take(_GAP)
            members.append(self.item())
        return members

    def take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"{pattern.pattern} is not at {self.at} of {self.text!r}")
        self.at = match.end()
        return match

    def bare(self) -> Bare:
        first = self.text[self.at : self.at + 1]
        if first == '"':
            return re.sub(r"\\(.)", r"\1", self.take(_STRING)[1])
        if first == "?":
            return self.take(re.compile(r"\?[01]"))[0] == "?1"
        if first == "-" or first.isdigit():
            number = self.take(_NUMBER)[0]
            return float(number) if "." in number else int(number)
        return Token(self.take(_TOKEN)[0])

    def item(self) -> Member:
        value = self.bare()
        parameters: dict[str, Bare] = {}
        while self.text[self.at : self.at + 1] == ";":
            self.take(re.compile(r";[ ]*"))
            key = self.take(_KEY)[0]
            parameters[key] = True
            if self.text[self.at : self.at + 1] == "=":
                self.at += 1
                parameters[key] = self.bare()
        return value, parameters


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("a", [("a", {})]),
        ('a; error=x; details="y \\" z"', [("a", {"error": "x", "details": 'y " z'})]),
        ("a;b, c;d=1;e=?0 ,f;g=1.5", [("a", {"b": True}), ("c", {"d": 1, "e": False}), ("f", {"g": 1.5})]),
    ],
)
def test_the_strict_parser_reads_what_is_well_formed(text: str, members: list[Member]) -> None:
    assert StructuredList(text).parse() == members


@pytest.mark.parametrize("text", ["", "a b", "a;B=1", 'a;b="\xe9"', 'a;b="\\x"', 'a;b="', "a,", "a;b=", "a ;b", "@a"])
def test_the_strict_parser_refuses_what_is_not(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not at"):
        StructuredList(text).parse()


# -- every answer that the proxy makes ---------------------------------------------------------------------------

CHUNKED = ("Transfer-Encoding", "chunked")
Cause = Callable[[Wire, tuple[Field, ...]], Awaitable[Answer]]


@dataclass(frozen=True)
class Case:
    """An answer, and how it comes about.

    Attributes:
        errors: the error types that describe it.
        cause: causes it, with these fields in the request.
        page: browsers get a page: the request could be read, so that its Accept is known.
    """

    status: int
    code: str
    errors: set[str]
    cause: Cause
    settings: dict[str, Any] = field(default_factory=dict)
    page: bool = True


def sends(line: str, *more: Field, content: bytes = b"", host: str | None = None) -> Cause:
    """Return what sends a request that never reaches the upstream."""

    async def cause(wire: Wire, fields: tuple[Field, ...]) -> Answer:
        data = wire.request(line, *more, *fields)
        if host is not None:
            data = data.replace(wire.host.encode(), host.encode(), 1)
        return await wire.refused(data + content)

    return cause


def gets(reply: bytes) -> Cause:
    """Return what makes a good request, which the upstream answers with this, and then closes."""

    async def cause(wire: Wire, fields: tuple[Field, ...]) -> Answer:
        client, end = await wire.client(wire.request("GET / HTTP/1.1", *fields)), await wire.upstream()
        await end.request()
        await end.send(reply)
        end.close()
        return await final(client)

    return cause


async def asks(wire: Wire, fields: tuple[Field, ...]) -> Answer:
    """Make a good request."""
    return await final(await wire.client(wire.request("GET / HTTP/1.1", *fields)))


async def asks_a_silent_upstream(wire: Wire, fields: tuple[Field, ...]) -> Answer:
    client, end = await wire.client(wire.request("GET / HTTP/1.1", *fields)), await wire.upstream()
    await end.request()
    return await final(client)


async def asks_with_a_refused_token(wire: Wire, fields: tuple[Field, ...]) -> Answer:
    wire.authorization.revoke_refresh()
    return await asks(wire, fields)


async def asks_with_a_client_that_is_not_known(wire: Wire, fields: tuple[Field, ...]) -> Answer:
    wire.authorization.next(oauth_error("invalid_client", 401))
    return await asks(wire, fields)


async def asks_with_the_token_endpoint_down(wire: Wire, fields: tuple[Field, ...]) -> Answer:
    wire.authorization.close_listener()
    return await asks(wire, fields)


async def asks_during_a_long_refresh(wire: Wire, fields: tuple[Field, ...]) -> Answer:
    wire.authorization.hold()
    try:
        return await asks(wire, fields)
    finally:
        wire.authorization.release()


async def asks_while_another_is_parked(wire: Wire, fields: tuple[Field, ...]) -> Answer:
    wire.authorization.hold()
    try:
        await wire.client(wire.request())
        await wire.authorization.arrived(1)
        return await asks(wire, fields)
    finally:
        wire.authorization.release()
        end = await wire.upstream()
        await end.request()
        await end.send(OK)


async def sends_long_chunks(wire: Wire, fields: tuple[Field, ...]) -> Answer:
    """Send content whose length shows only while it passes."""
    answer = await final(await wire.client(wire.request("POST / HTTP/1.1", CHUNKED, *fields) + chunks(b"x" * 2000)))
    for end in wire.served.ends:
        assert not (await end.rest()).endswith(b"0\r\n\r\n"), "the upstream does not get it as a whole"
    return answer


def is_denied(line: str, *more: Field, host: str | None = None) -> Cause:
    """Return what sends a request that the guard refuses; its connection stays open."""

    async def cause(wire: Wire, fields: tuple[Field, ...]) -> Answer:
        data = wire.request(line, *more, *fields)
        if host is not None:
            data = data.replace(wire.host.encode(), host.encode(), 1)
        answer = await final(await wire.client(data))
        assert wire.served.connections == 0
        return answer

    return cause


async def dawdles(wire: Wire, fields: tuple[Field, ...]) -> Answer:
    return await final(await wire.client(b"GET / HTTP/1.1\r\nHost: "))


UNREACHABLE = {"destination_unavailable", "connection_refused", "connection_terminated", "http_response_incomplete"}
CLIENT = {"http_request_error", "http_request_denied"}
DENIED = {"http_request_denied"}
OURS = {"proxy_internal_response"}

CASES: dict[str, Case] = {
    "no HTTP": Case(400, "bad_request", CLIENT, sends("nonsense"), page=False),
    "no target": Case(400, "bad_request", CLIENT, sends("GET nowhere HTTP/1.1"), page=False),
    "foreign authority": Case(400, "bad_request", CLIENT, sends("GET http://other.example/?ECHO HTTP/1.1")),
    "signed out": Case(401, "logged_out", DENIED, asks_with_a_refused_token),
    "client without its token": Case(
        401, "client_denied", DENIED, is_denied("GET / HTTP/1.1"), {"access": {"client_token": "a client's token"}}
    ),
    "page of another origin": Case(
        403, "origin_denied", DENIED, is_denied("GET / HTTP/1.1", ("Origin", "http://ECHO"))
    ),
    "path with a rule": Case(
        403, "path_denied", DENIED, is_denied("GET /ECHO HTTP/1.1"), {"access": {"deny": ["* /**"]}}
    ),
    "no route": Case(
        404,
        "no_route",
        CLIENT,
        is_denied("GET /ECHO HTTP/1.1"),
        {"upstream": None, "routes": [{"path": "/only", "upstream": "http://127.0.0.1:1"}]},
    ),
    "other host": Case(421, "host_denied", DENIED, is_denied("GET / HTTP/1.1", host="ECHO.example")),
    "token endpoint down": Case(
        401, "logged_out", DENIED, asks_with_the_token_endpoint_down, {"refresh": {"retry_for": 0}}
    ),
    "trace": Case(405, "method_not_supported", CLIENT, sends("TRACE / HTTP/1.1")),
    "connect": Case(405, "method_not_supported", CLIENT, sends("CONNECT a.example:1 HTTP/1.1"), page=False),
    "slow fields": Case(408, "request_timeout", CLIENT, dawdles, {"limits": {"header_timeout": "50ms"}}, page=False),
    "long content": Case(
        413,
        "content_too_large",
        CLIENT,
        sends("POST / HTTP/1.1", ("Content-Length", "2000")),
        {"limits": {"content": 1000}},
    ),
    "long chunks": Case(
        413,
        "content_too_large",
        CLIENT,
        sends_long_chunks,
        {"limits": {"content": 1000}},
    ),
    "odd expectation": Case(417, "expectation_failed", CLIENT, sends("POST / HTTP/1.1", ("Expect", "<b>"))),
    "many fields": Case(431, "fields_too_large", CLIENT, sends("GET / HTTP/1.1", *[("X", "y")] * 200), page=False),
    "long field": Case(431, "fields_too_large", CLIENT, sends("GET / HTTP/1.1", ("X", "y" * 40_000)), page=False),
    "transfer coding": Case(
        501, "transfer_coding_unsupported", OURS, sends("POST / HTTP/1.1", ("Transfer-Encoding", "gzip, chunked"))
    ),
    "upstream not there": Case(502, "upstream_unreachable", UNREACHABLE, asks, {"upstream": "http://127.0.0.1:1"}),
    "upstream hangs up": Case(502, "upstream_unreachable", UNREACHABLE, gets(b"")),
    "upstream hangs up later": Case(502, "upstream_unreachable", UNREACHABLE, gets(b"HTTP/1.1 200 OK\r\nX-")),
    "upstream malformed": Case(
        502, "upstream_malformed", {"http_protocol_error"}, gets(b"<script>alert(1)</script>\r\n")
    ),
    "upstream switches": Case(
        502,
        "upstream_malformed",
        {"http_protocol_error", "http_upgrade_failed"},
        gets(b"HTTP/1.1 101 <b>\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    ),
    "too many parked": Case(503, "too_many_parked", OURS, asks_while_another_is_parked, {"refresh": {"max_parked": 1}}),
    "long refresh": Case(
        503, "refresh_timeout", OURS, asks_during_a_long_refresh, {"refresh": {"park_timeout": "50ms"}}
    ),
    "refresh unavailable": Case(
        503,
        "refresh_unavailable",
        OURS,
        asks_with_the_token_endpoint_down,
        {"refresh": {"retry_for": 0, "on_unavailable": "unavailable"}},
    ),
    "refresh misconfigured": Case(
        503,
        "refresh_unavailable",
        OURS,
        asks_with_a_client_that_is_not_known,
        {"refresh": {"on_unavailable": "unavailable"}},
    ),
    "upstream silent": Case(
        504,
        "upstream_timeout",
        {"http_response_timeout", "connection_read_timeout"},
        asks_a_silent_upstream,
        {"timeouts": {"response": "50ms"}},
    ),
    "other version": Case(
        505, "version_not_supported", OURS | {"http_protocol_error"}, sends("GET / HTTP/2.0"), page=False
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_page = pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.page], ids=[name for name, case in CASES.items() if case.page]
)
#: What a browser sends that goes to a page.
BROWSER = ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8")


#: What no answer may echo.
SENT = (("X-Echo", "ECHO"), ("Cookie", "ECHO"), ("X-Page", "http://127.0.0.1/<b>"))

_CAUSED: dict[tuple[int, tuple[Field, ...]], Answer] = {}


async def caused(case: Case, *fields: Field) -> Answer:
    """Run a daemon, and cause an answer; each is caused once, and looked at by many tests."""
    key = (id(case), fields)
    if key not in _CAUSED:
        async with wired(**case.settings) as wire:
            _CAUSED[key] = await case.cause(wire, (*SENT, *fields))
    return _CAUSED[key]


def proxy_status(answer: Answer) -> dict[str, Bare]:
    """Return the parameters of the one member of Proxy-Status, which is us."""
    (text,) = answer.values("proxy-status")
    ((name, parameters),) = StructuredList(text).parse()
    assert name == "reauth-proxy"
    assert isinstance(name, Token)
    return parameters


@each_case
async def test_rfc9209_2_each_answer_says_in_proxy_status_what_went_wrong(case: Case) -> None:
    answer = await caused(case)
    parameters = proxy_status(answer)
    error, details = parameters["error"], parameters["details"]
    assert answer.status == case.status
    assert isinstance(error, Token)
    assert error in case.errors
    assert not isinstance(details, Token)
    assert isinstance(details, str)
    assert details
    assert set(parameters) <= {"error", "details", "next-hop", "next-protocol", "received-status"}


@each_case
async def test_rfc9209_2_3_the_error_type_is_registered_and_goes_with_the_status(case: Case) -> None:
    answer = await caused(case)
    error = str(proxy_status(answer)["error"])
    assert error in REGISTERED
    assert not REGISTERED[error] or answer.status in REGISTERED[error]


@each_case
async def test_rfc9457_3_each_answer_is_a_problem(case: Case) -> None:
    answer = await caused(case)
    problem = json.loads(answer.content)
    assert answer.values("content-type") == ["application/problem+json"]
    assert (problem["type"], problem["status"], problem["code"]) == ("about:blank", case.status, case.code)
    assert isinstance(problem["title"], str)
    assert problem["detail"] == proxy_status(answer)["details"]
    assert ("signal" in problem) == ("reason" in problem) == (case.code == "logged_out")


@each_case
async def test_no_answer_of_the_proxy_s_is_stored_or_undated_or_without_length(case: Case) -> None:
    answer = await caused(case)
    assert answer.values("cache-control") == ["no-store"]
    assert answer.values("content-length") == [str(len(answer.content))]
    (date,) = answer.values("date")
    assert parsedate_to_datetime(date).tzinfo is not None
    assert answer.values("transfer-encoding") == answer.values("set-cookie") == []


@each_case
async def test_no_answer_of_the_proxy_s_echoes_anything_or_says_a_secret(case: Case) -> None:
    answer = await caused(case)
    said = answer.head + answer.content
    for secret in (b"CANARY", b"ECHO", b"<script", b"<b>", b"other.example", b"a.example", b"127.0.0.1"):
        assert secret not in said


@each_case
async def test_only_the_logout_answer_carries_the_signal_and_its_challenge(case: Case) -> None:
    answer = await caused(case)
    if case.code == "logged_out":
        reason = json.loads(answer.content)["reason"]
        assert answer.values("reauth-signal") == [f"logout;reason={reason}"]
        (challenge,) = answer.values("www-authenticate")
        assert challenge.startswith('Bearer error="invalid_token", error_description="')
    else:
        assert answer.values("reauth-signal") == []
        assert bool(answer.values("www-authenticate")) == (case.status == 401)


@each_case
async def test_a_503_and_an_outage_say_when_to_try_again(case: Case) -> None:
    answer = await caused(case)
    outage = case.status == 503 or b"reason=refresh_unavailable" in answer.head
    assert len(answer.values("retry-after")) == int(outage)
    if outage:
        assert int(answer.values("retry-after")[0]) > 0


#: Elements that run or load something, or lead elsewhere.
LOADING = {"script", "link", "img", "iframe", "object", "embed", "base", "form", "svg", "audio", "video", "a"}


class Page(HTMLParser):
    """Reads a page: its text, its tags, and the attributes of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@each_page
async def test_a_browser_gets_a_page_that_says_the_same(case: Case) -> None:
    plain, page = await caused(case), await caused(case, BROWSER)
    problem = json.loads(plain.content)
    assert page.status == plain.status
    assert page.values("content-type") == ["text/html; charset=utf-8"]
    assert page.values("x-content-type-options") == ["nosniff"]
    assert page.values("content-length") == [str(len(page.content))]
    read = Page(page.content.decode())
    words = " ".join(read.text.split())
    for said in (problem["code"], problem["title"], problem["detail"]):
        assert said in words
    for name in ("Proxy-Status", "Reauth-Signal", "WWW-Authenticate", "Retry-After", "Cache-Control", "Allow"):
        assert page.values(name) == plain.values(name), name


@each_page
async def test_a_page_runs_nothing_and_loads_nothing(case: Case) -> None:
    page = await caused(case, BROWSER)
    (policy,) = page.values("content-security-policy")
    directives = {words[0]: words[1:] for part in policy.split(";") if (words := part.split())}
    assert directives["default-src"] == ["'none'"]
    assert not [name for name in directives if name.startswith(("script-", "connect-", "frame-src", "img-", "font-"))]
    sources = {source for listed in directives.values() for source in listed}
    assert not [source for source in sources if not source.startswith(("'none'", "'unsafe-inline'", "'sha256-"))]
    read = Page(page.content.decode())
    assert not read.tags & LOADING
    names = {name for name, _ in read.attributes}
    assert not names & {"src", "srcset", "href", "action", "data", "background", "http-equiv"}
    assert not [name for name in names if name.startswith("on")]
    assert b"url(" not in page.content
    assert b"@import" not in page.content


@each_page
async def test_a_page_echoes_nothing_either(case: Case) -> None:
    page = await caused(case, BROWSER)
    for secret in (b"CANARY", b"ECHO", b"<b>", b"alert(", b"other.example", b"127.0.0.1"):
        assert secret not in page.head + page.content


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ([], False),
        ([""], False),
        (["*/*"], False),
        (["application/json"], False),
        (["application/problem+json"], False),
        (["application/json, text/plain, */*"], False),
        (["text/event-stream"], False),
        (["image/*"], False),
        (["text/html"], True),
        (["TEXT/HTML"], True),
        (["text/html;charset=utf-8"], True),
        ([BROWSER[1]], True),
        (["text/html, application/json;q=0.9"], True),
        (["application/json;q=0.5,text/html"], True),
        (["application/json, text/html;q=0.9"], False),
        (["text/html;q=0.3, application/problem+json;q=0.4"], False),
        (["text/html;q=0"], False),
        (["text/html;q=0, */*"], False),
        (["text/html; q=0.000, */*;q=0.1"], False),
        (["application/xhtml+xml", "text/html"], True),
        (["*/*;q=0.1", "text/html"], True),
        (["text/html;q=x"], False),
        (["text/htmlx, xtext/html"], False),
        (['"text/html"'], False),
    ],
)
async def test_9110_12_5_1_who_prefers_html_gets_a_page_and_anybody_else_json(
    wire: Wire, accept: list[str], page: bool
) -> None:
    answer = await sends("TRACE / HTTP/1.1")(wire, tuple(("Accept", value) for value in accept))
    kind = "text/html; charset=utf-8" if page else "application/problem+json"
    assert (answer.status, answer.values("content-type")) == (405, [kind])


@pytest.mark.parametrize("fields", [(), (BROWSER,)], ids=["json", "page"])
async def test_9110_9_3_2_the_answer_to_a_head_says_the_length_of_what_it_leaves_out(fields: tuple[Field, ...]) -> None:
    async with wired(upstream="http://127.0.0.1:1") as wire:
        client = await wire.client(wire.request("GET / HTTP/1.1", *fields))
        whole = await final(client)
        await client.send(wire.request("HEAD / HTTP/1.1", *fields))
        short = await final(client, to="HEAD")
        for name in ("content-type", "content-length", "proxy-status", "cache-control"):
            assert short.values(name) == whole.values(name), name
        assert await is_silent(client.reader)


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "502 Bad Gateway"])
async def test_rfc9209_2_an_answer_that_is_only_passed_on_keeps_the_proxy_status_that_it_has(
    wire: Wire, status: str
) -> None:
    fields = [("Proxy-Status", "cache.example; hit"), ("Proxy-Status", "edge; error=dns_error")]
    answer = await wire.pass_response(response(b"x", *fields, status=status))
    assert answer.values("proxy-status") == [value for _, value in fields]


async def test_every_answer_keeps_the_client_s_connection_unless_its_framing_is_lost() -> None:
    async with wired(timeouts={"response": "50ms"}) as wire:
        client = await wire.client(wire.request())
        end = await wire.upstream()
        await end.request()
        assert (await final(client)).status == 504
        await client.send(wire.request("GET /next HTTP/1.1"))
        end = await wire.upstream()
        assert (await end.request()).target == "/next"
        await end.send(OK)
        assert (await final(client)).status == 200
    assert not wire.daemon._forwarder.active
    await asyncio.sleep(0)
