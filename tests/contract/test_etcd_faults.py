"""What a real etcd does to its clients: killed, frozen, compacted, restored, flooded. Nothing may be missed."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.sources.etcd import Mirror
from controlplane.sources.follower import Rhythm
from controlplane.stores.connection import Connection, Message
from controlplane.stores.feed import Batch, Compacted
from controlplane.stores.keys import Keys
from controlplane.stores.session import Session
from controlplane.stores.store import EtcdStore
from controlplane.stores.watches import EtcdFeed
from reconcilers.errors import Refused, RetryableError, Unavailable, UnknownFate
from reconcilers.ports import Put, Remove, Store, Write
from tests.contract.etcd_world import (
    LIMIT_S,
    QUICK,
    EtcdWorld,
    connected,
    mirrored,
    next_changes,
    next_frame,
    until,
)
from tests.etcd_server import EtcdServer, free_port, members_in, programs, version

StartEtcd = Callable[..., EtcdServer]
IMPATIENT = Rhythm(heartbeat_s=0.3, backoff_max_s=0.2)


async def persist(store: Store, writes: list[Write]) -> int:
    """Commit idempotent writes until etcd has taken them."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                return await store.commit(writes)
            except RetryableError:
                await asyncio.sleep(0.05)


async def truth(world: EtcdWorld) -> dict[str, int]:
    listed = [await world.feed.list(prefix) for prefix in ("", "patroni/")]
    return {record.path: record.mod_revision for listing in listed for record in listing.records}


def shown(mirror: Mirror) -> dict[str, int]:
    return {record.path: record.mod_revision for record in mirror.under("")}


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_a_mirror_misses_nothing_when_etcd_restarts(own_etcd: StartEtcd, end: str) -> None:
    server = own_etcd()
    async with connected(server, timeouts=QUICK) as world, mirrored(world, rhythm=IMPATIENT) as mirror:
        store = world.store()
        await store.commit([Put("gone/later", b""), Put("a", b"before")])
        changes = mirror.changes()
        await anext(changes)
        getattr(server, end)()
        await until(lambda: mirror.last_error != "")
        server.start()

        for number in range(5):
            await persist(store, [Put(f"n/{number}", b""), Put("patroni/x", b"%d" % number)])
        revision = await persist(store, [Put("a", b"after"), Remove("gone/later")])
        async with asyncio.timeout(LIMIT_S):
            await mirror.reached(revision)
        assert shown(mirror) == await truth(world)
        assert len(mirror.under("n/")) == 5
        assert mirror.get("gone/later") is None
        assert mirror.last_error == ""
        heard: set[str] = set()
        async with asyncio.timeout(LIMIT_S):
            while len(heard) < 8:
                heard.update((await anext(changes)).paths)
        assert {"n/0", "n/4", "a", "gone/later", "patroni/x"} <= heard


async def test_history_compacted_while_the_mirror_was_cut_off_is_made_up_by_a_list(
    own_etcd: StartEtcd,
) -> None:
    server = own_etcd()
    async with connected(server, timeouts=QUICK) as world, mirrored(world, rhythm=IMPATIENT) as mirror:
        store = world.store()
        await persist(store, [Put(f"n/{number}", b"") for number in range(10)])
        await until(lambda: len(mirror) == 10)

        # The mirror's own channel stays on a dead port while somebody else writes and compacts.
        server.kill()
        await until(lambda: mirror.last_error != "")
        real_port, server.port = server.port, free_port()
        server.start()
        async with connected(server) as other:
            await other.store().commit([Remove("n/3"), Put("n/4", b"changed"), Put("n/new", b"")])
            await other.compact()
            expected = await truth(other)
        server.kill()
        server.port = real_port
        server.start()

        await until(lambda: shown(mirror) == expected)
        assert mirror.get("n/3") is None
        revision = await persist(store, [Put("z", b"")])
        async with asyncio.timeout(LIMIT_S):
            await mirror.reached(revision)


