"""`feed.Feed`: lists and watches. One suite, on the in-memory etcd and on the real one."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.stores.feed import Batch, Change, Compacted, Frame, Gone, Progress
from reconcilers.ports import Put, Record, Remove
from tests.contract.etcd_world import LIMIT_S, World, next_changes, next_frame


async def test_a_list_is_in_path_order_and_complete_over_many_pages(world: World) -> None:
    store = world.store()
    for number in (7, 1, 9, 3, 5, 8, 2, 6, 4, 0):
        await store.commit([Put(f"specs/database/db-{number}", b"")])

    listing = await world.feed.list("specs/")
    assert [record.path for record in listing.records] == [f"specs/database/db-{n}" for n in range(10)]


async def test_a_list_shows_one_revision_however_much_is_written_meanwhile(world: World) -> None:
    store = world.store()
    paths = [f"specs/{n:02}" for n in range(12)]
    for path in paths:
        await store.commit([Put(path, b"0")])
    done = asyncio.Event()

    async def keep_rewriting_all() -> None:
        while not done.is_set():
            await store.commit([Put(path, b"x") for path in paths])

    async with asyncio.TaskGroup() as group:
        group.create_task(keep_rewriting_all())
        for _ in range(5):
            listing = await world.feed.list("specs/")
            revisions = {record.mod_revision for record in listing.records}
            values = {record.value for record in listing.records}
            assert len(listing.records) == 12
            assert len(values) == 1
            assert max(revisions) <= listing.revision
        done.set()


async def test_our_own_list_does_not_show_patronis_records_and_the_other_way_round(world: World) -> None:
    await world.store().commit([Put("specs/a", b""), Put("patroni/orders-n1/leader", b"")])

    ours = await world.feed.list("")
    patronis = await world.feed.list("patroni/")
    assert [record.path for record in ours.records] == ["specs/a"]
    assert [record.path for record in patronis.records] == ["patroni/orders-n1/leader"]


async def test_an_empty_prefix_lists_nothing_at_a_revision(world: World) -> None:
    listing = await world.feed.list("specs/")
    assert listing.records == ()
    assert listing.revision > 0


async def test_since_tells_what_was_written_and_how_many_there_are(world: World) -> None:
    store = world.store()
    await store.commit([Put("a", b""), Put("b", b""), Put("c", b"")])
    before = await store.commit([Put("b", b"2")])
    after = await store.commit([Put("d", b""), Remove("a")])

    delta = await world.feed.since("", before)
    assert [record.path for record in delta.records] == ["b", "d"]
    assert delta.count == 3
    assert delta.revision >= after
    assert (await world.feed.since("", after + 1)).records == ()


async def test_a_watch_delivers_every_change_in_order(world: World) -> None:
    store = world.store()
    start = (await world.feed.list("")).revision + 1
    async with world.feed.watch("", start) as watch:
        created = await store.commit([Put("a", b"1")])
        changed = await store.commit([Put("a", b"2")])
        gone = await store.commit([Remove("a")])

        assert await next_changes(watch, 3) == [
            Record("a", b"1", created, created),
            Record("a", b"2", created, changed),
            Gone("a", gone),
        ]


async def test_a_watch_from_the_past_catches_up_first(world: World) -> None:
    store = world.store()
    start = await store.commit([Put("n/0", b"")])
    for number in range(1, 40):
        await store.commit([Put(f"n/{number}", b"")])
    async with world.feed.watch("", start) as watch:
        changes = await next_changes(watch, 40)
        await store.commit([Put("n/40", b"")])
        changes += await next_changes(watch, 1)
    assert [change.path for change in changes] == [f"n/{number}" for number in range(41)]


async def test_a_revision_with_many_changes_arrives_in_one_batch(world: World) -> None:
    store = world.store()
    start = await store.commit([Put(f"n/{number:03}", b"x" * 100) for number in range(100)])
    await store.commit([Put("n/last", b"")])
    async with world.feed.watch("", start) as watch:
        changes: list[Change] = []
        while len(changes) < 101:
            frame = await next_frame(watch)
            if isinstance(frame, Batch):
                inside = {c.revision if isinstance(c, Gone) else c.mod_revision for c in frame.changes}
                assert frame.revision == max(inside)
                assert sum(c.path != "n/last" for c in frame.changes) in (0, 100)
                changes.extend(frame.changes)


async def test_a_watch_sees_only_its_prefix(world: World) -> None:
    store = world.store()
    start = (await world.feed.list("")).revision + 1
    async with world.feed.watch("", start) as ours, world.feed.watch("patroni/", start) as patronis:
        await store.commit([Put("a", b""), Put("patroni/orders-n1/leader", b"")])
        await store.commit([Put("z", b"")])
        await store.commit([Put("patroni/z", b"")])
        assert [change.path for change in await next_changes(ours, 2)] == ["a", "z"]
        found = [change.path for change in await next_changes(patronis, 2)]
        assert found == ["patroni/orders-n1/leader", "patroni/z"]


async def test_a_watch_shows_the_end_of_a_lease_as_deletions(world: World) -> None:
    lease = await world.leases.grant(30)
    store = world.store(lambda: lease.id)
    revision = await store.commit([Put("observed/a", b"", leased=True), Put("observed/b", b"", leased=True)])
    async with world.feed.watch("", revision + 1) as watch:
        await world.leases.revoke(lease.id)
        changes = await next_changes(watch, 2)
    assert {change.path for change in changes} == {"observed/a", "observed/b"}
    assert all(isinstance(change, Gone) for change in changes)


async def test_a_watch_from_a_compacted_revision_says_so_at_once(world: World) -> None:
    store = world.store()
    start = await store.commit([Put("a", b"1")])
    await store.commit([Put("a", b"2")])
    revision = await world.compact()

    async with world.feed.watch("", start) as watch:
        with pytest.raises(Compacted) as raised:
            await next_changes(watch, 1)
    assert raised.value.revision == revision


async def test_a_watch_after_the_compacted_revision_goes_on(world: World) -> None:
    store = world.store()
    await store.commit([Put("a", b"1")])
    revision = await world.compact()
    async with world.feed.watch("", revision + 1) as watch:
        await store.commit([Put("a", b"2")])
        assert [change.path for change in await next_changes(watch, 1)] == ["a"]


async def test_a_quiet_watch_answers_when_it_is_asked_for_progress(world: World) -> None:
    store = world.store()
    start = (await world.feed.list("")).revision + 1
    async with world.feed.watch("", start) as watch:
        written = await store.commit([Put("patroni/elsewhere", b"")])
        async with asyncio.timeout(LIMIT_S):
            frame: Frame = Progress(0)
            while frame.revision < written:
                await watch.ask_progress()
                frame = await next_frame(watch)
                assert isinstance(frame, Progress)


async def test_progress_never_overtakes_the_events_before_it(world: World) -> None:
    store = world.store()
    start = (await world.feed.list("")).revision + 1
    async with world.feed.watch("", start) as watch:
        seen = 0
        for number in range(60):
            written = await store.commit([Put(f"n/{number}", b"")])
            await watch.ask_progress()
            progress = 0
            while progress < written:
                frame = await next_frame(watch)
                if isinstance(frame, Batch):
                    seen = frame.revision
                else:
                    progress = frame.revision
                    assert not frame.complete or progress < written or seen >= written
                    if progress < written:
                        await watch.ask_progress()
