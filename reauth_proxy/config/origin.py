"""Where a configuration was read from: what it keeps by default is named after that."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from reauth_proxy.config.credential import Section
from reauth_proxy.config.environment import Reading


class FromFile(Section):
    """A section that knows the file it was read from. That is no key, and in no dump."""

    _file: Path | None = PrivateAttr(None)

    def model_post_init(self, context: Any, /) -> None:
        """Note the file, as :class:`~reauth_proxy.config.environment.Reading` says it."""
        if isinstance(context, Reading) and context.file is not None:
            # Not the real path: a mounted configuration has another one after each update.
            self._file = Path(os.path.abspath(context.file))  # noqa: PTH100 - Path has none that takes .. out

    @property
    def file(self) -> Path | None:
        """The file, absolute however its path was written; None where this comes from none."""
        return self._file
