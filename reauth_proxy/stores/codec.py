"""What stores keep: a record as it is, or encrypted with AES-256-GCM (NIST SP 800-38D). Pure but for random nonces.

A sealed record is one JSON object: the fingerprint of its key, a nonce of 96 random bits, and the ciphertext with its
tag. The credential's name is authenticated with it, so that one credential's record never passes for another's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any, Final

from reauth_proxy.errors import StoreAway, StoreCorrupt
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores import record

_VERSION: Final = record.VERSION + 1
_ALGORITHM: Final = "AES-256-GCM"
_NONCE: Final = 12


def key_of(secret: Secret) -> bytes:
    """Return the 32 bytes that a secret spells in base64 (either alphabet) or hex. Raises ValueError, with the mend."""
    text = secret.reveal().strip()
    for decode in (bytes.fromhex, _base64):
        try:
            key = decode(text)
        except ValueError:
            continue
        if len(key) == 32:
            return key
    raise ValueError("expected 32 random bytes in base64 or hex, such as `openssl rand -base64 32` prints")


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text.translate({ord("-"): "+", ord("_"): "/"}) + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError from error


def fingerprint(key: bytes) -> str:
    """Return 8 hex digits that tell keys apart and give none away."""
    return hashlib.sha256(b"reauth-proxy encryption key\0" + key).hexdigest()[:8]


class Codec:
    """Turns sessions into what a store keeps, and back.

    Args:
        name: of the credential.
        keys: the first encrypts, all decrypt; none: nothing is encrypted.
    """

    def __init__(self, name: str = "default", keys: Sequence[Secret] = ()) -> None:
        self._name = b"reauth-proxy session\0" + name.encode()
        self._keys = {fingerprint(key): key for key in map(key_of, keys)}

    def encode(self, session: StoredSession) -> bytes:
        """Return the session as a store keeps it."""
        plain = record.encode(session)
        if not self._keys:
            return plain
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        name, key = next(iter(self._keys.items()))
        nonce = os.urandom(_NONCE)
        sealed = {
            "version": _VERSION,
            "encrypted": _ALGORITHM,
            "key": name,
            "nonce": base64.b64encode(nonce).decode(),
            "data": base64.b64encode(AESGCM(key).encrypt(nonce, plain, self._name)).decode(),
        }
        return json.dumps(sealed, indent=1).encode("ascii") + b"\n"

    def decode(self, data: bytes) -> StoredSession:
        """Return the session, encrypted or not.

        Raises StoreCorrupt, StoreAway if it is encrypted with a key that is not here, StoreError for a newer version.
        """
        sealed = _sealed(data)
        return record.decode(data if sealed is None else self._opened(sealed))

    def _opened(self, sealed: dict[str, Any]) -> bytes:
        name = sealed.get("key")
        if not isinstance(name, str) or len(name) != 8 or not name.isalnum() or sealed.get("version") != _VERSION:
            raise StoreCorrupt("it is not a session of reauth-proxy")
        key = self._keys.get(name)
        if key is None:
            raise StoreAway(f"it is encrypted with the key {name}, and {self._have()}")
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            nonce, data = (base64.b64decode(sealed[part], validate=True) for part in ("nonce", "data"))
            return AESGCM(key).decrypt(nonce, data, self._name)
        except (KeyError, TypeError, ValueError, InvalidTag):
            raise StoreCorrupt(f"it was altered, or belongs to another credential (key {name})") from None

    def _have(self) -> str:
        if not self._keys:
            return "`store.encryption_key` is not set; set it to that key"
        return f"`store.encryption_key` is {', '.join(self._keys)}; add that key behind, it is used to decrypt only"


def _sealed(data: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and "encrypted" in content else None
