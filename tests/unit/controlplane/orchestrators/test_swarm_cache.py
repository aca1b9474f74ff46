"""What is read anew after which invalidation. What a reading shows is the contract suite's matter."""

from __future__ import annotations

import asyncio

from controlplane.orchestrators.swarm_cache import MANY, SwarmCache, shares
from reconcilers.ports import BlobView, NetworkView, Share, SwarmView, TaskView
from reconcilers.resources import naming
from tests.sim.loop import run
from tests.unit.reconcilers.database.scene import running


def labels(cluster: str, database: str) -> dict[str, str]:
    return {naming.CLUSTER: cluster, naming.DATABASE: database}


def view(*configs: BlobView) -> SwarmView:
    services = tuple(running().services.values())
    return SwarmView(
        at_s=0.0,
        services=services,
        networks=(
            NetworkView("n1", "orders-net", labels("default", "orders"), "overlay", "swarm", ()),
            NetworkView("n3", "theirs", labels("another", "orders"), "overlay", "swarm", ()),
            NetworkView("n4", "bridge", {}, "bridge", "local", ()),
        ),
        secrets=(BlobView("s1", "orders-x", labels("default", "orders")),),
        configs=(BlobView("c1", "shop-x", labels("default", "shop")), *configs),
        nodes=(),
        tasks=(
            TaskView("t1", services[0].id, "", "running", "running", "", ""),
            TaskView("t2", "else", "", "running", "running", "", ""),
        ),
    )


def test_each_database_has_its_own_and_nobody_elses() -> None:
    found = shares(view(), "default")
    orders, shop = found["orders"], found["shop"]

    assert set(found) == {"orders", "shop"}
    assert orders.services == running().services
    assert [*orders.networks] == ["orders-net"]
    assert ([*orders.secrets], [*orders.configs]) == (["orders-x"], [])
    assert [task.id for task in orders.tasks] == ["t1"]
    assert shop == Share(configs={"shop-x": view().configs[0]})


class Swarm:
    """Readings that take a second, and a world that is one number: what a reading shows is what it was at the start."""

    def __init__(self) -> None:
        self.number = 0
        self.read: list[str] = []
        self.fails = False
        self.cache = SwarmCache("default", lambda: self._read(""), self._read)

    async def _read(self, what: str) -> SwarmView:
        self.read.append(what)
        shown = self.number
        await asyncio.sleep(1)
        if self.fails:
            raise OSError("no answer")
        return view(
            *(BlobView(f"c-{name}-{shown}", str(shown), labels("default", name)) for name in ("a", "b"))
        )

    async def shown(self, database: str) -> int:
        return int(next(iter((await self.cache.share(database)).configs)))


def test_one_databases_change_is_one_databases_reading() -> None:
    async def story() -> None:
        swarm = Swarm()
        assert [await swarm.shown(name) for name in ("a", "b", "a")] == [0, 0, 0]
        swarm.number = 1
        swarm.cache.invalidate("a")
        assert [await swarm.shown(name) for name in ("a", "b", "a")] == [1, 0, 1]
        assert swarm.read == ["", "a"]
        swarm.number = 2
        swarm.cache.invalidate()
        assert [await swarm.shown(name) for name in ("a", "b")] == [2, 2]
        assert swarm.read == ["", "a", ""]
        assert swarm.cache.owner_of("c-a-2") == "a"
        assert swarm.cache.owner_of("c-a-1") is None

    run(story())


def test_a_reading_that_began_before_a_change_is_not_handed_to_who_asks_after_it() -> None:
    async def story() -> None:
        swarm = Swarm()
        await swarm.shown("a")
        for database in (None, "a"):
            swarm.number += 1
            swarm.cache.invalidate(database)
            early = asyncio.ensure_future(swarm.shown("a"))
            await asyncio.sleep(0.5)
            swarm.number += 1
            swarm.cache.invalidate("a")
            assert await swarm.shown("a") == swarm.number
            assert await early in (swarm.number - 1, swarm.number)

    run(story())


def test_an_older_whole_reading_does_not_replace_a_newer_part() -> None:
    async def story() -> None:
        swarm = Swarm()
        await swarm.shown("a")
        swarm.cache.invalidate()
        whole = asyncio.ensure_future(swarm.cache.view())
        await asyncio.sleep(0.5)
        swarm.number = 7
        swarm.cache.invalidate("b")
        assert await swarm.shown("b") == 7
        await whole
        assert (await swarm.shown("a"), await swarm.shown("b")) == (0, 7)
        assert len(await asyncio.gather(*(swarm.cache.view() for _ in range(5)))) == 5
        assert swarm.read == ["", "", "b", ""]

    run(story())


def test_a_reading_that_fails_or_is_cancelled_leaves_nothing_behind() -> None:
    async def story() -> None:
        swarm = Swarm()
        await swarm.shown("a")
        swarm.number = 1
        swarm.cache.invalidate("a")
        swarm.fails = True
        assert [type(e) for e in await asyncio.gather(swarm.shown("a"), return_exceptions=True)] == [OSError]
        swarm.fails = False
        cut = asyncio.ensure_future(swarm.shown("a"))
        await asyncio.sleep(0.5)
        cut.cancel()
        assert await swarm.shown("a") == 1

    run(story())


def test_many_changes_are_one_reading_of_everything_and_only_if_somebody_asks_for_them() -> None:
    async def story() -> None:
        swarm, many = Swarm(), [f"d{number}" for number in range(2 * MANY)]
        await swarm.shown("a")
        for name in many:
            swarm.cache.invalidate(name)
        swarm.number = 1
        swarm.cache.invalidate("a")
        assert await swarm.shown("a") == 1
        assert swarm.read == ["", "a"]

        for name in many:
            swarm.cache.invalidate(name, wanted=True)
        swarm.number = 2
        swarm.cache.invalidate("a")
        await asyncio.gather(*(swarm.cache.share(name) for name in many))
        assert await swarm.shown("a") == 2
        assert swarm.read == ["", "a", ""]

        swarm.cache.invalidate("a")
        await swarm.shown("a")
        assert swarm.read == ["", "a", "", "a"]

    run(story())


def test_what_has_not_changed_stays_the_same_object_in_the_next_reading_of_everything() -> None:
    async def story() -> None:
        swarm = Swarm()
        before = await swarm.cache.share("orders")
        swarm.cache.invalidate()
        assert await swarm.cache.share("orders") is before
        assert swarm.read == ["", ""]

    run(story())
