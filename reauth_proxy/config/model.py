"""What a configuration may hold. Every key says here what it means, for ``reauth-proxy schema``.

Checks between keys sit on the later of the two, so that one wrong key does not hide the problems of the others.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from reauth_proxy.config.access import Access, checked_listen
from reauth_proxy.config.address import Listen, Url
from reauth_proxy.config.capture import Capture
from reauth_proxy.config.control import Control
from reauth_proxy.config.credential import Credential, Section
from reauth_proxy.config.kinds import (
    AnyPath,
    Choice,
    Count,
    Duration,
    ExistingFile,
    HeaderSize,
    ListenAddress,
    PositiveDuration,
    RemovableName,
    Size,
    Status,
    Switch,
    UpstreamUrl,
)
from reauth_proxy.config.origin import FromFile
from reauth_proxy.config.problems import listed
from reauth_proxy.config.routes import NewName, Route, apart, elsewhere, home_of, names_of, one_of
from reauth_proxy.config.secrecy import FieldValues, PrivateFile
from reauth_proxy.config.store import Store
from reauth_proxy.session.tokens import Secret

S = TypeVar("S", bound=Section)


def _section(kind: type[S], description: str) -> S:
    """Return the field of a section that may be absent, and then has its defaults."""
    field: S = Field(default_factory=lambda: kind(), description=description)
    return field


def _some(statuses: tuple[int, ...]) -> tuple[int, ...]:
    if not statuses:
        raise ValueError("expected at least one")
    return statuses


class Refresh(Section):
    """When access tokens are renewed, and who waits how long."""

    ahead: Duration = Field(60.0, description="Renew this long before expiry, never more than a fifth of the lifetime.")
    background: Switch = Field(True, description="Renew also when no request comes.")
    timeout: PositiveDuration = Field(
        10.0, description="How long a call may take before those who wait for it count it as unavailable."
    )
    retry_for: Duration = Field(10.0, description="Keep trying an unavailable token endpoint this long.")
    park_timeout: PositiveDuration = Field(30.0, description="How long a request may wait for a refresh.")
    max_parked: Count = Field(10_000, description="How many requests may wait at once; beyond it they get 503.")
    on_unavailable: Annotated[Literal["logout", "unavailable"], Choice] = Field(
        "logout", description="What clients get when retry_for has passed: the logout answer, or 503."
    )
    min_interval: Duration = Field(
        5.0, description="Least time between two refreshes that rejected requests asked for."
    )
    statuses: Annotated[tuple[Status, ...], AfterValidator(_some)] = Field(
        (401,), description="Upstream answers that mean that the token was rejected."
    )


class Replay(Section):
    """Content that is kept so that a request can be sent again."""

    memory: Size = Field(64 << 10, description="How much content of one request is kept in memory.")
    limit: Size = Field(
        16 << 20, description="How much content of one request is kept at all; beyond `memory` in a temporary file."
    )
    total: Size = Field(
        256 << 20, description="How much content all requests together may hold; beyond it, what has to wait gets 503."
    )
    files: Count = Field(64, description="How many temporary files there may be at once; they have no names.")
    directory: AnyPath | None = Field(
        None, description="Where temporary files are made; by default where the system makes them (TMPDIR)."
    )


class Limits(Section):
    """What clients may send, how many there may be, and how long they may take."""

    header_bytes: HeaderSize = Field(
        32 << 10, description="Size of a request's line and fields together; beyond it 431."
    )
    header_fields: Count = Field(128, description="How many fields a request may have; beyond it 431.")
    content: Size = Field(1 << 30, description="How long a request's content may be; beyond it 413. 0: no limit.")
    content_rate: Size = Field(
        240, description="Least bytes per second of a request's content, over `header_timeout`; else 408. 0: no limit."
    )
    connections: Count = Field(10_000, description="How many clients' connections there may be; beyond it 503.")
    header_timeout: PositiveDuration = Field(
        10.0, description="From the first byte of a request to the end of its header section; then 408."
    )
    idle_timeout: PositiveDuration = Field(75.0, description="How long a client's connection may stay without request.")
    upstream_connections: Count = Field(10_000, description="How many connections to an upstream there may be.")
    upstream_queue: Count = Field(
        10_000, description="How many requests may wait for a connection to an upstream; beyond it 503."
    )


class Timeouts(Section):
    """How long peers may take. There is no limit for a whole exchange."""

    connect: PositiveDuration = Field(5.0, description="Until a connection to an upstream is made, TLS included.")
    response: PositiveDuration = Field(
        60.0, description="Until the upstream's header section arrives; also, how long to wait for a connection's turn."
    )
    expect: PositiveDuration = Field(
        1.0, description="How long content waits for the upstream's 100 Continue before it is sent all the same."
    )
    write: PositiveDuration = Field(
        60.0, description="How long a client or an upstream may take not one byte of what is sent to it."
    )
    keepalive: PositiveDuration = Field(
        30.0, description="How long a connection to an upstream is kept unused; less than the upstream keeps it."
    )


class WebSocket(Section):
    """Tunnels: what becomes of them."""

    idle_timeout: Duration = Field(
        3600.0, description="How long a tunnel may be without one byte either way. 0: for ever."
    )
    on_logout: Annotated[Literal["keep", "close"], Choice] = Field(
        "keep", description="What happens to open tunnels when the session signs out."
    )


class TLS(Section):
    """How upstreams and token endpoints are verified."""

    ca_file: ExistingFile | None = Field(
        None, description="Certificates of authorities to trust, PEM; instead of the system's."
    )
    client_cert: PrivateFile | None = Field(
        None, description="The client's certificate, PEM, with those that lead to its authority; or with its key, too."
    )
    client_key: PrivateFile | None = Field(None, description="Its private key, PEM, where it is in a file of its own.")
    verify: Switch = Field(True, description="Verify certificates; turn it off on a test network only.")
    allow_insecure: Switch = Field(
        False, description="Allow plain http to other machines, such as within a container network."
    )

    @field_validator("client_key")
    @classmethod
    def _with_its_certificate(cls, client_key: Any, info: ValidationInfo) -> Any:
        if client_key is not None and "client_cert" in info.data and info.data["client_cert"] is None:
            raise ValueError("`client_key` needs `client_cert`")
        return client_key


class Secrets(Section):
    """How files that hold secrets are kept."""

    allow_readable: Switch = Field(
        False, description="Use files with secrets that others may read, such as those a container gets mounted."
    )


def _accept_json() -> dict[str, Secret]:
    return {"Accept": Secret("application/json", watched=False)}


class RequestHeaders(Section):
    """Changes to the fields of requests."""

    set: FieldValues = Field(default_factory=dict, description="Fields to set, instead of the client's.")
    default: FieldValues = Field(
        default_factory=_accept_json, description="Fields to add where the client sends none of that name."
    )
    remove: tuple[RemovableName, ...] = Field((), description="Fields to remove.")


class ResponseHeaders(Section):
    """Changes to the fields of responses."""

    set: FieldValues = Field(default_factory=dict, description="Fields to set, instead of the upstream's.")
    remove: tuple[RemovableName, ...] = Field((), description="Fields to remove.")


class Headers(Section):
    """Changes to fields on their way."""

    request: RequestHeaders = _section(RequestHeaders, "On the way to the upstream.")
    response: ResponseHeaders = _section(ResponseHeaders, "On the way to the client.")


class Log(Section):
    """What is logged, and how."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Choice] = Field(
        "info", description="The least level."
    )
    format: Annotated[Literal["auto", "console", "json"], Choice] = Field(
        "auto", description="auto: colours on a terminal, JSON lines elsewhere."
    )


