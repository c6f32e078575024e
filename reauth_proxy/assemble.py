"""What a Config says, as the plain settings that each room takes. Lists no defaults of its own."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reauth_proxy.config.address import is_wildcard
from reauth_proxy.errors import ConfigError
from reauth_proxy.forward.fields import FieldChanges, RequestRules, ResponseRules
from reauth_proxy.forward.limits import Limits
from reauth_proxy.forward.plan import Plan
from reauth_proxy.forward.route import Route, base_path
from reauth_proxy.forward.spool import Keeping
from reauth_proxy.guard.endpoints import Sealed
from reauth_proxy.guard.guard import Guard
from reauth_proxy.guard.hosts import Hosts, in_brackets
from reauth_proxy.guard.origins import Origins
from reauth_proxy.guard.paths import PathRules
from reauth_proxy.session.state import RefreshPolicy
from reauth_proxy.upstream.dial import Origin
from reauth_proxy.upstream.pool import Pool, PoolLimits

if TYPE_CHECKING:
    from reauth_proxy.config.credential import JsonEndpoint, OAuth2Endpoint
    from reauth_proxy.config.model import TLS, Config, RequestHeaders, ResponseHeaders
    from reauth_proxy.session.protocols import Store, TokenEndpoint
    from reauth_proxy.session.refresher import Session
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


def token_endpoint(config: Config, tls: ssl.SSLContext) -> TokenEndpoint:
    """Return the credential's token endpoint. Raises ConfigError."""
    settings = config.credential.token_endpoint
    if settings.type == "json":
        return _json_endpoint(settings, config, tls)
    return _oauth2_endpoint(settings, config, tls)


def _oauth2_endpoint(settings: OAuth2Endpoint, config: Config, tls: ssl.SSLContext) -> TokenEndpoint:
    from reauth_proxy.issuers import oauth2

    return oauth2.OAuth2Endpoint(
        oauth2.OAuth2Settings(
            client_id=settings.client_id,
            url=None if settings.url is None else str(settings.url),
            issuer=None if settings.issuer is None else str(settings.issuer),
            client_secret=settings.client_secret,
            client_auth=settings.client_auth,
            private_key=settings.private_key,
            private_key_id=settings.private_key_id,
            private_key_alg=settings.private_key_alg,
            scope=settings.scope,
            params=settings.params,
            headers=settings.headers,
        ),
        ssl=tls,
        connect_timeout=config.timeouts.connect,
        trust_env=config.trust_env,
        allow_insecure=config.tls.allow_insecure,
    )


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


def store(config: Config, name: str = "default") -> Store:
    """Return the store of the credential `name`."""
    if config.store.type == "memory":
        from reauth_proxy.stores.memory import MemoryStore

        return MemoryStore()
    from reauth_proxy.stores.file import FileStore

    return FileStore(store_file(config, name), allow_readable=config.secrets.allow_readable)


def store_file(config: Config, name: str = "default") -> Path:
    """Return where the session of the credential `name` is kept, if in a file."""
    from reauth_proxy.stores.file import default_path

    endpoint = config.credential.token_endpoint
    where = str(endpoint.url) if endpoint.type == "json" else f"{endpoint.url or endpoint.issuer} {endpoint.client_id}"
    return config.store.path or default_path(name, where)


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


#: Files that are open besides connections: the log, the store, listeners, the event loop, what libraries open.
_OTHER_FILES: Final = 64


def files(config: Config) -> int:
    """Return how many files may be open at once; a fifth more clients than may be are told that there are too many."""
    limits = config.limits
    return int(limits.connections * 1.2) + limits.upstream_connections + config.replay.files + _OTHER_FILES


def affordable(config: Config, allowed: int) -> Config:
    """Return a configuration with no more connections than there may be open files.

    Args:
        allowed: how many the system allows.
    """
    if files(config) <= allowed:
        return config
    limits = config.limits
    left = allowed - _OTHER_FILES - config.replay.files
    share = max(8, int(left * 0.45))  # the rest is for connections that are told that there are too many
    lowered = {
        "connections": min(limits.connections, share),
        "upstream_connections": min(limits.upstream_connections, share),
    }
    return config.model_copy(update={"limits": limits.model_copy(update=lowered)})


def needs_restart(old: Config, new: Config) -> list[str]:
    """Return the names of sections whose changes cannot take effect while running: where the session is kept."""
    if old.store != new.store or store_file(old) != store_file(new):
        return ["store", "credential"] if old.credential != new.credential else ["store"]
    return []


def plan(config: Config, session: Session, tls: ssl.SSLContext) -> Plan:
    """Return what the forwarder goes by; needs a running event loop."""
    return Plan(
        route(config, session, tls),
        RequestRules(field_changes(config.headers.request)),
        ResponseRules(field_changes(config.headers.response)),
        limits(config),
        guard(config),
        Keeping(
            min(config.replay.memory, config.replay.limit),
            config.replay.limit,
            config.replay.total,
            config.replay.files,
            config.replay.directory,
        ),
    )


def guard(config: Config) -> Guard:
    """Return who may call, and what."""
    access, listen = config.access, config.listen
    hosts = list(access.hosts)
    if listen.path is None and not is_wildcard(listen.host):
        hosts.append(in_brackets(listen.host))
    endpoint = config.credential.token_endpoint.url
    sealed = Sealed(str(config.upstream), [] if endpoint is None else [str(endpoint)])
    ruled = access.allow or access.deny or sealed.paths
    rules = PathRules(access.allow, access.deny, sealed) if ruled else None
    return Guard(Hosts(hosts), Origins(access.origins), access.client_token, rules)


def limits(config: Config) -> Limits:
    """Return the bounds on clients."""
    chosen = config.limits
    return Limits(
        header_bytes=chosen.header_bytes,
        header_fields=chosen.header_fields,
        content=chosen.content,
        content_rate=chosen.content_rate,
        connections=chosen.connections,
        header_timeout=chosen.header_timeout,
        idle_timeout=chosen.idle_timeout,
        write_timeout=config.timeouts.write,
    )


def route(config: Config, session: Session, tls: ssl.SSLContext) -> Route:
    """Return the route to the upstream."""
    upstream, timeouts = config.upstream, config.timeouts
    origin = Origin(upstream.host, upstream.port, tls if upstream.scheme == "https" else None, upstream.socket)
    bounds = PoolLimits(
        connections=config.limits.upstream_connections,
        queue=config.limits.upstream_queue,
        connect_timeout=timeouts.connect,
        wait_timeout=timeouts.response,
        write_timeout=timeouts.write,
        keepalive=timeouts.keepalive,
    )
    return Route(
        Pool(origin, bounds),
        session,
        base=base_path(upstream.path),
        authority=upstream.authority.encode(),
        statuses=frozenset(config.refresh.statuses),
        response_timeout=timeouts.response,
        expect_timeout=timeouts.expect,
    )


def field_changes(changes: RequestHeaders | ResponseHeaders) -> FieldChanges:
    """Return what the configuration does to fields."""
    default: dict[str, Secret] = getattr(changes, "default", {})
    return FieldChanges(_revealed(changes.set), _revealed(default), tuple(changes.remove))


def _revealed(values: dict[str, Secret]) -> dict[str, str]:
    return {name: value.reveal() for name, value in values.items()}
