"""How a client proves to a token endpoint who it is (RFC 6749 section 2.3, RFC 7523 section 2.2)."""

from __future__ import annotations

import base64
import json
import secrets
import time
import warnings
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import quote_plus

from reauth_proxy.errors import ConfigError
from reauth_proxy.session.tokens import Secret

Method = Literal["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]

#: A client assertion is good for this many seconds.
ASSERTION_LIFETIME: Final = 60
_EC_ALGORITHMS: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "secp256k1": "ES256K"}


def basic(client_id: str, client_secret: Secret | None) -> str:
    """Return the Authorization field's value; both parts are form-urlencoded first (RFC 6749 section 2.3.1)."""
    secret = client_secret.reveal() if client_secret is not None else ""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")


@dataclass(slots=True)
class Signer:
    """Signs client assertions. The key is read, and the cryptography imported, with the first one.

    Args:
        private_key: PEM without a passphrase, or a JWK.
        key_id: for the JWS header; a JWK's own kid where it is None.
        algorithm: RS256, PS256, ES256, EdDSA, ...; guessed from the key where it is None.
    """

    private_key: Secret = field(repr=False)
    key_id: str | None = None
    algorithm: str | None = None
    _key: Any = field(default=None, repr=False, init=False)

    def load(self) -> None:
        """Read the key now. Raises ConfigError."""
        if self._key is None:
            self._key = _read_key(self.private_key)
        if self.algorithm is None:
            self.algorithm = _guess_algorithm(self._key)

    def assertion(self, client_id: str, audience: str) -> str:
        """Return a signed assertion that this client calls `audience` now (RFC 7523 section 3). Raises ConfigError."""
        from joserfc import jwt
        from joserfc.errors import JoseError

        self.load()
        assert self.algorithm is not None
        header: dict[str, Any] = {"alg": self.algorithm}
        key_id = self.key_id or self._key.as_dict().get("kid")
        if key_id:
            header["kid"] = key_id
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "jti": secrets.token_urlsafe(24),
            "iat": now,
            "exp": now + ASSERTION_LIFETIME,
        }
        with warnings.catch_warnings():
            # RFC 9864 wants "Ed25519" for "EdDSA", which few servers know yet.
            warnings.simplefilter("ignore")
            try:
                return jwt.encode(header, claims, self._key, [self.algorithm])
            except (JoseError, ValueError, TypeError) as error:
                problem = f"private_key does not go with {self.algorithm} ({type(error).__name__})"
        raise ConfigError(problem)


def _read_key(private_key: Secret) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from joserfc import jwk

    text = private_key.reveal().strip()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # short keys: the authorization server decides
        try:
            if text.startswith("{"):
                key: Any = jwk.JWKRegistry.import_key(json.loads(text))
            else:
                loaded = load_pem_private_key(text.encode(), password=None)
                kind = "RSA" if isinstance(loaded, RSAPrivateKey) else "OKP"
                kind = "EC" if isinstance(loaded, EllipticCurvePrivateKey) else kind
                key = jwk.JWKRegistry.import_key(text, kind)
        except Exception:  # the parsers raise what they like, at times with the key in it
            key = None
    if key is None or not getattr(key, "is_private", False) or key.key_type not in ("RSA", "EC", "OKP"):
        raise ConfigError("private_key is neither a PEM private key without a passphrase nor a private JWK")
    return key


def _guess_algorithm(key: Any) -> str:
    named = key.as_dict().get("alg")
    if isinstance(named, str):
        return named
    if key.key_type == "RSA":
        return "RS256"
    return _EC_ALGORITHMS.get(key.curve_name, "ES256") if key.key_type == "EC" else "EdDSA"
