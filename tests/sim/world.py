"""
A whole cluster in virtual time: real `pgswarm run` wiring on each host, over fake etcd, Swarm, Patroni and Postgres.

One seed, one run. `World.gate` sees every call that leaves a process: it counts effects, kills a process in the middle
of one, and never lets anything through from a dead one. After each run `checked` tells what must never be.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from controlplane.settings import Config
from crds.instance import InstanceObserved
from crds.meta import Key
from crds.status import DatabaseStatus
from reconcilers import paths
from reconcilers.errors import Unavailable
from reconcilers.resources import naming
from tests.sim.clock import FakeClock
from tests.sim.etcd import Call, FakeEtcd
from tests.sim.loop import NOBODY, PROCESS, VirtualLoop
from tests.sim.oracles import Oracles
from tests.sim.patroni_world import TICK_S, PatroniWorld
from tests.sim.process import CLUSTER, SimProcess
from tests.sim.swarm_world import Service, SwarmWorld

HOSTS = ("host-1", "host-2", "host-3")
CALL_S = 0.002
SUBNET_POOL = "10.121.0.0/16"
READS = (
    "read",
    "view",
    "engine_view",
    "facts",
    "has_image",
    "log",
    "query",
    "list",
    "since",
    "watch",
    "revision",
    "accounts",
)
LIVES = ("grant", "keep_alive", "revoke", "time_to_live")
QUIET = (paths.OWNERS, paths.CONTROLLERS, paths.HOSTS, paths.OBSERVED)
"""Records by which processes tell of themselves; writing them is no effect on a database."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One call that may have changed the world."""

    client: str
    what: str
    """system:operation, for etcd with the paths written."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A call on its way out of a process, or its answer on the way back: where anything may happen to it."""

    number: int
    """Of all crossings of this run, from 0."""
    client: str
    what: str
    moment: str
    """before or after."""
    effect: int | None
    """Its number among the effects, from 0; None for a call that changes nothing."""
    at_once: bool = False
    """Since the crossing before it nobody has had his turn, and nothing was asked of the loop."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a process at a crossing."""

    kind: str
    """
    dies: as by SIGKILL. cancelled: its tasks are, as when it is told to stop twice. fails: it lives, and its call ends
    in Unavailable; after the effect that is an answer that was lost. stands: none of its calls arrives for a while.
    stops: as by SIGSTOP, nothing of it runs for a while. hangs: its call has no answer, and whoever waits for it is
    cancelled by a deadline of his own, if he has one.
    """
    back_s: float
    """Virtual seconds until its host has a process again, until it moves again, or until it is told of no answer."""


@dataclass(slots=True)
class Running:
    process: SimProcess
    task: asyncio.Task[None]
    dead: bool = False
    leaving: bool = False
    """Told to stop: that it ends is no surprise."""


