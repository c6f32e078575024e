"""What a Config says, as the plain settings that each room takes. Lists no defaults of its own."""

from __future__ import annotations

import importlib
import os
import shlex
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from reauth_proxy.errors import ConfigError
from reauth_proxy.session.state import RefreshPolicy

if TYPE_CHECKING:
    from reauth_proxy.config.address import Url
    from reauth_proxy.config.credential import JsonEndpoint
    from reauth_proxy.config.credential import OAuth2Endpoint as OAuth2Section
    from reauth_proxy.config.model import TLS, Config
    from reauth_proxy.issuers.client import Grant
    from reauth_proxy.issuers.oauth2 import OAuth2Endpoint
    from reauth_proxy.session.protocols import Store, TokenEndpoint
    from reauth_proxy.session.tokens import Secret
    from reauth_proxy.stores.default import Place

_log = structlog.get_logger()

_SHARED: Final = (
    "this refresh token's session is kept in {}, which belongs to another configuration; give each its own refresh "
    "token, or the same `store.path`"
)
_SHARED_NAME: Final = (
    "every daemon with this Redis, a configuration at this path and this client shares this session; set `store.key` "
    "to a name of your own"
)
_LEFT_BEHIND: Final = (
    "version 0.1 kept a session of this token endpoint and client in {}, and nobody can tell whose it is; if it is "
    "this credential's, stop every daemon and run `{}`"
)


def tls_context(tls: TLS) -> ssl.SSLContext:
    """Return the context with which upstreams and token endpoints are verified: TLS 1.2 or newer.

    Raises:
        ConfigError: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(tls.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"tls.ca_file: {tls.ca_file} holds no usable certificates ({error.strerror or error})"
        ) from error
    # SSLKEYLOGFILE would have every connection's keys written to a file, for whoever can read the environment's.
    context.keylog_filename = None  # type: ignore[assignment]
    if tls.client_cert is not None:
        try:
            # Without a password, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(tls.client_cert, tls.client_key, password="")
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"tls.client_cert: {tls.client_cert} and its key cannot be used ({error.strerror or error}); "
                "both are PEM, the key without a passphrase"
            ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def token_endpoint(config: Config, name: str, tls: ssl.SSLContext) -> TokenEndpoint:
    """Return the token endpoint of the credential `name`. Raises ConfigError."""
    credential = config.each_credential[name]
    settings = credential.token_endpoint
    if settings.type == "json":
        return _json_endpoint(settings, config, tls)
    return _oauth2_endpoint(settings, credential.grant, config, tls)


def _oauth2_endpoint(settings: OAuth2Section, grant: Grant, config: Config, tls: ssl.SSLContext) -> OAuth2Endpoint:
    from reauth_proxy.issuers.client import OAuth2Settings
    from reauth_proxy.issuers.oauth2 import OAuth2Endpoint

    return OAuth2Endpoint(
        OAuth2Settings(
            client_id=settings.client_id,
            url=_text(settings.url),
            issuer=_text(settings.issuer),
            client_secret=settings.client_secret,
            client_auth=settings.client_auth,
            private_key=settings.private_key,
            private_key_id=settings.private_key_id,
            private_key_alg=settings.private_key_alg,
            scope=settings.scope,
            params=settings.params,
            headers=settings.headers,
            grant=grant,
            authorization_url=_text(settings.authorization_url),
            device_authorization_url=_text(settings.device_authorization_url),
            revocation_url=_text(settings.revocation_url),
            authorization_params=settings.authorization_params,
        ),
        ssl=tls,
        connect_timeout=config.timeouts.connect,
        trust_env=config.trust_env,
        allow_insecure=config.tls.allow_insecure,
    )


def _text(url: Url | None) -> str | None:
    return None if url is None else str(url)


def _json_endpoint(settings: JsonEndpoint, config: Config, tls: ssl.SSLContext) -> TokenEndpoint:
    from reauth_proxy.config.kinds import mentions
    from reauth_proxy.issuers import json_api

    headers: dict[str, str | Secret] = {
        # A value with a placeholder in it is a template; any other stays hidden.
        name: value.reveal() if mentions(value, "refresh_token", "access_token") else value
        for name, value in settings.headers.items()
    }
    return json_api.JsonEndpoint(
        json_api.JsonSettings(
            url=str(settings.url),
            method=settings.method,
            headers=headers,
            body=settings.body,
            access_token=settings.response.access_token,
            refresh_token=settings.response.refresh_token,
            expires_in=settings.response.expires_in,
            expires_at=settings.response.expires_at,
            refresh_expires_in=settings.response.refresh_expires_in,
            denied_statuses=frozenset(settings.denied_statuses),
        ),
        ssl=tls,
        connect_timeout=config.timeouts.connect,
        trust_env=config.trust_env,
    )


class Say(Protocol):
    """Takes an event, as a logger does, with `credential` and `problem` in it."""

    def __call__(self, event: str, /, *, credential: str, problem: str) -> object: ...


def store(config: Config, name: str, say: Say | None = None, *, settle: bool = True) -> Store:
    """Return the store of the credential `name`.

    Blocks for a few small files, where the configuration names no file itself.

    Args:
        say: is told where that may not be what was meant; by default the log.
        settle: whether it is going to be used; without, nothing is written.

    Raises:
        ConfigError: what it needs is not installed, or its address is none.
    """
    from reauth_proxy.stores.codec import Codec
    from reauth_proxy.stores.file import FileStore

    chosen = config.store
    say = say or _log.warning
    keys = chosen.encryption_key or ()
    if chosen.type == "memory":
        from reauth_proxy.stores.memory import MemoryStore

        return MemoryStore()
    if chosen.type == "keyring":
        _installed("keyring", "keyring")
        from reauth_proxy.stores.default import default_path
        from reauth_proxy.stores.keyring import KeyringStore

        key = _store_key(config, name)
        # Whoever has the same entry has the same lock.
        return KeyringStore(key, default_path("keyring", key), timeout=chosen.timeout)
    if chosen.type == "redis":
        _installed("redis.asyncio", "redis")
        from reauth_proxy.stores.redis import RedisStore
        from reauth_proxy.stores.redis_client import RedisTls

        assert chosen.url is not None, "checked when the configuration was read"
        credential = config.each_credential[name]
        if chosen.key is None and credential.grant == "refresh_token" and credential.refresh_token is None:
            say("store.shared_name", credential=name, problem=_SHARED_NAME)
        files = {
            key: None if path is None else str(path)
            for key in ("ca_file", "client_cert", "client_key")
            for path in [getattr(config.tls, key)]
        }
        tls = RedisTls(**files, verify=config.tls.verify)
        return RedisStore(chosen.url, _store_key(config, name), Codec(name, keys), tls=tls, timeout=chosen.timeout)
    path, owner = store_file(config, name), name
    if chosen.path is None:
        path, owner = _default_file(config, name, say, settle=settle)
    codec = Codec(owner, keys)
    return FileStore(path, codec, timeout=chosen.timeout, allow_readable=config.secrets.allow_readable)


def _default_file(config: Config, name: str, say: Say, *, settle: bool) -> tuple[Path, str]:
    """Return the file that is a credential's where none is configured, and the name that its record is bound to."""
    from reauth_proxy.stores import default

    credential, place = config.each_credential[name], _found(config, name)
    if settle:
        default.settle(place)
    if place.foreign:
        say("store.shared", credential=name, problem=_SHARED.format(os.path.realpath(place.path)))
    elif credential.configured is None and config.file is not None and not place.path.exists():
        left = default.first_name(name, _endpoint(config, name))
        if left.exists():
            move = f"mv {shlex.quote(str(left))} {shlex.quote(str(place.path))}"
            say("store.left_behind", credential=name, problem=_LEFT_BEHIND.format(left, move))
    return place.path, place.credential


