"""The client for Redis: how it is made, and what is said of it and of what went wrong."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from reauth_proxy.errors import ConfigError
from reauth_proxy.session.tokens import Secret


@dataclass(frozen=True, slots=True)
class RedisTls:
    """With what a ``rediss`` server is verified, and who we are to it; paths of PEM files."""

    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    verify: bool = True


def client(url: Secret, tls: RedisTls | None, timeout: float) -> Redis:
    """Return a client that repeats nothing by itself.

    Args:
        timeout: seconds to wait for a connection, and for an answer.

    Raises:
        ConfigError: the URL is none.
    """
    text = url.reveal()
    options: dict[str, Any] = {}
    if text.startswith("rediss:"):
        tls = tls or RedisTls()
        options = {
            "ssl_ca_certs": tls.ca_file,
            "ssl_certfile": tls.client_cert,
            "ssl_keyfile": tls.client_key,
            "ssl_cert_reqs": "required" if tls.verify else "none",
            "ssl_check_hostname": tls.verify,
            "ssl_min_version": ssl.TLSVersion.TLSv1_2,
        }
    try:
        # A command is never repeated behind our back; a pause between two is for us to choose.
        return Redis.from_url(
            text,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
            **options,
        )
    except (ValueError, RedisError):
        raise ConfigError("store.url: expected redis://host:6379/0, rediss://… or unix:///path") from None


def place(redis: Redis) -> str:
    """Return where it is, without user name and password."""
    arguments = redis.connection_pool.connection_kwargs
    if "path" in arguments:
        return f"redis on {arguments['path']}"
    return f"redis at {arguments.get('host', 'localhost')}:{arguments.get('port', 6379)}"


def why(error: Exception) -> str:
    """Say what went wrong. Of a server's text only the first word is told, such as READONLY: it may hold anything."""
    cause = error.__cause__ if isinstance(error.__cause__, RedisError) else error
    if isinstance(cause, AuthenticationError | NoPermissionError):
        return "Redis lets this user or password not in"
    word = str(cause).partition(" ")[0]
    if isinstance(cause, ResponseError):
        return f"Redis refuses ({word if word.isupper() and word.isalpha() else type(cause).__name__})"
    if isinstance(error, TimeoutError | RedisTimeout):
        return "Redis did not answer in time (`store.timeout`)"
    return f"Redis cannot be reached ({type(error).__name__})"
