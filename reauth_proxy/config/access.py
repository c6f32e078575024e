"""Who may call: the section `access`, and what its values may look like."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from reauth_proxy.config.address import host_of, is_wildcard
from reauth_proxy.config.credential import Section
from reauth_proxy.config.kinds import Switch
from reauth_proxy.config.problems import expected
from reauth_proxy.config.secrecy import SecretLine
from reauth_proxy.guard import paths
from reauth_proxy.guard.hosts import in_brackets

_ORIGIN: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#@\s]+)(?P<slash>/?)", re.IGNORECASE)
_AUTHORITY: Final = re.compile(r"(?:\[(?P<ipv6>[^\[\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def host(value: object) -> str:
    """Return a name to answer to as a Host field has it, without its port; ValueError says what is wrong."""
    what = "a host name or address without scheme and port, such as reauth-proxy or api.localhost"
    if not isinstance(value, str):
        raise expected(what, value)
    if "*" in value:
        raise ValueError("patterns are not possible here: whoever owns one matching name could get in; write each name")
    bare = value.removeprefix("[").removesuffix("]")
    found = host_of(bare, None) if ":" in bare else host_of(None, bare)
    if found is None or found.endswith("."):
        raise expected(what, value)
    if is_wildcard(found):
        raise ValueError("this is no address of a machine; write the name that clients use")
    return in_brackets(found)


def origin(value: object) -> str:
    """Return an origin as a browser writes it (RFC 6454 section 6.2); ValueError says what is wrong."""
    what = "an origin such as http://localhost:5173 or https://app.example.com"
    if value in ("*", "null"):
        raise ValueError(f"with {value!r} here any web page could use the session; list the origins that may")
    match = _ORIGIN.fullmatch(value) if isinstance(value, str) else None
    authority = _AUTHORITY.fullmatch(match["authority"]) if match else None
    if match is None or authority is None or "*" in match["authority"]:
        raise expected(what, value)
    if match["slash"]:
        raise ValueError("an origin has no slash at its end")
    scheme = match["scheme"].lower()
    found = host_of(authority["ipv6"], authority["host"])
    if found is None:
        raise expected(what, value)
    port = authority["port"]
    if port is None or int(port) == _DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{in_brackets(found)}"
    if not 1 <= int(port) <= 65_535:
        raise expected("an origin with a port from 1 to 65535", value)
    return f"{scheme}://{in_brackets(found)}:{int(port)}"


def rule(value: object) -> str:
    """Return a path rule; ValueError says what is wrong."""
    if not isinstance(value, str):
        raise expected('a method and a path, such as "GET /api/**"', value)
    paths.parse(value)
    return str(value)


HostName = Annotated[str, BeforeValidator(host), WithJsonSchema({"type": "string", "examples": ["reauth-proxy"]})]
Origin = Annotated[
    str, BeforeValidator(origin), WithJsonSchema({"type": "string", "examples": ["http://localhost:5173"]})
]
PathRule = Annotated[str, BeforeValidator(rule), WithJsonSchema({"type": "string", "examples": ["GET /api/**"]})]


class Access(Section):
    """Who may call."""

    hosts: tuple[HostName, ...] = Field(
        (), description="More Host names to answer to, besides localhost, 127.0.0.1, [::1] and `listen`'s; else 421."
    )
    origins: tuple[Origin, ...] = Field(
        (), description="Origins whose pages may call, besides the proxy's own, with CORS for them; else 403."
    )
    client_token: SecretLine | None = Field(
        None,
        description="What every request must bring in Reauth-Client-Token, or as the password of Basic; else 401.",
    )
    allow: tuple[PathRule, ...] = Field(
        (), description='What may be called, such as "GET /api/**"; empty allows all; else 403.'
    )
    deny: tuple[PathRule, ...] = Field((), description="What may not be called, even where `allow` has it; 403.")
    allow_token_endpoint: Switch = Field(
        False,
        description="Let clients call the path of a token endpoint on the upstream, as where an API has only one path.",
    )
    allow_remote: Switch = Field(
        False, description="Allow `listen` to be reached from other machines without a client token."
    )


def checked_listen(remote: bool, access: Any) -> None:
    """Refuse to listen beyond this machine unless somebody said so. Raises ValueError."""
    if remote and access is not None and not access.allow_remote and access.client_token is None:
        raise ValueError(
            "other machines could use your session; listen on 127.0.0.1, or set `access.client_token`, or"
            " `access.allow_remote: true`"
        )
