"""
One YAML document into plain values, and where each stood. Knows no kind.

Stricter than YAML where YAML surprises: `no` and `on` are text, keys are unique, nothing refers to anything
(so a small text cannot become a large value), and size, depth and number of values are bounded before any of
them is built. JSON is accepted because it is YAML.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from crds.problems import Path, SpecProblem, dotted

SIZE_MAX_BYTES = 64 * 1024
DEPTH_MAX = 20
VALUES_MAX = 5000

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]*([eE][+-]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\ufeff]")


Place = tuple[int, int]
"""Line and column, from 1; both 0 when unknown."""
NOWHERE: Place = (0, 0)


@dataclass(slots=True)
class Document:
    """`value` is None when the text has no usable structure; `problems` then says why."""

    value: Any = None
    places: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Line and column, from 1, where the entry at a path starts (its key, in a map)."""
    problems: list[SpecProblem] = field(default_factory=list)

    def place(self, path: Path) -> tuple[int, int]:
        """Where `path` stands, or the nearest thing around it that stands somewhere."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, (0, 0))


class _Stop(Exception):
    """Reading further makes no sense."""

    def __init__(self, message: str, fix: str, place: Place = NOWHERE) -> None:
        self.problem = SpecProblem(*place, "", message, fix)


def _start(event: yaml.Event) -> Place:
    mark = event.start_mark
    return NOWHERE if mark is None else (mark.line + 1, mark.column + 1)


def _offset(text: str, index: int) -> Place:
    before = text[:index]
    return before.count("\n") + 1, index - before.rfind("\n")


def parse(text: bytes) -> Document:
    """Read one document. Never raises: whatever is wrong is among the problems."""
    document = Document()
    try:
        events = _events(_decode(text))
        _Builder(document).run(events)
    except _Stop as stop:
        document.value = None
        document.problems.append(stop.problem)
    except yaml.YAMLError as exc:
        document.value = None
        document.problems.append(_not_yaml(exc, text))
    return document


def _decode(text: bytes) -> str:
    if len(text) > SIZE_MAX_BYTES:
        raise _Stop(
            f"the text has {len(text)} bytes, more than {SIZE_MAX_BYTES}",
            "a spec is short: remove what is not one",
        )
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as exc:
        before = text[: exc.start].decode("utf-8")
        raise _Stop("the text is not UTF-8", "save it as UTF-8", _offset(before, len(before))) from None
    decoded = decoded.replace("\r\n", "\n")
    hidden = _FORBIDDEN.search(decoded)
    if hidden is not None:
        name = (
            "a byte order mark" if hidden[0] == "\ufeff" else f"the control character U+{ord(hidden[0]):04X}"
        )
        raise _Stop(f"the text has {name}", "remove it", _offset(decoded, hidden.start()))
    return decoded


def _events(text: str) -> Iterator[yaml.Event]:
    """Everything inside the one document; refuses what makes a text mean more than it says."""
    documents = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Stop("there is a second document", "keep one in a text", _start(event))
            if event.version or event.tags:
                raise _Stop("the text has a % directive", "remove it", _start(event))
        elif isinstance(event, yaml.AliasEvent):
            raise _Stop("aliases (*name) are not accepted", "write the value out", _start(event))
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            if event.anchor is not None:
                raise _Stop("anchors (&name) are not accepted", "remove it", _start(event))
            if event.tag is not None:
                raise _Stop("tags (!name) are not accepted", "remove it; quote what is text", _start(event))
            yield event
        elif isinstance(event, yaml.CollectionEndEvent):
            yield event
    if documents == 0:
        raise _Stop("the text is empty", "write a spec, or remove the key")


def _not_yaml(exc: yaml.YAMLError, text: bytes) -> SpecProblem:
    place, said = NOWHERE, None
    if isinstance(exc, yaml.MarkedYAMLError):
        mark, said = exc.problem_mark or exc.context_mark, exc.problem
        place = NOWHERE if mark is None else (mark.line + 1, mark.column + 1)
    if text.lstrip().startswith(b"%"):
        # Alone when `---` after it was taken for the end of a document.
        return SpecProblem(*place, "", "the text has a % directive", "remove it")
    line = text.split(b"\n")[place[0] - 1] if 0 < place[0] <= text.count(b"\n") + 1 else b""
    tab = b"\t" in line[: len(line) - len(line.lstrip())]
    fix = "indent with spaces, not tabs" if tab else "look at indentation, quotes and brackets around here"
    return SpecProblem(*place, "", f"this is not YAML: {said or 'it cannot be read'}", fix)


class _Builder:
    """Puts events together without recursion, so depth costs nothing but a counter."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._stack: list[tuple[Any, Path]] = []
        self._key: tuple[str, Place] | None = None
        self._values = 0

    def run(self, events: Iterator[yaml.Event]) -> None:
        for event in events:
            if isinstance(event, yaml.CollectionEndEvent):
                self._stack.pop()
                continue
            self._values += 1
            if self._values > VALUES_MAX:
                raise _Stop(f"the text has more than {VALUES_MAX} values", "a spec is short", _start(event))
            if self._expects_key():
                self._take_key(event)
            else:
                self._take_value(event)

    def _expects_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1][0], dict) and self._key is None

    def _take_key(self, event: yaml.Event) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            raise _Stop("a map has a list or a map as its key", "keys are words", _start(event))
        if event.value == "<<" and not event.style:
            raise _Stop("merge keys (<<) are not accepted", "write the fields out", _start(event))
        self._key = (self._text(event), _start(event))

    def _take_value(self, event: yaml.Event) -> None:
        path, place = self._next_place(event)
        self._document.places.setdefault(path, place)
        value = self._value(event, path)
        self._put(value, path, place)
        if isinstance(value, dict | list):
            if len(self._stack) >= DEPTH_MAX:
                raise _Stop(f"the text is more than {DEPTH_MAX} levels deep", "no spec is", _start(event))
            self._stack.append((value, path))

    def _next_place(self, event: yaml.Event) -> tuple[Path, Place]:
        if not self._stack:
            return (), _start(event)
        holder, path = self._stack[-1]
        if isinstance(holder, list):
            return (*path, len(holder)), _start(event)
        assert self._key is not None
        key, place = self._key
        return (*path, key), place

    def _put(self, value: Any, path: Path, place: Place) -> None:
        if not self._stack:
            self._document.value = value
            return
        holder = self._stack[-1][0]
        if isinstance(holder, list):
            holder.append(value)
            return
        key = path[-1]
        if key in holder:
            self._complain(place, path, "this field is given twice", "keep one of them")
        else:
            holder[key] = value
        self._key = None

    def _value(self, event: yaml.Event, path: Path) -> Any:
        if isinstance(event, yaml.MappingStartEvent):
            return {}
        if isinstance(event, yaml.SequenceStartEvent):
            return []
        assert isinstance(event, yaml.ScalarEvent)
        if event.style:  # libyaml says "" where plain YAML libraries say None
            return self._text(event)
        try:
            return resolve(event.value)
        except ValueError as exc:
            self._complain(_start(event), path, str(exc), "give a number in range, or put text in quotes")
            return None

    def _text(self, event: yaml.ScalarEvent) -> str:
        text: str = event.value
        hidden = _FORBIDDEN.search(text)
        if hidden is not None:
            what = f"the control character U+{ord(hidden[0]):04X}"
            raise _Stop(f"a text has {what}", "remove it", _start(event))
        return text

    def _complain(self, place: Place, path: Path, message: str, fix: str) -> None:
        self._document.problems.append(SpecProblem(*place, dotted(path), message, fix))


def resolve(text: str) -> Any:
    """
    What an unquoted word is: null, true, false, a number, or else the text itself.

    Raises:
        ValueError: A number that no field can hold.
    """
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text):
        if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
            raise ValueError("this number does not fit into 64 bits")
        return int(text)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("infinity and not-a-number are no values")
    if _DECIMAL.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError("this number is too large")
        return number
    return text
