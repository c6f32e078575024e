"""Which answers of an upstream say that the token was rejected. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

_LETTER: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
#: A whole token, never a part of one: what makes no sense is passed over in linear time.
_NAME: Final = rf"(?<!{_LETTER}){_LETTER}++"
#: A comma outside of quotes; an unterminated quote reaches to the end of the field.
_ELEMENT: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*(?:"|\\?$))+', re.DOTALL)
_PARAMETER: Final = re.compile(rf'({_NAME})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)(?:"|\\?$)|({_NAME}))', re.DOTALL)
_SCHEME: Final = re.compile(rf"({_NAME})(?:[ \t]+|$)(?!=)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge (RFC 9110 section 11.6.1); scheme and parameter names in lower case, values unquoted."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse_challenges(value: str) -> Iterator[Challenge]:
    """Yield the challenges of one WWW-Authenticate field; what makes no sense is passed over."""
    challenge: Challenge | None = None
    for element in _ELEMENT.findall(value):
        element = element.strip(" \t")
        scheme = _SCHEME.match(element)
        if scheme:
            if challenge:
                yield challenge
            challenge = Challenge(scheme[1].lower())
            element = element[scheme.end() :]
        if challenge:
            # More than one in an element: servers that forget the commas.
            for name, quoted, plain in _PARAMETER.findall(element):
                challenge.parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or plain)
    if challenge:
        yield challenge


def rejects(status: int, challenges: Sequence[bytes | str], statuses: frozenset[int]) -> bool:
    """Tell whether an answer means that the token was rejected, so that a newer one may help.

    With challenges, one of them must be Bearer with another error than insufficient_scope (RFC 6750 section 3.1):
    a password that Basic asks for is not ours to give.

    Args:
        challenges: the values of the answer's WWW-Authenticate fields.
        statuses: the statuses that mean a rejected token.
    """
    if status not in statuses:
        return False
    if not challenges:
        return True
    some = False
    for value in challenges:
        for challenge in parse_challenges(value.decode("latin-1") if isinstance(value, bytes) else value):
            some = True
            if challenge.scheme == "bearer" and challenge.parameters.get("error", "").lower() != "insufficient_scope":
                return True
    return not some
