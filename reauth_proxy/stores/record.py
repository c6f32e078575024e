"""A stored session as JSON, and back. Pure."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from reauth_proxy.errors import StoreCorrupt, StoreError
from reauth_proxy.session.tokens import Secret, StoredSession

VERSION: Final = 1
#: What the first records did not have.
_LATER: Final[dict[str, Any]] = {
    "used_at": None,
    "answered": None,
    "life": None,
    "roots": None,
    "spent": [],
    "refused": None,
    "denials": [],
    "refresh_expires_at": None,
}
#: More fingerprints than we ever write.
_MOST: Final = 1000
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
        "life": session.life,
        "roots": session.roots,
        "spent": session.spent,
        "signed_out": session.signed_out,
        "refused": _text(session.refused),
        "denials": session.denials,
        "refresh_expires_at": session.refresh_expires_at,
        "used_at": session.used_at,
        "answered": session.answered,
    }
    return json.dumps(record, indent=1).encode("ascii") + b"\n"


def _text(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()


def decode(data: bytes) -> StoredSession:
    """Return the session.

    Raises StoreCorrupt, or StoreError for a newer version; it says what is wrong and holds nothing of the record.
    """
    record = _parse(data)
    version = record.get("version")
    record = _LATER | record
    if isinstance(version, int) and version > VERSION:
        raise StoreError(f"it was written by a newer reauth-proxy (version {version}, this one knows {VERSION})")
    if version != VERSION or isinstance(version, bool):
        raise StoreCorrupt("it is not a session of reauth-proxy")
    try:
        return StoredSession(
            refresh_token=_secret(record, "refresh_token"),
            access_token=_secret(record, "access_token"),
            expires_at=_moment(record, "expires_at"),
            generation=_generation(record),
            life=_string(record, "life"),
            configured=_string(record, "configured"),
            roots=_roots(record),
            spent=_strings(record, "spent"),
            signed_out=_string(record, "signed_out"),
            refused=_secret(record, "refused"),
            denials=_strings(record, "denials"),
            refresh_expires_at=_moment(record, "refresh_expires_at"),
            used_at=_moment(record, "used_at"),
            answered=_string(record, "answered"),
        )
    except KeyError as error:
        name = str(error.args[0])
    raise StoreCorrupt(f"its {name} is missing or of the wrong type")


def _parse(data: bytes) -> dict[str, Any]:
    # No error is chained here: a JSONDecodeError holds the whole document.
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        record = None
    if not data.strip():
        raise StoreCorrupt("it is empty")
    if not isinstance(record, dict):
        raise StoreCorrupt("it is cut off or not JSON")
    return record


def _string(record: dict[str, Any], name: str) -> str | None:
    value = record[name]
    if value is not None and not isinstance(value, str):
        raise KeyError(name)
    return value


def _strings(record: dict[str, Any], name: str) -> tuple[str, ...]:
    values = record[name]
    if not isinstance(values, list) or len(values) > _MOST or not all(isinstance(value, str) for value in values):
        raise KeyError(name)
    return tuple(values)


def _roots(record: dict[str, Any]) -> tuple[str, ...]:
    """The first records knew one: the configured refresh token that was in force."""
    first = _string(record, "configured")
    if record["roots"] is None:
        return () if first is None else (first,)
    return _strings(record, "roots")


def _secret(record: dict[str, Any], name: str) -> Secret | None:
    value = _string(record, name)
    if value is not None and not _SECRET.fullmatch(value):
        raise KeyError(name)
    return None if value is None else Secret(value)


def _moment(record: dict[str, Any], name: str) -> float | None:
    value = record[name]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e12 or not math.isfinite(value):
        raise KeyError(name)
    return float(value)


def _generation(record: dict[str, Any]) -> int:
    value = record["generation"]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise KeyError("generation")
    return value
