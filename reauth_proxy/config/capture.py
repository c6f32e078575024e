"""Which answers hold tokens that clients must not see: the section `capture`."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from reauth_proxy.config.credential import Section
from reauth_proxy.config.kinds import JsonPointer
from reauth_proxy.config.problems import expected

_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,=:@-]+)+", re.ASCII)


def login_path(value: object) -> str:
    """Return the path of a login; ValueError says what is wrong."""
    if not isinstance(value, str) or not _PATH.fullmatch(value) or not {".", ".."}.isdisjoint(value.split("/")):
        raise expected("a path such as /v1/auth/login, without escapes, dots, a query or a slash at its end", value)
    return str(value)


class Capture(Section):
    """One login of the API, whose answer fills the session."""

    path: Annotated[str, BeforeValidator(login_path), WithJsonSchema({"type": "string", "pattern": "^/"})] = Field(
        description="Where clients log in; any method."
    )
    access_token: JsonPointer = Field(description="Where the access token is in the answer.")
    refresh_token: JsonPointer = Field(description="Where the refresh token is.")
    expires_in: JsonPointer | None = Field(None, description="Where the access token's lifetime in seconds is.")
