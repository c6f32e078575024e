"""`reauth-proxy status`: what the running daemon says of itself."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from reauth_proxy.commands import dashboard
from reauth_proxy.commands.asking import Asking, NotRunning
from reauth_proxy.config.load import load
from reauth_proxy.errors import ConfigError

READY, NOT_READY = 0, 1
_EVERY: Final = 1.0
_CLEAR: Final = "\033[H\033[J"


def run(config_file: Path, *, watch: bool, as_json: bool) -> int:
    """Show it; return 0 if the daemon is ready, else 1.

    Raises:
        ConfigError: the file cannot be used, or turns the control plane off.
        NotRunning: nobody answers.
    """
    config = load(config_file)
    if config.control.listen is None:
        raise ConfigError(f"{config_file}: control.listen: it is null, so that there is nobody to ask; set an address")
    asking = Asking(config.control.listen, config.access.client_token)
    if watch:
        return _watch(asking, as_json=as_json)
    found = asking.status()
    _show(found, as_json=as_json)
    return READY if found["ready"] else NOT_READY


def _watch(asking: Asking, *, as_json: bool) -> int:
    """Show it each second until somebody has seen enough."""
    status = NOT_READY
    terminal = sys.stdout.isatty() and not as_json
    try:
        while True:
            try:
                found = asking.status()
            except NotRunning as error:
                status = NOT_READY
                click.echo(f"{_CLEAR if terminal else ''}{error}", err=not terminal)
            else:
                status = READY if found["ready"] else NOT_READY
                if terminal:
                    click.echo(_CLEAR, nl=False)
                _show(found, as_json=as_json)
            time.sleep(_EVERY)
    except KeyboardInterrupt:
        return status


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found))
        return
    width = shutil.get_terminal_size().columns
    for line in dashboard.lines(found, width):
        click.echo(line)
