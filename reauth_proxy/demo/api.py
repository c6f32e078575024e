"""A small API that wants a bearer token, and a page that counts what the demo's servers saw."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from reauth_proxy.demo.authorization import Authorization

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Counts:
    """What the API saw."""

    served: int = 0
    rejected: int = 0


def make_application(
    authorization: Authorization, on_restore: Callable[[str], Awaitable[None]] | None
) -> web.Application:
    """Return both servers in one application.

    Args:
        on_restore: takes the refresh token of a new sign-in to the daemon; None where there is no daemon of ours.
    """
    counts = Counts()

    def guarded(handler: Handler) -> Handler:
        async def guard(request: web.Request) -> web.StreamResponse:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not authorization.valid(token):
                counts.rejected += 1
                challenge = 'Bearer realm="demo", error="invalid_token"' if token else 'Bearer realm="demo"'
                return web.json_response({"error": "unauthorized"}, status=401, headers={"WWW-Authenticate": challenge})
            counts.served += 1
            return await handler(request)

        return guard

    async def now(request: web.Request) -> web.Response:
        return web.json_response({"time": time.strftime("%H:%M:%S"), "served": counts.served})

    async def orders(request: web.Request) -> web.Response:
        return web.json_response([{"id": number, "total": 10 * number} for number in (1, 2, 3)])

    async def echo(request: web.Request) -> web.Response:
        content = await request.read()
        return web.json_response({"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        for number in range(60):
            await response.write(f"data: {number}\n\n".encode())
            await asyncio.sleep(1)
        return response

    async def revoke(request: web.Request) -> web.Response:
        authorization.revoke_everything()
        return web.Response(text="The authorization server has ended every session.\n")

    async def restore(request: web.Request) -> web.Response:
        if on_restore is None:
            authorization.signed_out = False
            return web.Response(text="The well-known refresh token works again; restart the proxy.\n")
        await on_restore(authorization.new_session())
        return web.Response(text="Signed in again: the proxy has a new refresh token.\n")

    async def page(request: web.Request) -> web.Response:
        return web.Response(
            text=(
                f"tokens live for      {authorization.lifetime:g} s\n"
                f"refreshes            {authorization.refreshes}\n"
                f"refreshes refused    {authorization.refusals}\n"
                f"API answers          {counts.served}\n"
                f"API rejections (401) {counts.rejected}\n"
            )
        )

    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.add_routes(
        [
            web.post("/oauth2/token", authorization.token),
            web.get("/api/time", guarded(now)),
            web.get("/api/orders", guarded(orders)),
            web.post("/api/echo", guarded(echo)),
            web.get("/api/stream", guarded(stream)),
            web.post("/demo/revoke", revoke),
            web.post("/demo/restore", restore),
            web.get("/", page),
        ]
    )
    return application
