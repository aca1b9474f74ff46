"""When a name becomes a key to tidy up, and when it is only told of."""

from __future__ import annotations

import asyncio

from controlplane.sources.orphans import OrphanSource
from crds.meta import Key
from reconcilers.errors import Unavailable
from reconcilers.ports import BlobView, ServiceSpec, ServiceView, SwarmView
from tests.sim.agent_host import Etcd, Mirror
from tests.sim.clock import FakeClock
from tests.sim.loop import run
from tests.unit.controlplane.observers import Lines

ORDERS = Key("database", "orders")
LABELS = {"pgswarm.cluster": "c", "pgswarm.database": "orders"}
EMPTY = SwarmView(at_s=0, services=(), networks=(), secrets=(), configs=(), nodes=(), tasks=())
IDLE = SwarmView(
    at_s=0,
    services=(),
    networks=(),
    secrets=(BlobView("x1", "orders-x", LABELS),),
    configs=(),
    nodes=(),
    tasks=(),
)
ALIVE = SwarmView(
    at_s=0,
    services=(
        ServiceView("s1", 1, ServiceSpec(name="orders-n1-abcdef", labels=LABELS, image="", replicas=1)),
    ),
    networks=(),
    secrets=IDLE.secrets,
    configs=(),
    nodes=(),
    tasks=(),
)


class Scene:
    """A source on records that can be written; `views` are what Docker answers, None: nothing."""

    def __init__(self, *views: SwarmView | None) -> None:
        self.etcd, self.log, self.woken = Etcd(), Lines(), list[Key]()
        self.views = list(views)
        self.source = OrphanSource(
            self,
            Mirror(self.etcd),
            FakeClock(),
            self.log,
            cluster="c",
            period_s=60,
            wake=self.woken.append,
        )

    async def view(self) -> SwarmView:
        found = self.views.pop(0) if len(self.views) > 1 else self.views[0]
        if found is None:
            raise Unavailable("docker", "gone")
        return found

    def look(self, *views: SwarmView) -> list[Key]:
        for view in views:
            self.source.look(view)
        return sorted(self.source.keys())


def test_a_name_counts_when_two_looks_in_a_row_find_it() -> None:
    scene = Scene(EMPTY)

    assert scene.look(IDLE, EMPTY, IDLE) == []
    assert scene.woken == []
    assert scene.look(IDLE) == [ORDERS]
    assert scene.woken == [ORDERS]


def test_it_counts_no_more_and_its_owner_is_woken_when_it_is_gone() -> None:
    scene = Scene(EMPTY)
    scene.look(IDLE, IDLE)

    assert scene.look(EMPTY) == []
    assert scene.woken == [ORDERS, ORDERS]


def test_as_long_as_nothing_changes_nobody_is_woken() -> None:
    scene = Scene(EMPTY)
    scene.look(IDLE, IDLE, IDLE, IDLE)

    assert scene.woken == [ORDERS]


def test_a_database_with_a_record_is_none_at_once() -> None:
    for path in ("specs/database/orders", "accepted/database/orders"):
        scene = Scene(EMPTY)
        assert scene.look(IDLE, IDLE) == [ORDERS]
        scene.etcd.put(path, b"{}")

        assert sorted(scene.source.keys()) == []
        assert scene.look(IDLE, IDLE) == []


def test_what_runs_without_a_record_is_told_of_once_and_left_alone() -> None:
    scene = Scene(EMPTY)
    assert scene.look(ALIVE) == []
    assert scene.log.lines == []
    scene.look(ALIVE, ALIVE, ALIVE)

    assert scene.woken == []
    assert [(level, fields) for level, _, fields in scene.log.lines] == [
        ("warning", {"databases": ["orders"], "count": 1})
    ]


def test_what_has_begun_to_run_is_collected_no_more() -> None:
    scene = Scene(EMPTY)
    assert scene.look(IDLE, IDLE) == [ORDERS]

    assert scene.look(ALIVE) == []


def test_it_looks_once_a_period_and_goes_on_when_docker_does_not_answer() -> None:
    async def main() -> list[Key]:
        scene = Scene(None, IDLE)
        task = asyncio.ensure_future(scene.source.run())
        await asyncio.sleep(121)
        assert scene.source.keys() == frozenset()
        await asyncio.sleep(60)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert scene.log.at("warning") == ["cannot look for what deleted databases left behind"]
        return sorted(scene.source.keys())

    assert run(main()) == [ORDERS]
