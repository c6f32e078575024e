"""How people can sign in to a credential, as a configuration allows it. Pure."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from reauth_proxy.config.address import is_wildcard
from reauth_proxy.config.routes import home_of

if TYPE_CHECKING:
    from reauth_proxy.config.model import Config


def ways_in(config: Config, name: str, config_file: Path, url: str) -> str:
    """Return what to do to sign in, for a log line.

    Args:
        name: of the credential.
        config_file: the file that the daemon runs with.
        url: where the daemon listens.
    """
    endpoint = config.each_credential[name].token_endpoint
    # A command leaves the token in the store, which has to be one that the daemon shares with it.
    login = None if config.store.type == "memory" else _command(name, config_file)
    ways = []
    if endpoint.type == "oauth2" and (endpoint.issuer or endpoint.authorization_url):
        if login:
            ways.append(f"run `{login}`")
        if url.startswith("http") and config.access.client_token is None:  # a browser brings no such token
            choice = "" if name == next(iter(config.each_credential)) else f"?credential={name}"
            ways.append(f"open {_for_browsers(config, url)}/_reauth/login{choice} in a browser")
    elif endpoint.type == "oauth2" and endpoint.device_authorization_url and login:
        ways.append(f"run `{login} --device`")
    captured = [one.path for one in config.capture if _credential_of(config, one.path) == name]
    if captured:
        ways.append(f"log in through the proxy at {' or '.join(captured)}")
    if not ways and login:
        ways.append(f"pipe a refresh token into `{login} --stdin`")
    return ", or ".join(ways) or "put a refresh token into the configuration, as `refresh_token` of the credential"


def _command(name: str, config_file: Path) -> str:
    choice = "" if name == "default" else f" --credential {shlex.quote(name)}"
    return f"reauth-proxy login --config {shlex.quote(str(config_file))}{choice}"


def _for_browsers(config: Config, url: str) -> str:
    """Return where a browser on this machine finds the daemon, under a name that it answers to."""
    if config.listen.path is None and is_wildcard(config.listen.host):
        return f"http://localhost:{url.rpartition(':')[2]}"
    return url


def _credential_of(config: Config, path: str) -> str | None:
    home = home_of(path, config.each_route)
    return None if home is None else home.credential
