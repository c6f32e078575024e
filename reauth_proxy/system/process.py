"""What the daemon asks of the system that it runs on and of the interpreter: open files, and few collections."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

#: Parameters of mallopt(3) in the GNU C library, and how many bytes it may keep that nobody uses.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
KEPT_FREE: Final = 4 * 1024 * 1024
#: Where OpenSSL looks for the system's certificates, if it is set (SSL_CTX_set_default_verify_paths(3)).
_CERTIFICATES: Final = "SSL_CERT_FILE"
#: Seconds that closing may take, once nothing is forwarded any more, and that it takes to say that it took longer.
CLOSE_WITHIN: Final = 15.0
_LAST_WORDS: Final = 1.0


@contextlib.contextmanager
def spare_certificates() -> Iterator[None]:
    """Let a library be imported that makes TLS contexts of its own, without reading the system's certificates.

    aiohttp makes two when it is imported: 60 ms and 2 MB, for nothing, since each connection of ours is given the
    context of :func:`reauth_proxy.daemon.sessions.tls_context`. At worst one of them trusts fewer authorities.
    """
    before = os.environ.get(_CERTIFICATES)
    os.environ[_CERTIFICATES] = os.devnull
    try:
        yield
    finally:
        del os.environ[_CERTIFICATES]
        if before is not None:
            os.environ[_CERTIFICATES] = before


def file_limit() -> int:
    """Return how many files the system lets us have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def raise_file_limit() -> None:
    """Allow as many open files as the system lets us: each client and each upstream connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS has a limit of its own below "unlimited"
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def make_room_for_files(number: int) -> None:
    """Let the kernel make its table of our open files long enough now.

    Linux doubles the table when it is full, and where there are threads waits for every CPU to notice (expand_fdtable
    in fs/file.c): 20 ms when little is going on, and a third of a second, with the loop standing still, in a storm.

    Args:
        number: how many files may be open; no more than the system allows are prepared for.
    """
    with contextlib.suppress(OSError), Path(os.devnull).open("rb") as file:
        os.close(fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, min(number, file_limit()) - 1))


def spare_the_collector() -> None:
    """Tell the garbage collector that what start-up made stays for ever, and to look less often.

    A request makes no cycles. With the default thresholds, a full collection over 10,000 parked requests stops the loop
    for a third of a second; see the storm in bench/.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    with contextlib.suppress(AttributeError, OSError):  # not every C library has them
        library = ctypes.CDLL(None)
        library.malloc_trim(0)  # what start-up needed and let go of goes back: about 1 MB
        # Long answers come in pieces of 256 KiB. To give each one's memory back, and get it again page by page, was an
        # eighth of the time that they took.
        library.mallopt(_M_TRIM_THRESHOLD, KEPT_FREE)
        library.mallopt(_M_MMAP_THRESHOLD, KEPT_FREE)


def end_hard_unless_closed(finish: Callable[[], None]) -> None:
    """From now on, have the process end with exit status 1 where closing takes longer than :data:`CLOSE_WITHIN`.

    What hangs then is a thread that the interpreter waits for at its end, such as one that looks up a name.

    Args:
        finish: writes what is left of the log.
    """

    def speak() -> None:
        problem = f"closing took longer than {CLOSE_WITHIN:g} s: something hangs, such as a disk or a look-up of a name"
        log.error("server.ended_hard", problem=problem)
        finish()

    def watch() -> None:
        time.sleep(CLOSE_WITHIN)  # It ends with the process, which is what it waits for.
        last_words = threading.Thread(target=speak, name="last words", daemon=True)
        last_words.start()
        last_words.join(_LAST_WORDS)  # Nobody may be reading the log.
        os._exit(1)

    threading.Thread(target=watch, name="last resort", daemon=True).start()
