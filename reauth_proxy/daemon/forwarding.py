"""What a Config says about forwarding, as the plain settings that its rooms take. Lists no defaults of its own."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from reauth_proxy.clients.limits import Limits
from reauth_proxy.config.address import Url, is_wildcard
from reauth_proxy.config.routes import home_of
from reauth_proxy.control.report import RouteLine
from reauth_proxy.forward.capture import Rule
from reauth_proxy.forward.fields import FieldChanges, RequestRules, ResponseRules
from reauth_proxy.forward.login import Login, Logins
from reauth_proxy.forward.patience import Patience
from reauth_proxy.forward.plan import Plan
from reauth_proxy.forward.route import Route, base_path
from reauth_proxy.forward.routes import Routes
from reauth_proxy.forward.sending import BEARER, Send
from reauth_proxy.forward.spool import Keeping
from reauth_proxy.guard.endpoints import Sealed
from reauth_proxy.guard.guard import Guard
from reauth_proxy.guard.hosts import Hosts, in_brackets
from reauth_proxy.guard.origins import Origins
from reauth_proxy.guard.paths import PathRules
from reauth_proxy.issuers import pointer
from reauth_proxy.session.anonymous import Anonymous
from reauth_proxy.upstream.dial import Origin
from reauth_proxy.upstream.pool import Pool, PoolLimits

if TYPE_CHECKING:
    from reauth_proxy.config.model import Config, RequestHeaders, ResponseHeaders
    from reauth_proxy.config.routes import Route as RouteSettings
    from reauth_proxy.session.refresher import Session
    from reauth_proxy.session.tokens import Secret


_Place = tuple[str, str, int, str | None]

#: Files that are open besides connections: the log, the store, listeners, the event loop, what libraries open.
_OTHER_FILES: Final = 64


def files(config: Config) -> int:
    """Return how many files may be open at once; a fifth more clients than may be are told that there are too many."""
    limits = config.limits
    upstream = limits.upstream_connections * _upstreams(config)
    return int(limits.connections * 1.2) + upstream + config.replay.files + _OTHER_FILES


def _upstreams(config: Config) -> int:
    """Return how many upstreams there are."""
    return len({_place(route.upstream) for route in config.each_route})


def _place(upstream: Url) -> _Place:
    return upstream.scheme, upstream.host, upstream.port, upstream.socket


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
        "upstream_connections": min(limits.upstream_connections, max(8, share // _upstreams(config))),
    }
    return config.model_copy(update={"limits": limits.model_copy(update=lowered)})


def lowered_limits(config: Config, lowered: Config) -> dict[str, int]:
    """Return the limits on connections that :func:`affordable` lowered, by name."""
    numbers = {name: getattr(lowered.limits, name) for name in ("connections", "upstream_connections")}
    return {name: number for name, number in numbers.items() if number < getattr(config.limits, name)}


def plan(config: Config, sessions: Mapping[str, Session], tls: ssl.SSLContext) -> Plan:
    """Return what the forwarder goes by; needs a running event loop."""
    return Plan(
        routes(config, sessions, tls),
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
    rules = PathRules(access.allow, access.deny) if access.allow or access.deny else None
    return Guard(Hosts(hosts), Origins(access.origins), access.client_token, rules)


def route_lines(config: Config) -> tuple[RouteLine, ...]:
    """Return the routes as people see them."""
    return tuple(
        RouteLine(route.path, route.upstream.shown, route.credential if route.signed else None)
        for route in config.each_route
    )


def pools(config: Config, routes: Routes) -> dict[str, Pool]:
    """Return the connections of the routes, by where they lead."""
    names = {route.path: origin_name(route.upstream) for route in config.each_route}
    return {names[route.name]: route.pool for route in routes if route.name in names}


def origin_name(url: Url) -> str:
    """Return where a URL leads, without its path."""
    return f"unix:{url.socket}" if url.socket is not None else f"{url.scheme}://{url.authority}"


def control_guard(config: Config) -> Guard:
    """Return who may call the control plane: no page but its own."""
    listen = config.control.listen
    hosts = list(config.access.hosts)
    if listen is not None and listen.path is None and not is_wildcard(listen.host):
        hosts.append(in_brackets(listen.host))
    return Guard(Hosts(hosts), Origins(), config.access.client_token)


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


def routes(config: Config, sessions: Mapping[str, Session], tls: ssl.SSLContext) -> Routes:
    """Return the routes to the upstreams; those to one upstream share its connections."""
    timeouts = config.timeouts
    urls = [credential.token_endpoint.url for credential in config.each_credential.values()]
    endpoints = [] if config.access.allow_token_endpoint else [str(url) for url in urls if url is not None]
    pools: dict[_Place, Pool] = {}
    known = _logins(config, sessions)
    found = []
    for settings in config.each_route:
        upstream = settings.upstream
        where = _place(upstream)
        if where not in pools:
            pools[where] = _pool(config, upstream, tls)
        sealed = Sealed(str(upstream), endpoints)
        route = Route(
            pools[where],
            sessions[settings.credential] if settings.signed else Anonymous(),
            base=base_path(upstream.path),
            authority=upstream.authority.encode(),
            patience=Patience(config.refresh.min_interval),
            statuses=frozenset(config.refresh.statuses) if settings.signed else frozenset(),
            response_timeout=timeouts.response,
            expect_timeout=timeouts.expect,
            name=settings.path,
            prefix=settings.path.rstrip("/").encode(),
            strip=settings.strip_path,
            sealed=sealed if sealed.paths else None,
            send=_send(config, settings),
            passes=settings.credential == "client",
        )
        logins = [login for place, login in known if place == where]
        route.logins = Logins(route, logins) if logins else None
        found.append(route)
    return Routes(found)


def _send(config: Config, route: RouteSettings) -> Send:
    """Return how a route's upstream wants its token."""
    if not route.signed:
        return BEARER
    chosen = route.send or config.each_credential[route.credential].send
    send = BEARER if chosen is None else Send(chosen.header, chosen.scheme, chosen.cookie)
    return BEARER if send == BEARER else send


