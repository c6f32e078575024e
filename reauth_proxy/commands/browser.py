"""Opens a page in the person's browser, by a child that sees nothing of our environment but what a browser needs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from typing import Final

#: How a browser finds its display, its settings, its language, and itself. Not TERM: without it, Python's `webbrowser`
#: takes no text browser, which would take over the terminal.
_NEEDED: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TMPDIR", "TZ", "BROWSER", "WSL_DISTRO_NAME"),
        *("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS", "DESKTOP_SESSION"),
        *("KDE_FULL_SESSION", "KDE_SESSION_VERSION", "GNOME_DESKTOP_SESSION_ID", "WSL_INTEROP"),
        *("SYSTEMROOT", "APPDATA", "LOCALAPPDATA", "USERPROFILE", "PROGRAMFILES"),
    }
)
_PREFIXES: Final = ("XDG_", "LC_")
#: Run by a Python that takes nothing from its environment or the current directory (-I).
_OPEN: Final = "import sys, webbrowser; sys.exit(not webbrowser.open(sys.argv[1]))"
#: Seconds within which a browser that could not be started says so.
_PATIENCE: Final = 20.0


def cleaned(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a browser needs of an environment, which may hold secrets besides."""
    return {name: value for name, value in environ.items() if name in _NEEDED or name.startswith(_PREFIXES)}


async def open_page(url: str) -> bool:
    """Open a page; return whether a browser took it, as far as can be told. One that stays in the foreground did."""
    try:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-c", _OPEN, url),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=cleaned(os.environ),
            start_new_session=True,  # Ctrl-C is for us
        )
    except OSError:
        return False
    try:
        async with asyncio.timeout(_PATIENCE):
            return await child.wait() == 0
    except TimeoutError:
        return True
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()  # it only waits for its browser, which is a process of its own
            await child.wait()
