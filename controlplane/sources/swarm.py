"""Docker events to wake-ups: each invalidates the reading it concerns and wakes the keys it may concern."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Protocol

from controlplane.orchestrators.events import GAP, DockerEvent
from crds.meta import Key

DATABASE = "pgswarm.database"
INSTANCE = "pgswarm.instance"
CLUSTER = "pgswarm.cluster"

SWARM_KINDS = ("service", "network", "secret", "config", "node")
ENGINE_KINDS = ("container", "volume")


class Events(Protocol):
    def events(self) -> AsyncGenerator[DockerEvent, None]: ...


class SwarmReading(Protocol):
    def invalidate(self, database: str | None = None) -> None: ...

    def owner_of(self, identity: str) -> str | None: ...


class EngineReading(Protocol):
    def invalidate(self) -> None: ...


class SwarmSource:
    """
    Runs for ever beside the queues.

    Args:
        databases: Names of the databases that are known now; for events that do not say whose they are.
        instances: Names of the instances on this host that are known now.
        wake_database, wake_instance: Put the key into its queue; must not block.
    """

    def __init__(
        self,
        events: Events,
        orchestrator: SwarmReading,
        engine: EngineReading,
        *,
        cluster: str,
        databases: Callable[[], Iterable[str]],
        instances: Callable[[], Iterable[str]],
        wake_database: Callable[[Key], None],
        wake_instance: Callable[[Key], None],
    ) -> None:
        self._events = events
        self._orchestrator = orchestrator
        self._engine = engine
        self._cluster = cluster
        self._databases = databases
        self._instances = instances
        self._wake_database = wake_database
        self._wake_instance = wake_instance

    async def run(self) -> None:
        async with aclosing(self._events.events()) as events:
            async for event in events:
                self.handle(event)

    def handle(self, event: DockerEvent) -> None:
        """Take one event; returns at once. Only a gap and a node cost more the more databases there are."""
        if event.kind == GAP:
            self._orchestrator.invalidate()
            self._engine.invalidate()
            self._wake(sorted(self._databases()), sorted(self._instances()))
        elif event.kind in SWARM_KINDS:
            names = self._databases_of(event)
            self._invalidate(() if event.kind == "node" else names)
            self._wake(names, [])
        elif event.kind in ENGINE_KINDS:
            self._handle_local(event, sorted(self._instances()))

    def _databases_of(self, event: DockerEvent) -> list[str]:
        """
        Which databases an event of a Swarm object may concern.

        Such events carry no labels, only ID and name. First the newest reading is asked, then the name: all
        objects of a database begin with its name. One too many woken costs a pass without calls; one too few
        costs a resync.
        """
        if event.kind == "node":
            return sorted(self._databases())
        owner = self._orchestrator.owner_of(event.id)
        return [owner] if owner is not None else names_in(event.name)

    def _handle_local(self, event: DockerEvent, local: list[str]) -> None:
        if event.kind == "container" and event.attributes.get(CLUSTER) != self._cluster:
            return
        self._engine.invalidate()
        instances = instances_of(event, local)
        if not instances and event.kind == "volume":
            return
        # A container that comes or goes is a task that changed, which Swarm itself reports to nobody.
        database = event.attributes.get(DATABASE, "")
        if event.kind == "container":
            self._invalidate([database] if database else ())
        self._wake([database] if database else [], instances)

    def _invalidate(self, databases: Sequence[str]) -> None:
        """Without a name: everything."""
        for name in databases or (None,):
            self._orchestrator.invalidate(name)

    def _wake(self, databases: Iterable[str], instances: Iterable[str]) -> None:
        for name in databases:
            self._wake_database(Key("database", name))
        for name in instances:
            self._wake_instance(Key("instance", name))


def names_in(name: str) -> list[str]:
    """Every database that an object of this name could belong to. Pure."""
    parts = name.split("-") if name else []
    return ["-".join(parts[:count]) for count in range(1, len(parts) + 1)]


def instances_of(event: DockerEvent, local: list[str]) -> list[str]:
    """Which instances of this host an event of a container or volume may concern. Pure."""
    labelled = event.attributes.get(INSTANCE, "")
    if labelled:
        return [labelled]
    name = event.name or event.id  # a volume's ID is its name: <instance>-<incarnation>
    return [instance for instance in local if name == instance or name.startswith(f"{instance}-")]
