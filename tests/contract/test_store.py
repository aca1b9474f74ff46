"""`ports.Store`: fenced transactions. One suite, on the in-memory etcd and on the real one."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.stores.feed import TooLarge
from reconcilers.errors import Conflict, OwnershipLost, Unavailable
from reconcilers.ports import Fence, Put, Record, Remove, Write
from tests.contract.etcd_world import World


async def test_an_absent_record_reads_as_none(world: World) -> None:
    assert await world.store().read("specs/database/orders") is None


async def test_a_record_reads_as_it_was_written(world: World) -> None:
    store = world.store()
    revision = await store.commit([Put("specs/database/orders", b"\x00\xff text")])

    read = await store.read("specs/database/orders")
    assert read == Record("specs/database/orders", b"\x00\xff text", revision, revision)


async def test_writing_again_keeps_the_create_revision_and_moves_the_other(world: World) -> None:
    store = world.store()
    created = await store.commit([Put("a", b"1")])
    changed = await store.commit([Put("a", b"2")])

    read = await store.read("a")
    assert read is not None
    assert (read.create_revision, read.mod_revision) == (created, changed)
    assert changed > created


async def test_deleting_and_writing_anew_gives_a_new_create_revision(world: World) -> None:
    store = world.store()
    first = await store.commit([Put("a", b"1")])
    await store.commit([Remove("a")])
    second = await store.commit([Put("a", b"1")])

    read = await store.read("a")
    assert read is not None
    assert read.create_revision == second > first


async def test_all_writes_of_a_commit_share_one_revision(world: World) -> None:
    store = world.store()
    revision = await store.commit([Put("a", b"1"), Put("patroni/orders-n1/config", b"{}"), Put("c", b"3")])

    for path in ("a", "patroni/orders-n1/config", "c"):
        read = await store.read(path)
        assert read is not None
        assert read.mod_revision == revision


async def test_expected_zero_creates_only_once(world: World) -> None:
    store = world.store()
    await store.commit([Put("owners/database/orders", b"me", expected=0)])

    with pytest.raises(Conflict, match="owners/database/orders"):
        await store.commit([Put("owners/database/orders", b"you", expected=0)])
    read = await store.read("owners/database/orders")
    assert read is not None
    assert read.value == b"me"


async def test_of_many_that_create_one_record_exactly_one_wins(world: World) -> None:
    store = world.store()

    async def attempt(number: int) -> bool:
        try:
            await store.commit([Put("owners/database/orders", b"%d" % number, expected=0)])
        except Conflict:
            return False
        return True

    assert sum(await asyncio.gather(*(attempt(n) for n in range(30)))) == 1


async def test_concurrent_compare_and_swap_loses_no_increment(world: World) -> None:
    store = world.store()
    await store.commit([Put("counter", b"0")])

    async def increment() -> None:
        while True:
            read = await store.read("counter")
            assert read is not None
            try:
                await store.commit(
                    [Put("counter", b"%d" % (int(read.value) + 1), expected=read.mod_revision)]
                )
            except Conflict:
                continue
            return

    await asyncio.gather(*(increment() for _ in range(8)))
    read = await store.read("counter")
    assert read is not None
    assert read.value == b"8"


@pytest.mark.parametrize("expected", [1, 10**9], ids=["too old", "from the future"])
async def test_another_revision_than_expected_is_a_conflict(world: World, expected: int) -> None:
    store = world.store()
    await store.commit([Put("a", b"1")])
    await store.commit([Put("a", b"2")])
    with pytest.raises(Conflict):
        await store.commit([Put("a", b"3", expected=expected)])


async def test_expecting_a_record_that_is_gone_is_a_conflict(world: World) -> None:
    store = world.store()
    revision = await store.commit([Put("a", b"1")])
    await store.commit([Remove("a")])
    with pytest.raises(Conflict):
        await store.commit([Remove("a", expected=revision)])


async def test_a_conflict_in_one_write_leaves_the_others_undone(world: World) -> None:
    store = world.store()
    await store.commit([Put("held", b"1")])
    with pytest.raises(Conflict, match="held"):
        await store.commit([Put("other", b"1", expected=0), Put("held", b"2", expected=0), Remove("held2")])
    assert await store.read("other") is None


async def test_a_fence_that_holds_lets_the_writes_through(world: World) -> None:
    store = world.store()
    epoch = await store.commit([Put("owners/database/orders", b"me", expected=0)])
    await store.commit([Put("owners/database/orders", b"me, again")])

    fence = Fence("owners/database/orders", epoch)
    assert await store.commit([Put("status/database/orders", b"{}")], [fence]) > epoch


async def test_a_fence_on_an_absent_owner_is_ownership_lost(world: World) -> None:
    store = world.store()
    with pytest.raises(OwnershipLost, match="owners/database/orders"):
        await store.commit([Put("status/database/orders", b"{}")], [Fence("owners/database/orders", 7)])
    assert await store.read("status/database/orders") is None


async def test_an_owner_record_made_anew_is_ownership_lost_even_with_the_same_value(world: World) -> None:
    store = world.store()
    epoch = await store.commit([Put("owners/database/orders", b"me", expected=0)])
    await store.commit([Remove("owners/database/orders")])
    await store.commit([Put("owners/database/orders", b"me", expected=0)])

    with pytest.raises(OwnershipLost):
        await store.commit([Put("status/database/orders", b"{}")], [Fence("owners/database/orders", epoch)])


async def test_lost_ownership_is_told_before_a_conflict_that_follows_from_it(world: World) -> None:
    store = world.store()
    await store.commit([Put("status/database/orders", b"{}")])
    with pytest.raises(OwnershipLost):
        await store.commit(
            [Put("status/database/orders", b"{}", expected=0)], [Fence("owners/database/orders", 7)]
        )


async def test_a_fence_on_another_record_that_does_not_hold_is_a_conflict(world: World) -> None:
    store = world.store()
    created = await store.commit([Put("accepted/database/orders", b"1")])
    await store.commit([Put("accepted/database/orders", b"2")])
    await store.commit([Put("a", b"1")], [Fence("accepted/database/orders", created, owner=False)])
    await store.commit([Remove("accepted/database/orders")])
    with pytest.raises(Conflict):
        await store.commit([Put("a", b"2")], [Fence("accepted/database/orders", created, owner=False)])

    read = await store.read("a")
    assert read is not None
    assert read.value == b"1"


async def test_a_fence_at_zero_asks_that_there_is_no_such_record(world: World) -> None:
    store = world.store()
    absent = Fence("specs/database/orders", 0, owner=False)
    await store.commit([Put("a", b"1")], [absent])
    await store.commit([Put("specs/database/orders", b"{}")])
    with pytest.raises(Conflict):
        await store.commit([Put("a", b"2")], [absent])


async def test_every_fence_counts(world: World) -> None:
    store = world.store()
    epoch = await store.commit([Put("owners/a", b"me"), Put("owners/b", b"me")])
    with pytest.raises(OwnershipLost, match="owners/b"):
        await store.commit([Put("x", b"1")], [Fence("owners/a", epoch), Fence("owners/b", epoch + 1)])
    assert await store.read("x") is None


async def test_of_an_old_and_a_new_owner_only_the_new_ones_writes_land(world: World) -> None:
    store = world.store()
    old = await store.commit([Put("owner", b"1")])
    await store.commit([Remove("owner")])
    new = await store.commit([Put("owner", b"2")])

    async def write(epoch: int, number: int) -> bool:
        try:
            await store.commit([Put(f"effects/{epoch}-{number}", b"")], [Fence("owner", epoch)])
        except OwnershipLost:
            return False
        return True

    assert not any(await asyncio.gather(*(write(old, n) for n in range(10))))
    assert all(await asyncio.gather(*(write(new, n) for n in range(10))))


async def test_a_commit_without_writes_only_asks_whether_the_fence_holds(world: World) -> None:
    store = world.store()
    epoch = await store.commit([Put("owner", b"1")])
    assert await store.commit([], [Fence("owner", epoch)]) >= epoch
    with pytest.raises(OwnershipLost):
        await store.commit([], [Fence("owner", epoch + 1)])


async def test_removing_what_is_absent_is_fine(world: World) -> None:
    store = world.store()
    await store.commit([Remove("never/was"), Remove("nor/this/", prefix=True)])
    assert await store.read("never/was") is None


async def test_removing_a_prefix_takes_everything_below_it_and_nothing_beside_it(world: World) -> None:
    store = world.store()
    await store.commit([Put(path, b"") for path in ("db/a/1", "db/a/2/3", "db/a", "db/ab/1", "db/b/1")])
    await store.commit([Remove("db/a/", prefix=True)])

    left = {record.path for record in (await world.feed.list("db/")).records}
    assert left == {"db/a", "db/ab/1", "db/b/1"}


async def test_a_prefix_without_its_slash_is_refused_before_it_takes_a_neighbour(world: World) -> None:
    with pytest.raises(ValueError, match="slash"):
        await world.store().commit([Remove("db/a", prefix=True)])


async def test_writing_one_record_twice_in_a_commit_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="twice"):
        await world.store().commit([Put("a", b"1"), Put("a", b"2")])


async def test_writing_below_a_prefix_that_the_same_commit_removes_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="removes it all"):
        await world.store().commit([Put("db/a/1", b""), Remove("db/a/", prefix=True)])
    await world.store().commit([Put("db/b", b""), Remove("db/a/", prefix=True), Remove("db/a")])


@pytest.mark.parametrize(
    "writes",
    [
        pytest.param([Put(f"many/{n}", b"") for n in range(129)], id="129 operations"),
        pytest.param([Put("big", b"x" * 1_600_000)], id="1.6 MB"),
    ],
)
async def test_over_etcds_limits_nothing_is_sent(world: World, writes: list[Write]) -> None:
    with pytest.raises(TooLarge):
        await world.store().commit(writes)
    assert await world.store().read(writes[0].path) is None


async def test_at_etcds_limits_a_commit_still_goes_through(world: World) -> None:
    store = world.store()
    await store.commit([Put(f"many/{n:03}", b"", expected=0) for n in range(127)], [])
    await store.commit([Put("big", b"x" * 1_500_000)])
    assert len((await world.feed.list("many/")).records) == 127


async def test_a_leased_record_goes_with_its_lease(world: World) -> None:
    lease = await world.leases.grant(30)
    store = world.store(lambda: lease.id)
    await store.commit([Put("observed/h1/orders-n1", b"", leased=True), Put("status/x", b"")])
    assert await store.read("observed/h1/orders-n1") is not None

    await world.leases.revoke(lease.id)
    assert await store.read("observed/h1/orders-n1") is None
    assert await store.read("status/x") is not None


async def test_writing_a_leased_record_without_a_lease_frees_it_from_it(world: World) -> None:
    lease = await world.leases.grant(30)
    store = world.store(lambda: lease.id)
    await store.commit([Put("a", b"1", leased=True)])
    await store.commit([Put("a", b"2")])
    await world.leases.revoke(lease.id)
    assert await store.read("a") is not None


async def test_without_a_session_lease_a_leased_write_is_unavailable_and_not_done(world: World) -> None:
    store = world.store(lambda: 0)
    with pytest.raises(Unavailable):
        await store.commit([Put("a", b"1"), Put("b", b"1", leased=True)])
    assert await store.read("a") is None


async def test_on_a_lease_that_has_ended_nothing_is_written(world: World) -> None:
    lease = await world.leases.grant(30)
    await world.leases.revoke(lease.id)
    store = world.store(lambda: lease.id)
    with pytest.raises(Unavailable):
        await store.commit([Put("a", b"1"), Put("b", b"1", leased=True)])
    assert await store.read("a") is None


async def test_a_record_with_a_time_to_live_ends_by_itself(world: World) -> None:
    store = world.store()
    await store.commit([Put("events/database/orders/1", b"", ttl_s=1)])
    assert await store.read("events/database/orders/1") is not None

    await asyncio.sleep(1.0)
    gone = False
    for _ in range(50):
        gone = await store.read("events/database/orders/1") is None
        if gone:
            break
        await asyncio.sleep(0.1)
    assert gone


async def test_a_path_that_starts_with_a_slash_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="relative"):
        await world.store().commit([Put("/patroni/orders-n1/leader", b"")])


async def test_the_store_and_the_mirror_agree_on_paths_outside_ascii(world: World) -> None:
    store = world.store()
    await store.commit([Put("specs/database/bücher", b"1")])
    assert [record.path for record in (await world.feed.list("specs/")).records] == ["specs/database/bücher"]
