"""One `pgswarm run` of a simulated cluster: `controlplane.main.Process` itself, with fakes where it meets the world."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from controlplane.dispatch import Dispatch
from controlplane.figures import Successes
from controlplane.heartbeat import Heartbeat
from controlplane.main import DATABASE, INSTANCE, OWNERSHIP, Process
from controlplane.metrics import Metrics
from controlplane.settings import Config
from controlplane.sources.etcd import Mirror
from controlplane.stores.session import Session
from reconcilers.errors import Unavailable
from reconcilers.ports import InstanceAccess, PatroniView, Secret, Statement
from tests.sim.agent_host import OpenVault
from tests.sim.clock import FakeClock, FakeIds
from tests.sim.engine import FakeEngine, Hooks
from tests.sim.etcd import FakeAccounts, FakeFeed, FakeLeases, FakeStore
from tests.sim.patroni import PRIMARY, FakePatroni
from tests.sim.patroni_world import Member, PatroniWorld
from tests.sim.postgres import FakeSql
from tests.sim.swarm import FakeEventStream, FakeOrchestrator
from tests.sim.swarm_world import SwarmWorld
from tests.unit.controlplane.observers import Lines

CLUSTER = "default"
Gate = Callable[[str, str, str], Awaitable[None]]
"""(system, operation, moment): where the world puts latency, faults and death."""


class PlainCertificates:
    """PEM-shaped text that says what was asked: equal in every run."""

    def issue_ca(self, common_name: str, now_s: float) -> Secret:
        return Secret(_pem(f"key of CA {common_name}", f"CA {common_name}"))

    def issue_server(self, ca: Secret, instance: str, names: Sequence[str], now_s: float) -> Secret:
        return Secret(_pem(f"key of {instance}", f"{instance} {' '.join(names)}"))

    def renew_at_s(self, bundle: Secret) -> float:
        return float("inf")


def _pem(key: str, certificate: str) -> str:
    kinds = (("PRIVATE KEY", key), ("CERTIFICATE", certificate))
    return "".join(
        f"-----BEGIN {kind}-----\n{text.encode().hex()}\n-----END {kind}-----\n" for kind, text in kinds
    )


class GatedHooks(Hooks):
    def __init__(self, gate: Gate, system: str, stale: Callable[[], bool] = lambda: False) -> None:
        self._gate, self._system, self._stale = gate, system, stale

    async def before(self, op: str) -> None:
        await self._gate(self._system, op, "before")

    async def after(self, op: str) -> None:
        await self._gate(self._system, op, "after")

    def stale(self) -> bool:
        return self._stale()


class HostPatroni:
    """`ports.Patroni` of one host: it reaches what runs on its own bridge."""

    def __init__(self, host: str, patroni: PatroniWorld, gate: Gate) -> None:
        self._host, self._patroni, self._gate = host, patroni, gate

    async def close(self) -> None:
        """Nothing to close."""

    async def view(self, access: InstanceAccess) -> PatroniView:
        member = await self._member(access)
        assert member.data is not None
        role = "primary" if self._patroni.leads(member) else "replica"
        pending = bool(self._patroni.pending(member))
        return replace(
            PRIMARY,
            role=role,
            timeline=member.data.timeline,
            sysid=member.data.sysid,
            pending_restart=pending,
        )

    async def restart(self, access: InstanceAccess, *, only_if_pending: bool = True) -> None:
        member = await self._member(access)
        await self._gate("patroni", "restart", "before")
        self._patroni.restart(member)
        await self._gate("patroni", "restart", "after")

    async def reload(self, access: InstanceAccess) -> None:
        await self._member(access)

    async def reinitialize(self, access: InstanceAccess) -> None:
        raise NotImplementedError

    async def _member(self, access: InstanceAccess) -> Member:
        await self._gate("patroni", "view", "before")
        member = self._patroni.find(self._host, access.address)
        if member is None or member.data is None:
            raise Unavailable("patroni", "connection refused")
        fake = FakePatroni(
            {access.address: PRIMARY}, member.settings["restapi"]["authentication"]["password"]
        )
        await fake.reload(access)  # refuses a wrong password
        return member


class HostSql:
    """`ports.Sql` of one host."""

    def __init__(self, host: str, patroni: PatroniWorld, ids: FakeIds, gate: Gate) -> None:
        self._host, self._patroni, self._ids, self._gate = host, patroni, ids, gate

    async def close(self) -> None:
        """Nothing to close."""

    async def query(
        self, access: InstanceAccess, database: str, statement: Statement
    ) -> Sequence[Sequence[Any]]:
        await self._gate("sql", "query", "before")
        sql, there = self._there(access)
        return await sql.query(there, database, statement)

    async def execute(
        self, access: InstanceAccess, database: str, statements: Sequence[Statement], *, epoch: int
    ) -> None:
        await self._gate("sql", "execute", "before")
        sql, there = self._there(access)
        await sql.execute(there, database, statements, epoch=epoch)
        await self._gate("sql", "execute", "after")

    def _there(self, access: InstanceAccess) -> tuple[FakeSql, InstanceAccess]:
        member = self._patroni.find(self._host, access.address)
        if member is None or member.data is None:
            raise Unavailable("postgres", "connection refused")
        # The fake knows its servers by name: addresses of two hosts' bridges are the same.
        return FakeSql([member.data.postgres], self._ids), replace(access, address=member.name)


class SimProcess(Process):
    """The real wiring and the real parts; what they would open sockets for is the world's."""

    def __init__(
        self,
        config: Config,
        number: int,
        swarm: SwarmWorld,
        patroni: PatroniWorld,
        gate: Gate,
        stale: Callable[[], bool] = lambda: False,
        *,
        etcd_auth: bool = True,
    ) -> None:
        self.client = f"{config.host}#{number}"
        etcd, log = patroni.etcd, Lines()
        clock, ids = FakeClock(offset_s=1_000.0 * number), FakeIds(number)
        leases = FakeLeases(etcd, client=self.client)
        session = Session(leases, clock, ids, ttl_s=config.lease_ttl_s)
        node_id = swarm.node_id(config.host)
        engine = FakeEngine(swarm.engines[node_id], CLUSTER, clock, GatedHooks(gate, "engine"))
        fakes: dict[str, Any] = {
            "clock": clock,
            "ids": ids,
            "session": session,
            "store": FakeStore(etcd, lease=lambda: session.lease_id, client=self.client),
            "mirror": Mirror(FakeFeed(etcd, client=self.client), clock, ids),
            "accounts": FakeAccounts(etcd, client=self.client),
            "vault": OpenVault(),
            "certificates": PlainCertificates(),
            "orchestrator": FakeOrchestrator(swarm, CLUSTER, clock, GatedHooks(gate, "swarm", stale)),
            "engine": engine,
            "events": FakeEventStream(swarm, node_id),
            "patroni": HostPatroni(config.host, patroni, gate),
            "sql": HostSql(config.host, patroni, ids, gate),
        }
        for name, fake in fakes.items():
            setattr(self, name, fake)
        self.config, self.log, self.lines = config, log, log
        self.dispatch = Dispatch(config.host, self.mirror)
        self.successes = Successes(self.clock)
        names = (DATABASE, INSTANCE, OWNERSHIP)
        self.metrics = Metrics("sim", queues=names, controllers=names)
        self._etcd_auth = etcd_auth
        self._queues()
        self._ownership(manager=True)
        self._controllers()
        self.heartbeat = Heartbeat(
            config.host, config.advertise_address, engine, self.mirror, self.store, clock, log
        )

    async def _answer(self) -> None:
        await asyncio.Event().wait()
