"""The commands; the only place that prints.

Exit status: 0 well, 1 failed while running, 2 wrong usage or configuration.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NoReturn

import click

from reauth_proxy import __version__
from reauth_proxy.errors import ConfigError, ReauthError

if TYPE_CHECKING:
    from reauth_proxy.config.credential import Credential
    from reauth_proxy.config.model import Config

FAILED: Final = 1
WRONG_USAGE: Final = 2

_CONFIG: Final = click.Path(path_type=Path)
_EXAMPLES: Final = """\b
Examples:
  reauth-proxy demo                          try it, with no file and no network
  reauth-proxy check --config config.yaml    every mistake in a file, at once
  reauth-proxy login --config config.yaml    sign in with a browser
  reauth-proxy --config config.yaml          run; SIGTERM drains and ends it
  reauth-proxy schema > schema.json          for your editor
"""


@click.group(
    invoke_without_command=True,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("-c", "--config", "config_file", type=_CONFIG, metavar="FILE", help="Run the daemon with this file.")
@click.version_option(__version__, prog_name="reauth-proxy", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, config_file: Path | None) -> None:
    """A local reverse proxy that keeps access tokens fresh.

    It forwards requests with a fresh token, parks those that meet an expired one behind one refresh, replays them, and
    tells the frontend to log out only when the session is really over.
    """
    if context.invoked_subcommand is not None:
        if config_file is not None:
            raise click.UsageError(
                f"--config goes behind the command: reauth-proxy {context.invoked_subcommand} --config FILE"
                if context.invoked_subcommand in ("check", "login", "logout")
                else f"`{context.invoked_subcommand}` takes no --config."
            )
        return
    if config_file is None:
        click.echo(context.get_help(), err=True)
        context.exit(WRONG_USAGE)
    from reauth_proxy.server import run

    context.exit(run(config_file))


@cli.command()
@click.option("-c", "--config", "config_file", type=_CONFIG, metavar="FILE", required=True, help="The file to check.")
def check(config_file: Path) -> None:
    """Tell every mistake in a config file, each with its line, its key and what to do.

    Exits with 0 if there is none, else with 2.

    \b
    Example:
      reauth-proxy check --config config.yaml
    """
    from reauth_proxy.config.load import load

    config = load(config_file)
    problems = list(_unusable(config))
    if problems:
        raise ConfigError(*(f"{config_file}: {problem}" for problem in problems))
    click.echo(f"{config_file} is fine.")
    for name, value in _summary(config):
        click.echo(f"  {name:<11}{value}")


def _unusable(config: Config) -> Iterator[str]:
    """Try what shows only when it is used: certificates and keys."""
    from reauth_proxy import assemble

    try:
        assemble.tls_context(config.tls)
    except ConfigError as error:
        yield from error.problems
    for name, credential in config.each_credential.items():
        try:
            assemble.store(config, name)
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


_CREDENTIAL: Final = click.option(
    "--credential", "name", default="default", metavar="NAME", help="Which of several credentials."
)


@cli.command()
@click.option("-c", "--config", "config_file", type=_CONFIG, metavar="FILE", required=True, help="The daemon's file.")
@_CREDENTIAL
@click.option("--device", "way", flag_value="device", help="Show a code to enter on another device (RFC 8628).")
@click.option("--stdin", "way", flag_value="stdin", help="Read a refresh token from standard input.")
@click.option("--browser/--no-browser", default=True, help="Whether to open a browser, or only say the address.")
@click.option(
    "--timeout",
    type=click.FloatRange(1, 3600),
    default=300.0,
    metavar="SECONDS",
    show_default=True,
    help="How long the person may take.",
)
@click.pass_context
def login(
    context: click.Context,
    config_file: Path,
    name: str,
    way: Literal["device", "stdin"] | None,
    browser: bool,
    timeout: float,
) -> None:
    """Sign in, and put the refresh token into the store; a running daemon goes on with it.

    Opens the authorization server's page in the browser, which comes back to a port on 127.0.0.1: the authorization
    code grant with PKCE (RFC 8252). On a machine without a browser, --device. Exits with 0 once the session is stored,
    with 1 if the login failed.

    \b
    Examples:
      reauth-proxy login --config config.yaml
      reauth-proxy login --config config.yaml --device
      pass show api/refresh-token | reauth-proxy login --config config.yaml --stdin
    """
    from reauth_proxy.commands.login import run

    context.exit(run(config_file, name, way or "browser", browser=browser, timeout=timeout))


@cli.command()
@click.option("-c", "--config", "config_file", type=_CONFIG, metavar="FILE", required=True, help="The daemon's file.")
@_CREDENTIAL
@click.pass_context
def logout(context: click.Context, config_file: Path, name: str) -> None:
    """Revoke the tokens (RFC 7009) where there is an endpoint for it, and wipe them from the store.

    A running daemon and others with the same store sign out. A revocation endpoint that cannot be reached keeps no
    token in the store: the exit status is 1 then, because copies of the tokens may be good still.

    \b
    Example:
      reauth-proxy logout --config config.yaml
    """
    from reauth_proxy.commands.logout import run

    context.exit(run(config_file, name))


@cli.command()
@click.option("--servers-only", is_flag=True, help="Run the authorization server and the API, and not the proxy.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    metavar="PORT",
    help="Where the proxy listens (with --servers-only, the servers); 0 is any free port.",
)
@click.pass_context
def demo(context: click.Context, servers_only: bool, port: int | None) -> None:
    """Run the proxy against an authorization server and an API of its own, all on loopback.

    Tokens expire every few seconds there. It prints curl lines to try, and needs no file and no network.

    \b
    Examples:
      reauth-proxy demo
      reauth-proxy demo --servers-only     then: reauth-proxy --config config.example.yaml
    """
    from reauth_proxy.demo import run

    context.exit(run(servers_only, port))


@cli.command()
def schema() -> None:
    """Print the configuration's JSON Schema, for editors.

    \b
    Example, with the first line of a config file for editors that use yaml-language-server:
      reauth-proxy schema > reauth-proxy.schema.json
      # yaml-language-server: $schema=reauth-proxy.schema.json
    """
    import json

    from reauth_proxy.config.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


def main() -> NoReturn:
    """Run the program: the console script, and ``python -m reauth_proxy``."""
    if sys.platform == "win32":
        click.echo("reauth-proxy runs on Linux and macOS; on Windows, install and run it in WSL", err=True)
        sys.exit(FAILED)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot show a name need not end us
    try:
        status = cli.main(prog_name="reauth-proxy", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(FAILED)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(WRONG_USAGE)
    except ReauthError as error:
        click.echo(f"reauth-proxy: {error}", err=True)
        sys.exit(FAILED)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    sys.exit(status if isinstance(status, int) else 0)
