"""
Many faults at once, each run another choice of them: who asks for a seed gets the same run again, always.

A seed first draws which kinds of fault there are at all, and how often each: rare combinations of frequent faults
find more than all faults all the time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.sim.swarm import FakeEventStream
from tests.sim.world import HOSTS, Crossing, Fault, World

TTL_S = 10.0
DOCKER_CALL_S = 30.0
"""After this long pgswarm gives up waiting for an answer of Docker."""


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    rate: float
    """Most that it may happen: at one crossing for faults of a call, in one second for those of the world."""


CALLS = (
    Kind("dies", 0.01),
    Kind("cancelled", 0.01),
    Kind("fails", 0.08),
    Kind("stands", 0.01),
    Kind("stops", 0.01),
    Kind("hangs", 0.005),
)
WORLD = (
    Kind("etcd is away", 0.02),
    Kind("etcd has a new leader", 0.1),
    Kind("history is compacted", 0.2),
    Kind("watches break", 0.2),
    Kind("watches fall silent", 0.05),
    Kind("docker's events break", 0.1),
    Kind("a host's docker is silent", 0.02),
    Kind("a host loses its power", 0.02),
    Kind("a container is killed", 0.05),
    Kind("the Swarm's list is old", 0.2),
)
CHOSEN = 0.4
"""How likely each kind is part of a run."""


class Chaos:
    """`play` while it lasts; then `end`, after which everything that was broken is whole again."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world, self._rng = world, rng
        self._rates = {
            kind.name: kind.rate * rng.random() for kind in (*CALLS, *WORLD) if rng.random() < CHOSEN
        }
        self._acts: dict[str, Callable[[], None]] = {
            "etcd is away": self._etcd_away,
            "etcd has a new leader": world.etcd.renew_all,
            "history is compacted": world.etcd.compact,
            "watches break": world.etcd.cut_watches,
            "watches fall silent": world.etcd.silence_watches,
            "docker's events break": self._events_break,
            "a host's docker is silent": self._docker_silent,
            "a host loses its power": self._power,
            "a container is killed": self._kill_container,
        }
        self._silent: set[str] = set()
        """Hosts whose Docker does not answer."""
        self.said: list[str] = []
        """What it did, with the time."""

    def __str__(self) -> str:
        return ", ".join(sorted(self._rates)) or "nothing"

    def begin(self) -> None:
        self._world.fault = self._at
        self._world.stale = lambda: self._rng.random() < self._rates.get("the Swarm's list is old", 0.0)

    async def play(self, seconds: float) -> None:
        """Once a second each kind of the world's faults may happen."""
        for _ in range(int(seconds)):
            await self._world.clock.sleep(1.0)
            for name, act in self._acts.items():
                if self._rng.random() < self._rates.get(name, 0.0):
                    self._say(name)
                    act()

    def end(self) -> None:
        """No fault any more: hosts have power, every host has a process, etcd and events are there."""
        world = self._world
        world.fault = lambda _: None
        world.stale = lambda: False
        world.etcd.down = False
        self._silent.clear()
        for host in HOSTS:
            if host in world.patroni.down:
                world.revive_host(host)
            elif not world.alive(host):
                world.start(host)
        for client in list(world.held):
            world.release(client)
        for client in world.alive():
            world.resume(client)
        for given_up in world.hung:
            given_up.set()
        self._mend_events()

    def _at(self, crossing: Crossing) -> Fault | None:
        system, host = crossing.what.partition(":")[0], crossing.client.partition("#")[0]
        if host in self._silent and system in ("engine", "swarm") and crossing.moment == "before":
            return Fault("hangs", DOCKER_CALL_S)
        for kind in CALLS:
            rate = self._rates.get(kind.name, 0.0)
            if rate and self._rng.random() < rate:
                back_s = self._rng.choice((0.5, TTL_S / 2, 1.5 * TTL_S, 3.5 * TTL_S))
                self._say(f"{kind.name} {crossing.moment} {crossing.client} {crossing.what} {back_s}")
                return Fault(kind.name, back_s)
        return None

    def _say(self, what: str) -> None:
        self.said.append(f"{self._world.clock.monotonic():8.3f} {what}")

    # --- the world's ---

    def _etcd_away(self) -> None:
        etcd = self._world.etcd
        etcd.down = True
        etcd.cut_watches()

        def back() -> None:
            etcd.down = False

        self._world.later(self._rng.choice((1.0, TTL_S, 3 * TTL_S)), back)

    def _events_break(self) -> None:
        for one in self._world.running.values():
            stream = one.process.events
            assert isinstance(stream, FakeEventStream)
            stream.cut()
        self._world.later(self._rng.uniform(0.5, 20.0), self._mend_events)

    def _mend_events(self) -> None:
        for one in self._world.running.values():
            stream = one.process.events
            assert isinstance(stream, FakeEventStream)
            stream.mend()

    def _docker_silent(self) -> None:
        """Only what pgswarm asks of it: the containers, and Swarm, go on."""
        host = self._rng.choice(HOSTS)
        self._silent.add(host)
        self._world.later(self._rng.choice((TTL_S, 3 * TTL_S, 6 * TTL_S)), lambda: self._silent.discard(host))

    def _power(self) -> None:
        up = [host for host in HOSTS if host not in self._world.patroni.down]
        if len(up) < len(HOSTS):
            return
        host = self._rng.choice(up)
        self._world.kill_host(host)

        def back() -> None:
            if host in self._world.patroni.down:
                self._world.revive_host(host)

        self._world.later(self._rng.uniform(5.0, 60.0), back)

    def _kill_container(self) -> None:
        running = [
            (engine, container.view.id)
            for engine in self._world.swarm.engines.values()
            for container in engine.containers.values()
            if container.view.state == "running" and engine.hostname not in self._world.patroni.down
        ]
        if running:
            engine, identity = self._rng.choice(running)
            engine.kill(identity)
