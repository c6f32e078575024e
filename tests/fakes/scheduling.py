"""What a busy machine takes from a thread, so that a test judges a program and not its neighbours."""

from __future__ import annotations

import os
from pathlib import Path


def taken(*threads: int) -> float:
    """Return the seconds in which these threads could have run, and others did: programs, the kernel, other machines.

    Linux counts all of it: Documentation/scheduler/sched-stats.rst, and irq, softirq and steal in proc(5). Elsewhere it
    counts as theirs.

    Args:
        threads: ids, the kernel's; a process's own is its main thread's.
    """
    try:
        waited = sum(int(Path(f"/proc/{thread}/schedstat").read_text().split()[1]) for thread in threads)
        stolen = Path("/proc/stat").read_text().partition("\n")[0].split()[6:9]
    except (OSError, IndexError):
        return 0.0
    return waited / 1e9 + sum(map(int, stolen)) / os.sysconf("SC_CLK_TCK")
