"""What one writes first: a reverse proxy of an aiohttp application and a ClientSession, on uvloop, with no frills."""

from __future__ import annotations

import ssl
import sys

import aiohttp
import uvloop
from aiohttp import web
from yarl import URL

HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host",
    "authorization",
}  # fmt: skip


def main(port: int, upstream: str, ca_file: str) -> None:
    context = ssl.create_default_context(cafile=ca_file)

    async def forward(request: web.Request) -> web.StreamResponse:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
        headers.append(("Authorization", "Bearer bench-token"))
        headers.append(("X-Forwarded-For", request.remote or ""))
        async with request.app["session"].request(
            request.method,
            URL(upstream + request.raw_path, encoded=True),
            headers=headers,
            data=request.content if request.can_read_body else None,
            allow_redirects=False,
            ssl=context,
        ) as found:
            response = web.StreamResponse(
                status=found.status,
                reason=found.reason,
                headers=[(name, value) for name, value in found.headers.items() if name.lower() not in HOP_BY_HOP],
            )
            await response.prepare(request)
            async for data in found.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response

    async def session(app: web.Application):  # type: ignore[no-untyped-def]
        app["session"] = aiohttp.ClientSession(
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        yield
        await app["session"].close()

    app = web.Application()
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", forward)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