async def test_killed_in_the_middle_of_six_thousand_old_events_the_watch_resumes_behind_the_last(
    own_etcd: StartEtcd,
) -> None:
    server = own_etcd()
    total = 6_000
    async with connected(server) as world:
        store = world.store()
        start = await store.commit([Put("n/0", b"")])

        async def write(first: int) -> None:
            for number in range(first, total, 50):
                await store.commit([Put(f"n/{number % 100}", b"%d" % number)])

        await asyncio.gather(*(write(first) for first in range(1, 51)))
        revisions: list[int] = []
        position, killed = start - 1, False
        async with asyncio.timeout(30):
            while len(revisions) < total:
                try:
                    async with world.feed.watch("", position + 1) as watch:
                        while len(revisions) < total:
                            frame = await watch.next()
                            if isinstance(frame, Batch):
                                revisions += [getattr(c, "mod_revision", 0) for c in frame.changes]
                                position = frame.revision
                            if not killed and len(revisions) >= 1_000:
                                killed = True
                                server.kill()
                                server.start()
                except Unavailable:
                    await asyncio.sleep(0.1)
        assert killed
        assert revisions == sorted(set(revisions))
        assert len(revisions) == total


async def test_a_history_of_eight_megabytes_arrives_whole(own_etcd: StartEtcd) -> None:
    async with connected(own_etcd()) as world:
        store = world.store()
        start = (await world.feed.list("")).revision + 1
        for first in range(0, 1_000, 20):
            batch = [store.commit([Put(f"n/{number}", b"x" * 8_192)]) for number in range(first, first + 20)]
            await asyncio.gather(*batch)
        async with world.feed.watch("", start) as watch:
            changes = await next_changes(watch, 1_000)
        assert len({change.path for change in changes}) == 1_000


async def test_revisions_that_are_cut_into_several_messages_arrive_whole(own_etcd: StartEtcd) -> None:
    async with connected(own_etcd()) as world:
        store = world.store()
        start = (await world.feed.list("")).revision + 1
        for _ in range(5):
            await store.commit([Put(f"n/{number}", b"x" * 11_500) for number in range(127)])
        arrived = 0
        async with world.feed.watch("", start) as watch:
            while arrived < 5 * 127:
                frame = await next_frame(watch)
                if isinstance(frame, Batch):
                    arrived += len(frame.changes)
                    assert len(frame.changes) % 127 == 0


async def test_a_mirror_of_ten_thousand_records_fills_quickly_and_finds_a_prefix_at_once(
    own_etcd: StartEtcd,
) -> None:
    async with connected(own_etcd()) as world:
        store = world.store()
        for first in range(0, 10_000, 100):
            await store.commit(
                [Put(f"status/database/db-{n:05}", b"x" * 512) for n in range(first, first + 100)]
            )
        in_one_page = EtcdFeed(world.connection, world.keys, page=20_000)
        assert len((await in_one_page.list("")).records) == 10_000
        began_s = time.monotonic()
        async with mirrored(world) as mirror:
            filled_s = time.monotonic() - began_s
            assert len(mirror) == 10_000
            began_s = time.monotonic()
            for number in range(10_000):
                assert len(mirror.under(f"status/database/db-{number:05}")) == 1
            found_s = time.monotonic() - began_s
        assert filled_s < 5
        assert found_s < 1


async def test_a_frozen_etcd_costs_a_deadline_and_the_fate_of_a_write_is_said_to_be_unknown(
    own_etcd: StartEtcd,
) -> None:
    server = own_etcd()
    async with connected(server, timeouts=QUICK) as world:
        store = world.store()
        await store.commit([Put("a", b"1")])
        server.freeze()
        try:
            began_s = time.monotonic()
            with pytest.raises(UnknownFate):
                await store.commit([Put("a", b"2")])
            assert time.monotonic() - began_s < 2
            with pytest.raises(Unavailable):
                await store.read("a")
        finally:
            server.thaw()
        await persist(store, [Put("a", b"3")])
        read = await store.read("a")
        assert read is not None
        assert read.value == b"3"


