"""Messages of one turn of the loop go out together behind it, in order, to whoever is still there."""

from __future__ import annotations

import asyncio

from reauth_proxy.http1.outbox import Outbox


class Transport(asyncio.Transport):
    def __init__(self, name: str, sent: list[tuple[str, bytes]]) -> None:
        super().__init__()
        self.name = name
        self.sent = sent
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append((self.name, bytes(data)))

    def is_closing(self) -> bool:
        return self.closing


async def test_messages_go_out_in_order_behind_the_turn_in_which_they_came() -> None:
    sent: list[tuple[str, bytes]] = []
    one, other = Transport("one", sent), Transport("other", sent)
    outbox = Outbox(asyncio.get_running_loop())
    outbox.write(one, b"a")
    outbox.write(other, b"b")
    outbox.write(one, b"c")
    assert sent == []
    await asyncio.sleep(0)
    assert sent == [("one", b"ac"), ("other", b"b")]
    outbox.write(other, b"d")
    assert (outbox.holds(one), outbox.holds(other)) == (False, True)
    await asyncio.sleep(0)
    assert sent[2:] == [("other", b"d")]
    assert not outbox.holds(other)


async def test_whoever_has_left_meanwhile_gets_nothing_and_the_others_do() -> None:
    sent: list[tuple[str, bytes]] = []
    gone, there = Transport("gone", sent), Transport("there", sent)
    outbox = Outbox(asyncio.get_running_loop())
    outbox.write(gone, b"a")
    outbox.write(there, b"b")
    gone.closing = True
    await asyncio.sleep(0)
    assert sent == [("there", b"b")]
