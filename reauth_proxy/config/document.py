"""YAML as a tree that knows its lines, and leaves each scalar as it was written.

YAML's own types are not used: whether ``0123``, ``on`` or ``10:30`` is text, a number or a switch, the key decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from reauth_proxy.config.problems import dotted

#: Characters that a file may have; and how deep and how large its tree may be, once aliases are followed.
CHARACTERS: Final = 1 << 20
DEPTH: Final = 32
NODES: Final = 50_000

#: Fewer brackets than that cannot nest as deep as any libyaml allows (1,000 levels in the newest).
_BRACKETS: Final = 256

_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TAGS: Final = frozenset({None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})

# The parser in C is an order of magnitude faster; a PyYAML built without it has only the other one.
_FastLoader: Final[type[yaml.SafeLoader]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NotYaml(Exception):
    """The text as a whole cannot be used.

    Args:
        line: counted from 1; 0 where no line is to blame.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True)
class Scalar:
    line: int
    value: str
    plain: bool

    @property
    def null(self) -> bool:
        return self.plain and self.value in _NULLS


@dataclass(slots=True)
class Sequence:
    line: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Mapping:
    """Values by key, each with the key's line."""

    line: int
    items: dict[str, tuple[int, Node]] = field(default_factory=dict)


Node = Scalar | Sequence | Mapping


class _Builder:
    """Makes the tree of one document from the parser's events."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._anchors: dict[str, Node] = {}
        self.problems: list[tuple[int, str]] = []

    def document(self) -> Node | None:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise NotYaml(_line(event), "a second document begins here; a file holds one, so remove the ---")
                root = self._node(next(self._events), 0)
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        line = _line(event)
        if depth > DEPTH:
            raise NotYaml(line, f"nested deeper than {DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            node = self._anchors.get(event.anchor or "")
            if node is None:
                raise NotYaml(line, "an alias (*) without its anchor (&); a value that begins with * needs quotes")
            return node
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if event.tag not in _TAGS:
            self.problems.append((line, "tags (!) are not supported; a value that begins with ! needs quotes"))
        if isinstance(event, yaml.ScalarEvent):
            scalar = Scalar(line, event.value, plain=event.style in (None, ""))
            return self._anchored(event, scalar)
        if isinstance(event, yaml.SequenceStartEvent):
            sequence = Sequence(line)
            while not isinstance(event_ := next(self._events), yaml.SequenceEndEvent):
                sequence.items.append(self._node(event_, depth + 1))
            return self._anchored(event, sequence)
        return self._anchored(event, self._mapping(Mapping(line), depth))

    def _mapping(self, mapping: Mapping, depth: int) -> Mapping:
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            line = _line(event)
            if not isinstance(key, Scalar):
                self.problems.append((line, "a key must be text, not a list or a mapping"))
            elif key.value in mapping.items:
                first = mapping.items[key.value][0]
                self.problems.append((line, f"{dotted((key.value,))}: duplicate key; it is on line {first} already"))
            else:
                mapping.items[key.value] = (line, value)
        return mapping

    def _anchored(self, event: yaml.NodeEvent, node: Node) -> Node:
        # Only once a node is whole: an alias can then never lead back into itself.
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0


def _explain(error: yaml.MarkedYAMLError, text: str) -> NotYaml:
    """Say in one line what the parser found, and what it most likely is."""
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 0
    problem = error.problem or "it cannot be parsed"
    if "undefined" in problem:  # what follows is of the file's text, and may be part of a secret without quotes
        problem = problem.partition(" '")[0]
    lines = text.splitlines()
    written = lines[line - 1] if 0 < line <= len(lines) else ""
    if written.lstrip(" ").startswith("\t"):
        problem += "; indent with spaces, not with tabs"
    elif re.search(r"[{\[,].*\$\{", written):
        problem += '; inside {…} and […] put quotes around "${NAME}"'
    elif re.search(r":\s+\[[0-9a-fA-F:]+\]:", written):
        problem += '; put quotes around an address such as "[::1]:8080"'
    elif "mapping values" in problem:
        problem += "; a value that holds a colon and a space needs quotes, and keys of one mapping begin in one column"
    return NotYaml(line, f"not valid YAML: {problem}")


def _loader(text: str) -> type[yaml.SafeLoader]:
    """Return a parser that leaves it to us to say how deep a text may nest.

    The parser in C (libyaml) reads ahead within brackets, and refuses deep nesting before it has told of the outer
    levels, in words that depend on its release. The parser in Python, which has no such limit, is a little slower.
    """
    return _FastLoader if text.count("[") + text.count("{") < _BRACKETS else yaml.SafeLoader


def parse(text: str) -> tuple[Node | None, list[tuple[int, str]]]:
    """Return the tree of a text, None if it holds nothing, and what is wrong within it, by line.

    Raises:
        NotYaml: there is no tree.
    """
    if len(text) > CHARACTERS:
        raise NotYaml(0, "larger than 1 MiB, and so hardly a configuration")
    found = _UNPRINTABLE.search(text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        raise NotYaml(line, f"the character U+{ord(found[0]):04X} cannot stand in a YAML file")
    builder = _Builder(iter(yaml.parse(text, Loader=_loader(text))))
    try:
        root = builder.document()
    except yaml.MarkedYAMLError as error:
        raise _explain(error, text) from None
    except yaml.YAMLError:
        raise NotYaml(0, "not valid YAML") from None
    return root, builder.problems
