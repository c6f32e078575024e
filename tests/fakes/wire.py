"""Just enough HTTP/1.1 on asyncio streams to keep every byte that was sent."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass


@dataclass(slots=True)
class Message:
    """One HTTP message as it came off the wire."""

    line: str
    fields: list[tuple[str, str]]
    content: bytes

    def __getitem__(self, name: str) -> str:
        values = [value for found, value in self.fields if found.lower() == name.lower()]
        assert len(values) == 1, f"{name} stands {len(values)} times in {self.fields}"
        return values[0]

    def get(self, name: str) -> str:
        """Return the field's value, or nothing; several count as one list."""
        return ", ".join(value for found, value in self.fields if found.lower() == name.lower())

    def __contains__(self, name: str) -> bool:
        return any(found.lower() == name.lower() for found, _ in self.fields)

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def status(self) -> int:
        return int(self.line.split(" ")[1])

    def json(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.content)
        return found


async def read_head(reader: asyncio.StreamReader) -> Message:
    """Read a header section; raises IncompleteReadError at the end of the connection."""
    raw = await reader.readuntil(b"\r\n\r\n")
    line, *rest = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    fields = []
    for field in rest:
        name, _, value = field.partition(":")
        fields.append((name, value.strip()))
    return Message(line, fields, b"")


async def read_message(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Message:
    """Read a whole message, framed by length, chunks, or the end of the connection (responses only)."""
    message = await read_head(reader)
    response = message.line.startswith("HTTP/")
    if bodiless or (response and message.status in (204, 304)):
        return message
    if "Transfer-Encoding" in message:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            message.content += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    elif "Content-Length" in message:
        message.content = await reader.readexactly(int(message["Content-Length"]))
    elif response:
        message.content = await reader.read()
    return message


def answer(status: int, content: bytes = b"", *fields: tuple[str, str], reason: str = "X") -> bytes:
    """Return a response with a length."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in fields)]
    lines.append(f"Content-Length: {len(content)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + content


async def send(
    port: int,
    target: str = "/",
    *fields: tuple[str, str],
    method: str = "GET",
    content: bytes = b"",
) -> Message:
    """Send one request on a connection of its own, and return the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        lines = [f"{method} {target} HTTP/1.1", f"Host: localhost:{port}", *(f"{n}: {v}" for n, v in fields)]
        if content or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(content)}")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + content)
        return await read_message(reader, bodiless=method == "HEAD")
    finally:
        writer.close()
