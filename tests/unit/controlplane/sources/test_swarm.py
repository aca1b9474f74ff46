"""Which keys each Docker event wakes, and which readings it makes old."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.orchestrators.events import GAP, DockerEvent
from controlplane.sources.swarm import SwarmSource
from crds.meta import Key
from reconcilers.ports import ServiceSpec
from tests.sim.clock import FakeClock
from tests.sim.engine import FakeEngine
from tests.sim.loop import run
from tests.sim.swarm import FakeEventStream, FakeOrchestrator
from tests.sim.swarm_world import SwarmWorld

LABELS = {"pgswarm.cluster": "c", "pgswarm.database": "orders"}
KNOWN = ["orders", "orders-eu", "shop"]


class Woken:
    """A source on a fake Swarm, and what it woke and invalidated."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.invalidated: list[str] = []
        self.source = SwarmSource(
            FakeEventStream(SwarmWorld(("host-1",), lambda: ""), ""),
            self._Reading(self, "swarm"),
            self._Reading(self, "engine"),
            cluster="c",
            databases=lambda: KNOWN,
            instances=lambda: ["shop-n1-abcdef"],
            wake_database=self.keys.append,
            wake_instance=self.keys.append,
        )

    class _Reading:
        def __init__(self, owner: Woken, name: str) -> None:
            self._owner, self._name = owner, name

        def invalidate(self, database: str | None = None) -> None:
            self._owner.invalidated.append(self._name if database is None else f"{self._name} {database}")

        def owner_of(self, identity: str) -> str | None:
            return "orders" if identity in ("s1", "n1", "x1", "f1") else None


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(
            DockerEvent("service", "remove", "s1", "orders-n1-abcdef"), ["orders"], id="known by ID"
        ),
        pytest.param(DockerEvent("network", "remove", "n1", "whatever"), ["orders"], id="network by ID"),
        pytest.param(DockerEvent("secret", "remove", "x1", "odd-name"), ["orders"], id="secret by ID"),
        pytest.param(DockerEvent("config", "remove", "f1", "odd-name"), ["orders"], id="config by ID"),
        pytest.param(
            DockerEvent("service", "create", "s9", "shop-fence"), ["shop", "shop-fence"], id="new: by name"
        ),
        pytest.param(
            DockerEvent("service", "create", "s9", "orders-eu-n1-abcdef"),
            ["orders", "orders-eu", "orders-eu-n1", "orders-eu-n1-abcdef"],
            id="several could be",
        ),
        pytest.param(DockerEvent("service", "create", "s9", ""), [], id="nobody's"),
        pytest.param(DockerEvent("node", "update", "any", "host-1"), KNOWN, id="a node concerns all"),
    ],
)
def test_whose_an_event_is(event: DockerEvent, expected: list[str]) -> None:
    woken = Woken()
    woken.source.handle(event)

    assert [key.name for key in woken.keys] == expected


SHOP = {"pgswarm.cluster": "c", "pgswarm.database": "shop", "pgswarm.instance": "shop-n1-abcdef"}
BOTH = [Key("database", "shop"), Key("instance", "shop-n1-abcdef")]


@pytest.mark.parametrize(
    ("event", "keys", "invalidated"),
    [
        pytest.param(
            DockerEvent(GAP),
            [*(Key("database", name) for name in KNOWN), Key("instance", "shop-n1-abcdef")],
            ["swarm", "engine"],
            id="a gap wakes all",
        ),
        pytest.param(
            DockerEvent("service", "update", "s1", "x"),
            [Key("database", "orders")],
            ["swarm orders"],
            id="a service",
        ),
        pytest.param(
            DockerEvent("container", "die", "c", "x", SHOP),
            BOTH,
            ["engine", "swarm shop"],
            id="our container",
        ),
        pytest.param(
            DockerEvent("container", "die", "c", "x", {**SHOP, "pgswarm.cluster": "d"}),
            [],
            [],
            id="another cluster's container",
        ),
        pytest.param(DockerEvent("container", "die", "c", "x", {}), [], [], id="somebody's container"),
        pytest.param(
            DockerEvent("volume", "destroy", "shop-n1-abcdef-12345678"),
            [Key("instance", "shop-n1-abcdef")],
            ["engine"],
            id="our volume",
        ),
        pytest.param(
            DockerEvent("node", "update", "any", "host-1"),
            [Key("database", name) for name in KNOWN],
            ["swarm"],
            id="a node",
        ),
        pytest.param(DockerEvent("volume", "destroy", "other"), [], ["engine"], id="somebody's volume"),
    ],
)
def test_what_an_event_wakes(event: DockerEvent, keys: list[Key], invalidated: list[str]) -> None:
    woken = Woken()

    woken.source.handle(event)

    assert (woken.keys, woken.invalidated) == (keys, invalidated)


def test_a_service_removed_by_hand_wakes_its_database_and_the_next_reading_shows_it() -> None:
    async def main() -> tuple[list[Key], int]:
        clock = FakeClock()
        world = SwarmWorld(("host-1",), clock.now)
        node = world.node_id("host-1")
        orchestrator = FakeOrchestrator(world, "c", clock)
        engine = FakeEngine(world.engines[node], "c", clock)
        service_id = await orchestrator.create_service(ServiceSpec(name="odd", labels=LABELS, image="x"))
        await orchestrator.view()
        woken: list[Key] = []
        source = SwarmSource(
            FakeEventStream(world, node),
            orchestrator,
            engine,
            cluster="c",
            databases=list,
            instances=list,
            wake_database=woken.append,
            wake_instance=woken.append,
        )
        running = asyncio.ensure_future(source.run())
        await asyncio.sleep(1)
        world.remove_service(service_id)
        await asyncio.sleep(1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return woken, len((await orchestrator.view()).services)

    assert run(main()) == ([Key("database", "orders")], 0)