async def test_a_mirror_that_hears_nothing_from_a_frozen_etcd_notices_and_recovers(
    own_etcd: StartEtcd,
) -> None:
    server = own_etcd()
    async with connected(server, timeouts=QUICK) as world, mirrored(world, rhythm=IMPATIENT) as mirror:
        await world.store().commit([Put("a", b"1")])
        server.freeze()
        try:
            await until(lambda: mirror.last_error != "" and mirror.stale_for_s > 0.9)
        finally:
            server.thaw()
        revision = await persist(world.store(), [Put("b", b"1")])
        async with asyncio.timeout(LIMIT_S):
            await mirror.reached(revision)
        assert mirror.last_error == ""


async def test_an_etcd_that_is_down_is_unavailable_not_unknown(own_etcd: StartEtcd) -> None:
    server = own_etcd()
    async with connected(server, timeouts=QUICK) as world:
        store = world.store()
        await store.commit([Put("a", b"1")])
        server.kill()
        # The first call may still meet the dying connection; from then on nothing is sent.
        with pytest.raises((Unavailable, UnknownFate)):
            await store.commit([Put("a", b"2")])
        for _ in range(3):
            with pytest.raises(Unavailable):
                await store.commit([Put("a", b"2")])
        server.start()
        await persist(store, [Put("a", b"3")])


async def test_the_next_endpoint_is_used_when_one_is_down(own_etcd: StartEtcd) -> None:
    server = own_etcd()
    connection = Connection([f"http://127.0.0.1:{free_port()}", server.url], timeouts=QUICK)
    try:
        store = EtcdStore(connection, Keys(), EtcdWorld(connection, Keys()).clock)
        await store.commit([Put("a", b"1")])
        assert await store.read("a") is not None
    finally:
        await connection.close()


async def test_a_frozen_endpoint_is_left_after_one_deadline(own_etcd: StartEtcd) -> None:
    servers = [own_etcd(), own_etcd()]
    connection = Connection([server.url for server in servers], timeouts=QUICK)
    try:
        store = EtcdStore(connection, Keys(), EtcdWorld(connection, Keys()).clock)
        await store.read("a")
        in_use = (await connection.ready_endpoint()).url
        next(server for server in servers if server.url == in_use).freeze()
        began_s = time.monotonic()
        await store.read("a")
        assert 0.4 < time.monotonic() - began_s < 2
        for _ in range(5):
            await store.read("a")
            assert (await connection.ready_endpoint()).url != in_use
    finally:
        for server in servers:
            server.thaw()
        await connection.close()


async def test_a_session_counts_from_sending_and_survives_a_short_outage(own_etcd: StartEtcd) -> None:
    server = own_etcd()
    async with connected(server, timeouts=QUICK) as world:
        lost: list[int] = []
        session = Session(world.leases, world.clock, world.ids, ttl_s=4, margin_s=1.5)
        session.on_lost(lost.append)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(session.run())
            async with asyncio.timeout(LIMIT_S):
                await session.acquired()
            first = session.lease_id
            server.freeze()
            try:
                await asyncio.sleep(2.8)
                assert not session.valid()
                assert session.last_error != ""
            finally:
                server.thaw()
            await until(session.valid)
            assert session.lease_id == first
            assert lost == []
            running.cancel()


async def test_an_etcd_that_came_back_empty_is_noticed_and_mirrored_as_it_is(
    own_etcd: StartEtcd, tmp_path: Path
) -> None:
    server = own_etcd()
    async with connected(server, timeouts=QUICK) as world, mirrored(world, rhythm=IMPATIENT) as mirror:
        store = world.store()
        for number in range(20):
            revision = await store.commit([Put(f"n/{number}", b"")])
        async with asyncio.timeout(LIMIT_S):
            await mirror.reached(revision)
        server.kill()
        shutil.rmtree(server.folder / "data")
        server.start()

        await persist(store, [Put("after", b"")])
        await until(lambda: set(shown(mirror)) == {"after"})
        assert mirror.revision < revision


