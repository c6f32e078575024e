"""What the kernel says of the peers' processes, and their ends."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path


def pinned(core: int) -> list[str]:
    """Return what starts a program on one core, where there are two."""
    return ["taskset", "-c", str(core)] if shutil.which("taskset") and (os.cpu_count() or 1) >= 2 else []


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this process's main thread on one core meanwhile, where there are two."""
    if not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def tree(pid: int) -> list[int]:
    """Return a process and its descendants."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_ns(pid: int) -> int:
    """Return the CPU time of a process tree in nanoseconds, from the scheduler's own count."""
    total = 0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{process}/task").iterdir():
                with contextlib.suppress(OSError):
                    total += int((task / "schedstat").read_text().split()[0])
    return total


def peak_memory(pid: int) -> float:
    """Return the peak resident memory of a process tree in MB."""
    total = 0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
            total += int(found[1]) if found else 0
    return total / 1000


def forget_peak(pid: int) -> None:
    """Let the peak of a process tree's memory start from what it has now, where the kernel allows it (proc(5))."""
    for process in tree(pid):
        with contextlib.suppress(OSError):
            Path(f"/proc/{process}/clear_refs").write_text("5")


def end(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Terminate processes, last one first; kill what is still there after 10 s."""
    processes = list(processes)[::-1]
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
