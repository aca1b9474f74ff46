from __future__ import annotations

import asyncio

from controlplane.stores.leases import SharedLeases
from reconcilers.ports import Put
from tests.sim.clock import FakeClock
from tests.sim.etcd import FakeEtcd, FakeLeases, FakeStore
from tests.sim.loop import run


def test_a_thousand_events_a_minute_cost_a_handful_of_leases() -> None:
    async def main() -> None:
        etcd = FakeEtcd(FakeClock())
        shared = SharedLeases(FakeLeases(etcd), FakeClock())
        used = set()
        for _ in range(1_000):
            used.add(await shared.for_ttl(600))
            await asyncio.sleep(0.6)
        assert len(used) == 2

    run(main())


def test_each_event_lives_as_long_as_it_asks_for_and_not_much_longer() -> None:
    async def main() -> None:
        etcd = FakeEtcd(FakeClock())
        store = FakeStore(etcd)
        written: dict[str, float] = {}
        for number in range(200):
            path = f"events/{number}"
            await store.commit([Put(path, b"", ttl_s=60)])
            written[path] = etcd.clock.monotonic()
            await asyncio.sleep(1)
            for other, at_s in written.items():
                age_s = etcd.clock.monotonic() - at_s
                if age_s < 60:
                    assert etcd.get(other) is not None
                if age_s > 91:
                    assert etcd.get(other) is None

    run(main())


def test_callers_at_the_same_moment_share_one_grant() -> None:
    async def main() -> None:
        etcd = FakeEtcd(FakeClock())
        shared = SharedLeases(FakeLeases(etcd), FakeClock())
        assert len(set(await asyncio.gather(*(shared.for_ttl(60) for _ in range(50))))) == 1
        assert len({await shared.for_ttl(60), await shared.for_ttl(90)}) == 2

    run(main())


def test_a_lease_that_etcd_forgot_is_replaced() -> None:
    async def main() -> None:
        etcd = FakeEtcd(FakeClock())
        shared = SharedLeases(FakeLeases(etcd), FakeClock())
        first = await shared.for_ttl(60)
        shared.forget()
        assert await shared.for_ttl(60) != first

    run(main())
