"""
Reading a JSON object field by field so that nothing in it goes unseen: what nobody takes is named. Pure.

Docker fills a stored spec with fields that say nothing (null, "", 0, false, [], {}): those count as absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def says_nothing(value: object) -> bool:
    """True for a value that Docker writes where a field was not given."""
    if isinstance(value, Mapping):
        return all(says_nothing(inner) for inner in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return len(value) == 0
    return not value


class Cursor:
    """
    One JSON object being read.

    Every `take` removes a field; a field of the wrong type is left and so becomes foreign. `close` adds the
    paths of what is left to the shared list. Values are never put there: they may be secret.
    """

    def __init__(self, raw: object, path: str = "", foreign: list[str] | None = None) -> None:
        self.foreign: list[str] = [] if foreign is None else foreign
        self.path = path
        self._left: dict[str, Any] = {}
        if isinstance(raw, Mapping):
            self._left = {str(key): value for key, value in raw.items()}
        elif not says_nothing(raw):
            self.refuse()

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def refuse(self, key: str = "") -> None:
        """Name a field, or the whole object, as foreign."""
        self.foreign.append(self.at(key) if key else self.path or "Spec")

    def has(self, key: str) -> bool:
        return not says_nothing(self._left.get(key))

    def text(self, key: str) -> str:
        value = self._left.get(key)
        if not isinstance(value, str):
            return ""
        del self._left[key]
        return value

    def number(self, key: str, default: int = 0) -> int:
        """An integer; `default` when the field is absent."""
        value = self._left.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            return default
        del self._left[key]
        return value

    def flag(self, key: str) -> bool:
        value = self._left.get(key)
        if not isinstance(value, bool):
            return False
        del self._left[key]
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._left.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return ()
        del self._left[key]
        return tuple(value)

    def mapping(self, key: str) -> dict[str, str]:
        """An object whose values are all text (labels)."""
        value = self._left.get(key)
        if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
            return {}
        del self._left[key]
        return {str(name): item for name, item in value.items()}

    def child(self, key: str) -> Cursor:
        """The object in a field; an empty one when absent. The caller closes it."""
        return Cursor(self._left.pop(key, None), self.at(key), self.foreign)

    def children(self, key: str, name: str) -> list[Cursor]:
        """The objects in a list; each is called after its field `name` in paths (`Mounts[/data]`)."""
        value = self._left.pop(key, None)
        if not isinstance(value, list):
            if not says_nothing(value):
                self.refuse(key)
            return []
        return [Cursor(item, f"{self.at(key)}[{_called(item, name)}]", self.foreign) for item in value]

    def tolerate(self, key: str, *values: object) -> None:
        """Take a field that Docker fills in; any other value than these is foreign."""
        if key in self._left and (self._left[key] in values or says_nothing(self._left[key])):
            del self._left[key]

    def close(self) -> None:
        for key, value in self._left.items():
            if not says_nothing(value):
                self.refuse(key)
        self._left = {}


def _called(item: object, name: str) -> str:
    value = item.get(name) if isinstance(item, Mapping) else None
    return str(value) if isinstance(value, str | int) else "?"
