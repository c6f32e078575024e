"""What a configuration may hold. Every key says here what it means, for ``reauth-proxy schema``.

Checks between keys sit on the later of the two, so that one wrong key does not hide the problems of the others.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from reauth_proxy.config.address import Listen
from reauth_proxy.config.credential import Credential, Section
from reauth_proxy.config.kinds import (
    AnyPath,
    BaseUrl,
    Choice,
    Count,
    Duration,
    ExistingFile,
    FieldValues,
    ListenAddress,
    PositiveDuration,
    RemovableName,
    Size,
    Status,
    Switch,
)

S = TypeVar("S", bound=Section)


def _section(kind: type[S], description: str) -> S:
    """Return the field of a section that may be absent, and then has its defaults."""
    field: S = Field(default_factory=lambda: kind(), description=description)
    return field


class Store(Section):
    """Where the session survives a restart."""

    type: Annotated[Literal["file", "memory"], Choice] = Field(
        "file", description="file, or memory: only until the end."
    )
    path: AnyPath | None = Field(None, description="The file; by default in the user's state directory.")

    @field_validator("path")
    @classmethod
    def _only_for_files(cls, path: Any, info: ValidationInfo) -> Any:
        if path is not None and info.data.get("type") == "memory":
            raise ValueError("a store in memory has no path; remove it, or write `type: file`")
        return path


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


class Timeouts(Section):
    """How long upstreams may take. There is no limit for a whole exchange."""

    connect: PositiveDuration = Field(5.0, description="Until a connection is made, TLS included.")
    response: PositiveDuration = Field(60.0, description="Until the upstream's header section arrives.")


class TLS(Section):
    """How upstreams and token endpoints are verified."""

    ca_file: ExistingFile | None = Field(
        None, description="Certificates of authorities to trust, PEM; instead of the system's."
    )
    client_cert: ExistingFile | None = Field(None, description="The client's certificate, PEM.")
    client_key: ExistingFile | None = Field(None, description="Its private key, PEM, where it is in a file of its own.")
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


class Access(Section):
    """Who may call."""

    allow_remote: Switch = Field(False, description="Allow `listen` to be reached from other machines.")


def _accept_json() -> dict[str, str]:
    return {"Accept": "application/json"}


class RequestHeaders(Section):
    """Changes to the fields of requests."""

    set: FieldValues = Field(default_factory=dict, repr=False, description="Fields to set, instead of the client's.")
    default: FieldValues = Field(
        default_factory=_accept_json, repr=False, description="Fields to add where the client sends none of that name."
    )
    remove: tuple[RemovableName, ...] = Field((), description="Fields to remove.")


class ResponseHeaders(Section):
    """Changes to the fields of responses."""

    set: FieldValues = Field(default_factory=dict, repr=False, description="Fields to set, instead of the upstream's.")
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
    return Listen("tcp", "127.0.0.1", 8080)


class Config(Section):
    """The whole configuration."""

    access: Access = _section(Access, "Who may call.")
    listen: ListenAddress = Field(
        default_factory=_default_listen,
        description="Where clients connect: host:port, [::1]:8080 or unix:/path.",
        json_schema_extra={"default": "127.0.0.1:8080"},
    )
    upstream: BaseUrl = Field(description="The API, with an optional path in front of every request's.")
    credential: Credential = Field(description="What signs requests in.")
    store: Store = _section(Store, "Where the session survives a restart.")
    refresh: Refresh = _section(Refresh, "When access tokens are renewed, and who waits how long.")
    replay: Replay = _section(Replay, "Content that is kept so that a request can be sent again.")
    timeouts: Timeouts = _section(Timeouts, "How long upstreams may take.")
    tls: TLS = _section(TLS, "How upstreams and token endpoints are verified.")
    headers: Headers = _section(Headers, "Changes to fields on their way.")
    log: Log = _section(Log, "What is logged, and how.")
    drain_timeout: Duration = Field(25.0, description="How long requests under way may take to finish after SIGTERM.")

    @field_validator("listen")
    @classmethod
    def _local_unless_allowed(cls, listen: Listen, info: ValidationInfo) -> Listen:
        access = info.data.get("access")
        if listen.remote and access is not None and not access.allow_remote:
            raise ValueError(
                "other machines could use your session; listen on 127.0.0.1, or set `access.allow_remote: true`"
            )
        return listen
