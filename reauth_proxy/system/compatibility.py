"""Which releases of aiohttp the daemon runs with: its listener uses names of aiohttp that any release may change.

With another release it might start, answer simple requests, and drop malformed or pipelined ones without an answer. So
it does not start at all.
"""

from __future__ import annotations

import re
from typing import Final

from reauth_proxy.errors import ReauthError

#: The oldest release that works, and the first one that was not tested; pyproject.toml has the same range.
AIOHTTP: Final = ("3.14.4", "3.14.6")


class UnsupportedLibrary(ReauthError):
    """A library is installed in a release that the daemon was not tested with."""


def require_tested_aiohttp() -> None:
    """Look at the installed release, before anything uses a name of it that is not public.

    Raises:
        UnsupportedLibrary: it is outside the tested range.
    """
    import aiohttp

    lowest, bound = AIOHTTP
    if not is_within(aiohttp.__version__, lowest, bound):
        wanted = f"aiohttp>={lowest},<{bound}"
        raise UnsupportedLibrary(
            f"aiohttp {aiohttp.__version__} is installed, but this release works only with {wanted};"
            f" run: pip install '{wanted}'"
        )


def is_within(version: str, lowest: str, bound: str) -> bool:
    """Return whether a version is a final or post release (PEP 440) from `lowest` on, below `bound`."""
    final = re.fullmatch(r"(\d+(?:\.\d+)*)(?:\.post\d+)?(?:\+[a-z0-9.]+)?", version)
    return final is not None and _numbers(lowest) <= _numbers(final[1]) < _numbers(bound)


def _numbers(release: str) -> list[int]:
    numbers = [int(number) for number in release.split(".")]
    while numbers and numbers[-1] == 0:  # 3.14 is 3.14.0
        numbers.pop()
    return numbers
