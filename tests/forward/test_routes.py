"""Which route a request takes."""

from __future__ import annotations

from typing import Any, cast

import pytest

from reauth_proxy.errors import NoRoute, PathDenied
from reauth_proxy.forward.route import Route
from reauth_proxy.forward.routes import Routes, covers
from reauth_proxy.guard.endpoints import Sealed
from reauth_proxy.session.anonymous import Anonymous


def route(prefix: bytes, *, strip: bool = False, sealed: Sealed | None = None) -> Route:
    nothing = cast(Any, None)
    name = prefix.decode() or "/"
    return Route(
        nothing, Anonymous(), b"", b"a", frozenset(), 1.0, name=name, prefix=prefix, strip=strip, sealed=sealed
    )


ROUTES = Routes([route(b""), route(b"/billing"), route(b"/billing/invoices"), route(b"/a")])


@pytest.mark.parametrize(
    ("target", "taken"),
    [
        (b"/", "/"),
        (b"/?billing", "/"),
        (b"/bill", "/"),
        (b"/billing", "/billing"),
        (b"/billing/", "/billing"),
        (b"/billing?x=/billing/invoices", "/billing"),
        (b"/billingx", "/"),
        (b"/billing%2F1", "/"),
        (b"/Billing", "/"),
        (b"/%62illing", "/"),
        (b"//billing", "/"),
        (b"/billing/invoices", "/billing/invoices"),
        (b"/billing/invoices/7?y", "/billing/invoices"),
        (b"/billing/invoicesx", "/billing"),
        (b"/a/billing", "/a"),
    ],
)
def test_the_longest_prefix_of_whole_segments_wins(target: bytes, taken: str) -> None:
    assert ROUTES.match(target).name == taken


def test_what_no_route_covers_is_refused() -> None:
    with pytest.raises(NoRoute):
        Routes([route(b"/only")]).match(b"/other")
    assert Routes([route(b"/only")]).match(b"/only?x").name == "/only"


def test_the_empty_prefix_covers_everything() -> None:
    assert covers(b"", b"/")
    assert covers(b"/a", b"/a")
    assert not covers(b"/a", b"/ab")


@pytest.mark.parametrize(
    ("target", "sent"),
    [(b"/billing", b"/"), (b"/billing/", b"/"), (b"/billing?x", b"/?x"), (b"/billing//a/%2e", b"//a/%2e")],
)
def test_a_prefix_can_be_left_out_of_what_is_sent(target: bytes, sent: bytes) -> None:
    assert route(b"/billing", strip=True).forwarded(target) == sent
    assert route(b"/billing").forwarded(target) == target


def test_what_leads_to_a_token_endpoint_behind_the_prefix_is_refused() -> None:
    sealed = Sealed("https://a.example/v1", ["https://a.example/v1/token"])
    with pytest.raises(PathDenied):
        route(b"/billing", strip=True, sealed=sealed).forwarded(b"/billing/token")
    assert route(b"/billing", strip=True, sealed=sealed).forwarded(b"/billing/other") == b"/other"
