"""The commands; the only place that prints.

Exit status: 0 well, 1 failed while running, 2 wrong usage or configuration.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import click

from reauth_proxy import __version__
from reauth_proxy.errors import ConfigError, ReauthError

FAILED: Final = 1
WRONG_USAGE: Final = 2

_CONFIG: Final = click.Path(path_type=Path)
_EXAMPLES: Final = """\b
Examples:
  reauth-proxy demo                          try it, with no file and no network
  reauth-proxy init                          a few questions, and a config file
  reauth-proxy check --config config.yaml    every mistake in a file, at once
  reauth-proxy login --config config.yaml    sign in with a browser
  reauth-proxy --config config.yaml          run; SIGTERM drains and ends it
  reauth-proxy status --config config.yaml   how it is
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
                if context.invoked_subcommand in ("check", "login", "logout", "status")
                else f"`{context.invoked_subcommand}` takes no --config."
            )
        return
    if config_file is None:
        click.echo(context.get_help(), err=True)
        context.exit(WRONG_USAGE)
    from reauth_proxy.system.process import spare_certificates

    with spare_certificates():
        from reauth_proxy.daemon.server import run
    context.exit(run(config_file))


@cli.command()
@click.option("-c", "--config", "config_file", type=_CONFIG, metavar="FILE", required=True, help="The file to check.")
@click.option("--probe", is_flag=True, help="Ask upstreams, authorization servers and stores, too. No token is sent.")
@click.pass_context
def check(context: click.Context, config_file: Path, probe: bool) -> None:
    """Tell every mistake in a config file, each with its line, its key and what to do.

    Exits with 0 if there is none, with 1 if somebody who was asked cannot be used, else with 2.

    \b
    Examples:
      reauth-proxy check --config config.yaml
      reauth-proxy check --config config.yaml --probe
    """
    from reauth_proxy.commands.check import run

    context.exit(run(config_file, probe=probe))


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
@click.option("-c", "--config", "config_file", type=_CONFIG, metavar="FILE", required=True, help="The daemon's file.")
@click.option("--watch", is_flag=True, help="Again each second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with everything that the status page shows.")
@click.pass_context
def status(context: click.Context, config_file: Path, watch: bool, as_json: bool) -> None:
    """Show what the running daemon says of itself; it is asked at `control.listen`.

    Exits with 0 only if it is ready: if a request could be served with a token now. That makes it a health check for
    containers. Else with 1, and with 2 if the file cannot be used.

    \b
    Examples:
      reauth-proxy status --config config.yaml
      reauth-proxy status --config config.yaml --watch
      reauth-proxy status --config config.yaml --json | jq .credentials
    """
    from reauth_proxy.commands.status import run

    context.exit(run(config_file, watch=watch, as_json=as_json))


@cli.command()
@click.option(
    "-o",
    "--output",
    type=_CONFIG,
    metavar="FILE",
    default=Path("config.yaml"),
    show_default=True,
    help="The file to write, with mode 0600.",
)
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.option("--upstream", metavar="URL", help="The API.")
@click.option("--kind", type=click.Choice(["issuer", "oauth2", "json"]), help="How new access tokens are had.")
@click.option("--endpoint", metavar="URL", help="The issuer (with --kind issuer), or the token endpoint.")
@click.option("--client-id", metavar="ID", help="The client's id.")
@click.option("--client-secret-env", "secret_env", metavar="NAME", help="The variable with the client's secret.")
@click.option("--client-secret-file", "secret_file", metavar="PATH", help="The file with the client's secret.")
@click.option("--scope", metavar="SCOPES", help="Scopes to ask for.")
@click.option("--token-member", metavar="NAME", help="What a hand-made API calls the refresh token in a request.")
@click.option(
    "--pointers",
    nargs=3,
    metavar="ACCESS REFRESH EXPIRES",
    default=None,
    help="Where a hand-made API's answer has the tokens, and the lifetime in seconds: JSON Pointers.",
)
@click.option(
    "--refresh-token-from",
    "source",
    type=click.Choice(["login", "env", "file", "store"]),
    help="Where the first refresh token comes from.",
)
@click.option("--refresh-token-place", "place", metavar="NAME", help="The variable or the file that has it.")
@click.option("--listen", metavar="ADDRESS", help="Where clients connect; localhost:8080 if not given.")
@click.option("--origin", "origins", multiple=True, metavar="ORIGIN", help="A page that may call; may be repeated.")
@click.option("--probe/--no-probe", "may_probe", default=None, help="Whether to ask the API and the token endpoint.")
@click.pass_context
def init(context: click.Context, /, output: Path, force: bool, may_probe: bool | None, **given: Any) -> None:
    """Ask a few questions, and write a commented config file that `check` accepts.

    What is given as an option is not asked for; with no terminal nothing is. No secret is asked for, only where it is.

    \b
    Examples:
      reauth-proxy init
      reauth-proxy init --upstream https://api.example.com --kind issuer \\
        --endpoint https://id.example.com --client-id web --refresh-token-from login
    """
    from reauth_proxy.commands.init import run

    context.exit(run(output, {**given, "origins": given["origins"] or None}, force=force, may_probe=may_probe))


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
