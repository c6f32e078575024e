"""How people can sign in to a credential, as a configuration allows it. Pure."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

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
    login = f"reauth-proxy login --config {shlex.quote(str(config_file))}"
    if name != "default":
        login += f" --credential {shlex.quote(name)}"
    endpoint = config.each_credential[name].token_endpoint
    ways = []
    if endpoint.type == "oauth2" and (endpoint.issuer or endpoint.authorization_url):
        ways.append(f"run `{login}`")
        if url.startswith("http"):
            choice = "" if name == next(iter(config.each_credential)) else f"?credential={name}"
            ways.append(f"open {url}/_reauth/login{choice} in a browser")
    elif endpoint.type == "oauth2" and endpoint.device_authorization_url:
        ways.append(f"run `{login} --device`")
    captured = [one.path for one in config.capture if _credential_of(config, one.path) == name]
    if captured:
        ways.append(f"log in through the proxy at {' or '.join(captured)}")
    if not ways:
        ways.append(f"pipe a refresh token into `{login} --stdin`")
    return ", or ".join(ways)


def _credential_of(config: Config, path: str) -> str | None:
    home = home_of(path, config.each_route)
    return None if home is None else home.credential
