"""A lease that has ended takes its claims with it, also once there is another and everything looks as before."""

from __future__ import annotations

import asyncio

from crds.meta import Key
from tests.sim.loop import run
from tests.unit.controlplane.hosts import TTL_S, world

KEY = Key("database", "orders")


def test_a_claim_is_not_carried_over_to_the_next_lease_however_long_the_mirror_lags() -> None:
    async def story() -> None:
        async with world() as it:
            it.spec("orders")
            host = it.start("a")
            await asyncio.sleep(5)
            old = host.ownership.claim(KEY)
            assert old is not None
            host.records.freeze()
            lost = host.session.lease_id
            it.etcd.revoke(lost)
            for _ in range(4 * TTL_S * 10):
                await asyncio.sleep(0.1)
                assert not old.may_act() or host.session.lease_id == lost
            assert host.membership.believes()

    run(story())
