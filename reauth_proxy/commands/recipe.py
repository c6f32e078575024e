"""The configuration that `reauth-proxy init` writes, made of a few answers. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["issuer", "oauth2", "json"]
Source = Literal["login", "env", "file", "store"]


@dataclass(frozen=True, slots=True)
class Answers:
    """What somebody wants.

    Attributes:
        endpoint: the issuer's URL, or the token endpoint's, as `kind` says.
        secret_env, secret_file: where the client's secret is; neither for a public client.
        source: where the first refresh token comes from: a login, the environment, a file, or the store as it is.
        place: the variable's or the file's name.
        token_member: for json, what the request calls the refresh token.
        pointers: for json, where access token, refresh token and lifetime are in the answer.
        origins: pages of other origins that may call.
    """

    upstream: str
    kind: Kind
    endpoint: str
    listen: str = "localhost:8080"
    client_id: str = ""
    secret_env: str = ""
    secret_file: str = ""
    scope: str = ""
    source: Source = "login"
    place: str = ""
    token_member: str = "refreshToken"  # noqa: S105 - a name
    pointers: tuple[str, str, str] = ("/accessToken", "/refreshToken", "/expiresIn")
    origins: tuple[str, ...] = ()


def written(answers: Answers) -> str:
    """Return the file's text, which :func:`~reauth_proxy.config.load.load` accepts if the answers are fit."""
    return "\n".join([*_top(answers), *_credential(answers), *_rest(answers)]) + "\n"


def _top(answers: Answers) -> list[str]:
    return [
        "# reauth-proxy. Every key and its default: docs/configuration.md; check this file with",
        "#   reauth-proxy check --config FILE",
        "",
        "# Where your frontend and curl connect.",
        f"listen: {_text(answers.listen)}",
        "",
        "# The API. A path in it is put in front of every request's.",
        f"upstream: {_text(answers.upstream)}",
        "",
    ]


def _credential(answers: Answers) -> list[str]:
    return ["credential:", *_token(answers), "  token_endpoint:", *_endpoint(answers), ""]


def _token(answers: Answers) -> list[str]:
    match answers.source:
        case "env":
            why = "The first refresh token. Later ones are kept in the store, and win over it."
            return [f"  # {why}", f"  refresh_token: {{env: {_text(answers.place)}}}"]
        case "file":
            why = "The first refresh token; its owner alone may read the file. When it changes, it is taken over."
            return [f"  # {why}", f"  refresh_token: {{file: {_text(answers.place)}}}"]
        case "login":
            return ["  # The refresh token comes from: reauth-proxy login --config FILE"]
        case "store":
            return ["  # The refresh token comes from the store, the control plane (PUT /session), or `capture`."]


def _endpoint(answers: Answers) -> list[str]:
    if answers.kind == "json":
        access, refresh, expires = answers.pointers
        known = {"access_token": access, "refresh_token": refresh, "expires_in": expires}
        pointers = [f"{name}: {_text(pointer)}" for name, pointer in known.items() if pointer]
        return [
            "    type: json",
            f"    url: {_text(answers.endpoint)}",
            f'    body: {{{_text(answers.token_member)}: "{{refresh_token}}"}}',
            "    # Where the tokens are in the answer: JSON Pointers (RFC 6901).",
            f"    response: {{{', '.join(pointers)}}}",
            "    # What this API answers when the refresh token is no good any more.",
            "    denied_statuses: [400, 401, 403]",
        ]
    lines = [
        f"    {'issuer' if answers.kind == 'issuer' else 'url'}: {_text(answers.endpoint)}",
        f"    client_id: {_text(answers.client_id)}",
    ]
    if answers.secret_env:
        lines.append(f"    client_secret: {{env: {_text(answers.secret_env)}}}")
    elif answers.secret_file:
        lines.append(f"    client_secret: {{file: {_text(answers.secret_file)}}}")
    else:
        lines.append("    client_auth: none             # a public client; or client_secret: {env: NAME}")
    if answers.scope:
        lines.append(f"    scope: {_text(answers.scope)}")
    return lines


def _rest(answers: Answers) -> list[str]:
    origins = f"  origins: [{', '.join(map(_text, answers.origins))}]"
    if not answers.origins:
        origins = "  #origins: [http://localhost:5173]   # pages of another origin, such as a dev server's"
    return [
        "# Who may call: every program on this machine, and no web page but the proxy's own.",
        "access:" if answers.origins else "#access:",
        origins,
        "",
        "# Health, readiness, metrics and a status page.",
        "control:",
        "  listen: 127.0.0.1:8181",
    ]


def _text(value: str) -> str:
    """Return YAML for a text: as it is where nobody can take it for anything else, else quoted (YAML 1.2, 5.7)."""
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    quoted = (char if " " <= char <= "~" and char not in '"\\' else f"\\U{ord(char):08x}" for char in value)
    return f'"{"".join(quoted)}"'


#: Begins with a letter or a slash, and has nothing in it that YAML means something by.
_PLAIN: Final = re.compile(r"[A-Za-z/][\w./-]*(://[\w./-]+)?(:\d+[\w./-]*)?", re.ASCII)
_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