def _default_listen() -> Listen:
    return Listen("tcp", "localhost", 8080)


class Config(FromFile):
    """The whole configuration."""

    NULL_SAYS_SOMETHING = frozenset({"control"})

    access: Access = _section(Access, "Who may call.")
    listen: ListenAddress = Field(
        default_factory=_default_listen,
        description="Where clients connect: host:port, [::1]:8080 or unix:/path. localhost is 127.0.0.1 and [::1].",
        json_schema_extra={"default": "localhost:8080"},
    )
    credentials: dict[NewName, Credential] | None = Field(
        None, description="Several credentials by name, each with the keys of `credential`; routes say which they use."
    )
    credential: Credential | None = Field(
        None, validate_default=True, description="What signs requests in; short for one in `credentials`, `default`."
    )
    routes: tuple[Route, ...] | None = Field(None, description="Several upstreams, by the path of requests.")
    upstream: UpstreamUrl | None = Field(
        None,
        validate_default=True,
        description="The API, with an optional path in front of every request's; or unix:/path. Short for one route.",
    )
    secrets: Secrets = _section(Secrets, "How files that hold secrets are kept.")
    store: Store = _section(Store, "Where the session survives a restart.")
    refresh: Refresh = _section(Refresh, "When access tokens are renewed, and who waits how long.")
    replay: Replay = _section(Replay, "Content that is kept so that a request can be sent again.")
    limits: Limits = _section(Limits, "What clients may send, how many there may be, how long they may take.")
    timeouts: Timeouts = _section(Timeouts, "How long peers may take.")
    websocket: WebSocket = _section(WebSocket, "Tunnels: what becomes of them.")
    tls: TLS = _section(TLS, "How upstreams and token endpoints are verified.")
    trust_env: Switch = Field(
        False,
        description="Reach token endpoints with https by the proxies that HTTPS_PROXY, ALL_PROXY and NO_PROXY name. "
        "The upstream is always reached directly, and nothing is read from netrc.",
    )
    headers: Headers = _section(Headers, "Changes to fields on their way.")
    capture: tuple[Capture, ...] = Field(
        (), description="Logins that the API answers with tokens: they fill the session, and clients never see them."
    )
    control: Control = _section(Control, "Health, readiness and the session, on a listener of its own.")
    log: Log = _section(Log, "What is logged, and how.")
    drain_timeout: Duration = Field(25.0, description="How long requests under way may take to finish after SIGTERM.")

    @field_validator("listen")
    @classmethod
    def _local_unless_allowed(cls, listen: Listen, info: ValidationInfo) -> Listen:
        checked_listen(listen.remote, info.data.get("access"))
        return listen

    @field_validator("control", mode="before")
    @classmethod
    def _null_turns_it_off(cls, control: Any) -> Any:
        return {"listen": None} if control is None else control

    @field_validator("control")
    @classmethod
    def _apart_and_local_unless_allowed(cls, control: Control, info: ValidationInfo) -> Control:
        return control.beside(info.data.get("listen"), info.data.get("access"))

    @field_validator("credentials")
    @classmethod
    def _each_with_a_token_of_its_own(cls, credentials: dict[str, Credential] | None) -> dict[str, Credential] | None:
        apart(credentials or {})
        return credentials

    @field_validator("credential")
    @classmethod
    def _one_kind_of_credential(cls, credential: Any, info: ValidationInfo) -> Any:
        return one_of(credential, "credential", "credentials", info)

    @field_validator("routes")
    @classmethod
    def _that_lead_somewhere(cls, routes: tuple[Route, ...] | None, info: ValidationInfo) -> tuple[Route, ...] | None:
        seen: set[str] = set()
        for route in routes or ():
            if route.path.rstrip("/") in seen:
                raise ValueError(f"there are two routes for {route.path}; remove one")
            seen.add(route.path.rstrip("/"))
            elsewhere(route.upstream, info)
        names = names_of(info)
        if names is not None:
            for route in routes or ():
                if route.signed and route.credential not in names:
                    raise ValueError(
                        f"the route {route.path} needs a credential called `{route.credential}`; there is"
                        f" {listed(sorted(names))}, or `none` or `client`"
                    )
        return routes

    @field_validator("capture")
    @classmethod
    def _that_fill_a_session(cls, capture: tuple[Capture, ...], info: ValidationInfo) -> tuple[Capture, ...]:
        seen: set[str] = set()
        for login in capture:
            if login.path in seen:
                raise ValueError(f"{login.path} is there twice; remove one")
            seen.add(login.path)
            home = home_of(login.path, info.data.get("routes") or ())
            if info.data.get("routes") and (home is None or not home.signed):
                where = "no route leads to" if home is None else f"the route has `credential: {home.credential}` for"
                raise ValueError(f"{where} {login.path}: there is no session that its tokens could fill")
        return capture

    @field_validator("upstream")
    @classmethod
    def _one_kind_of_route(cls, upstream: Url | None, info: ValidationInfo) -> Url | None:
        one_of(upstream, "upstream", "routes", info)
        if upstream is not None:
            elsewhere(upstream, info)
            names = names_of(info)
            if names is not None and "default" not in names:
                raise ValueError(
                    "this needs a credential called `default`; or write `routes`, which say which they use"
                )
        return upstream

    @property
    def each_credential(self) -> dict[str, Credential]:
        """The credentials by name."""
        return self.credentials or ({} if self.credential is None else {"default": self.credential})

    @property
    def each_route(self) -> tuple[Route, ...]:
        """The routes."""
        if self.routes:
            return self.routes
        assert self.upstream is not None, "one of the two is required"
        return (Route(path="/", upstream=self.upstream, strip_path=False, credential="default", send=None),)