def _found(config: Config, name: str) -> Place:
    from reauth_proxy.stores import default

    others = (one.refresh_token for other, one in config.each_credential.items() if other != name)
    owner = default.Owner(
        name,
        _identity(config, name),
        config.each_credential[name].refresh_token,
        tuple(token for token in others if token is not None),
    )
    return default.find(owner, config.store.encryption_key or ())


def _store_key(config: Config, name: str) -> str:
    """Return what a session is called in Redis or the keyring."""
    if config.store.key is not None:
        return config.store.key if name == "default" else f"{config.store.key}-{name}"
    from reauth_proxy.stores.default import default_path

    if config.store.type == "redis":
        return f"reauth-proxy:{default_path(name, _shared_identity(config, name)).stem}"
    return default_path(name, _identity(config, name)).stem


def _identity(config: Config, name: str) -> str:
    """Return what a credential's default store is named after: the configuration file, where there is one."""
    return _shared_identity(config, name) if config.file is None else f"file\0{config.file}"


def _shared_identity(config: Config, name: str) -> str:
    """Return the same for what other machines share, where the file's path alone says little."""
    token = config.each_credential[name].refresh_token
    origin = str(config.file or "") if token is None else token.fingerprint()
    return f"{_endpoint(config, name)}\0{origin}"


def _endpoint(config: Config, name: str) -> str:
    endpoint = config.each_credential[name].token_endpoint
    return str(endpoint.url) if endpoint.type == "json" else f"{endpoint.url or endpoint.issuer} {endpoint.client_id}"


def _installed(module: str, extra: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError:
        raise ConfigError(
            f"store.type: {extra} needs a package that is not installed; pip install 'reauth-proxy[{extra}]'"
        ) from None


def store_file(config: Config, name: str) -> Path:
    """Return where the session of the credential `name` is to be kept, if in a file."""
    from reauth_proxy.stores.default import default_path

    path = config.store.path
    if path is None:
        return default_path(name, _identity(config, name))
    return path if name == "default" else path.with_name(f"{path.stem}-{name}{path.suffix}")


def refresh_policy(config: Config) -> RefreshPolicy:
    """Return when and how patiently the session refreshes."""
    refresh = config.refresh
    return RefreshPolicy(
        ahead=refresh.ahead,
        background=refresh.background,
        timeout=refresh.timeout,
        retry_for=refresh.retry_for,
        park_timeout=refresh.park_timeout,
        max_parked=refresh.max_parked,
        on_unavailable=refresh.on_unavailable,
        min_interval=refresh.min_interval,
    )


def is_named_after_token(config: Config, name: str) -> bool:
    """Tell whether a session's place changes with the configured refresh token."""
    return (
        config.store.type == "redis"
        and config.store.key is None
        and config.each_credential[name].configured is not None
    )


def needs_restart(old: Config, new: Config) -> list[str]:
    """Return the names of sections whose changes cannot take effect while running: where a session is kept.

    Blocks for a few small files, as :func:`store` does: the session of a token may be where another one's is.
    """
    before, after = old.each_credential, new.each_credential
    kept = before.keys() & after.keys()
    if old.store == new.store and all(_place(old, name) == _place(new, name) for name in kept):
        return []
    sections = ["store"]
    if before != after:  # and what names them
        sections += ["credential", "credentials", "routes", "upstream"]
    return [name for name in sections if getattr(old, name) != getattr(new, name)]


def _place(config: Config, name: str) -> str | None:
    """Return what tells one place of a session from another."""
    if config.store.type == "memory":
        return None
    if config.store.type != "file":
        return _store_key(config, name)
    return os.path.realpath(store_file(config, name) if config.store.path is not None else _found(config, name).path)
