"""Composition root: build every part once, run them side by side, end them in order. No rule of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from controlplane.api.schemas import Check, VersionView
from controlplane.api.server import serving
from controlplane.claims import Unelected
from controlplane.clients.certificates import DatabaseCertificates
from controlplane.clients.patroni import PatroniRest
from controlplane.clients.sql import PostgresSql
from controlplane.clock import SystemClock, SystemIds
from controlplane.config import Config
from controlplane.controller import Controller
from controlplane.dial import dial
from controlplane.dispatch import Dispatch, Wakes
from controlplane.figures import DatabaseFiguresSource, Measured, Successes
from controlplane.heartbeat import Heartbeat
from controlplane.instance_tls import instance_tls
from controlplane.lifecycle import Drain, run_until_stopped
from controlplane.logger import Log
from controlplane.logs import configure
from controlplane.membership import Membership
from controlplane.metrics import Metrics
from controlplane.orchestrators.engine import LocalEngine
from controlplane.orchestrators.events import EventStream
from controlplane.orchestrators.swarm import SwarmOrchestrator
from controlplane.ownership import Ownership
from controlplane.placement import Member
from controlplane.preflight import images
from controlplane.queue import WorkQueue
from controlplane.sources.changes import Changed, Changes
from controlplane.sources.etcd import Mirror
from controlplane.sources.orphans import OrphanSource
from controlplane.sources.swarm import SwarmSource
from controlplane.sources.ticker import Ticker
from controlplane.stores.accounts import EtcdAccounts
from controlplane.stores.connection import Connection
from controlplane.stores.keyfile import load_or_create_kek
from controlplane.stores.keys import Keys
from controlplane.stores.leases import EtcdLeases
from controlplane.stores.session import Session
from controlplane.stores.store import EtcdStore
from controlplane.stores.vault import AesVault
from controlplane.stores.watches import EtcdFeed
from controlplane.version import VERSION
from crds.meta import Key
from reconcilers.contract import Claim
from reconcilers.database.apply import Effects
from reconcilers.database.reconciler import DatabaseReconciler
from reconcilers.database.refresh import Ports, Refresh, Settings
from reconcilers.errors import PgswarmError, RetryableError
from reconcilers.instance.reconciler import InstanceReconciler
from reconcilers.ports import Certificates, Records

T = TypeVar("T")

DATABASE, INSTANCE, OWNERSHIP = "database", "instance", "ownership"
DATABASE_WORKERS, INSTANCE_WORKERS, ELECTION_WORKERS = 8, 8, 64
PASS_DEADLINE_S = 60.0
DRAIN_S = 0.5
"""Seconds that running passes get to end when the process stops; what is cut is simply planned again elsewhere."""
ACCOUNTS_S = 60.0
WAIT_LOG_S = 5.0


@dataclass(frozen=True, slots=True)
class AgentClaim:
    """The agent is not elected: the host is the host. It only must still hold its session."""

    stands: Callable[[], bool]
    epoch: int = 0
    path: str = ""

    def may_act(self) -> bool:
        return self.stands()


@dataclass(frozen=True, slots=True)
class AgentClaims:
    session: Session

    def claim(self, key: Key) -> Claim | None:
        return AgentClaim(self.session.valid) if self.session.valid() else None


class Process:
    """One `pgswarm run`."""

    def __init__(
        self, config: Config, connection: Connection, log: Log, *, etcd_auth: bool, manager: bool
    ) -> None:
        self.config, self.log = config, log
        self.clock, self.ids = SystemClock(), SystemIds()
        self.connection = connection
        self.keys = Keys(config.prefix)
        self.session = Session(EtcdLeases(connection), self.clock, self.ids, ttl_s=config.lease_ttl_s)
        self.store = EtcdStore(connection, self.keys, self.clock, lease=lambda: self.session.lease_id)
        self.mirror = Mirror(EtcdFeed(connection, self.keys), self.clock, self.ids)
        self.accounts = EtcdAccounts(connection, self.keys)
        self.vault = AesVault(load_or_create_kek(config.key_file))
        self.certificates: Certificates = DatabaseCertificates()
        self.orchestrator = SwarmOrchestrator(config.docker, config.cluster, self.clock)
        self.engine = LocalEngine(config.docker, config.cluster, self.clock)
        self.events = EventStream(config.docker, self.clock)
        self.patroni, self.sql = PatroniRest(), PostgresSql(self.clock, self.ids)
        self.dispatch = Dispatch(config.host, self.mirror)
        self.successes = Successes(self.clock)
        self.metrics = Metrics(
            VERSION, queues=(DATABASE, INSTANCE, OWNERSHIP), controllers=(DATABASE, INSTANCE, OWNERSHIP)
        )
        self._etcd_auth = etcd_auth
        self._queues()
        self._ownership(manager)
        self._controllers()
        self._observe()
        self.heartbeat = Heartbeat(
            config.host, config.advertise_address, self.engine, self.mirror, self.store, self.clock, log
        )

    # --- building ---

    def _queues(self) -> None:
        self.databases: WorkQueue[Key] = WorkQueue(
            DATABASE, self.clock, self.ids, self.metrics, suspects_max=4
        )
        self.instances: WorkQueue[Key] = WorkQueue(
            INSTANCE, self.clock, self.ids, self.metrics, suspects_max=4
        )
        self.elections: WorkQueue[Key] = WorkQueue(
            OWNERSHIP, self.clock, self.ids, self.metrics, suspects_max=ELECTION_WORKERS
        )

    def _ownership(self, manager: bool) -> None:
        # Only a manager sees the Swarm's services; on a worker this process is an agent and nothing else.
        member = Member(self.config.host, self.ids.uuid(), (DATABASE,) if manager else ())
        self.membership = Membership(
            member,
            {"version": VERSION},
            self.mirror,
            self.store,
            self.session,
            self.clock,
            self.log,
            able=lambda: self.heartbeat.able(),
        )
        self.orphans = OrphanSource(
            self.orchestrator,
            self.mirror,
            self.clock,
            self.log,
            cluster=self.config.cluster,
            period_s=self.config.resync_s,
            wake=lambda key: self.ownership.look_at(key),
        )
        self.ownership = Ownership(
            self.membership,
            self.elections,
            self.mirror,
            self.store,
            self.clock,
            self.metrics,
            on_acquired=self._acquired,
            on_lost=self.databases.forget,
            busy=self.databases.in_work,
            orphans=self.orphans.keys,
        )

    def _acquired(self, key: Key, epoch: int) -> None:
        # The reading may be older than the claim; a new owner must not plan from what it saw as a bystander.
        self.orchestrator.invalidate(key.name, wanted=True)
        self.databases.add(key)

    def _controllers(self) -> None:
        refresh = Refresh(
            Ports(
                self.mirror,
                self.orchestrator,
                self.accounts,
                self.vault,
                self.clock,
                self.ids,
                self.certificates,
            ),
            _settings(self.config, etcd_auth=self._etcd_auth),
        )
        effects = Effects(
            self.store,
            self.orchestrator,
            self.accounts,
            self.vault,
            self.certificates,
            self.clock,
            self.ids,
        )
        agent = InstanceReconciler(
            host=self.config.host,
            cluster=self.config.cluster,
            records=self.mirror,
            store=self.store,
            engine=self.engine,
            patroni=self.patroni,
            sql=self.sql,
            vault=self.vault,
            ids=self.ids,
        )
        owner = Measured(DatabaseReconciler(refresh, effects, self.mirror), self.successes)
        common = (self.clock, self.metrics, self.log)
        self.controllers = (
            Controller(
                DATABASE,
                self.databases,
                owner,
                self.ownership,
                *common,
                workers=DATABASE_WORKERS,
                deadline_s=PASS_DEADLINE_S,
            ),
            Controller(
                INSTANCE,
                self.instances,
                agent,
                AgentClaims(self.session),
                *common,
                workers=INSTANCE_WORKERS,
                deadline_s=PASS_DEADLINE_S,
            ),
            Controller(
                OWNERSHIP,
                self.elections,
                self.ownership,
                Unelected(),
                *common,
                workers=ELECTION_WORKERS,
                deadline_s=PASS_DEADLINE_S,
            ),
        )

    def _observe(self) -> None:
        for queue in (self.databases, self.instances, self.elections):
            self.metrics.watch_queue(queue.name, queue.stats)
        self.metrics.watch_mirror(lambda: self.mirror.stale_for_s, self.mirror.__len__)
        self.metrics.watch_lease(self.session.valid)
        figures = DatabaseFiguresSource(self.mirror, self.watched, self.successes, self.clock)
        self.metrics.watch_databases(figures.read)

    # --- what the API asks ---

    @property
    def records(self) -> Records:
        return self.mirror

    def readiness(self) -> Sequence[Check]:
        stale_s = self.mirror.stale_for_s
        return (
            Check(
                name="mirror", ok=self.mirror.ready.is_set() and stale_s < 60, detail=self.mirror.last_error
            ),
            Check(name="lease", ok=self.session.valid(), detail=self.session.last_error),
            Check(name="docker", ok=self.heartbeat.answered, detail=""),
        )

    def version(self) -> VersionView:
        return VersionView(version=VERSION, host=self.config.host)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        return self.metrics.exposition(accept)

    # --- running ---

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            start = group.create_task
            start(self.mirror.run(), name="mirror")
            start(self.session.run(), name="session")
            await _ready(self.mirror, self.log)
            await self.session.acquired()
            for run in (
                self._listen,
                self.heartbeat.run,
                self.ownership.run,
                self._swarm_source().run,
                self._ticker(self._every_key).run,
                self._look_at_accounts,
                self._answer,
                *((self.orphans.run,) if self.membership.me.kinds else ()),
                *(controller.run for controller in self.controllers),
            ):
                start(run())
            self.log.info("pgswarm runs", host=self.config.host, cluster=self.config.cluster, version=VERSION)

    async def _listen(self) -> None:
        async with aclosing(_iterate(self.mirror.changes())) as changes:
            async for changed in changes:
                self.ownership.changed(changed.paths, everything=changed.everything)
                if changed.everything:
                    self.dispatch.forget()
                    self._wake(Wakes(everything=True))
                    continue
                for path in changed.paths:
                    self._wake(self.dispatch.wakes(path))

    def _wake(self, wakes: Wakes) -> None:
        for key in self.ownership.owned() if wakes.everything else wakes.databases:
            self.databases.add(key)
        for key in self.dispatch.local_instances() if wakes.everything else wakes.instances:
            self.instances.add(key)

    def watched(self) -> list[Key]:
        """What we own without what we only tidy up: nobody wants figures of that."""
        orphans = self.orphans.keys()
        return [key for key in self.ownership.owned() if key not in orphans]

    def _every_key(self) -> list[Key]:
        # Once a period: an event that never came must not leave a reading standing for ever.
        self.orchestrator.invalidate()
        self.engine.invalidate()
        return [*self.ownership.owned(), *self.dispatch.local_instances()]

    def _enqueue(self, key: Key) -> None:
        (self.databases if key.kind == DATABASE else self.instances).add(key)

    def _ticker(self, known: Callable[[], list[Key]]) -> Ticker:
        return Ticker(self.clock, self.ids, known=known, enqueue=self._enqueue, period_s=self.config.resync_s)

    def _swarm_source(self) -> SwarmSource:
        return SwarmSource(
            self.events,
            self.orchestrator,
            self.engine,
            cluster=self.config.cluster,
            databases=lambda: [key.name for key in self.ownership.owned()],
            instances=lambda: [key.name for key in self.dispatch.local_instances()],
            wake_database=self.databases.add,
            wake_instance=self.instances.add,
        )

    async def _look_at_accounts(self) -> None:
        while True:
            if self._etcd_auth:
                try:
                    await self.accounts.refresh()
                except PgswarmError as error:
                    self.log.warning("cannot list etcd users", error=str(error))
            await self.clock.sleep(ACCOUNTS_S)

    async def _answer(self) -> None:
        async with serving(self.config, _Api(self), self.log):
            await asyncio.Event().wait()

    # --- ending ---

    def drain(self) -> Drain:
        drain = Drain(self.log)
        drain.add("sources", "ownership", self._freeze)
        for controller in self.controllers:
            drain.add("workers", controller.name, lambda one=controller: one.drain(DRAIN_S))  # type: ignore[misc]
        drain.add("claims", "hand over", self.ownership.hand_over)
        for name, close in (
            ("sql", self.sql.close),
            ("patroni", self.patroni.close),
            ("events", self.events.close),
            ("engine", self.engine.close),
            ("swarm", self.orchestrator.close),
        ):
            drain.add("clients", name, close)
        return drain

    async def _freeze(self) -> None:
        self.ownership.freeze()


@dataclass(frozen=True, slots=True)
class _Api:
    """`api.facade.Facade` of a process."""

    process: Process

    @property
    def records(self) -> Records:
        return self.process.mirror

    def readiness(self) -> Sequence[Check]:
        return self.process.readiness()

    def version(self) -> VersionView:
        return self.process.version()

    def metrics(self, accept: str) -> tuple[bytes, str]:
        return self.process.exposition(accept)


def run(config: Config) -> int:
    """Run until a signal; return the exit code. Raises: PgswarmError when it cannot start."""
    log = configure(level=config.log_level, stream=sys.stderr, clock=SystemClock())
    return asyncio.run(_main(config, log))


async def _main(config: Config, log: Log) -> int:
    async with _etcd(config, log) as settled:
        connection, _ = dial(settled)
        try:
            process = await _assemble(settled, connection, log)
            return await run_until_stopped(process.serve(), process.drain(), log)
        finally:
            await connection.close()


async def _assemble(config: Config, connection: Connection, log: Log) -> Process:
    """What must be known before anything is built; waits, and says so, until etcd and Docker answer."""
    clock = SystemClock()
    engine = LocalEngine(config.docker, config.cluster, clock)
    try:
        facts = await _until(engine.facts, "Docker", clock, log)
    finally:
        await engine.close()
    accounts = EtcdAccounts(connection, Keys(config.prefix))
    auth = connection.has_credentials and await _until(accounts.enabled, "etcd", clock, log)
    if auth and (weakness := await _until(accounts.weakness, "etcd", clock, log)):
        log.warning("etcd does not keep its users apart", why=weakness)
    if not facts.manager:
        log.warning("this host is no Swarm manager: it looks after its instances and owns no database")
    return Process(config, connection, log, etcd_auth=auth, manager=facts.manager)


@asynccontextmanager
async def _etcd(config: Config, log: Log) -> AsyncIterator[Config]:
    """The configuration with etcd's address in it, with an etcd of our own running if that is wanted."""
    if not config.embedded_etcd:
        yield config
        return
    from controlplane.embedded_etcd import embedded

    async with embedded(config, SystemClock(), SystemIds(), log) as settled:
        yield settled


