"""The mirror on a feed: `ports.Records`. One suite, on the in-memory etcd and on the real one."""

from __future__ import annotations

import asyncio

from controlplane.sources.changes import Changed
from controlplane.sources.etcd import Mirror
from controlplane.sources.follower import Rhythm
from reconcilers.ports import Put, Record, Remove, Write
from tests.contract.etcd_world import LIMIT_S, World, mirrored, until


async def test_the_first_list_fills_the_mirror(world: World) -> None:
    revision = await world.store().commit([Put("specs/database/b", b"2"), Put("patroni/b-n1/leader", b"p")])
    async with mirrored(world) as mirror:
        assert mirror.get("specs/database/b") == Record("specs/database/b", b"2", revision, revision)
        assert mirror.get("patroni/b-n1/leader") is not None
        assert mirror.get("specs/database/absent") is None
        assert mirror.revision >= revision
        assert mirror.last_error == ""


async def test_what_was_committed_can_be_read_once_reached(world: World) -> None:
    store = world.store()
    async with mirrored(world) as mirror, asyncio.timeout(LIMIT_S):
        for number in range(30):
            path = f"status/database/db-{number}" if number % 2 else f"patroni/db-{number}/config"
            revision = await store.commit([Put(path, b"%d" % number)])
            await mirror.reached(revision)
            read = mirror.get(path)
            assert read is not None
            assert read.mod_revision == revision
            assert mirror.revision >= revision


async def test_reached_waits_for_every_prefix_that_a_commit_wrote_to(world: World) -> None:
    store = world.store()
    async with mirrored(world) as mirror, asyncio.timeout(LIMIT_S):
        for number in range(30):
            value = b"%d" % number
            revision = await store.commit([Put("status/x", value), Put("patroni/x/config", value)])
            await mirror.reached(revision)
            assert [getattr(mirror.get(p), "value", None) for p in ("status/x", "patroni/x/config")] == [
                value
            ] * 2


async def test_reached_returns_for_a_commit_that_changed_nothing(world: World) -> None:
    async with mirrored(world) as mirror, asyncio.timeout(LIMIT_S):
        revision = await world.store().commit([Remove("never/was")])
        await mirror.reached(revision)


async def test_a_prefix_is_in_path_order_and_follows_every_change(world: World) -> None:
    store = world.store()
    async with mirrored(world) as mirror, asyncio.timeout(LIMIT_S):
        await store.commit([Put(f"specs/database/{name}", b"") for name in ("c", "a", "b")])
        await store.commit([Put("specs/operation/a", b""), Put("specs/databases", b"")])
        revision = await store.commit([Remove("specs/database/b")])
        await mirror.reached(revision)

        found = [record.path for record in mirror.under("specs/database/")]
        assert found == ["specs/database/a", "specs/database/c"]
        everything = [record.path for record in mirror.under("")]
        assert everything == sorted(everything)
        assert len(mirror) == len(everything) == 4


async def test_changes_name_each_changed_path_once(world: World) -> None:
    store = world.store()
    async with mirrored(world) as mirror, asyncio.timeout(LIMIT_S):
        changes = mirror.changes()
        assert await anext(changes) == Changed((), everything=True)
        for number in range(5):
            revision = await store.commit([Put("specs/a", b"%d" % number)])
        revision = await store.commit([Put("specs/b", b""), Put("patroni/b-n1/leader", b"")])
        await mirror.reached(revision)

        changed = await anext(changes)
        assert sorted(changed.paths) == ["patroni/b-n1/leader", "specs/a", "specs/b"]
        assert not changed.everything


async def test_a_subscriber_from_the_start_is_told_of_every_path_that_was_there(world: World) -> None:
    await world.store().commit([Put("specs/a", b""), Put("specs/b", b""), Put("patroni/x", b"")])
    mirror = Mirror(world.feed, world.clock, world.ids)
    changes = mirror.changes()
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        running = group.create_task(mirror.run())
        seen: set[str] = set()
        while len(seen) < 3:
            seen.update((await anext(changes)).paths)
        assert seen == {"specs/a", "specs/b", "patroni/x"}
        running.cancel()


async def test_records_that_end_with_a_lease_leave_the_mirror(world: World) -> None:
    lease = await world.leases.grant(30)
    store = world.store(lambda: lease.id)
    async with mirrored(world) as mirror, asyncio.timeout(LIMIT_S):
        await mirror.reached(await store.commit([Put("hosts/a", b"", leased=True)]))
        changes = mirror.changes()
        await anext(changes)
        await world.leases.revoke(lease.id)
        assert (await anext(changes)).paths == ("hosts/a",)
        assert mirror.get("hosts/a") is None


async def test_audits_and_relists_change_nothing_that_is_right(world: World) -> None:
    store = world.store()
    rhythm = Rhythm(heartbeat_s=0.1, audit_s=0.05, relist_s=0.2)
    async with mirrored(world, rhythm=rhythm) as mirror, asyncio.timeout(LIMIT_S):
        for number in range(60):
            writes: list[Write] = [
                Put(f"n/{number}", b""),
                Remove(f"n/{number - 10}"),
                Put("status/x", b"%d" % number),
            ]
            revision = await store.commit(writes)
            await mirror.reached(revision)
            assert mirror.get(f"n/{number}") is not None
            await asyncio.sleep(0.01)
        assert len(mirror.under("n/")) == 10
        assert mirror.last_error == ""


async def test_a_compaction_while_the_mirror_runs_costs_no_change(world: World) -> None:
    store = world.store()
    async with mirrored(world) as mirror, asyncio.timeout(LIMIT_S):
        await store.commit([Put("a", b"1")])
        await world.compact()
        revision = await store.commit([Put("b", b"1"), Remove("a")])
        await mirror.reached(revision)
        await until(lambda: mirror.get("a") is None and mirror.get("b") is not None)
