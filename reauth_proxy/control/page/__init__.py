"""The status page: three files, served as they are, and allowed to load nothing else."""

from __future__ import annotations

import pkgutil
from functools import cache
from typing import Final

from aiohttp import web

#: What there is, by path: a file, and its media type.
ASSETS: Final = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FIELDS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


async def answer(request: web.Request) -> web.Response:
    """Answer with the file of this path."""
    name, kind = ASSETS[request.path]
    return web.Response(text=_text(name), content_type=kind, charset="utf-8", headers=_FIELDS)


@cache
def _text(name: str) -> str:
    data = pkgutil.get_data(__name__, name)  # importlib.resources would bring zip files along: 1 MB
    assert data is not None
    return data.decode()