async def test_a_snapshot_restored_with_a_bumped_revision_is_mirrored_as_it_is(
    own_etcd: StartEtcd, tmp_path: Path
) -> None:
    assert version() >= (3, 5), "the restore procedure is that of 3.5"
    server = own_etcd()
    snapshot = tmp_path / "snapshot"
    async with connected(server, timeouts=QUICK) as world, mirrored(world, rhythm=IMPATIENT) as mirror:
        store = world.store()
        await store.commit([Put("kept", b"")])
        server.ctl("snapshot", "save", str(snapshot))
        await store.commit([Put("lost", b"")])
        await until(lambda: len(mirror) == 2)
        server.kill()
        shutil.rmtree(server.folder / "data")
        await restore(server, snapshot)
        server.start()

        revision = await persist(store, [Put("after", b"")])
        assert revision > 1_000_000
        await until(lambda: set(shown(mirror)) == {"kept", "after"})


async def restore(server: EtcdServer, snapshot: Path) -> None:
    peer = f"http://127.0.0.1:{server.peer_port}"
    process = await asyncio.create_subprocess_exec(
        *(programs() / "etcdutl", "snapshot", "restore", snapshot, "--data-dir", server.folder / "data"),
        *("--name", "m1", "--initial-cluster", f"m1={peer}", "--initial-advertise-peer-urls", peer),
        *("--bump-revision", "1000000", "--mark-compacted"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0


async def test_without_a_quorum_nothing_pretends_to_work_and_everything_comes_back(tmp_path: Path) -> None:
    servers = members_in(tmp_path, 3)
    survivor = servers[0]
    try:
        for server in servers:
            server.launch()
        for server in servers:
            server.wait()
        async with connected(survivor, timeouts=QUICK) as world:
            await persist(world.store(), [Put("a", b"1")])
            async with mirrored(world) as mirror:
                for server in servers[1:]:
                    server.kill()
                # The survivor still accepts connections, and its watch would stay open and silent.
                await until(lambda: mirror.last_error != "")
                with pytest.raises(Unavailable, match="leader"):
                    await world.store().commit([Put("a", b"2")])
                with pytest.raises(Unavailable):
                    await world.store().read("a")

                servers[1].start()
                revision = await persist(world.store(), [Put("a", b"3")])
                async with asyncio.timeout(LIMIT_S):
                    await mirror.reached(revision)
                read = mirror.get("a")
                assert read is not None
                assert read.value == b"3"
    finally:
        for server in servers:
            server.kill()


async def test_without_space_a_write_is_refused_and_reads_go_on(own_etcd: StartEtcd) -> None:
    server = own_etcd("--quota-backend-bytes", "300000")
    async with connected(server) as world:
        store = world.store()
        await store.commit([Put("a", b"1")])

        async def fill() -> None:
            for number in range(300):
                await store.commit([Put(f"n/{number}", b"x" * 100_000)])

        with pytest.raises(Refused, match="space"):
            await fill()
        assert await store.read("a") is not None


class Compacting(Connection):
    """Somebody writes and compacts right after the first page."""

    pages = 0

    async def call(self, service: str, method: str, request: Message, *, write: bool = False) -> Message:
        answer = await super().call(service, method, request, write=write)
        self.pages += method == "Range"
        if self.pages == 1:
            world = EtcdWorld(self, Keys())
            self.pages += 1
            await world.store().commit([Put("d", b"")])
            await world.compact()
        return answer


async def test_a_list_whose_revision_is_compacted_between_two_pages_says_so(own_etcd: StartEtcd) -> None:
    connection = Compacting([own_etcd().url])
    try:
        world = EtcdWorld(connection, Keys(), page=1)
        await world.store().commit([Put("a", b""), Put("b", b""), Put("c", b"")])
        with pytest.raises(Compacted):
            await world.feed.list("")
        assert len((await world.feed.list("")).records) == 4
    finally:
        await connection.close()
