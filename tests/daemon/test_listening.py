"""How the daemon begins to listen; how it ends is in tests/contract/test_process.py and tests/load/test_life.py."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from reauth_proxy.config.address import Listen
from reauth_proxy.daemon.listening import Door, StartError, _has_ipv6, bind


async def listen(address: Listen) -> Door:
    door = await bind(address)
    await door.open(asyncio.Protocol)
    return door


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_unix_socket_is_its_owners_from_the_moment_it_listens_and_other_files_are_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Noted(socket.socket):
        def listen(self, backlog: int = 0) -> None:
            (tmp_path / "meanwhile").touch()  # as a thread may
            seen.append(mode(tmp_path / "proxy.sock"))
            super().listen(backlog)

    monkeypatch.setattr(socket, "socket", Noted)
    before = os.umask(0o022)
    try:
        door = await listen(Listen("unix", path=str(tmp_path / "proxy.sock")))
    finally:
        os.umask(before)
    assert seen[0] == 0o600
    assert mode(tmp_path / "meanwhile") == 0o644
    await door.close()
    assert not (tmp_path / "proxy.sock").exists()


@pytest.mark.parametrize("opened", [True, False])
async def test_a_unix_socket_where_another_daemon_listens_is_taken(tmp_path: Path, opened: bool) -> None:
    address = Listen("unix", path=str(tmp_path / "proxy.sock"))
    door = await bind(address)
    if opened:
        await door.open(asyncio.Protocol)
    with pytest.raises(StartError, match=r"cannot listen on unix:.*: address already in use"):
        await bind(address)
    _, writer = await asyncio.open_unix_connection(address.path)
    writer.close()
    await door.close()
    assert not (tmp_path / "proxy.sock").exists()


async def test_a_socket_that_cannot_be_asked_counts_as_taken(tmp_path: Path) -> None:
    """As one of another user, who alone may connect to it."""
    file = tmp_path / "proxy.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(file))
        with pytest.raises(StartError, match="address already in use"):
            await bind(Listen("unix", path=str(file)))
        assert file.exists()


async def test_a_close_that_is_cancelled_closes_all_the_same(tmp_path: Path) -> None:
    for address in (Listen("tcp", "127.0.0.1", 0), Listen("unix", path=str(tmp_path / "proxy.sock"))):
        door = await listen(address)
        sockets = list(door._sockets)
        closing = asyncio.create_task(door.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert [each.fileno() for each in sockets] == [-1]
    assert not (tmp_path / "proxy.sock").exists()


async def test_an_address_that_this_machine_does_not_have_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, here, elsewhere = asyncio.get_running_loop(), ("127.0.0.1", 0), ("192.0.2.1", 0)
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", where) for where in (elsewhere, here)]

    async def resolved(*_: object, **__: object) -> list[object]:
        return list(found)

    monkeypatch.setattr(loop, "getaddrinfo", resolved)
    door = await bind(Listen("tcp", "two.example", 0))
    assert door.url.startswith("http://127.0.0.1:")
    await door.close()
    del found[1]
    with pytest.raises(StartError, match=r"cannot listen on two\.example:0: "):
        await bind(Listen("tcp", "two.example", 0))


@pytest.mark.parametrize(
    ("taken", "wanted", "overlaps"),
    [
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "other.example", False),
    ],
)
async def test_which_addresses_cannot_be_taken_at_once(taken: str, wanted: str, overlaps: bool) -> None:
    door = await bind(Listen("tcp", taken, 0))
    port = int(door.url.rpartition(":")[2])
    assert door.overlaps(Listen("tcp", wanted, port)) is overlaps
    assert not door.overlaps(Listen("tcp", wanted, port + 1))
    assert not door.overlaps(Listen("unix", path="/run/proxy.sock"))
    await door.close()


async def test_one_file_is_one_address_however_its_path_is_written(tmp_path: Path) -> None:
    door = await bind(Listen("unix", path=str(tmp_path / "proxy.sock")))
    (tmp_path / "link").symlink_to(tmp_path)
    assert door.overlaps(Listen("unix", path=str(tmp_path / "link" / "proxy.sock")))
    assert not door.overlaps(Listen("unix", path=str(tmp_path / "other.sock")))
    assert not door.overlaps(Listen("tcp", "localhost", 8080))
    await door.close()


async def test_a_socket_that_cannot_be_made_private_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(StartError, match="operation not permitted"):
        await bind(Listen("unix", path=str(tmp_path / "proxy.sock")))
    assert not list(tmp_path.iterdir())


async def test_who_connects_before_the_door_is_open_waits_for_it() -> None:
    door = await bind(Listen("tcp", "127.0.0.1", 0))
    port = int(door.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    made = asyncio.Event()

    class Greeting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.write(b"open")
            transport.close()
            made.set()

    await door.open(Greeting)
    await made.wait()
    assert await reader.read() == b"open"
    writer.close()
    await door.close()


async def test_a_door_that_was_never_opened_gives_its_address_back() -> None:
    door = await bind(Listen("tcp", "127.0.0.1", 0))
    sockets = list(door._sockets)
    await door.close()
    assert [each.fileno() for each in sockets] == [-1]


async def test_the_socket_that_a_killed_daemon_left_is_replaced_and_no_other_file_is(tmp_path: Path) -> None:
    left = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(left))
    door = await listen(Listen("unix", path=str(left)))
    await door.close()
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(StartError, match="cannot listen on"):
        await listen(Listen("unix", path=str(file)))
    assert file.read_text() == "mine"


async def test_localhost_is_both_addresses_and_no_other() -> None:
    door = await listen(Listen("tcp", "localhost", 0))
    port = int(door.url.rpartition(":")[2])
    assert door.url == f"http://127.0.0.1:{port}"
    addresses = ["127.0.0.1", "::1"] if _has_ipv6() else ["127.0.0.1"]
    assert [listening.getsockname()[:2] for listening in door._sockets] == [(address, port) for address in addresses]
    for address in addresses:
        _, writer = await asyncio.open_connection(address, port)
        writer.close()
    await door.close()
    for address in addresses:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(address, port)


async def test_localhost_is_not_shared_with_somebody_who_has_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    family, address = (socket.AF_INET6, "::1") if _has_ipv6() else (socket.AF_INET, "127.0.0.1")
    with socket.socket(family) as other:
        other.bind((address, 0))
        other.listen()
        port = other.getsockname()[1]
        made = []

        class Noted(socket.socket):
            def __init__(self, *arguments: int) -> None:
                super().__init__(*arguments)
                made.append(self)

        monkeypatch.setattr(socket, "socket", Noted)
        with pytest.raises(StartError, match=f"cannot listen on localhost:{port}"):
            await listen(Listen("tcp", "localhost", port))
        assert made
        assert all(each.fileno() == -1 for each in made)  # nothing was left behind


async def test_localhost_is_one_address_where_there_is_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET6 if _has_ipv6() else socket.AF_INET) as other:
        other.bind(("::1" if _has_ipv6() else "127.0.0.2", 0))
        monkeypatch.setattr("reauth_proxy.daemon.listening._has_ipv6", lambda: False)
        door = await listen(Listen("tcp", "localhost", other.getsockname()[1]))
        assert len(door._sockets) == 1
        await door.close()
