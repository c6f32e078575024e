"""What a Config says, as the plain settings that each room takes. Lists no defaults of its own."""

from __future__ import annotations

import importlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

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
            denied_statuses=frozenset(settings.denied_statuses),
        ),
        ssl=tls,
        connect_timeout=config.timeouts.connect,
        trust_env=config.trust_env,
    )


def store(config: Config, name: str) -> Store:
    """Return the store of the credential `name`.

    Raises:
        ConfigError: what it needs is not installed, or its address is none.
    """
    from reauth_proxy.stores.codec import Codec
    from reauth_proxy.stores.file import FileStore

    chosen = config.store
    codec = Codec(name, chosen.encryption_key or ())
    if chosen.type == "memory":
        from reauth_proxy.stores.memory import MemoryStore

        return MemoryStore()
    if chosen.type == "keyring":
        _installed("keyring", "keyring")
        from reauth_proxy.stores.keyring import KeyringStore

        return KeyringStore(_store_key(config, name), store_file(config, name))
    if chosen.type == "redis":
        _installed("redis.asyncio", "redis")
        from reauth_proxy.stores.redis import RedisStore, RedisTls

        assert chosen.url is not None, "checked when the configuration was read"
        files = {
            key: None if path is None else str(path)
            for key in ("ca_file", "client_cert", "client_key")
            for path in [getattr(config.tls, key)]
        }
        tls = RedisTls(**files, verify=config.tls.verify)
        return RedisStore(chosen.url, _store_key(config, name, "reauth-proxy:"), codec, tls=tls)
    return FileStore(store_file(config, name), codec, allow_readable=config.secrets.allow_readable)


def _store_key(config: Config, name: str, prefix: str = "") -> str:
    if config.store.key is None:
        return prefix + store_file(config, name).stem
    return config.store.key if name == "default" else f"{config.store.key}-{name}"


def _installed(module: str, extra: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError:
        raise ConfigError(
            f"store.type: {extra} needs a package that is not installed; pip install 'reauth-proxy[{extra}]'"
        ) from None


def store_file(config: Config, name: str) -> Path:
    """Return where the session of the credential `name` is kept, if in a file; elsewhere it is called after that."""
    from reauth_proxy.stores.file import default_path

    endpoint = config.each_credential[name].token_endpoint
    where = str(endpoint.url) if endpoint.type == "json" else f"{endpoint.url or endpoint.issuer} {endpoint.client_id}"
    path = config.store.path
    if path is None:
        return default_path(name, where)
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


def needs_restart(old: Config, new: Config) -> list[str]:
    """Return the names of sections whose changes cannot take effect while running: where a session is kept."""
    kept = old.each_credential.keys() & new.each_credential.keys()
    if old.store == new.store and all(store_file(old, name) == store_file(new, name) for name in kept):
        return []
    sections = ["store"]
    if old.each_credential != new.each_credential:  # and what names them
        sections += ["credential", "credentials", "routes", "upstream"]
    return [name for name in sections if getattr(old, name) != getattr(new, name)]
