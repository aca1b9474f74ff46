"""
Every order of what people and accidents do, as Hypothesis thinks them out and makes them small again.

Rules are single acts; after each of them nothing forbidden may have been seen, and at the end everything must come to
what was asked for last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.sim.fuzz import MEMORIES, Wanted, missing, write
from tests.sim.loop import VirtualLoop
from tests.sim.world import HOSTS, World, cluster

CONVERGE_S = 300.0
hosts = st.sampled_from(HOSTS)


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.wanted = Wanted(there=False)
        self.context = cluster()
        self.world: World = self.play(self.context.__aenter__())

    def play(self, part: Awaitable[Any]) -> Any:
        async def story() -> Any:
            return await part

        return self.runner.run(story())

    def wait(self, seconds: float) -> None:
        self.play(self.world.clock.sleep(seconds))

    # --- people ---

    @rule(hosts=st.lists(hosts, min_size=1, max_size=3, unique=True), memory=st.sampled_from(MEMORIES))
    def write(self, hosts: list[str], memory: str) -> None:
        self.wanted.hosts, self.wanted.memory = tuple(hosts), memory
        write(self.world, self.wanted)

    @precondition(lambda self: self.wanted.there)
    @rule()
    def delete(self) -> None:
        self.wanted.there = False
        self.world.delete()

    @precondition(lambda self: self.world.services())
    @rule(data=st.data())
    def remove_a_service(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.services())))
        self.world.swarm.drop(self.world.service(name).id)

    # --- time and accidents ---

    @rule(seconds=st.sampled_from((0.1, 1.0, 4.0, 20.0)))
    def advance(self, seconds: float) -> None:
        self.wait(seconds)

    @rule(host=hosts)
    def crash(self, host: str) -> None:
        for client in self.world.alive(host):
            self.world.kill(client)
        self.wait(0.01)

    @rule(host=hosts)
    def partition(self, host: str) -> None:
        for client in self.world.alive(host):
            self.world.hold(client)

    @rule()
    def heal(self) -> None:
        for client in list(self.world.held):
            self.world.release(client)
        for host in HOSTS:
            if host in self.world.patroni.down:
                self.world.revive_host(host)
            elif not self.world.alive(host):
                self.play(self.start(host))

    async def start(self, host: str) -> None:
        self.world.start(host)

    @precondition(lambda self: not self.world.patroni.down)
    @rule(host=hosts)
    def power(self, host: str) -> None:
        self.play(self.lose(host))

    async def lose(self, host: str) -> None:
        self.world.kill_host(host)

    @rule()
    def compact(self) -> None:
        self.world.etcd.compact()

    @rule()
    def cut(self) -> None:
        self.world.etcd.cut_watches()

    # --- judgement ---

    @invariant()
    def nothing_forbidden_was_seen(self) -> None:
        assert not self.world.oracles.found
        assert not self.world.patroni.violations
        self.play(self.look())

    async def look(self) -> None:
        self.world.owner()

    def teardown(self) -> None:
        try:
            self.heal()
            if self.wanted.there or self.world.status() is not None:
                self.play(self.world.until(lambda: not list(missing(self.world, self.wanted)), CONVERGE_S))
        finally:
            self.play(self.context.__aexit__(None, None, None))
            self.runner.close()


Life.TestCase.settings = settings(
    max_examples=8,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestLife = pytest.mark.timeout(900)(Life.TestCase)
