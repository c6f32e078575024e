"""The real daemon, which stops for ever at a named place: ``python -m tests.fakes.held PLACE --config FILE``.

It logs ``test.held`` there. A kill then meets it in the middle of what it does.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from reauth_proxy import cli
from reauth_proxy.config import load
from reauth_proxy.daemon import listening
from reauth_proxy.stores import atomic

#: The place's own number of times to pass before it holds.
FREE = int(os.environ.get("HELD_AFTER", "0"))


class Holding:
    """Stands in for a function, and holds its caller once it has been passed so many times."""

    def __init__(self, function: Any, free: int) -> None:
        self._function = function
        self._free = free

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        if self._free == 0:
            os.write(2, b'{"event": "test.held"}\n')
            threading.Event().wait()
        self._free -= 1
        return self._function(*arguments, **more)


def main() -> None:
    place = sys.argv.pop(1)
    if place == "rename":  # the new session is written beside the old one
        atomic.os = type("os", (), {"__getattr__": staticmethod(lambda name: getattr(os, name))})()
        atomic.os.replace = Holding(os.replace, FREE)
    elif place == "flush":  # it is renamed, and not yet flushed
        atomic.flush_directory = Holding(atomic.flush_directory, FREE)
    elif place == "reload":  # the configuration is read, its secrets too
        load.Config.model_validate = Holding(load.Config.model_validate, FREE)
    elif place == "start":  # nothing is served yet
        listening.Door.open = Holding(listening.Door.open, FREE)
    else:
        raise SystemExit(f"there is no place {place}")
    cli.main()


if __name__ == "__main__":
    main()
