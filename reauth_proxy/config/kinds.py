"""What a value of the configuration may look like, for pydantic: reading, checking, and JSON Schema."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from reauth_proxy.config import fields, units
from reauth_proxy.config.address import Listen, Url, is_loopback, parse_listen, parse_upstream, parse_url
from reauth_proxy.config.environment import Reading
from reauth_proxy.config.problems import Text, expected
from reauth_proxy.errors import ConfigError
from reauth_proxy.session.tokens import Secret

_INTERPOLATED: Final = {"type": "string", "pattern": r"\$\{"}
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*", re.ASCII)
_WHOLE_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)


def reading_of(info: ValidationInfo) -> Reading:
    """Return the surroundings that a value is read in."""
    return info.context if isinstance(info.context, Reading) else Reading()


def one_line(value: object) -> str:
    """Return text on one line; ValueError says what is wrong."""
    if not isinstance(value, str) or not value.strip():
        raise expected("text", value)
    if not value.isprintable():
        raise ValueError("expected text on one line, without control characters")
    return str(value)


def _choice(value: object, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(str(value) if isinstance(value, str) else value)
    except ValidationError as error:
        names = error.errors()[0]["ctx"]["expected"].replace("'", "")
        raise expected(names, value) from None


def _status(value: object) -> int:
    return units.whole(value, 400, 599)


def _count(value: object) -> int:
    return units.whole(value, 1, 1_000_000)


def _port(value: object) -> int:
    return units.whole(value, 0, 65_535)


def _header_size(value: object) -> int:
    size = units.size(value)
    if not 1024 <= size <= 1 << 20:
        raise expected("a size from 1KiB to 1MiB", value)
    return size


def _path(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise expected("a path", value)
    return reading_of(info).path(str(value))


def _existing(path: Path, info: ValidationInfo) -> Path:
    try:
        if path.is_file():
            return path
    except OSError:
        pass
    raise ValueError("there is no such file")


def _secured(url: Url, info: ValidationInfo) -> Url:
    if url.scheme == "http" and not is_loopback(url.host) and not reading_of(info).allow_insecure:
        raise ValueError(
            "plain http would show tokens to the network; write https, or set `tls.allow_insecure: true` if it is yours"
        )
    return url


def _pointer(value: object) -> str:
    from reauth_proxy.issuers import pointer

    if not isinstance(value, str) or not value:
        raise expected("a JSON Pointer such as /accessToken", value)
    try:
        pointer.parse(value)
    except ConfigError:
        raise expected("a JSON Pointer (RFC 6901) such as /accessToken", value) from None
    return str(value)


def _scope(value: object) -> str:
    if not isinstance(value, str) or not _SCOPE.fullmatch(value):
        raise expected("scopes with one space between them, such as openid offline_access", value)
    return str(value)


def _template(value: object) -> object:
    return _json(value, "body")


def _json(value: object, where: str) -> object:
    if isinstance(value, Text):
        return _resolved(str(value)) if value.plain else str(value)
    if isinstance(value, Mapping):
        name = next(iter(value), None)
        if name in ("refresh_token", "access_token") and value == {name: None}:
            raise ValueError(f'put quotes around "{{{name}}}" at {where}: without them it is a mapping')
        return {str(key): _json(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item, where) for item in value]
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise expected(f"a JSON value at {where}", value)


def _resolved(text: str) -> object:
    """Return what a scalar without quotes means in JSON; what JSON would not write that way stays text."""
    if text in ("true", "false"):
        return text == "true"
    if _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) and math.isfinite(float(text)) else text


def _url(value: object) -> Url:
    return parse_url(value)


def _upstream(value: object) -> Url:
    return parse_upstream(value)


def _url_with_query(value: object) -> Url:
    return parse_url(value, query=True)


def _one_of_schema(*schemas: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [*schemas, _INTERPOLATED]})


_DURATION_SCHEMA: Final = WithJsonSchema(
    {
        "oneOf": [
            {"type": "number", "minimum": 0, "description": "seconds"},
            {"type": "string", "pattern": r"^([0-9]*\.?[0-9]+ ?(ms|s|m|h|d)?|.*\$\{.*)$"},
        ],
        "examples": ["500ms", "10s", "5m", "1h"],
    }
)
_URL_SCHEMA: Final = WithJsonSchema({"type": "string", "examples": ["https://api.example.com"]})

Duration = Annotated[float, BeforeValidator(units.seconds), _DURATION_SCHEMA]
PositiveDuration = Annotated[float, BeforeValidator(units.positive_seconds), _DURATION_SCHEMA]
Size = Annotated[
    int,
    BeforeValidator(units.size),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "integer", "minimum": 0, "description": "bytes"},
                {"type": "string", "pattern": r"^([0-9]*\.?[0-9]+ ?([kKmMgG]?[iI]?[bB])?|.*\$\{.*)$"},
            ],
            "examples": ["64KiB", "8MiB"],
        }
    ),
]
HeaderSize = Annotated[
    int,
    BeforeValidator(_header_size),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "integer", "minimum": 1024, "maximum": 1 << 20, "description": "bytes"},
                {"type": "string", "pattern": r"^([0-9]*\.?[0-9]+ ?([kKmMgG]?[iI]?[bB])?|.*\$\{.*)$"},
            ],
            "examples": ["32KiB"],
        }
    ),
]
Switch = Annotated[bool, BeforeValidator(units.switch), _one_of_schema({"type": "boolean"})]
Count = Annotated[int, BeforeValidator(_count), _one_of_schema({"type": "integer", "minimum": 1, "maximum": 1_000_000})]
PortNumber = Annotated[
    int, BeforeValidator(_port), _one_of_schema({"type": "integer", "minimum": 0, "maximum": 65_535})
]
Status = Annotated[int, BeforeValidator(_status), _one_of_schema({"type": "integer", "minimum": 400, "maximum": 599})]
Words = Annotated[str, BeforeValidator(one_line)]
Choice: Final = WrapValidator(_choice)
Scope = Annotated[str, BeforeValidator(_scope)]
AnyPath = Annotated[Path, PlainValidator(_path), WithJsonSchema({"type": "string"})]
ExistingFile = Annotated[Path, PlainValidator(_path), AfterValidator(_existing), WithJsonSchema({"type": "string"})]
ListenAddress = Annotated[
    Listen,
    PlainValidator(parse_listen),
    WithJsonSchema({"type": "string", "examples": ["127.0.0.1:8080", "[::1]:8080", "unix:/run/reauth-proxy.sock"]}),
]
BaseUrl = Annotated[Url, PlainValidator(_url), AfterValidator(_secured), _URL_SCHEMA]
UpstreamUrl = Annotated[
    Url,
    PlainValidator(_upstream),
    AfterValidator(_secured),
    WithJsonSchema({"type": "string", "examples": ["https://api.example.com", "unix:/run/api.sock"]}),
]
EndpointUrl = Annotated[Url, PlainValidator(_url_with_query), AfterValidator(_secured), _URL_SCHEMA]
JsonPointer = Annotated[str, BeforeValidator(_pointer), WithJsonSchema({"type": "string", "pattern": r"^/|\$\{"})]
Template = Annotated[Any, PlainValidator(_template), WithJsonSchema({"examples": [{"token": "{refresh_token}"}]})]
RemovableName = Annotated[str, BeforeValidator(fields.removable)]


def mentions(template: object, *names: str) -> bool:
    """Tell whether one of the names stands as a placeholder in a template's strings."""
    if isinstance(template, Secret):
        return mentions(template.reveal(), *names)
    if isinstance(template, str):
        return any(f"{{{name}}}" in template for name in names)
    if isinstance(template, dict):
        return any(mentions(item, *names) for item in template.values())
    return isinstance(template, list) and any(mentions(item, *names) for item in template)
