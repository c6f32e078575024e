"""What is removed, kept and added, on requests and on responses (RFC 9110 sections 5 and 7.6). Pure.

Fields are never turned into text or into a mapping: a list of (name, value) goes in, bytes come out, in order and with
repeats. What is to become of a name is looked up by its exact bytes; the answers for the spellings that clients and
upstreams really use fit into a small table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from reauth_proxy.errors import BadRequest

RawFields = Iterable[tuple[bytes, bytes]]

#: Hop-by-hop fields (RFC 9110 section 7.6.1, RFC 9112 section 7); HTTP2-Settings and Keep-Alive from older texts.
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

_COLON: Final = b": "
_CRLF: Final = b"\r\n"

# What becomes of a field.
PASS, DROP, HOST, CONNECTION, LENGTH, CODING, EXPECT, REQUEST_ID, NOTED, UPGRADE, TAKEN, CREDENTIALS, MARKED = range(13)

#: What the guard reads and the upstream gets (MARKED; TAKEN where the configuration removes it), and what the guard
#: alone gets (CREDENTIALS).
MARKED_NAMES: Final = frozenset({b"origin", b"sec-fetch-site", b"referer"})
CREDENTIAL_NAMES: Final = frozenset({b"reauth-client-token", b"authorization"})

#: How many spellings of names are remembered; beyond them, each is judged anew.
_REMEMBERED: Final = 1024


class _Table:
    """What becomes of each name, by its exact bytes; forgets nothing, learns up to a bound."""

    __slots__ = ("_dropped", "_prefixes", "_special", "known")

    def __init__(self, special: Mapping[bytes, int], dropped: Iterable[bytes], prefixes: tuple[bytes, ...]) -> None:
        self._special = dict(special)
        self._dropped = frozenset(dropped)
        self._prefixes = prefixes
        self.known: dict[bytes, int] = {}

    def judge(self, name: bytes) -> int:
        # An application that maps "_" to "-" (CGI does) must not mistake X_Forwarded_For for ours.
        lower = name.lower()
        kind = self._special.get(lower)
        if kind is None:
            dashed = lower.replace(b"_", b"-")
            dropped = dashed in self._dropped or dashed.startswith(self._prefixes)
            kind = DROP if dropped or (dashed != lower and dashed in self._special) else PASS
        if len(self.known) < _REMEMBERED:
            self.known[name] = kind
        return kind


def _names(value: bytes) -> set[bytes]:
    """Return the field names that a Connection field lists, lower-cased."""
    return {token for part in value.split(b",") if (token := part.strip().lower())}


def _without(lines: list[bytes], names: set[bytes]) -> list[bytes]:
    """Drop the lines whose field a Connection field named."""
    return [line for line in lines if line[: line.index(b":")].lower() not in names]


def _line(name: str, value: str) -> bytes:
    return f"{name}: {value}".encode("latin-1")


@dataclass(frozen=True, slots=True)
class FieldChanges:
    """What a configuration does to fields: `set` replaces, `default` adds where there is none, `remove` removes."""

    # Values may be secrets, such as an API key.
    set: Mapping[str, str] = field(default_factory=dict, repr=False)
    default: Mapping[str, str] = field(default_factory=dict, repr=False)
    remove: tuple[str, ...] = ()


class RequestFields:
    """A request's fields, filtered once and used for every try.

    What most requests do not have stands in the class.

    Attributes:
        lines: field lines to forward, without their ends.
        host: the client's Host.
        request_id: the client's X-Request-Id.
        length: its Content-Length; `coding`: its Transfer-Encoding; `expect`: its Expect; `upgrade`: its Upgrade.
        close: its Connection says so, whatever else it says.
        marks: names as they came and values, in turn, of the fields that say which page asks; None: there are none.
        credentials: names in lower case, and values, of what the client says who it is with.
    """

    host: bytes | None = None
    request_id: bytes | None = None
    length: bytes | None = None
    coding: bytes | None = None
    expect: bytes | None = None
    upgrade: bytes | None = None
    close = False
    marks: list[bytes] | None = None
    credentials: list[tuple[bytes, bytes]] | None = None

    def __init__(self) -> None:
        self.lines: list[bytes] = []


class RequestRules:
    """The rules for requests, compiled from the configuration."""

    def __init__(self, changes: FieldChanges) -> None:
        special = {
            b"host": HOST,
            b"connection": CONNECTION,
            b"content-length": LENGTH,
            b"transfer-encoding": CODING,
            b"expect": EXPECT,
            b"upgrade": UPGRADE,
            b"x-request-id": REQUEST_ID,
        }
        dropped = {name.lower().encode() for name in (*changes.remove, *changes.set)}
        self._defaults = {name.lower().encode(): _line(name, value) for name, value in changes.default.items()}
        self._marked_defaults = bool(MARKED_NAMES & set(self._defaults))
        special.update({name: NOTED for name in self._defaults if name not in dropped})
        special.update({name: TAKEN if name in dropped else MARKED for name in MARKED_NAMES})
        special.update(dict.fromkeys(CREDENTIAL_NAMES, CREDENTIALS))
        self._table = _Table(
            special,
            dropped | HOP_BY_HOP | {b"forwarded"},
            (b"proxy-", b"x-forwarded-", b"reauth-"),
        )
        self._set = _CRLF.join(_line(name, value) for name, value in changes.set.items())
        self._all_defaults = _CRLF.join(line for name, line in self._defaults.items() if name not in dropped)

    def filter(self, raw: RawFields) -> RequestFields:
        """Return what of a request's fields goes upstream. Raises BadRequest."""
        found = RequestFields()
        lines = found.lines
        known = self._table.known
        marks: list[bytes] | None = None
        noted: set[bytes] | None = None
        named: set[bytes] | None = None
        for name, value in raw:
            kind = known.get(name)
            if kind is None:
                kind = self._table.judge(name)
            if not kind:  # PASS
                lines.append(name + _COLON + value)
            elif kind == DROP:
                continue
            elif kind == MARKED:
                lines.append(name + _COLON + value)
                if marks is None:
                    marks = found.marks = []
                marks += name, value
                if self._marked_defaults and (lower := name.lower()) in self._defaults:
                    noted = {lower} if noted is None else noted | {lower}
            elif kind == HOST:
                if found.host is not None:
                    raise BadRequest("There is more than one Host field.")  # RFC 9112 section 3.2
                found.host = value
            elif kind == LENGTH:
                if value[:1] == b"0":
                    value = value.lstrip(b"0") or b"0"  # who takes 010 for octal must not see it
                found.length = value
                lines.append(name + _COLON + value)
            elif kind == NOTED:
                lines.append(name + _COLON + value)
                noted = {name.lower()} if noted is None else noted | {name.lower()}
            elif kind == CONNECTION:
                if value not in (b"keep-alive", b"close"):
                    named = _names(value) if named is None else named | _names(value)
                    found.close = found.close or b"close" in named
                elif value == b"close":
                    found.close = True
            elif kind == REQUEST_ID:
                found.request_id = value
            elif kind == CODING:
                found.coding = value if found.coding is None else found.coding + b"," + value
            elif kind == EXPECT:
                found.expect = value if found.expect is None else found.expect + b"," + value
            elif kind == UPGRADE:
                found.upgrade = value
            elif kind == TAKEN:
                if marks is None:
                    marks = found.marks = []
                marks += name, value
            else:
                found.credentials = [*(found.credentials or ()), (name.lower(), value)]
        if named:
            # Content-Length cannot be named away: the content's framing is not the client's to hide.
            found.lines = lines = _without(lines, named - {b"content-length"})
            if noted is not None:
                noted -= named
        if noted is None:
            if self._all_defaults:
                lines.append(self._all_defaults)
        else:
            lines.extend(line for name, line in self._defaults.items() if name not in noted)
        if self._set:
            lines.append(self._set)
        return found