def _logins(config: Config, sessions: Mapping[str, Session]) -> list[tuple[_Place, Login]]:
    """Return the logins whose answers are captured, and at which upstream they are."""
    found = []
    for one in config.capture:
        home = home_of(one.path, config.each_route)
        assert home is not None, "checked when the configuration was read"
        path = one.path[len(home.path.rstrip("/")) :] if home.strip_path else one.path
        expires_in = None if one.expires_in is None else pointer.parse(one.expires_in)
        rule = Rule(pointer.parse(one.access_token), pointer.parse(one.refresh_token), expires_in)
        base = base_path(home.upstream.path).decode()
        found.append((_place(home.upstream), Login(base + (path or "/"), rule, sessions[home.credential])))
    return found


def _pool(config: Config, upstream: Url, tls: ssl.SSLContext) -> Pool:
    limits, timeouts = config.limits, config.timeouts
    origin = Origin(upstream.host, upstream.port, tls if upstream.scheme == "https" else None, upstream.socket)
    bounds = PoolLimits(
        connections=limits.upstream_connections,
        queue=limits.upstream_queue,
        connect_timeout=timeouts.connect,
        wait_timeout=timeouts.response,
        write_timeout=timeouts.write,
        keepalive=timeouts.keepalive,
    )
    return Pool(origin, bounds)


def field_changes(changes: RequestHeaders | ResponseHeaders) -> FieldChanges:
    """Return what the configuration does to fields."""
    default: dict[str, Secret] = getattr(changes, "default", {})
    return FieldChanges(_revealed(changes.set), _revealed(default), tuple(changes.remove))


def _revealed(values: dict[str, Secret]) -> dict[str, str]:
    return {name: value.reveal() for name, value in values.items()}
