"""`reauth-proxy check`: every mistake at once, what the file makes the daemon do, and whether others are there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reauth_proxy.config.load import load
from reauth_proxy.errors import ConfigError

if TYPE_CHECKING:
    from reauth_proxy.config.credential import Credential
    from reauth_proxy.config.model import Config


def run(config_file: Path, *, probe: bool) -> int:
    """Check a file; return the exit status.

    Raises:
        ConfigError: it cannot be used.
    """
    config = load(config_file)
    warnings: list[str] = []
    problems = list(_unusable(config, warnings))
    if problems:
        raise ConfigError(*(f"{config_file}: {problem}" for problem in problems))
    click.echo(f"{config_file} is fine.")
    for name, value in _summary(config):
        click.echo(f"  {name:<11}{value}")
    for warning in warnings:
        click.echo(f"{config_file}: {warning}", err=True)
    return asyncio.run(_probed(config)) if probe else 0


async def _probed(config: Config) -> int:
    """Ask everybody, and tell what came of it; return 1 if somebody cannot be used."""
    from reauth_proxy.commands.probe import probe, tell

    return await tell(probe(config))


def _unusable(config: Config, warnings: list[str]) -> Iterator[str]:
    """Try what shows only when it is used: certificates, keys and stores; what is only odd goes into `warnings`."""
    from reauth_proxy.daemon import sessions

    def warn(event: str, /, *, credential: str, problem: str) -> None:
        warnings.append(f"store: {credential}: {problem}")

    try:
        sessions.tls_context(config.tls)
    except ConfigError as error:
        yield from error.problems
    for name, credential in config.each_credential.items():
        try:
            sessions.store(config, name, warn, settle=False)
        except ConfigError as error:
            yield from error.problems
        endpoint = credential.token_endpoint
        if endpoint.type == "oauth2" and endpoint.private_key is not None:
            from reauth_proxy.issuers.client_auth import Signer

            try:
                Signer(endpoint.private_key, algorithm=endpoint.private_key_alg).assertion(endpoint.client_id, "check")
            except ConfigError as error:
                key = f"credentials.{name}" if config.credentials else "credential"
                yield from (f"{key}.token_endpoint: {problem}" for problem in error.problems)


def _summary(config: Config) -> list[tuple[str, str]]:
    """Say in a few lines what a configuration makes the daemon do; no secret among it."""
    store = config.store
    routes = [("upstream", str(config.upstream))]
    if config.routes:
        routes = [("route", f"{route.path} to {route.upstream} as {route.credential}") for route in config.routes]
    named = "" if config.credentials is None else "{}: "
    return [
        ("listen", str(config.listen)),
        *routes,
        *(("credential", named.format(name) + _described(one)) for name, one in config.each_credential.items()),
        ("store", store.type if store.path is None else f"{store.type} {store.path}"),
    ]


def _described(credential: Credential) -> str:
    endpoint = credential.token_endpoint
    if endpoint.type == "oauth2":
        at = endpoint.url or endpoint.issuer
        assert at is not None
        where = f"oauth2 at {at.shown} as {endpoint.client_id} ({endpoint.client_auth})"
    else:
        where = f"json, {endpoint.method} {endpoint.url.shown}"
    given = "a refresh token is configured" if credential.refresh_token else "the refresh token is in the store"
    if credential.grant == "client_credentials":
        given = "the client asks for itself"
    return f"{where}; {given}"
