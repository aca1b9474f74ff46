"""`feed.Leases` and the session on top. One suite, on the in-memory etcd and on the real one."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.stores.feed import LeaseLost
from controlplane.stores.session import Session
from reconcilers.ports import Put
from tests.contract.etcd_world import LIMIT_S, World, next_changes, until


async def test_a_lease_lasts_as_long_as_asked_for_and_is_renewed_in_full(world: World) -> None:
    lease = await world.leases.grant(20)
    assert lease.ttl_s == 20
    assert 18 <= await world.leases.time_to_live(lease.id) <= 20
    assert await world.leases.keep_alive(lease.id) == 20


async def test_each_lease_has_an_id_of_its_own(world: World) -> None:
    ids = {(await world.leases.grant(20)).id for _ in range(5)}
    assert len(ids) == 5
    assert 0 not in ids


async def test_a_revoked_lease_is_lost_and_revoking_again_is_fine(world: World) -> None:
    lease = await world.leases.grant(20)
    await world.leases.revoke(lease.id)
    await world.leases.revoke(lease.id)
    with pytest.raises(LeaseLost):
        await world.leases.keep_alive(lease.id)
    with pytest.raises(LeaseLost):
        await world.leases.time_to_live(lease.id)


async def test_a_lease_that_is_not_renewed_ends_with_everything_on_it(world: World) -> None:
    lease = await world.leases.grant(1)
    store = world.store(lambda: lease.id)
    await store.commit([Put("controllers/a", b"", leased=True)])

    start = (await world.feed.list("")).revision + 1
    async with world.feed.watch("", start) as watch:
        assert [change.path for change in await next_changes(watch, 1)] == ["controllers/a"]
    assert await store.read("controllers/a") is None
    with pytest.raises(LeaseLost):
        await world.leases.keep_alive(lease.id)


async def test_a_session_keeps_its_lease_beyond_the_time_to_live(world: World) -> None:
    session = Session(world.leases, world.clock, world.ids, ttl_s=2, margin_s=0.5)
    store = world.store(lambda: session.lease_id)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(session.run())
        await session.acquired()
        first = session.lease_id
        await store.commit([Put("controllers/a", b"", leased=True)])
        await asyncio.sleep(2.6)

        assert session.lease_id == first
        assert session.valid()
        assert await store.read("controllers/a") is not None
        running.cancel()


async def test_a_session_whose_lease_was_revoked_says_so_and_takes_a_new_one(world: World) -> None:
    lost: list[int] = []
    session = Session(world.leases, world.clock, world.ids, ttl_s=2, margin_s=0.5)
    session.on_lost(lost.append)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(session.run())
        await session.acquired()
        first = session.lease_id
        await world.leases.revoke(first)
        await until(lambda: session.lease_id not in (0, first))
        assert lost == [first]
        running.cancel()


async def test_closing_a_session_frees_what_it_held_at_once_and_for_good(world: World) -> None:
    session = Session(world.leases, world.clock, world.ids, ttl_s=30)
    store = world.store(lambda: session.lease_id)
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        running = group.create_task(session.run())
        await session.acquired()
        await store.commit([Put("controllers/a", b"", leased=True)])
        await session.close()

        assert await store.read("controllers/a") is None
        assert session.lease_id == 0
        assert not session.valid()
        await asyncio.sleep(0.2)
        assert session.lease_id == 0
        running.cancel()
