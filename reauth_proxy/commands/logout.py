"""``reauth-proxy logout``: revokes the tokens where that can be done, and wipes them from the store in any case."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from reauth_proxy.commands import keeping
from reauth_proxy.config.credential import Credential
from reauth_proxy.config.load import load
from reauth_proxy.config.model import Config
from reauth_proxy.daemon import sessions
from reauth_proxy.issuers.revocation import UNSUPPORTED, Revocation, revoke
from reauth_proxy.session.lineage import Lineage
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.system.hardening import keep_memory_private


def run(config_file: Path, name: str) -> int:
    """Sign out, and return the exit status: 1 if tokens that could have been revoked were not.

    Args:
        name: of the credential.

    Raises:
        ConfigError: the file cannot be used.
        LoginError, StoreError: the store could not be changed.
    """
    keep_memory_private()
    config = load(config_file)
    credential = keeping.chosen(config, name)
    try:
        revocation = asyncio.run(_logout(config, name, credential))
    except KeyboardInterrupt:
        click.echo("\nStopped.", err=True)
        return 1
    match revocation:
        case None:
            click.echo("Signed out. There was no session.")
        case Revocation("revoked"):
            click.echo("Signed out. The tokens are revoked and wiped from the store.")
        case Revocation("unsupported", problem):
            click.echo(f"Signed out. The tokens are wiped from the store, and not revoked: {problem}.")
        case Revocation("failed", problem):
            click.echo("Signed out. The tokens are wiped from the store.")
            click.echo(
                f"reauth-proxy: they could not be revoked: {problem}. Whoever has a copy may use it until it expires;"
                " end the session at the authorization server.",
                err=True,
            )
            return 1
    return 0


def signed_out(credential: Credential, present: StoredSession | None) -> StoredSession:
    """Return the record of a session that somebody ended. The configured refresh token does not bring it back."""
    lineage = Lineage()
    generation = 0
    if present is not None:
        lineage.learn(present)
        generation = present.generation
        if present.refresh_token is not None:
            lineage.end(present.refresh_token)
    if credential.configured is not None:
        lineage.configure(credential.configured)
    return lineage.record(None, generation=generation, signed_out="signed_out")


def in_force(credential: Credential, present: StoredSession | None) -> list[tuple[Secret | None, Secret | None]]:
    """Return the refresh and access tokens to revoke: the stored, and the configured one unless they replaced it.

    A refresh token that was used to get a newer one is not sent: that would look like a thief.
    """
    found: list[tuple[Secret | None, Secret | None]] = []
    if present is not None and present.refresh_token is not None:
        found.append((present.refresh_token, present.access_token))
    configured = credential.refresh_token
    if configured is not None and (present is None or configured.fingerprint() not in present.roots):
        found.append((configured, None))
    return found


async def _logout(config: Config, name: str, credential: Credential) -> Revocation | None:
    """Revoke and wipe; None if there was nothing to revoke."""
    endpoint = sessions.token_endpoint(config, name, sessions.tls_context(config.tls))
    store = keeping.opened(config, name, lambda text: click.echo(text, err=True))
    found: list[tuple[Secret | None, Secret | None]] = []

    def make(present: StoredSession | None) -> StoredSession:
        found.extend(in_force(credential, present))
        return signed_out(credential, present)

    try:
        # First of all nobody uses them any more; a daemon that is getting newer ones has those revoked itself.
        await keeping.change(store, make, lambda text: click.echo(text, err=True))
        outcomes = [await revoke(endpoint, *tokens, config.refresh.timeout) for tokens in found]
    finally:
        await endpoint.close()
        await store.close()
    failed = [outcome for outcome in outcomes if outcome.outcome == "failed"]
    return next(iter([*failed, *(one for one in outcomes if one == UNSUPPORTED), *outcomes]), None)
