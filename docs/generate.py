"""Writes commands.md: what each command's --help says. `make docs` runs it; a test compares."""

from __future__ import annotations

from pathlib import Path

import click

from reauth_proxy.cli import cli

PAGE = Path(__file__).with_name("commands.md")
_HEAD = """# Commands

What `--help` says; `python -m reauth_proxy` is the same program. Exit status: 0 well, 1 failed while running, 2 wrong
usage or configuration. No secret is ever a flag.
"""


def commands() -> str:
    """Return the page's text."""
    parts = [_HEAD, _section(cli, "reauth-proxy", None)]
    root = click.Context(cli, info_name="reauth-proxy")
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None
        parts.append(_section(command, name, root))
    return "\n".join(parts)


def _section(command: click.Command, name: str, parent: click.Context | None) -> str:
    settings = {**cli.context_settings, **command.context_settings, "max_content_width": 100}
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100, **settings)
    title = name if parent is None else f"reauth-proxy {name}"
    return f"## {title}\n\n```text\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(commands())
