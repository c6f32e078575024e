"""A stored session as JSON, and back. Pure."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from reauth_proxy.errors import StoreError
from reauth_proxy.session.tokens import Secret, StoredSession

VERSION: Final = 1
#: A record that is longer is none of ours, in bytes.
LONGEST: Final = 1024 * 1024
#: Halves of surrogate pairs, which JSON can write, are no text.
_SECRET: Final = re.compile(r"[^\ud800-\udfff]+")


def encode(session: StoredSession) -> bytes:
    """Return the session as one JSON object; the only place besides requests where secrets are written out."""
    record = {
        "version": VERSION,
        "refresh_token": _text(session.refresh_token),
        "access_token": _text(session.access_token),
        "expires_at": session.expires_at,
        "generation": session.generation,
        "configured": session.configured,
        "signed_out": session.signed_out,
    }
    return json.dumps(record, indent=1).encode("ascii") + b"\n"


def _text(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()


def decode(data: bytes) -> StoredSession:
    """Return the session. Raises StoreError, which says what is wrong with the record and holds nothing of it."""
    record = _parse(data)
    version = record.get("version")
    if isinstance(version, int) and version > VERSION:
        raise StoreError(f"it was written by a newer reauth-proxy (version {version}, this one knows {VERSION})")
    if version != VERSION or isinstance(version, bool):
        raise StoreError("it is not a session of reauth-proxy")
    try:
        return StoredSession(
            refresh_token=_secret(record, "refresh_token"),
            access_token=_secret(record, "access_token"),
            expires_at=_moment(record),
            generation=_generation(record),
            configured=_string(record, "configured"),
            signed_out=_string(record, "signed_out"),
        )
    except KeyError as error:
        name = str(error.args[0])
    raise StoreError(f"its {name} is missing or of the wrong type")


def _parse(data: bytes) -> dict[str, Any]:
    # No error is chained here: a JSONDecodeError holds the whole document.
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        record = None
    if not data.strip():
        raise StoreError("it is empty")
    if not isinstance(record, dict):
        raise StoreError("it is cut off or not JSON")
    return record


def _string(record: dict[str, Any], name: str) -> str | None:
    value = record[name]
    if value is not None and not isinstance(value, str):
        raise KeyError(name)
    return value


def _secret(record: dict[str, Any], name: str) -> Secret | None:
    value = _string(record, name)
    if value is not None and not _SECRET.fullmatch(value):
        raise KeyError(name)
    return None if value is None else Secret(value)


def _moment(record: dict[str, Any]) -> float | None:
    value = record["expires_at"]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e12 or not math.isfinite(value):
        raise KeyError("expires_at")
    return float(value)


def _generation(record: dict[str, Any]) -> int:
    value = record["generation"]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise KeyError("generation")
    return value
