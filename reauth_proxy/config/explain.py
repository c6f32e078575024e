"""What pydantic found, in the words of a person who reads a configuration file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from reauth_proxy.config.model import Config
from reauth_proxy.config.problems import Path, got, listed

#: What to write for keys that must be there.
_EXAMPLES: Final = {
    ("upstream",): "`upstream: https://api.example.com`",
    ("capture", "path"): "`path: /v1/auth/login`",
    ("capture", "access_token"): "`access_token: /accessToken`",
    ("capture", "refresh_token"): "`refresh_token: /refreshToken`",
    ("credential",): "`credential:` with a `token_endpoint:` in it",
    ("routes", "path"): "`path: /billing`",
    ("routes", "upstream"): "`upstream: https://billing.example.com`",
    ("credential", "token_endpoint"): "`token_endpoint: {url: https://id.example.com/oauth2/token, client_id: web}`",
    ("credential", "token_endpoint", "client_id"): "`client_id: web`",
    ("credential", "token_endpoint", "url"): "`url: https://api.example.com/refresh`",
    ("credential", "token_endpoint", "response"): "`response: {access_token: /accessToken}`",
    ("credential", "token_endpoint", "response", "access_token"): "`access_token: /accessToken`",
}
#: How many unknown keys get a search for the name that was meant; it takes time.
_GUESSED: Final = 100


def sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Return the models that a field may hold: one as a rule, two for a choice by `type`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for part in get_args(annotation):
            yield from sections(part)


def keys(model: type[BaseModel] = Config, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Return every key of the configuration with its path; keys of a choice by `type` one after the other."""
    for name, field in model.model_fields.items():
        yield (*path, name), field
        if name == "credentials":  # each has the keys of `credential`
            continue
        for section in sections(field.annotation):
            yield from keys(section, (*path, name))


def explain(error: ValidationError) -> list[tuple[Path, str]]:
    """Return each problem with the path of its key."""
    problems: list[tuple[Path, str]] = []
    guesses = 0
    for detail in error.errors(include_url=False):
        kind = detail["type"]
        if kind == "default_factory_not_called":  # the default depends on a key that is told about already
            continue
        path, tag = _path(detail["loc"])
        context: Mapping[str, Any] = detail.get("ctx", {})
        if kind == "value_error":
            message = str(context["error"])
        elif kind == "missing":
            message = _missing(path)
        elif kind == "extra_forbidden":
            guesses += 1
            message = _unknown(path, tag) if guesses <= _GUESSED else "unknown key"
        elif kind == "union_tag_invalid":
            path = (*path, "type")
            value = detail["input"].get("type") if isinstance(detail["input"], dict) else None
            message = f"expected oauth2 or json, {got(value)}"
        else:
            message = f"expected {_SHAPES.get(kind, 'something else')}, {got(detail['input'])}"
        problems.append((path, message))
    return problems


_SHAPES: Final = {
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "dict_type": "a mapping of names to values",
    "tuple_type": "a list such as [a, b]",
}


def _path(location: tuple[str | int, ...]) -> tuple[Path, str | None]:
    """Return the path that a person knows, and the `type` that was chosen on the way."""
    if location[-1:] == ("[key]",):
        location = location[:-1]
    # `credential.token_endpoint`, or `credentials.NAME.token_endpoint`, and then which type of it.
    at = {"credential": 1, "credentials": 2}.get(str(location[0]), len(location)) if location else 0
    if location[at : at + 1] == ("token_endpoint",) and len(location) > at + 1:
        return (*location[: at + 1], *location[at + 2 :]), str(location[at + 1])
    return location, None


def _missing(path: Path) -> str:
    return f"required, such as {_EXAMPLES[_known(path)]}"


def _known(path: Path) -> tuple[str, ...]:
    """Return the path under which the reference has a key: no places in lists, no names of credentials."""
    if path[:1] == ("credentials",) and len(path) > 2:
        path = ("credential", *path[2:])
    return tuple(part for part in path if isinstance(part, str))


def _unknown(path: Path, tag: str | None) -> str:
    """Say which key was meant: one beside it, one of the same name elsewhere, or name those that there are."""
    import difflib

    *above, name = _known(path)
    parent, name = tuple(above), name[:64]
    everywhere = list(keys())
    here = [
        other[-1]
        for other, field in everywhere
        if other[:-1] == parent and (tag is None or len(parent) > 2 or _of(tag, other[-1]))
    ]
    elsewhere = dict.fromkeys(".".join(other) for other, _ in everywhere if other[-1] == name)
    if ".".join((*parent, name)) in elsewhere:
        return f"unknown key with `type: {tag}`"
    if elsewhere:
        meant = [f"`{other}`" for other in elsewhere]
        return f"unknown key here; did you mean {listed(meant) if len(meant) < 4 else meant[0]}?"
    close = difflib.get_close_matches(name.lower(), here, n=1, cutoff=0.65)
    if close:
        return f"unknown key; did you mean `{close[0]}`?"
    return f"unknown key; expected {listed(sorted(set(here)))}"


def _of(tag: str, name: str) -> bool:
    """Tell whether a key belongs to that type of token endpoint."""
    return any(
        tag == section.model_fields["type"].annotation.__args__[0] and name in section.model_fields  # type: ignore[union-attr]
        for section in sections(dict(keys())["credential", "token_endpoint"].annotation)
    )
