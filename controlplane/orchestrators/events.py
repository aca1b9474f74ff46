"""
Docker's event stream as values. An accelerator, not a source of truth: whoever loses an event looks again.

Reconnects with back-off and asks for what was missed (`since`). Every (re)connection begins with a GAP, upon
which the reader of the stream looks at everything again: the engine keeps only its last 256 events.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from controlplane.orchestrators.door import DEPENDENCY, Door
from reconcilers.errors import RetryableError, Unavailable
from reconcilers.ports import Clock

KINDS = ("service", "network", "secret", "config", "node", "container", "volume")
ACTIONS = (
    "create",
    "update",
    "remove",
    "destroy",
    "start",
    "die",
    "kill",
    "stop",
    "oom",
    "pause",
    "unpause",
    "restart",
    "rename",
    "health_status",
)
"""Without exec_*: each health check would wake everybody. Without connect and mount: they go with start."""

GAP = "gap"
LINE_MAX = 1 << 20
"""Bytes; an event carries all labels of a container, and a container may be anybody's."""
FIRST_LOOK_BACK_S = 2.0
"""
Between the answer's first byte and the engine's subscription an event could be lost without looking back.
"""
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 10.0


@dataclass(frozen=True, slots=True)
class DockerEvent:
    kind: str
    """One of KINDS, or GAP: events may have been missed."""
    action: str = ""
    id: str = ""
    name: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Labels of a container; name, old and new state and the like of Swarm's objects."""
    time_ns: int = 0


class EventStream:
    """Events of one engine (on a manager also the Swarm's). One reader at a time."""

    def __init__(self, docker_url: str, clock: Clock) -> None:
        self._door = Door(docker_url)
        self._clock = clock
        self._since_ns = 0

    async def close(self) -> None:
        await self._door.close()

    async def events(self) -> AsyncGenerator[DockerEvent, None]:
        """For ever. Close it with `aclosing`. Raises nothing but what cancels it."""
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                async with aclosing(self._session()) as session:
                    async for event in session:
                        backoff_s = BACKOFF_FIRST_S
                        yield event
            except RetryableError:
                pass  # the next session begins with a GAP, which says it all
            await self._clock.sleep(backoff_s)
            backoff_s = min(BACKOFF_MAX_S, backoff_s * 2)

    async def _session(self) -> AsyncGenerator[DockerEvent, None]:
        """One connection. Ends, or raises Unavailable, when the engine ends it."""
        if not self._since_ns:
            self._since_ns = int((self._clock.epoch_s() - FIRST_LOOK_BACK_S) * 1e9)
        since = f"{self._since_ns // 1_000_000_000}.{self._since_ns % 1_000_000_000:09d}"
        filters = {"type": list(KINDS), "event": list(ACTIONS)}
        async with self._door.stream("events", filters=filters, since=since) as content:
            yield DockerEvent(GAP)
            lines = Lines()
            async for chunk in content.iter_any():
                for line in lines.feed(chunk):
                    event = parse(line)
                    self._since_ns = max(self._since_ns, event.time_ns)
                    yield event
        raise Unavailable(DEPENDENCY, "the event stream ended")


class Lines:
    """Bytes to lines, bounded: a line that is too long is dropped."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False

    def feed(self, chunk: bytes) -> list[bytes]:
        *ended, self._rest = (self._rest + chunk).split(b"\n")
        if ended and self._skipping:
            ended, self._skipping = ended[1:], False
        if len(self._rest) > LINE_MAX:
            self._rest, self._skipping = b"", True
        return [line for line in ended if line.strip()]


def parse(line: bytes) -> DockerEvent:
    """A line that is no event is a GAP: something happened, nobody knows what. Pure."""
    try:
        raw = json.loads(line)
        actor = raw.get("Actor") or {}
        attributes = {str(key): str(value) for key, value in (actor.get("Attributes") or {}).items()}
        return DockerEvent(
            kind=str(raw["Type"]),
            action=str(raw["Action"]).partition(":")[0],
            id=str(actor.get("ID", "")),
            name=attributes.get("name", ""),
            attributes=attributes,
            time_ns=int(raw.get("timeNano", 0)),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return DockerEvent(GAP)
