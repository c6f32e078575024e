"""The real daemon as a careless system starts it: ``python -m tests.fakes.careless --config FILE``.

Core dumps are unlimited, and its memory is open to every process of its user, who is nobody in particular. What keeps
its memory private is then the daemon alone.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import pkgutil
import resource

NOBODY = 65534
_PR_SET_DUMPABLE = 4  # <linux/prctl.h>


def be_careless() -> None:
    """Become nobody, where there is the right to, with an open memory and unlimited core dumps."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    # setuid(2) closes the memory, as long as no execve(2) follows; a daemon that was started as nobody has it open.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def import_everything() -> None:
    """Nobody may have no right to read the interpreter's files."""
    import encodings.idna
    import encodings.utf_8_sig  # noqa: F401

    import aiohttp.web  # noqa: F401
    import uvloop  # noqa: F401

    import reauth_proxy

    for module in pkgutil.walk_packages(reauth_proxy.__path__, "reauth_proxy."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


if __name__ == "__main__":
    from reauth_proxy import cli

    import_everything()
    be_careless()
    cli.main()
