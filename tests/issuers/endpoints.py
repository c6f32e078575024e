"""Token endpoints for tests: a small HTTP one that notes what it is asked, and a raw one that answers with bytes."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET

from aiohttp import web

from reauth_proxy.session.tokens import Secret

REFRESH = Secret("refresh-CANARY-1")
ACCESS = Secret("access-CANARY-0")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpEndpoint:
    """Answers with whatever `answer` is set to; `asked` holds (method, path, headers, text) of each request."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], str]] = []
        self.answer: Callable[[web.Request], web.Response | Awaitable[web.Response]] = lambda _: web.json_response(
            {"access_token": "access-CANARY-1", "token_type": "Bearer", "expires_in": 60}
        )
        self.port = 0

    def url(self, path: str = "/token") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append((request.method, request.path_qs, dict(request.headers), await request.text()))
        assert isinstance(request, web.BaseRequest)
        answer = self.answer(request)  # type: ignore[arg-type]
        return answer if isinstance(answer, web.Response) else await answer


@asynccontextmanager
async def http_endpoint(tls: ssl.SSLContext | None = None) -> AsyncIterator[HttpEndpoint]:
    endpoint = HttpEndpoint()
    runner = web.ServerRunner(web.Server(endpoint._handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    endpoint.port = runner.addresses[0][1]
    try:
        yield endpoint
    finally:
        await runner.cleanup()


class RawEndpoint:
    """Reads one whole request from each connection, then does what it is told with the writer.

    Args:
        stay: keep the connection open until the other side closes it.
    """

    def __init__(self, behave: Callable[[asyncio.StreamWriter], Awaitable[None]], *, stay: bool = False) -> None:
        self.requests: list[bytes] = []
        self.port = 0
        self._behave = behave
        self._stay = stay

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/token"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((int(x[15:]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")), 0)
            self.requests.append(head + await reader.readexactly(length))
            await self._behave(writer)
            if self._stay:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def raw_endpoint(
    behave: Callable[[asyncio.StreamWriter], Awaitable[None]], *, stay: bool = False
) -> AsyncIterator[RawEndpoint]:
    endpoint = RawEndpoint(behave, stay=stay)
    server = await asyncio.start_server(endpoint._accept, "127.0.0.1", 0)
    endpoint.port = server.sockets[0].getsockname()[1]
    try:
        yield endpoint
    finally:
        server.close()


def sends(*parts: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    """Send these bytes and close the connection."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return behave


async def resets(writer: asyncio.StreamWriter) -> None:
    """Answer nothing and reset the connection."""
    writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def certificate(directory: Path, *, days: int = 1, address: str = "127.0.0.1") -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a self-signed certificate; return a server's context with it, and a client's that trusts it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=10))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = directory / "certificate.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file = directory / "key.pem"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem, key_file)
    return server, ssl.create_default_context(cafile=pem)
