"""What a file takes from its surroundings: ``${NAME}`` in any scalar, secrets by ``{env: NAME}`` and ``{file: PATH}``.

Nothing that was found there ever becomes part of a message, and it is never read as YAML.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from reauth_proxy.config import exposure
from reauth_proxy.config.problems import Text, expected, shown
from reauth_proxy.session.tokens import Secret

#: Bytes that a file with a secret may have.
SECRET_LIMIT: Final = 64 << 10

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_VARIABLE: Final = re.compile(
    r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\}|(?P<bad>))", re.ASCII
)

_A_SECRET: Final = "text, {env: NAME} or {file: PATH}"  # noqa: S105 - a description


@dataclass(frozen=True, slots=True)
class Reading:
    """The surroundings of one reading of a file.

    Attributes:
        environ: the environment's variables.
        base: where relative paths begin: the directory of the file.
        allow_insecure: plain http to other machines is allowed (`tls.allow_insecure`).
        allow_readable: files with secrets may be open to others (`secrets.allow_readable`).
        openness: permissions of the file itself where others may read or change it, None where none may.
        name: of the file itself.
        file: its path, where what is read is a file.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    base: Path = field(default_factory=Path)
    allow_insecure: bool = False
    allow_readable: bool = False
    openness: str | None = None
    name: str = ""
    file: Path | None = None

    def path(self, text: str) -> Path:
        """Return a path of the file: ``~`` is the home directory, and a relative one begins beside the file."""
        if "\0" in text:
            raise ValueError("a path cannot hold a NUL character")
        path = Path(text)
        try:
            return self.base / (path.expanduser() if text.startswith("~") else path)
        except RuntimeError:
            raise ValueError("the home directory that ~ stands for is not known; write the path in full") from None

    def check_literal(self, value: object) -> None:
        """Raise ValueError for a secret that is written out in a file which others may read."""
        written_out = not (isinstance(value, Text) and value.interpolated)
        if written_out and self.openness is not None and not self.allow_readable:
            raise ValueError(
                f"a secret must not stand in a file that others may read (mode {self.openness}); "
                f"name it by {{env: NAME}} or {{file: PATH}}, or {exposure.mend(self.name)}"
            )

    def check_file(self, status: os.stat_result, subject: str, path: str | None) -> None:
        """Raise ValueError for a file with a secret which others may read; `path` is None if it must not be shown."""
        openness = None if self.allow_readable else exposure.openness(status.st_mode, status.st_uid)
        if openness is not None:
            raise ValueError(f"others may read {subject} (mode {openness}); {exposure.mend(path)}")


class FileSecret(Secret):
    """A secret from a file, which may be another when the file changes, as a mounted one does.

    Attributes:
        path: of the file.
        again: reads it now, under the same rules. Raises ValueError, which says what is wrong with it.
    """

    __slots__ = ("again", "path")

    def __init__(self, value: str, path: Path, again: Callable[[], Secret]) -> None:
        super().__init__(value)
        self.path = path
        self.again = again


def interpolate(text: str, environ: Mapping[str, str], *, plain: bool = False) -> Text:
    """Replace ``${NAME}`` and ``${NAME:-default}``; ``$${`` is a literal ``${``.

    The default also stands in for a variable that is set and empty, as in a shell.

    Raises:
        ValueError: a variable is not set and has no default, or the braces hold something else.
    """
    if "${" not in text:
        return Text(text, plain=plain)
    hidden = False

    def replace(match: re.Match[str]) -> str:
        nonlocal hidden
        if match["bad"] is not None:
            raise ValueError("expected ${NAME} or ${NAME:-default}; a literal ${ is written $${")
        name, default = match["name"], match["default"]
        if name is None:
            return "${"
        value = environ.get(name)
        if default is not None and not value:
            return default[2:]
        if value is None:
            raise ValueError(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
        hidden = True
        return value

    return Text(_VARIABLE.sub(replace, text), hidden=hidden, interpolated=True)


def read_secret(value: object, reading: Reading, *, certain: bool = True) -> Secret:
    """Return a secret that is written as text, as ``{env: NAME}`` or as ``{file: PATH}``.

    A line end at the end of a file is not part of it.

    Args:
        certain: text is a secret, too; False where it may as well be a parameter that anybody may know.

    Raises:
        ValueError: it is not there, is empty, is not text, or stands where others may read it; the message says where
            it was looked for.
    """
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        if certain:
            reading.check_literal(value)
        return _checked(str(value), "it", watched=certain)
    if not isinstance(value, Mapping) or set(value) not in ({"env"}, {"file"}):
        raise ValueError(f"expected {_A_SECRET}")
    ((source, where),) = value.items()
    if not isinstance(where, str) or not where:
        raise expected("a variable's name after env:" if source == "env" else "a path after file:", where)
    hidden = isinstance(where, Text) and where.hidden
    return _from_environment(where, hidden, reading) if source == "env" else _from_file(where, hidden, reading)


def _from_environment(name: str, hidden: bool, reading: Reading) -> Secret:
    if not _NAME.fullmatch(name):
        raise ValueError("expected a variable's name after env: such as REFRESH_TOKEN")
    subject = "the environment variable that it names" if hidden else f"the environment variable {name}"
    value = reading.environ.get(name)
    if value is None:
        raise ValueError(f"{subject} is not set")
    return _checked(value, subject)


def _from_file(name: str, hidden: bool, reading: Reading) -> Secret:
    path = reading.path(name)
    subject = "the file that it names" if hidden else f"the file {shown(str(path))}"
    try:
        with path.open("rb") as file:
            reading.check_file(os.fstat(file.fileno()), subject, None if hidden else str(path))
            data = file.read(SECRET_LIMIT + 1)
    except OSError as error:
        raise ValueError(f"{subject} cannot be read: {(error.strerror or 'it is not a file').lower()}") from None
    if len(data) > SECRET_LIMIT:
        raise ValueError(f"{subject} is larger than 64 KiB, and so no secret")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{subject} is not text in UTF-8") from None
    secret = _checked(text.removesuffix("\n").removesuffix("\r"), subject)
    return FileSecret(secret.reveal(), path, partial(_from_file, name, hidden, reading))


def _checked(value: str, subject: str, *, watched: bool = True) -> Secret:
    if not value.strip():
        raise ValueError(f"{subject} is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{subject} is not text in UTF-8") from None
    return Secret(value, watched=watched)
