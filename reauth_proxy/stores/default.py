"""Which file of the state directory is a credential's, where the configuration names none.

Each credential of a configuration has a name there, and a refresh token has one file: where the session of the
configured one is kept already, under another name, that file is gone on with. A second one would begin with a token
that may be used up, which ends the session at an authorization server that detects reuse.

The name then becomes a link to that file, so that both sides know of it: who came finds it again without the token,
and whoever has the name keeps out of it once it has another token. Everything here blocks, for a few small files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from reauth_proxy.errors import StoreError
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores import record
from reauth_proxy.stores.codec import Codec

#: How many files are read, those that were written last before others; and how many entries are looked at.
_FILES: Final = 200
_ENTRIES: Final = 10_000
#: How many names one credential may have.
_NAMES: Final = 100
#: Digits in the names of version 0.1, which were made of the token endpoint and the client.
_FIRST_DIGITS: Final = 8
_OURS: Final = re.compile(
    rf"(?P<credential>[\w.~%-]+)-(?P<digest>[0-9a-f]{{{_FIRST_DIGITS}}}|[0-9a-f]{{16}})\.json", re.ASCII
)

#: How well a record knows a token: not at all; as one of an earlier life; as one of the present life.
_UNKNOWN, _EARLIER, _PRESENT = range(3)


def default_path(credential: str, identity: str, digits: int = 16) -> Path:
    """Return a name in the state directory, where sessions are kept unless the config says otherwise.

    Args:
        credential: its name.
        identity: what tells it from one of the same name in another config, such as that config's file.
        digits: how many hex digits stand for the identity.
    """
    import platformdirs

    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:digits]
    return platformdirs.user_state_path("reauth-proxy", appauthor=False) / f"{quote(credential, safe='')}-{digest}.json"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose file it is.

    Attributes:
        credential: its name.
        identity: what tells it from one of the same name in another configuration.
        token: the configured refresh token, None where there is none.
        others: those of the other credentials of this configuration, which never share a file with it.
    """

    credential: str
    identity: str
    token: Secret | None = None
    others: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session is kept.

    Attributes:
        path: of the file.
        credential: the name that its record is bound to where it is encrypted.
        link: the credential's own name, which is to become a link to the file; None where it needs none.
        foreign: the file is named after another configuration.
    """

    path: Path
    credential: str
    link: Path | None = None
    foreign: bool = False


def name_of(owner: Owner, number: int = 0) -> Path:
    """Return a credential's own name in the state directory; later ones are for when an earlier one was taken."""
    return default_path(owner.credential, owner.identity if number == 0 else f"{owner.identity}\0{number}")


def first_name(credential: str, endpoint: str) -> Path:
    """Return the name that version 0.1 gave a file, after the token endpoint and the client."""
    return default_path(credential, endpoint, _FIRST_DIGITS)


def find(owner: Owner, keys: Sequence[Secret] = ()) -> Place:
    """Return where a credential's session is kept, or is to be kept. Changes nothing.

    Args:
        keys: of encrypted records; see :class:`~reauth_proxy.stores.codec.Codec`.
    """
    names = [name_of(owner)]
    while os.path.lexists(names[-1]) and len(names) < _NAMES:
        names.append(name_of(owner, len(names)))
    *there, free = names
    own = free
    if there:
        stored = _load(there[-1], keys)
        known = _UNKNOWN if owner.token is None else _known(stored, owner.token)
        better = any(_known(stored, token) > known for token in owner.others)
        if stored is None or (known and not better):
            return _placed(there[-1], owner)  # where it cannot be read, whoever opens it says why
        if not better and _is_kept(there[-1], owner):
            own = there[-1]
    elsewhere = None if owner.token is None else _search(owner.token, owner.others, own, keys)
    if elsewhere is None:
        return _placed(own, owner)
    link = None if elsewhere in there else free
    return Place(elsewhere, _credential(elsewhere) or owner.credential, link, _is_foreign(elsewhere, owner))