class World:
    def __init__(self, hosts: tuple[str, ...] = HOSTS) -> None:
        self.clock = FakeClock(offset_s=0.0)
        self.etcd = FakeEtcd(self.clock)
        self.etcd.gate = self._etcd_gate
        self.swarm = SwarmWorld(hosts, self.clock.now)
        self.patroni = PatroniWorld(self.etcd, self.swarm)
        self.oracles = Oracles(self.etcd, self.swarm)
        self.running: dict[str, Running] = {}
        self.effects: list[Effect] = []
        self.calls: Counter[str] = Counter()
        self.fault: Callable[[Crossing], Fault | None] = lambda crossing: None
        """Asked at each crossing."""
        self.stale: Callable[[], bool] = lambda: False
        """Asked at each list of the Swarm's objects: does a manager answer that has missed the latest?"""
        self.outdated: set[str] = set()
        """Processes whose manager misses everything: what it lists is what it listed last."""
        self.struck: list[Crossing] = []
        """Where it answered with a fault."""
        self.over_at_s = 0.0
        """When the last of these faults is over."""
        self.held: dict[str, asyncio.Event] = {}
        """Processes whose calls are under way and do not arrive."""
        self.hung: list[asyncio.Event] = []
        """Calls that wait for an answer that does not come; set: they are told so."""
        self.intruders: list[Callable[[Effect], None]] = []
        """Called before each effect: somebody else's hand at that very moment."""
        self.etcd_auth = True
        """Whether etcd asks who is there; each instance then has a user of its own."""
        self.subnet_pool = SUBNET_POOL
        self._started = self.crossings = 0
        self._crossed = (-1, -1)
        """The loop's moment at the last crossing."""

    # --- processes ---

    def start(self, host: str) -> SimProcess:
        self._started += 1
        number = self._started
        config = Config(
            host=host,
            cluster=CLUSTER,
            etcd_endpoints=("http://10.99.0.1:2379",),
            subnet_pool=self.subnet_pool,
        )
        client = f"{host}#{number}"

        async def gate(system: str, operation: str, moment: str) -> None:
            await self._gate(client, system, operation, moment)

        process = SimProcess(
            config,
            number,
            self.swarm,
            self.patroni,
            gate,
            lambda: client in self.outdated or self.stale(),
            etcd_auth=self.etcd_auth,
        )
        context = contextvars.Context()
        context.run(PROCESS.set, client)
        task = asyncio.create_task(process.serve(), name=client, context=context)
        self.running[client] = Running(process, task)
        return process

    def kill(self, client: str) -> None:
        """As SIGKILL: nothing is said to anybody, nothing that is under way comes to an end."""
        self.running[client].dead = True
        self.resume(client)
        asyncio.get_running_loop().call_soon(self.running[client].task.cancel)

    def cancel(self, client: str) -> None:
        """All its tasks are cancelled, and what they still do on their way out arrives."""
        one = self.running[client]
        one.leaving = True
        asyncio.get_running_loop().call_soon(one.task.cancel)

    def stop(self, client: str) -> None:
        """As SIGSTOP, until `resume`: what is on its way to it waits, what it has sent arrives."""
        _loop().stop_process(client)

    def resume(self, client: str) -> None:
        _loop().continue_process(client)

    def hold(self, client: str) -> None:
        """The process's network stands still: every call of it waits until `release`."""
        self.held.setdefault(client, asyncio.Event())

    def release(self, client: str) -> None:
        if client in self.held:
            self.held.pop(client).set()

    def kill_host(self, host: str) -> None:
        """The machine loses its power."""
        self.patroni.down.add(host)
        for client in self.alive(host):
            self.kill(client)
        self.swarm.fail_node(host)

    def lose_host(self, host: str) -> None:
        """The machine is gone for good, and somebody took it out of the Swarm."""
        self.kill_host(host)
        self.swarm.nodes.pop(self.swarm.node_id(host))

    def revive_host(self, host: str) -> None:
        self.patroni.down.discard(host)
        self.swarm.recover_node(host)
        self.start(host)

    def alive(self, host: str = "") -> list[str]:
        return [
            client
            for client, one in self.running.items()
            if not one.dead and not one.leaving and client.startswith(f"{host}#" if host else "")
        ]

    def owner(self, name: str = "orders") -> str:
        """The live process that may act on the database; "" if there is none."""
        key = Key("database", name)
        owners = [c for c in self.alive() if self.running[c].process.ownership.claim(key) is not None]
        assert len(owners) <= 1, f"{owners} all believe that they own {name}"
        return owners[0] if owners else ""

    async def play(self) -> None:
        """Everything that is not a pgswarm process."""
        while True:
            self.patroni.tick()
            await self.clock.sleep(TICK_S)

    # --- what passes between processes and the world ---

    async def _etcd_gate(self, call: Call) -> None:
        await self._gate(call.client, "etcd", call.operation, call.moment, call.detail)

    async def _gate(self, client: str, system: str, operation: str, moment: str, detail: str = "") -> None:
        await self._unless_dead(client)
        what = f"{system}:{operation}" + (f" {detail}" if detail else "")
        if moment == "before":
            self.calls[f"{system}:{operation}"] += 1
            await self.clock.sleep(CALL_S / 2)
            await self._unless_dead(client)
        effect = self._count(client, what, moment) if self._is_effect(system, operation, detail) else None
        now = _loop().moment()
        crossing = Crossing(self.crossings, client, what, moment, effect, at_once=now == self._crossed)
        self.crossings, self._crossed = self.crossings + 1, now
        fault = self.fault(crossing)
        if fault is not None:
            self.struck.append(crossing)
            self.over_at_s = max(self.over_at_s, self.clock.monotonic() + fault.back_s)
            await self._suffer(crossing, fault)
        await self._unless_dead(client)
        if moment == "after":
            await self.clock.sleep(CALL_S / 2)
            await self._unless_dead(client)

    def _count(self, client: str, what: str, moment: str) -> int:
        effect = Effect(client, what)
        if moment == "after":
            return next(n for n in range(len(self.effects) - 1, -1, -1) if self.effects[n] == effect)
        self.effects.append(effect)
        for intruder in list(self.intruders):
            intruder(effect)
        return len(self.effects) - 1

    async def _suffer(self, crossing: Crossing, fault: Fault) -> None:
        client = crossing.client
        host = client.partition("#")[0]
        if fault.kind == "fails":
            raise Unavailable("the world", f"{crossing.what}: no answer")
        if fault.kind == "hangs":
            await self._hang(fault.back_s)
            raise Unavailable("the world", f"{crossing.what}: no answer")
        if fault.kind == "stands":
            self.hold(client)
            self.later(fault.back_s, lambda: self.release(client))
            return
        if fault.kind == "stops":
            self.stop(client)
            self.later(fault.back_s, lambda: self.resume(client))
            await asyncio.sleep(0)  # whatever it was about to do, it does when it goes on
            return
        if fault.kind == "dies":
            self.kill(client)
        else:
            self.cancel(client)
        self.later(fault.back_s, lambda: self._return(host))

    async def _hang(self, seconds: float) -> None:
        given_up = asyncio.Event()
        self.hung.append(given_up)
        self.later(seconds, given_up.set)
        try:
            await given_up.wait()
        finally:
            self.hung.remove(given_up)

    def _return(self, host: str) -> None:
        """Its supervisor starts the process again, if the host has power and nobody else did."""
        if host not in self.patroni.down and not self.alive(host):
            self.start(host)

    async def _unless_dead(self, client: str) -> None:
        if client in self.held:
            await self.held[client].wait()
        if self.running[client].dead:
            await asyncio.sleep(1.0)
            raise Unavailable("the world", "this process is dead")

    def _is_effect(self, system: str, operation: str, detail: str) -> bool:
        if operation in READS or (system == "etcd" and operation in LIVES):
            return False
        return not (system == "etcd" and all(path.startswith(QUIET) for path in detail.split(",")))

    # --- people ---

    def apply(self, text: str, name: str = "orders") -> int:
        return self.etcd.put(paths.spec(Key("database", name)), text.encode())

    def delete(self, name: str = "orders") -> int:
        return self.etcd.remove(paths.spec(Key("database", name)))

    def service(self, name: str) -> Service:
        return next(one for one in self.swarm.services.values() if one.payload["Name"] == name)

    def instance(self, host: str, name: str = "orders") -> str:
        return naming.instance(name, "n1", host)

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(seconds, act, context=NOBODY.copy())

    # --- what is there ---

    def status(self, name: str = "orders") -> DatabaseStatus | None:
        record = self.etcd.get(paths.status(Key("database", name)))
        return None if record is None else _status(record.value)

    def phase(self, name: str = "orders") -> str:
        status = self.status(name)
        return "" if status is None else status.phase

    def condition(self, type_: str, name: str = "orders") -> tuple[str, str]:
        """Status and reason of one."""
        status = self.status(name)
        found = status.condition(type_) if status is not None else None
        return ("", "") if found is None else (found.status.value, found.reason)

    def services(self) -> set[str]:
        """Names."""
        return {one.payload["Name"] for one in self.swarm.services.values()}

    def ready(self, revision: int, name: str = "orders") -> bool:
        status = self.status(name)
        return status is not None and status.phase == "Ready" and status.observed_revision >= revision

    def observed(self, host: str, name: str = "orders") -> InstanceObserved | None:
        record = self.etcd.get(paths.observed(host, self.instance(host, name)))
        return None if record is None else InstanceObserved.model_validate_json(record.value)

    async def until(self, true: Callable[[], bool], within_s: float = 120.0, what: str = "") -> float:
        """Virtual seconds that it took."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while not true():
            assert loop.time() - began_s < within_s, self._explain(what or "what was waited for")
            await self.clock.sleep(0.05)
            self._check_tasks()
        return loop.time() - began_s

    async def quiet(self, seconds: float = 12.0, within_s: float = 180.0) -> None:
        """Until nothing has had an effect for `seconds`."""
        loop = asyncio.get_running_loop()
        began_s = since_s = loop.time()
        seen = len(self.effects)
        while loop.time() - since_s < seconds:
            assert loop.time() - began_s < within_s, self._explain("no effect any more")
            await self.clock.sleep(0.25)
            self._check_tasks()
            if len(self.effects) != seen:
                seen, since_s = len(self.effects), loop.time()

    def _check_tasks(self) -> None:
        for one in self.running.values():
            if one.task.done() and not one.dead and not one.leaving:
                one.task.result()
                raise AssertionError(f"{one.process.client} ended by itself")

    def _explain(self, what: str) -> str:
        status = self.status()
        lines = [f"not in time: {what}"]
        lines += [f"  {one.client} {one.what}" for one in self.effects[-12:]]
        if status is not None:
            lines += [f"  {c.type}={c.status} {c.reason}: {c.message}" for c in status.conditions]
            lines += [f"  pending {p.action} {p.name} {p.why}{p.waiting_for}" for p in status.pending]
            lines += [f"  {message}" for message in status.messages]
        for one in self.running.values():
            found = [line for line in one.process.lines.lines if line[0] in ("warning", "error")]
            lines += [f"  {one.process.client} {line}" for line in found[-4:]]
        return "\n".join(lines)

    # --- judgement ---

    def bugs(self) -> list[str]:
        """Passes that ended in an exception nobody meant, and what Patroni's side saw go wrong."""
        lines = [
            f"{one.process.client}: {event}: {fields.get('exc_info')!r}"
            for one in self.running.values()
            for level, event, fields in one.process.lines.lines
            if level == "error" and not one.dead
        ]
        return [*lines, *self.patroni.violations, *self.oracles.at_the_end()]

    def end_state(self) -> dict[str, Any]:
        """What two runs that ended alike have in common: no IDs, versions, epochs, secrets or times."""
        fleeting = (naming.EPOCH, naming.HASH, naming.INCARNATION)
        services = {
            s.payload["Name"]: (
                s.payload["Mode"]["Replicated"]["Replicas"],
                s.payload["TaskTemplate"]["ContainerSpec"].get("Image"),
                s.payload["TaskTemplate"].get("Resources"),
                sorted(k for k in s.payload["Labels"] if k not in fleeting),
                sum(t.desired_state == "running" for t in s.tasks),
            )
            for s in self.swarm.services.values()
        }
        return {
            "services": dict(sorted(services.items())),
            "networks": sorted(n.name for n in self.swarm.networks.values() if n.labels.get(naming.CLUSTER)),
            "secrets": sorted(
                _stem(b.name) for b in self.swarm.secrets.values() if naming.CLUSTER in b.labels
            ),
            "configs": sorted(
                _stem(b.name) for b in self.swarm.configs.values() if naming.CLUSTER in b.labels
            ),
            "volumes": sorted(
                (engine.hostname, _stem(volume.name))
                for engine in self.swarm.engines.values()
                for volume in engine.volumes.values()
                if naming.CLUSTER in volume.labels
            ),
            "records": sorted(
                record.path
                for record in self.etcd.under("")
                if not record.path.startswith((paths.EVENTS, paths.CONTROLLERS))
                # What Patroni leaves of a switchover that was asked for and is over.
                and not (record.path.endswith("/failover") and record.value == b"{}")
            ),
            "accounts": sorted(self.etcd.accounts),
        }

    def made(self) -> Counter[str]:
        """How often which object was made or removed, by the name it has in every run."""
        return Counter(self.swarm.journal)


def _loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


@lru_cache(maxsize=64)
def _status(text: bytes) -> DatabaseStatus:
    return DatabaseStatus.model_validate_json(text)


def _stem(name: str) -> str:
    """A name without its last part, which is a hash or an incarnation."""
    return name.rpartition("-")[0]


@asynccontextmanager
async def cluster(hosts: tuple[str, ...] = HOSTS) -> AsyncIterator[World]:
    """A world with a process on each host; at its end everything is stopped and nothing may have gone wrong."""
    world = World(hosts)
    for host in hosts:
        world.start(host)
    others = asyncio.create_task(world.play(), name="the world")
    try:
        yield world
        assert not world.bugs(), world.bugs()
    finally:
        for client in world.alive():
            world.kill(client)
        others.cancel()
        await asyncio.sleep(0)
        ends = await asyncio.gather(
            others, *(one.task for one in world.running.values()), return_exceptions=True
        )
        crashed = [end for end in ends if isinstance(end, Exception)]
    assert not crashed, crashed
