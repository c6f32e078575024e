"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from reauth_proxy.guard import peers


@pytest.mark.parametrize(
    ("peer", "own", "may"), [(1000, 1000, True), (0, 1000, True), (1001, 1000, False), (65534, 0, False)]
)
def test_the_same_user_and_root_may_connect(peer: int, own: int, may: bool) -> None:
    assert peers.may_connect(peer, own) is may


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells (unix(7), SO_PEERCRED)")
def test_linux_tells_whose_a_unix_socket_is() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert peers.uid_of(one) == os.geteuid()
        assert not peers.is_stranger(one)


def test_other_sockets_and_ended_ones_have_no_strangers() -> None:
    with socket.socket(socket.AF_INET) as other:
        assert peers.uid_of(other) is None
        assert not peers.is_stranger(other)
    assert not peers.is_stranger(None)
