"""Reads a configuration: text in, a Config or every problem at once out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from reauth_proxy.config import document, exposure, units
from reauth_proxy.config.environment import Reading, interpolate
from reauth_proxy.config.explain import explain
from reauth_proxy.config.model import Config
from reauth_proxy.config.problems import Path as KeyPath
from reauth_proxy.config.problems import dotted
from reauth_proxy.errors import ConfigError

#: Problems that are told one by one.
_TOLD: Final = 100
_BYTES: Final = 4 * document.CHARACTERS


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read a file.

    Args:
        environ: for ``${NAME}`` and ``{env: NAME}``; None means the process's.

    Raises:
        ConfigError: with each problem as ``file:line: key: what to do``.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(_BYTES + 1)
    except (OSError, ValueError) as error:
        why = (getattr(error, "strerror", None) or "it is not a file").lower()
        raise ConfigError(f"{path}: cannot be read: {why}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(data) > _BYTES and error.start > _BYTES - 4:
            raise ConfigError(f"{path}: larger than 1 MiB, and so hardly a configuration") from None
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not a text file in UTF-8") from None
    openness = exposure.openness(status.st_mode, status.st_uid)
    return parse(text, str(path), os.environ if environ is None else environ, path.parent, openness, file=path)


def parse(
    text: str,
    name: str,
    environ: Mapping[str, str],
    base: Path,
    openness: str | None = None,
    *,
    file: Path | None = None,
) -> Config:
    """Read a text.

    Args:
        name: what the problems call it.
        base: where relative paths begin.
        openness: permissions of its file where others may read or change it.
        file: its path, where the text is a file's.

    Raises:
        ConfigError: with each problem.
    """
    try:
        root, found = document.parse(text)
    except document.NotYaml as error:
        raise ConfigError(f"{name}:{error.line}: {error}" if error.line else f"{name}: {error}") from None
    if root is None or (isinstance(root, document.Scalar) and root.null):
        raise ConfigError(f"{name}: the file is empty; `upstream` and `credential` are required")
    if not isinstance(root, document.Mapping):
        raise ConfigError(f"{name}:{root.line}: expected keys such as `upstream: https://api.example.com`")
    reader = _Reader(environ)
    reader.problems += found
    try:
        data = reader.read(root, ())
    except document.NotYaml as error:
        raise ConfigError(f"{name}: {error}") from None
    reading = Reading(
        environ,
        base,
        allow_insecure=_allows(data, "tls", "allow_insecure"),
        allow_readable=_allows(data, "secrets", "allow_readable"),
        openness=openness,
        name=name,
        file=file,
    )
    config: Config | None = None
    try:
        config = Config.model_validate(data, context=reading)
    except ValidationError as error:
        reader.add(explain(error))
    if reader.problems or config is None:
        raise ConfigError(*_told(name, reader.problems))
    return config


class _Reader:
    """Turns a tree into plain data, variables filled in, and remembers the line of each key."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._lines: dict[KeyPath, int] = {}
        self._unread: set[KeyPath] = set()
        self._nodes = 0
        self.problems: list[tuple[int, str]] = []

    def read(self, node: document.Node, path: KeyPath, line: int | None = None) -> Any:
        self._nodes += 1
        if self._nodes > document.NODES or len(path) > document.DEPTH:
            raise document.NotYaml(0, "larger than any configuration, once its aliases are followed")
        self._lines[path] = node.line if line is None else line
        if isinstance(node, document.Mapping):
            return {key: self.read(value, (*path, key), at) for key, (at, value) in node.items.items()}
        if isinstance(node, document.Sequence):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.items)]
        if node.null:
            return None
        try:
            return interpolate(node.value, self._environ, plain=node.plain)
        except ValueError as error:
            self._unread.add(path)
            self.problems.append((self._lines[path], f"{dotted(path)}: {error}"))
            return None

    def add(self, problems: list[tuple[KeyPath, str]]) -> None:
        """Add what the model found, where it is not about a value that could not even be read."""
        for path, message in problems:
            if not any(path[:length] in self._unread for length in range(len(path) + 1)):
                self.problems.append((self._line(path), f"{dotted(path)}: {message}"))

    def _line(self, path: KeyPath) -> int:
        while path not in self._lines:
            path = path[:-1]
        return self._lines[path]


def _allows(data: dict[str, Any], section: str, key: str) -> bool:
    """Look ahead to a switch that other keys depend on."""
    keys = data.get(section)
    try:
        return isinstance(keys, dict) and units.switch(keys.get(key) or False)
    except ValueError:
        return True  # that key's own problem is told, and need not bring more


def _told(name: str, problems: list[tuple[int, str]]) -> list[str]:
    lines = [f"{name}:{line}: {message}" for line, message in sorted(problems, key=lambda problem: problem[0])[:_TOLD]]
    more = len(problems) - _TOLD
    return [*lines, f"{name}: and {more} more"] if more > 0 else lines