def settle(place: Place) -> None:
    """Have a credential's own name lead to the file that was found. Where links cannot be made, it is found again."""
    if place.link is not None:
        with contextlib.suppress(OSError):
            place.link.symlink_to(place.path.name)


def _placed(path: Path, owner: Owner) -> Place:
    """Return a place under one of the credential's own names."""
    if (target := _linked(path)) is None:
        return Place(path, owner.credential)
    return Place(path, _credential(target) or owner.credential, foreign=_is_foreign(target, owner))


def _is_kept(path: Path, owner: Owner) -> bool:
    """Tell whether a file under a credential's own name, which does not know its token, is its own all the same."""
    if _linked(path) is not None:
        return owner.token is None  # it was gone on with for a token that is configured no more
    return not _is_linked_to(path)


def _search(token: Secret, others: Iterable[Secret], own: Path, keys: Sequence[Secret]) -> Path | None:
    """Return the file that knows a token best, and no other credential's of the configuration as well; or None."""
    best, found = _UNKNOWN, None
    for path in _files(own.parent):
        if path == own or _linked(path) is not None:
            continue
        stored = _load(path, keys)
        known = _known(stored, token)
        if known > best and all(_known(stored, other) < known for other in others):
            best, found = known, path
    return found


def _files(directory: Path) -> list[Path]:
    """Return the session files of a directory; those that were written last come first."""
    found = []
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in islice(entries, _ENTRIES):
            if _OURS.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    found.append((entry.stat().st_mtime_ns, directory / entry.name))
    return [path for _, path in sorted(found, key=itemgetter(0), reverse=True)[:_FILES]]


def _known(stored: StoredSession | None, token: Secret) -> int:
    if stored is None:
        return _UNKNOWN
    name = token.fingerprint()
    if name == stored.life or name in stored.spent or token in (stored.refresh_token, stored.refused):
        return _PRESENT
    if name in stored.roots:
        # Where nobody knows what this life began with, it may have been this.
        return _PRESENT if stored.life is None else _EARLIER
    return _UNKNOWN


def _load(path: Path, keys: Sequence[Secret]) -> StoredSession | None:
    """Return what a file or its second copy holds, None where that cannot be read."""
    codec = Codec(_credential(_linked(path) or path) or "default", keys)
    real = Path(os.path.realpath(path))
    for one in (real, real.with_name(real.name + ".backup")):
        with contextlib.suppress(OSError, StoreError):
            return codec.decode(_read(one))
    return None


def _read(path: Path) -> bytes:
    """Return what a file holds. Whether others may read it is for the store to judge. Raises OSError, StoreError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not hold us
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (os.geteuid(), 0):
            raise StoreError("not a file of ours")
        if status.st_size > record.LONGEST:
            raise StoreError("longer than any session")
        return file.read(record.LONGEST)


def _linked(path: Path) -> Path | None:
    """Return the file beside it that a name was made a link to, None where it is no such link."""
    with contextlib.suppress(OSError):
        target = os.readlink(path)  # noqa: PTH115 - as it was written
        if _OURS.fullmatch(target):
            return path.with_name(target)
    return None


def _is_linked_to(path: Path) -> bool:
    """Tell whether somebody else goes on with a file, for a token that it knew."""
    return any(_linked(other) == path for other in _files(path.parent))


def _credential(path: Path) -> str | None:
    """Return the name of the credential that a file is named after."""
    found = _OURS.fullmatch(path.name)
    return None if found is None else unquote(found["credential"])


def _is_foreign(path: Path, owner: Owner) -> bool:
    """Tell whether a file is named after another configuration; those of version 0.1 are named after none."""
    found = _OURS.fullmatch(path.name)
    if found is None or len(found["digest"]) == _FIRST_DIGITS:
        return False
    credential = unquote(found["credential"])
    return all(name_of(Owner(credential, owner.identity), number) != path for number in range(_NAMES))
