"""What the process asks of the kernel so that its memory stays its own.

Two switches, because neither is enough alone: RLIMIT_CORE keeps a crash from writing a core file, but a `core_pattern`
that names a program (systemd-coredump, apport) gets the memory piped whatever the limit says. PR_SET_DUMPABLE stops
that too, and keeps other processes of the same user from reading the memory by ptrace(2) or /proc/PID/mem.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4  # <linux/prctl.h>


def keep_memory_private() -> None:
    """Have no core dumps, soft nor hard, and on Linux let no process without CAP_SYS_PTRACE look into this one.

    Not inherited across execve(2): each program that holds secrets calls it for itself. On Linux, /proc/PID of this
    process belongs to root afterwards: its user cannot read `environ`, `mem`, `fd` or `maps` there any more, while
    `status`, `stat`, `cmdline` and `task` stay readable to whoever could read them.
    """
    with contextlib.suppress(ValueError, OSError):  # a sandbox may not let us; the other switch is independent
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # no libc that could be loaded, or one without prctl
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
