"""Routes: which upstream, and whose token, for which paths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema

from reauth_proxy.config.address import Listen, Url, is_loopback, is_wildcard
from reauth_proxy.config.credential import Credential, Section, Sent
from reauth_proxy.config.kinds import Switch, UpstreamUrl
from reauth_proxy.config.problems import expected
from reauth_proxy.session.tokens import Secret

_PATH: Final = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,=:@-]+/)*(?:[A-Za-z0-9._~!$&'()*+,=:@-]+)?", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def read_path(value: object) -> str:
    """Return a route's path; ValueError says what is wrong."""
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise expected("a path such as /billing, of whole segments, without escapes or a query", value)
    if not {".", ".."}.isdisjoint(value.split("/")):
        raise ValueError("a path here has no . or .. in it")
    return str(value)


def read_name(value: object) -> str:
    """Return a credential's name; ValueError says what is wrong."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise expected("a name of letters, digits, - and _", value)
    return str(value)


def new_name(value: object) -> str:
    """Return the name of a credential that is made here; ValueError says what is wrong."""
    if value in UNSIGNED:
        raise ValueError(f"`{value}` is what routes without a token say; choose another name")
    return read_name(value)


#: What a route says that brings no token of ours: no token at all, or the client's own.
UNSIGNED: Final = frozenset({"none", "client"})

CredentialName = Annotated[str, BeforeValidator(read_name), WithJsonSchema({"type": "string"})]
NewName = Annotated[str, BeforeValidator(new_name), WithJsonSchema({"type": "string"})]


class Route(Section):
    """One upstream for the paths at and below one."""

    path: Annotated[str, BeforeValidator(read_path), WithJsonSchema({"type": "string", "pattern": "^/"})] = Field(
        description="The prefix of paths that go here, whole segments; the longest wins."
    )
    upstream: UpstreamUrl = Field(
        description="Where they go, with an optional path in front of every request's; or unix:/path."
    )
    strip_path: Switch = Field(False, description="Leave the prefix out of what is sent to the upstream.")
    credential: CredentialName = Field(
        "default", description="Whose token goes with them; `none` forwards without, `client` with the client's own."
    )
    send: Sent | None = Field(
        None, description="How the access token goes to this upstream; absent, as the credential says."
    )

    @property
    def signed(self) -> bool:
        """Whether a token of ours goes with the requests."""
        return self.credential not in UNSIGNED


def home_of(path: str, routes: Iterable[Route]) -> Route | None:
    """Return the route that a path takes, as requests do; None if it takes none."""
    above = [route for route in routes if f"{path}/".startswith(route.path.rstrip("/") + "/")]
    return max(above, key=lambda route: len(route.path.rstrip("/")), default=None)


#: What to write where one of two keys has to be there.
_REQUIRED: Final = {
    "upstream": "required, such as `upstream: https://api.example.com`",
    "credential": "required, such as `credential:` with a `token_endpoint:` in it",
}


def one_of(value: Any, short: str, long: str, info: ValidationInfo) -> Any:
    """Return the value of a key that is short for another; ValueError where none or both are there."""
    if long in info.data:
        if value is None and not info.data[long]:
            raise ValueError(_REQUIRED[short])
        if value is not None and info.data[long]:
            raise ValueError(f"`{short}` is short for one in `{long}`; remove one of the two")
    return value


def names_of(info: ValidationInfo) -> set[str] | None:
    """Return the names of the credentials, None where they are not known for a mistake."""
    if "credential" not in info.data or "credentials" not in info.data:
        return None
    return set(info.data["credentials"] or {"default"})


def apart(credentials: Mapping[str, Credential]) -> None:
    """Refuse two credentials with one refresh token: each would use up what the other goes on with.

    Raises:
        ValueError: it names the two, and never the token.
    """
    seen: dict[Secret, str] = {}
    for name, credential in credentials.items():
        token = credential.refresh_token
        if token is not None and (other := seen.setdefault(token, name)) != name:
            raise ValueError(
                f"`{other}` and `{name}` have the same refresh token, and each would use up the other's; use one"
                " credential for both routes, or get a second token"
            )


def elsewhere(upstream: Url, info: ValidationInfo) -> None:
    """Refuse an upstream that is the proxy itself. Raises ValueError."""
    listen = info.data.get("listen")
    if listen is not None and _same_place(listen, upstream):
        raise ValueError("this is where the proxy itself listens: requests would go round in circles")


def _same_place(listen: Listen, upstream: Url) -> bool:
    """Tell whether an upstream is certainly the proxy itself."""
    if listen.path is not None or upstream.socket is not None:
        return listen.path == upstream.socket
    same_host = upstream.host == listen.host or (
        is_loopback(upstream.host) and ("localhost" in (upstream.host, listen.host) or is_wildcard(listen.host))
    )
    return same_host and upstream.port == listen.port and listen.port != 0
