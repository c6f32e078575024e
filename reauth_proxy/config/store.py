"""Where the session survives a restart: the section `store`."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema, field_validator

from reauth_proxy.config.address import is_loopback
from reauth_proxy.config.credential import Section
from reauth_proxy.config.environment import read_secret
from reauth_proxy.config.kinds import AnyPath, Choice, PositiveDuration, Words, reading_of
from reauth_proxy.config.secrecy import SECRET_SCHEMA
from reauth_proxy.session.tokens import Secret
from reauth_proxy.stores.codec import key_of

_REDIS_URL: Final = "expected redis://host:6379/0, rediss://host:6379/0 or unix:///path, as text, {env: …} or {file: …}"
_LONGEST_LIST: Final = 16


def _redis_url(value: object, info: ValidationInfo) -> Secret:
    reading = reading_of(info)
    secret = read_secret(value, reading, certain=isinstance(value, str) and "@" in value)
    try:
        url = urlsplit(secret.reveal())
        scheme, host, _ = url.scheme, url.hostname, url.port
    except ValueError:
        raise ValueError(_REDIS_URL) from None
    if scheme not in ("redis", "rediss", "unix") or (scheme == "unix") != (not host and bool(url.path)):
        raise ValueError(_REDIS_URL)
    if scheme == "redis" and not is_loopback(host or "") and not reading.allow_insecure:
        raise ValueError(
            "plain redis:// would show tokens to the network; write rediss://, or set `tls.allow_insecure: true` "
            "if it is yours"
        )
    return secret


def _keys(value: object, info: ValidationInfo) -> tuple[Secret, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    if not values or len(values) > _LONGEST_LIST:
        raise ValueError(f"expected a key, or a list of 1 to {_LONGEST_LIST}")
    keys = tuple(read_secret(item, reading_of(info)) for item in values)
    for key in keys:
        key_of(key)
    return keys


EncryptionKeys = Annotated[
    tuple[Secret, ...],
    PlainValidator(_keys),
    WithJsonSchema({"anyOf": [SECRET_SCHEMA, {"type": "array", "items": SECRET_SCHEMA, "minItems": 1}]}),
]
RedisUrl = Annotated[Secret, PlainValidator(_redis_url), WithJsonSchema(SECRET_SCHEMA)]


class Store(Section):
    """Where the session survives a restart."""

    type: Annotated[Literal["file", "memory", "keyring", "redis"], Choice] = Field(
        "file", description="file, memory (only until the end), keyring (the operating system's) or redis (shared)."
    )
    path: AnyPath | None = Field(
        None, description="The file; by default in the user's state directory, named after the configuration file."
    )
    timeout: PositiveDuration = Field(
        5.0, description="How long one call of it may take; the session goes on from memory, and tells."
    )
    url: RedisUrl | None = Field(
        None, validate_default=True, description="Redis: redis://, rediss:// or unix://, with its password."
    )
    key: Words | None = Field(
        None, description="The session's name in Redis or the keyring; by default made up, as docs/stores.md says."
    )
    encryption_key: EncryptionKeys | None = Field(
        None,
        repr=False,
        description="32 random bytes in base64 or hex; of a list the first encrypts, all decrypt. For file and redis.",
    )

    @field_validator("path")
    @classmethod
    def _only_for_files(cls, path: Any, info: ValidationInfo) -> Any:
        kind = info.data.get("type", "file")
        if path is not None and kind != "file":
            kept = {"memory": "a store in memory has no path"}.get(kind, f"`type: {kind}` has no path")
            raise ValueError(f"{kept}; remove it, or write `type: file`")
        return path

    @field_validator("url")
    @classmethod
    def _only_for_redis(cls, url: Any, info: ValidationInfo) -> Any:
        kind = info.data.get("type")
        if kind == "redis" and url is None:
            raise ValueError("`type: redis` needs it, such as `url: rediss://redis.example.com:6379/0`")
        if kind not in ("redis", None) and url is not None:
            raise ValueError("only `type: redis` has one; remove it, or write `type: redis`")
        return url

    @field_validator("key")
    @classmethod
    def _only_where_there_are_names(cls, key: Any, info: ValidationInfo) -> Any:
        if key is not None and info.data.get("type") in ("file", "memory"):
            raise ValueError("only `type: redis` and `type: keyring` have one; remove it")
        return key

    @field_validator("encryption_key")
    @classmethod
    def _only_where_it_encrypts(cls, keys: Any, info: ValidationInfo) -> Any:
        if keys and info.data.get("type") in ("memory", "keyring"):
            raise ValueError("only `type: file` and `type: redis` encrypt; a keyring does so itself")
        return keys
