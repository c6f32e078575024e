"""Whose a file is to be that root makes: whoever owns the session, so that a daemon of that user can read it. Blocking.

Only what was made here is ever given away: a name in a directory of somebody else's may lead to any file.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from reauth_proxy.errors import StoreError


@dataclass(frozen=True, slots=True)
class Owner:
    """Another user, to whom what is made for a session is given.

    Attributes:
        of: what belongs to that user.
    """

    uid: int
    gid: int
    of: Path

    def give(self, descriptor: int) -> None:
        """Give a file away that was just made. Raises StoreError, with the mend, where that may not be."""
        if os.fstat(descriptor).st_uid == self.uid:
            return
        try:
            os.fchown(descriptor, self.uid, self.gid)
        except OSError:
            raise StoreError(
                f"{self.of}: it belongs to the user {self.name}, and the session cannot be given to that user from "
                f"here; run this command as {self.name}"
            ) from None

    @property
    def name(self) -> str:
        """The user's name, or number where there is none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


def other_owner(path: Path) -> Owner | None:
    """Return whose a file at this path is to be, if not ours: of the file that is there, or else of its directory.

    Only root can give files away; for everybody else this is None. Raises OSError.
    """
    if os.geteuid() != 0:
        return None
    for there in (path, path.parent):
        try:
            status = os.stat(there, follow_symlinks=False)  # noqa: PTH116 - one call, with no object around it
        except FileNotFoundError:
            continue
        return None if status.st_uid == 0 else Owner(status.st_uid, status.st_gid, there)
    return None


def make_directory(directory: Path) -> None:
    """Make a directory, and those above it, for its owner alone; one that is there stays as it is.

    Those that root makes in a directory of another user belong to that user. Raises StoreError, OSError.
    """
    missing = []
    while not directory.is_dir():
        missing.append(directory)
        directory = directory.parent
    owner = other_owner(missing[-1]) if missing else None
    for path in reversed(missing):
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            if not path.is_dir():
                raise
            continue  # Somebody else was faster.
        if owner is not None:
            _give_directory(path, owner)


def _give_directory(path: Path, owner: Owner) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o700:  # the one that was just made
            owner.give(descriptor)
    except StoreError:
        path.rmdir()
        raise
    finally:
        os.close(descriptor)
