"""The metrics of a running daemon, as Prometheus reads them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from reauth_proxy.telemetry.metrics import HELP
from tests.fakes.authorization import FakeAuthorizationServer, Reply
from tests.fakes.client import Answer, connect, fetch
from tests.fakes.daemon import RunningDaemon, running_daemon
from tests.fakes.leaks import leaks
from tests.fakes.upstream import FakeUpstream

LISTEN = {"listen": "127.0.0.1:0"}
Labels = dict[str, str]


async def scraped(daemon: RunningDaemon, accept: str = "") -> Answer:
    assert daemon.control_url is not None
    answer = await fetch(daemon.control_url, "/metrics", fields=[("Accept", accept)] * bool(accept))
    assert answer.status == 200
    assert not leaks(answer.content.decode())
    return answer


async def values(daemon: RunningDaemon, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples with these labels."""
    text = (await scraped(daemon)).content.decode()
    samples = [sample for family in parse(text) for sample in family.samples if sample.name == name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


async def test_they_are_what_happened(authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> None:
    async with running_daemon(authorization, upstream, control=LISTEN, refresh={"min_interval": 0}) as daemon:
        await fetch(daemon.url, "/a")
        await fetch(daemon.url, "/a", method="POST", content=b"x")
        authorization.revoke_access()
        await fetch(daemon.url, "/b")
        assert await values(daemon, "reauth_proxy_requests_total", route="/", method="GET", code="200") == 2
        assert await values(daemon, "reauth_proxy_requests_total", outcome="replayed") == 1
        assert await values(daemon, "reauth_proxy_replays_total", outcome="accepted") == 1
        assert await values(daemon, "reauth_proxy_refreshes_total", credential="default", outcome="issued") == 2
        assert await values(daemon, "reauth_proxy_refresh_duration_seconds_count", credential="default") == 2
        assert await values(daemon, "reauth_proxy_request_duration_seconds_count", route="/") == 3
        assert await values(daemon, "reauth_proxy_session_state", state="fresh") == 1
        assert await values(daemon, "reauth_proxy_session_state") == 1
        assert await values(daemon, "reauth_proxy_token_generation") == 2
        assert await values(daemon, "reauth_proxy_upstream_connections", state="idle") >= 1
        authorization.revoke_access()
        authorization.next(Reply(503))
        authorization.revoke_refresh()
        await fetch(daemon.url, "/c")
        assert await values(daemon, "reauth_proxy_refreshes_total", outcome="unavailable") == 1
        assert await values(daemon, "reauth_proxy_refreshes_total", outcome="denied") >= 1
        assert await values(daemon, "reauth_proxy_logouts_total", reason="refresh_denied") == 1
        assert await values(daemon, "reauth_proxy_session_state", state="signed_out") == 1
        assert await values(daemon, "reauth_proxy_requests_total", code="401", outcome="logged_out") == 1


async def test_parked_requests_are_seen_while_they_wait(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream
) -> None:
    async with running_daemon(authorization, upstream, control=LISTEN) as daemon:
        authorization.hold()
        async with await connect(daemon.url) as client:
            await client.request("/a")
            await authorization.arrived(1)
            assert await values(daemon, "reauth_proxy_parked_requests") == 1
            authorization.release()
            assert (await client.answer()).status == 200
        assert await values(daemon, "reauth_proxy_parked_requests") == 0


async def test_they_are_what_a_linter_wants(authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> None:
    """As `promtool check metrics`: help and type for each, units and suffixes, no colons, both of Prometheus' forms."""
    async with running_daemon(authorization, upstream, control=LISTEN) as daemon:
        await fetch(daemon.url, "/a")
        plain = await scraped(daemon)
        assert (plain.value("Content-Type") or "").startswith("text/plain; version=0.0.4")
        families = list(parse(plain.content.decode()))
        opened = await scraped(daemon, "application/openmetrics-text; version=1.0.0")
        assert (opened.value("Content-Type") or "").startswith("application/openmetrics-text; version=1.0.0")
        assert {family.name for family in parse_openmetrics(opened.content.decode())} >= set(HELP)
    own = [family for family in families if family.name.startswith("reauth_proxy")]
    assert {family.name for family in own} == set(HELP)
    text = plain.content.decode()
    for family in own:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
        assert family.documentation.endswith(".")
        assert text.count(f"# TYPE {family.name}") == 1
        assert family.type in ("counter", "gauge", "histogram")
        for sample in family.samples:
            assert family.type != "counter" or sample.name.endswith("_total")
            assert family.type == "counter" or not sample.name.endswith("_total")
            assert "le" not in sample.labels or sample.name.endswith("_bucket")
            assert all(re.fullmatch(r"[a-z]+", label) for label in sample.labels)
        keys = [(sample.name, *sorted(sample.labels.items())) for sample in family.samples]
        assert len(set(keys)) == len(keys)


async def test_buckets_grow_to_the_count(authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> None:
    async with running_daemon(authorization, upstream, control=LISTEN) as daemon:
        for number in range(5):
            await fetch(daemon.url, f"/{number}")
        text = (await scraped(daemon)).content.decode()
    for name in ("reauth_proxy_request_duration_seconds", "reauth_proxy_refresh_duration_seconds"):
        (family,) = [family for family in parse(text) if family.name == name]
        buckets = [sample for sample in family.samples if sample.name.endswith("_bucket")]
        assert [float(sample.labels["le"]) for sample in buckets] == sorted(float(s.labels["le"]) for s in buckets)
        counts = [sample.value for sample in buckets]
        assert counts == sorted(counts)
        (whole,) = [sample.value for sample in family.samples if sample.name.endswith("_count")]
        assert counts[-1] == whole > 0


async def test_clients_cannot_make_more_of_them(authorization: FakeAuthorizationServer, upstream: FakeUpstream) -> None:
    async with running_daemon(authorization, upstream, control=LISTEN) as daemon:
        await fetch(daemon.url, "/a")
        await fetch(daemon.url, "/a", fields=[("Host", "x")])
        before = (await scraped(daemon)).content.count(b"\n")
        for number in range(200):
            await fetch(daemon.url, f"/{number}?{number}", fields=[("X-Request-Id", f"id-{number}")])
            async with await connect(daemon.url) as client:
                await client.send(f"GET /{number} HTTP/1.1\r\nHost: evil-{number}.example\r\n\r\n".encode())
                assert (await client.answer()).status == 421
        more = (await scraped(daemon)).content.count(b"\n") - before
        assert more <= 20, "one outcome more, and its durations"


@pytest.mark.process
async def test_without_a_scrape_its_library_is_not_even_loaded(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    import asyncio
    import sys

    program = "import sys, reauth_proxy.daemon.server; sys.exit('prometheus_client' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await process.wait() == 0
