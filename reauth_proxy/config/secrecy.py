"""Values of the configuration that are secrets, may be, or lead to some: reading, checking, and JSON Schema."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, PlainValidator, ValidationInfo, WithJsonSchema

from reauth_proxy.config import fields
from reauth_proxy.config.environment import read_secret
from reauth_proxy.config.kinds import ExistingFile, Template, mentions, one_line, reading_of
from reauth_proxy.config.problems import shown
from reauth_proxy.session.tokens import Secret
from reauth_proxy.telemetry.redact import looks_secret

#: Bytes of a PEM file that are searched for a private key.
_PEM_LIMIT: Final = 1 << 20
SECRET_SCHEMA: Final[dict[str, Any]] = {
    "oneOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "properties": {"env": {"type": "string", "description": "The environment variable that holds it."}},
            "required": ["env"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {"file": {"type": "string", "description": "The file that holds it."}},
            "required": ["file"],
            "additionalProperties": False,
        },
    ]
}
#: Parameters that a login's request has of its own (RFC 6749 section 4.1.1, RFC 7636 section 4.3).
_AUTHORIZATION: Final = ("response_type", "redirect_uri", "state", "code_challenge", "code_challenge_method")
_SECRET: Final = WithJsonSchema(SECRET_SCHEMA)


def _secret(value: object, info: ValidationInfo) -> Secret:
    return read_secret(value, reading_of(info))


def _perhaps_secret(value: object, info: ValidationInfo) -> Secret:
    return read_secret(value, reading_of(info), certain=False)


def _named_secrets(values: object, info: ValidationInfo) -> object:
    """Take text under a name such as X-Api-Key or client_secret for a secret; anybody may know what other text says."""
    if not isinstance(values, Mapping):
        return values
    return {
        name: _named(str(name), value, info) if _is_secret(str(name), value) else value
        for name, value in values.items()
    }


def _is_secret(name: str, value: object) -> bool:
    return isinstance(value, str) and looks_secret(name) and not mentions(value, "refresh_token", "access_token")


def _named(name: str, value: object, info: ValidationInfo) -> Secret:
    try:
        return _secret(value, info)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _named_in_body(value: object, info: ValidationInfo) -> object:
    """Check a template's strings in the same way; they stay what they are."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if _is_secret(str(name), item):
                _named(str(name), item, info)
            else:
                _named_in_body(item, info)
    elif isinstance(value, list | tuple):
        for item in value:
            _named_in_body(item, info)
    return value


def _token(secret: Secret) -> Secret:
    """A token or password goes onto one line of a message; a line end in it is a slip, and dangerous."""
    if not secret.reveal().isprintable():
        raise ValueError("it holds a line end or another control character")
    return secret


def _private(path: Path, info: ValidationInfo) -> Path:
    """Certificates may be read by anybody; the private key that may be in the same file may not."""
    try:
        with path.open("rb") as file:
            status, data = os.fstat(file.fileno()), file.read(_PEM_LIMIT)
    except OSError as error:
        raise ValueError(f"it cannot be read: {(error.strerror or 'it is not a file').lower()}") from None
    if b"PRIVATE KEY" in data:
        reading_of(info).check_file(status, shown(str(path)), shown(str(path)))
    return path


def _field_secret(secret: Secret) -> Secret:
    fields.check_value(secret.reveal())
    return secret


def _parameter(value: object) -> str:
    name = one_line(value)
    if name in ("grant_type", "refresh_token", "client_assertion", "client_assertion_type"):
        raise ValueError("the proxy sends this parameter itself")
    if name in ("client_id", "client_secret", "scope"):
        raise ValueError(f"write it as `{name}` beside `params`")
    return name


def _authorization_parameter(value: object) -> str:
    name = one_line(value)
    if name in _AUTHORIZATION:
        raise ValueError("`login` sends this parameter itself")
    if name in ("client_id", "scope"):
        raise ValueError(f"write it as `{name}` beside `authorization_params`")
    return name


#: A secret of any shape, such as a PEM key of many lines.
SecretValue = Annotated[Secret, PlainValidator(_secret), _SECRET]
#: A secret that goes onto one line of a message.
SecretLine = Annotated[Secret, PlainValidator(_secret), AfterValidator(_token), _SECRET]


def _no_template(value: Secret) -> Secret:
    """Refuse what looks as if the access token were to be filled in."""
    if "{access_token}" in value.reveal():
        raise ValueError("the access token is not filled in here; say `send` at the credential, or at the route")
    return value


#: A PEM file that may hold a private key: nobody else may read it, then.
PrivateFile = Annotated[ExistingFile, AfterValidator(_private)]
_FieldValue = Annotated[Secret, PlainValidator(_perhaps_secret), AfterValidator(_field_secret), _SECRET]
#: Fields for upstreams and clients.
FieldValues = Annotated[
    dict[Annotated[str, BeforeValidator(fields.settable)], Annotated[_FieldValue, AfterValidator(_no_template)]],
    BeforeValidator(_named_secrets),
    AfterValidator(fields.distinct),
]
#: Fields for token endpoints.
EndpointFields = Annotated[
    dict[Annotated[str, BeforeValidator(fields.for_endpoint)], _FieldValue],
    BeforeValidator(_named_secrets),
    AfterValidator(fields.distinct),
]
#: JSON with placeholders, in which there may be secrets, too.
Body = Annotated[Template, BeforeValidator(_named_in_body)]
_ParameterValue = Annotated[Secret, PlainValidator(_perhaps_secret), AfterValidator(_token), _SECRET]
Parameters = Annotated[
    dict[Annotated[str, BeforeValidator(_parameter)], _ParameterValue], BeforeValidator(_named_secrets)
]
AuthorizationParameters = Annotated[
    dict[Annotated[str, BeforeValidator(_authorization_parameter)], _ParameterValue], BeforeValidator(_named_secrets)
]
