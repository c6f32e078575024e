"""`reauth-proxy init`: a few questions, and a configuration that runs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from reauth_proxy.commands.probe import probe, tell
from reauth_proxy.commands.recipe import Answers, Kind, Source, written
from reauth_proxy.config.load import parse
from reauth_proxy.config.model import Config

_KINDS: Final[Sequence[tuple[Kind, str]]] = (
    ("issuer", "OAuth 2.0 or OpenID Connect, found by the issuer's URL"),
    ("oauth2", "OAuth 2.0, with the token endpoint's URL"),
    ("json", "a hand-made API that takes a refresh token and answers JSON"),
)
_SOURCES: Final[Sequence[tuple[Source, str]]] = (
    ("login", "somebody logs in with a browser: reauth-proxy login"),
    ("env", "an environment variable"),
    ("file", "a file, such as a mounted secret"),
    ("store", "later: by the control plane, standard input, or a captured login"),
)

_POINTERS: Final = (
    ("access token", "/accessToken"),
    ("refresh token", "/refreshToken"),
    ("lifetime in seconds", "/expiresIn"),
)


def run(target: Path, given: dict[str, Any], *, force: bool, may_probe: bool | None) -> int:
    """Ask for what was not given, and write the file; return the exit status.

    Args:
        given: answers by the names of :class:`Answers`; None where somebody is to be asked.
        force: replace a file that there is.
        may_probe: ask the upstream and the token endpoint whether they are there; None: ask whether to.

    Raises:
        ConfigError: the answers make no configuration.
        click.ClickException: the file cannot be written, or nobody is there to be asked.
    """
    if target.exists() and not force:
        raise click.ClickException(f"{target} is there already; name another one, or add --force")
    answers = _ask(given)
    config = _checked(target, answers)
    if may_probe if may_probe is not None else _interactive() and _may_probe():
        asyncio.run(tell(probe(config, stores=False)))
    _write(target, written(answers), force=force)
    click.echo(f"\nWrote {target}. Next:")
    for line in _next(target, answers):
        click.echo(f"  {line}")
    return 0


def _checked(target: Path, answers: Answers) -> Config:
    """Return the configuration that the answers make; variables and files need not be there yet.

    Raises:
        ConfigError: they make none.
    """
    if answers.source == "file":
        answers = replace(answers, source="env", place="REFRESH_TOKEN")
    if answers.secret_file:
        answers = replace(answers, secret_file="", secret_env="CLIENT_SECRET")  # noqa: S106 - a name
    named = {name: "stands-in" for name in (answers.place, answers.secret_env) if name}
    return parse(written(answers), str(target), named, target.parent)


def _interactive() -> bool:
    return sys.stdin.isatty()


class _Questions:
    """Asks for what was not given. With no terminal, what has a usual answer gets that, and the rest is missed."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.answers: dict[str, Any] = {name: value for name, value in given.items() if value is not None}

    def text(self, name: str, question: str, usual: str | None = None) -> str:
        """Return an answer in words."""
        if name not in self.answers:
            if _interactive():
                self.answers[name] = click.prompt(question, default=usual, show_default=bool(usual))
            elif usual is None:
                raise click.UsageError(f"nobody is there to be asked; give --{name.replace('_', '-')}")
            else:
                self.answers[name] = usual
        return str(self.answers[name])

    def choice(self, name: str, question: str, choices: Sequence[tuple[str, str]]) -> str:
        """Return one of several; the first is the usual one."""
        if name not in self.answers:
            index = 1
            if _interactive():
                click.echo(question)
                for number, (_, words) in enumerate(choices, 1):
                    click.echo(f"  {number}  {words}")
                index = click.prompt("Which", type=click.IntRange(1, len(choices)), default=1)
            self.answers[name] = choices[index - 1][0]
        return str(self.answers[name])


def _ask(given: Mapping[str, Any]) -> Answers:
    """Return all answers."""
    ask = _Questions(given)
    ask.text("upstream", "The API's URL")
    kind = ask.choice("kind", "How are new access tokens had?", _KINDS)
    ask.text("endpoint", "The issuer's URL" if kind == "issuer" else "The token endpoint's URL")
    if kind == "json":
        ask.text("token_member", "What does the request call the refresh token?", "refreshToken")
        if "pointers" not in ask.answers:
            for what, usual in _POINTERS:
                ask.text(what, f"Where is the {what} in the answer (a JSON Pointer)?", usual)
            ask.answers["pointers"] = tuple(ask.answers.pop(what) for what, _ in _POINTERS)
    else:
        ask.text("client_id", "The client's id")
        if "secret_file" not in ask.answers:
            ask.text("secret_env", "The environment variable with the client's secret; empty for a public client", "")
        ask.text("scope", "Scopes to ask for", "openid offline_access" if kind == "issuer" else "")
    sources = _SOURCES if kind != "json" else (*_SOURCES[:0:-1],)
    source = ask.choice("source", "Where does the first refresh token come from?", sources)
    if source == "env":
        ask.text("place", "The variable's name", "REFRESH_TOKEN")
    elif source == "file":
        ask.text("place", "The file's path", "refresh-token")
    return Answers(**ask.answers)


def _may_probe() -> bool:
    return click.confirm("Ask the API and the token endpoint whether they are there? No token is sent", default=True)


def _write(target: Path, text: str, *, force: bool) -> None:
    """Write it for its owner's eyes alone: somebody may put a secret into it."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL) | os.O_NOFOLLOW
    try:
        descriptor = os.open(target, flags, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)
            file.write(text)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise click.ClickException(f"{target} cannot be written: {why}") from None


def _next(target: Path, answers: Answers) -> list[str]:
    """Return the commands that come next."""
    lines = [f"reauth-proxy check --config {target} --probe"]
    if answers.source == "login":
        lines.append(f"reauth-proxy login --config {target}")
    return [*lines, f"reauth-proxy --config {target}", f"curl -s {answers.listen}/…"]
