"""
Every order of what people and accidents do, as Hypothesis thinks them out and makes them small again.

A rule is one act. After each of them no oracle may have seen anything, and at the end, when nothing is broken any
more, everything must come to what was asked for last.

The world lives in one event loop in virtual time from the first rule to the last; whatever a rule does to it, it does
inside that loop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.sim.fuzz import MEMORIES, Wanted, missing, write
from tests.sim.loop import VirtualLoop
from tests.sim.world import HOSTS, World, cluster

T = TypeVar("T")
CONVERGE_S = 300.0
STEP_S = 0.05
"""Virtual seconds that each act takes: enough for what it sets off to begin, and to be met by the next."""
WAITS_S = (0.2, 1.0, 4.0, 12.0, 40.0)
hosts = st.sampled_from(HOSTS)


class Life(RuleBasedStateMachine):
    """One database, three hosts, and a day on which everything happens."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.wanted = Wanted(there=False)
        self.stays = cluster()
        self.world: World = self.inside(self.stays.__aenter__())

    def inside(self, story: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(story)

    def act(self, what: Callable[[], object], seconds: float = STEP_S) -> None:
        """Do it in the world's loop, and let time pass."""

        async def story() -> None:
            what()
            await self.world.clock.sleep(seconds)

        self.inside(story())

    def each(self, host: str, what: Callable[[str], None]) -> None:
        for client in self.world.alive(host):
            what(client)

    # --- people ---

    @initialize(there=st.booleans())
    def begin(self, there: bool) -> None:
        if there:
            self.act(lambda: write(self.world, self.wanted), 20.0)

    @rule(hosts=st.lists(hosts, min_size=1, max_size=3, unique=True), memory=st.sampled_from(MEMORIES))
    def write(self, hosts: list[str], memory: str) -> None:
        self.wanted.hosts, self.wanted.memory = tuple(hosts), memory
        self.act(lambda: write(self.world, self.wanted))

    @precondition(lambda self: self.wanted.there)
    @rule()
    def delete(self) -> None:
        self.wanted.there = False
        self.act(self.world.delete)

    @precondition(lambda self: self.world.services())
    @rule(data=st.data())
    def remove_a_service(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.services())), "service")
        self.act(lambda: self.world.swarm.drop(self.world.service(name).id))

    # --- time ---

    @rule(seconds=st.sampled_from(WAITS_S))
    def wait(self, seconds: float) -> None:
        self.act(lambda: None, seconds)

    # --- accidents ---

    @rule(host=hosts)
    def crash(self, host: str) -> None:
        """pgswarm dies there."""
        self.act(lambda: self.each(host, self.world.kill))

    @rule(host=hosts)
    def partition(self, host: str) -> None:
        """No call of its pgswarm arrives."""
        self.act(lambda: self.each(host, self.world.hold))

    @rule(host=hosts)
    def stop(self, host: str) -> None:
        """SIGSTOP."""
        self.act(lambda: self.each(host, self.world.stop))

    @precondition(lambda self: not self.world.patroni.down)
    @rule(host=hosts)
    def lose_power(self, host: str) -> None:
        self.act(lambda: self.world.kill_host(host))

    @rule()
    def compact(self) -> None:
        self.act(self.world.etcd.compact)

    @rule()
    def cut_watches(self) -> None:
        self.act(self.world.etcd.cut_watches)

    @rule()
    def heal(self) -> None:
        self.act(self.mend)

    def mend(self) -> None:
        world = self.world
        for client in list(world.held):
            world.release(client)
        for client in world.alive():
            world.resume(client)
        for host in HOSTS:
            if host in world.patroni.down:
                world.revive_host(host)
            elif not world.alive(host):
                world.start(host)

    # --- judgement ---

    @invariant()
    def nothing_forbidden_was_seen(self) -> None:
        async def look() -> list[str]:
            self.world.owner()  # never two
            return [*self.world.oracles.found, *self.world.patroni.violations]

        assert not self.inside(look())

    def teardown(self) -> None:
        async def ending() -> None:
            self.mend()
            try:
                await self.world.until(
                    lambda: not list(missing(self.world, self.wanted)), CONVERGE_S, "what was wanted"
                )
            except AssertionError as error:
                raise AssertionError(f"{error}\n{list(missing(self.world, self.wanted))}") from None
            finally:
                await self.stays.__aexit__(None, None, None)

        with self.runner:
            self.inside(ending())


Life.TestCase.settings = settings(
    max_examples=int(os.environ.get("PGSWARM_LIVES", "100")),
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    # Making a failure small takes minutes; its steps can be read as they are. PGSWARM_SMALLER=1 asks for it.
    phases=[one for one in Phase if one is not Phase.shrink or "PGSWARM_SMALLER" in os.environ],
    suppress_health_check=list(HealthCheck),
)
TestLife = pytest.mark.timeout(600)(Life.TestCase)
