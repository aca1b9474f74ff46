"""The logger as the machinery sees it: an event and its fields. structlog's bound loggers fit."""

from __future__ import annotations

from typing import Any, Protocol

from crds.meta import Key


class Log(Protocol):
    """Events are short constant sentences; what varies goes into the fields. Never a secret in either."""

    def bind(self, **new_values: Any) -> Log:
        """Return a logger that adds these fields to everything."""
        ...

    def debug(self, event: str, **fields: Any) -> Any: ...

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...

    def error(self, event: str, **fields: Any) -> Any:
        """`exc_info=<exception>` adds the traceback."""
        ...


def named(key: Key) -> dict[str, str]:
    """The fields by which lines about `key` are found: an instance is found by its database, too."""
    fields = {key.kind: key.name}
    if key.kind == "instance" and key.name.count("-") >= 2:
        fields["database"] = key.name.rsplit("-", 2)[0]
    return fields