def _settings(config: Config, *, etcd_auth: bool) -> Settings:
    tls = instance_tls(config, etcd_auth=etcd_auth)
    return Settings(
        identity=config.host,
        cluster=config.cluster,
        # In one order on every host: the list is part of each instance's file, and a new owner must not differ.
        etcd_endpoints=tuple(sorted(config.instance_etcd_endpoints)),
        etcd_ca=tls.ca,
        etcd_client=tls.client,
        etcd_auth=etcd_auth,
        subnet_pool=config.subnet_pool,
        catalogue=images(config),
    )


async def _until(ask: Callable[[], Awaitable[T]], what: str, clock: SystemClock, log: Log) -> T:
    """Ask until there is an answer; say every few seconds what is waited for."""
    pause_s, silent_since_s = 0.1, clock.monotonic()
    while True:
        try:
            return await ask()
        except RetryableError as error:
            if clock.monotonic() - silent_since_s >= WAIT_LOG_S:
                silent_since_s = clock.monotonic()
                log.warning("waiting for a dependency", dependency=what, error=str(error))
        await clock.sleep(pause_s)
        pause_s = min(2.0, pause_s * 2)


async def _ready(mirror: Mirror, log: Log) -> None:
    while not mirror.ready.is_set():
        try:
            async with asyncio.timeout(WAIT_LOG_S):
                await mirror.ready.wait()
        except TimeoutError:
            log.warning("waiting for a dependency", dependency="etcd", error=mirror.last_error)


async def _iterate(changes: Changes) -> AsyncGenerator[Changed, None]:
    try:
        async for changed in changes:
            yield changed
    finally:
        changes.close()
