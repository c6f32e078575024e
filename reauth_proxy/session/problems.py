"""What goes wrong with a session's store: told once more each time, until it works."""

from __future__ import annotations

import structlog

from reauth_proxy.errors import StoreError
from reauth_proxy.session.calls import where

_log = structlog.get_logger()


class Problems:
    """What went wrong last, by what was to be done.

    Args:
        name: of the credential, for the log.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._by_deed: dict[str, str] = {}

    def __contains__(self, done: str) -> bool:
        return done in self._by_deed

    def __bool__(self) -> bool:
        return bool(self._by_deed)

    @property
    def first(self) -> str | None:
        """The one that has been there the longest, for people."""
        return next(iter(self._by_deed.values()), None)

    def complain(self, done: str, error: Exception) -> None:
        """Note, and tell, that something could not be done."""
        known = {"error": str(error)} if isinstance(error, StoreError) else where(error)
        self._by_deed[done] = known["error"]
        _log.error("store.failed", credential=self._name, to_be=done, **known)

    def mended(self, *done: str) -> None:
        """Note that this works."""
        if not self._by_deed:
            return
        self._by_deed = {name: problem for name, problem in self._by_deed.items() if name not in done}
        if not self._by_deed:
            _log.info("store.mended", credential=self._name)
