"""Where the browser comes back to after a login: a listener on 127.0.0.1 for one redirect (RFC 8252 section 7.3)."""

from __future__ import annotations

import asyncio
import html
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from reauth_proxy.errors import LoginError
from reauth_proxy.issuers.authorization_code import Attempt, Code, Refused, Stray, judge

_HOST: Final = "127.0.0.1"
_PATH: Final = "/callback"
#: Seconds that the browser waits for the word on whether the login worked.
_PATIENCE: Final = 60.0
#: Bytes of a request's line, and of each field: codes are long at times, cookies of other local pages longer.
_LONGEST_LINE: Final = 32 * 1024

#: What a port scanner sends is no news, least of all with a traceback in the middle of a person's terminal.
_silent: Final = logging.getLogger("reauth_proxy.loopback")
_silent.propagate = False
_silent.addHandler(logging.NullHandler())

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto 0; padding: 0 1rem }}
h1 {{ font-size: 1.5rem }}</style>
<h1>{title}</h1>
<p>{text}</p>
</html>
"""
_FIELDS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Connection": "close",
}


class Loopback:
    """Waits for the one answer to an attempt. What else arrives gets a page that says so, and changes nothing.

    Attributes:
        redirect_uri: where the browser is to be sent.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.redirect_uri = ""
        self._authority = ""
        self._attempt: Attempt | None = None
        self._answer: asyncio.Future[Code | Refused] = loop.create_future()
        self._outcome: asyncio.Future[tuple[str, str]] = loop.create_future()
        self._shown = asyncio.Event()

    async def answer(self, attempt: Attempt) -> Code | Refused:
        """Return the answer to the attempt, when the browser brings it."""
        self._attempt = attempt
        return await asyncio.shield(self._answer)

    async def tell(self, title: str, text: str) -> None:
        """Have the browser that brought the answer show this to the person; returns when it has it."""
        self._outcome.set_result((title, text))
        if self._answer.done():
            try:
                async with asyncio.timeout(2.0):
                    await self._shown.wait()
            except TimeoutError:
                pass  # It has gone.

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        # Another name for this machine is what a page that rebinds its own name would come by.
        if request.headers.get("Host", "") != self._authority:
            return _page(421, "Wrong address", f"Only http://{self._authority} is here.")
        path, _, query = request.raw_path.partition("?")
        if path != _PATH or request.method != "GET":
            return _page(404, "Nothing here", "This is where a login ends, and nothing else.")
        if self._attempt is None or self._answer.done():
            return _page(410, "Too late", "This login has been answered already.")
        verdict = judge(query, self._attempt)
        if isinstance(verdict, Stray):
            return _page(400, "This is not the answer", f"It does not belong to the login under way: {verdict.why}.")
        self._answer.set_result(verdict)
        try:
            async with asyncio.timeout(_PATIENCE):
                title, text = await asyncio.shield(self._outcome)
        except TimeoutError:
            title, text = "Look at the terminal", "It will say whether the login worked."
        response = _page(200 if isinstance(verdict, Code) else 400, title, text)
        try:
            await response.prepare(request)
            await response.write_eof()
        finally:
            self._shown.set()
        return response


@asynccontextmanager
async def listening(port: int = 0) -> AsyncIterator[Loopback]:
    """Listen on 127.0.0.1 for as long as the context lasts.

    Args:
        port: 0 for any free one.

    Raises:
        LoginError: the port is taken.
    """
    loopback = Loopback()
    server = web.Server(
        loopback.handle,
        access_log=None,
        logger=_silent,
        max_line_size=_LONGEST_LINE,
        max_field_size=_LONGEST_LINE,
        keepalive_timeout=5,
    )
    try:
        listener = await asyncio.get_running_loop().create_server(server, _HOST, port, backlog=16)
    except OSError as error:
        raise LoginError(
            f"cannot listen on {_HOST}:{port} for the browser: {(error.strerror or 'it failed').lower()}; "
            "free the port, or choose another `redirect_port`"
        ) from None
    try:
        loopback._authority = f"{_HOST}:{listener.sockets[0].getsockname()[1]}"
        loopback.redirect_uri = f"http://{loopback._authority}{_PATH}"
        yield loopback
    finally:
        listener.close()
        await server.shutdown(0.5)
        for future in (loopback._answer, loopback._outcome):
            future.cancel()


def _page(status: int, title: str, text: str) -> web.Response:
    content = _PAGE.format(title=html.escape(title), text=html.escape(text))
    return web.Response(status=status, text=content, content_type="text/html", headers=_FIELDS)