class ResponseRules:
    """The rules for responses, compiled from the configuration."""

    def __init__(self, changes: FieldChanges) -> None:
        dropped = {name.lower().encode() for name in (*changes.remove, *changes.set)}
        self._table = _Table(
            {b"connection": CONNECTION},
            dropped | HOP_BY_HOP | {b"proxy-authenticate", b"proxy-authentication-info"},
            (b"reauth-", b"access-control-"),
        )
        self._set = _CRLF.join(_line(name, value) for name, value in changes.set.items())

    def filter(self, raw: RawFields) -> list[bytes]:
        """Return the field lines that go to the client, without their ends."""
        lines: list[bytes] = []
        known = self._table.known
        named: set[bytes] | None = None
        for name, value in raw:
            kind = known.get(name)
            if kind is None:
                kind = self._table.judge(name)
            if not kind:  # PASS
                lines.append(name + _COLON + value)
            elif kind == CONNECTION and value not in (b"keep-alive", b"close"):
                named = _names(value) if named is None else named | _names(value)
        if named:
            lines = _without(lines, named - {b"content-length"})
        if self._set:
            lines.append(self._set)
        return lines


def challenges(raw: RawFields) -> list[bytes]:
    """Return the values of a response's WWW-Authenticate fields."""
    return [value for name, value in raw if len(name) == 16 and name.lower() == b"www-authenticate"]
