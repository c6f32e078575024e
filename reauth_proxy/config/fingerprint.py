"""What tells one way to ask a token endpoint from another. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import BaseModel

from reauth_proxy.session.tokens import Secret

if TYPE_CHECKING:
    from reauth_proxy.config.credential import Credential


def endpoint_id(credential: Credential) -> str:
    """Return the fingerprint of how a credential's token endpoint is asked; a denial belongs to it.

    Whatever a request is made of is in it, secrets as well: 16 hex digits, as :meth:`Secret.fingerprint`.
    """
    text = json.dumps([credential.grant, credential.token_endpoint], default=_plain, sort_keys=True)
    return Secret(text, watched=False).fingerprint()


def _plain(value: object) -> object:
    """Return what a configuration's value is, for JSON."""
    if isinstance(value, BaseModel):
        return dict(value)
    if isinstance(value, Secret):
        return value.reveal()
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)
