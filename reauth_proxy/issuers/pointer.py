"""JSON Pointer (RFC 6901). Pure."""

from __future__ import annotations

import re

from reauth_proxy.errors import ConfigError

Pointer = tuple[str, ...]


def parse(text: str) -> Pointer:
    """Return the reference tokens of a pointer such as ``/data/tokens/0``; the empty one means the whole document.

    Raises ConfigError.
    """
    if not text:
        return ()
    if not text.startswith("/"):
        raise ConfigError(f"{text!r} is not a JSON Pointer: it must start with a slash, as in /data/accessToken")
    if re.search(r"~(?![01])", text):
        raise ConfigError(f"{text!r} is not a JSON Pointer: a tilde is written ~0, and a slash within a name ~1")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))


def resolve(document: object, pointer: Pointer) -> object:
    """Return what the pointer points to, None where there is nothing."""
    for part in pointer:
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list) and re.fullmatch(r"0|[1-9][0-9]{0,8}", part, re.ASCII):
            index = int(part)
            document = document[index] if index < len(document) else None
        else:
            return None
    return document
