"""
People edit, delete and undo at random while everything else goes wrong at random; then the faults end.

From then on the world must come to what the last spec says, within a bound, and stay there; and none of the oracles
may have seen anything in between. A seed is a run: the same one under any PYTHONHASHSEED.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from crds.meta import Key
from reconcilers import paths
from reconcilers.resources import naming
from tests.sim.chaos import Chaos
from tests.sim.forks import Forks
from tests.sim.scenes import SCOPE, left_of, spec, up
from tests.sim.world import HOSTS, World, cluster

STORM_S = (10.0, 60.0)
CONVERGE_S = 240.0
QUIET_S = 15.0
DAYS = 365.25
PEOPLE = ("hosts", "memory", "role", "delete", "rewrite", "drift", "nonsense")
"""What people do to the spec; drift: to a service, BY_HAND."""
BY_HAND = ("remove", "scale", "memory", "label")
MEMORIES = ("512MiB", "768MiB", "1GiB")


@dataclass(frozen=True, slots=True)
class Lived:
    """One seed's run."""

    seed: int
    virtual_s: float
    effects: int
    trace: str
    """Digest of every effect in order."""
    faults: str


@dataclass(slots=True)
class Tally:
    lived: list[Lived] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    """By seed: what was wrong."""


@dataclass(slots=True)
class Wanted:
    """What the last spec that was written says; None: it is gone."""

    hosts: tuple[str, ...] = HOSTS
    memory: str = MEMORIES[0]
    reader: bool = False
    there: bool = True

    def text(self) -> str:
        roles = [{"name": "app", "login": True}, *([{"name": "reader"}] if self.reader else [])]
        return spec(self.hosts, roles=roles, resources={"memory": self.memory}, deletion={"policy": "delete"})


def fuzz(
    seeds: Sequence[int], *, workers: int = 0, progress: Callable[[int, list[str]], None] | None = None
) -> Tally:
    """
    Every seed from one and the same database that is up. `progress` hears how many have begun, and which have failed.
    """
    tally = Tally()
    forks: Forks[Lived | None] = Forks(workers or os.cpu_count() or 1)

    async def story() -> Lived | None:
        async with cluster() as world:
            await up(world, Wanted().text())
            for number, seed in enumerate(seeds):
                if forks.branch(str(seed)):
                    return await live(world, seed)
                if progress is not None:
                    progress(number + 1, [one.label for one in forks.ended if one.error])
            return None

    forks.play(story)
    for end in forks.ended:
        if end.error or end.value is None:
            tally.failed[int(end.label)] = end.error or "it did not say how it ended"
        else:
            tally.lived.append(end.value)
    return tally


async def live(world: World, seed: int) -> Lived:
    """Raises: AssertionError with the whole story of the seed."""
    rng = random.Random(seed)
    began_s, first = world.clock.monotonic(), len(world.effects)
    chaos, wanted = Chaos(world, rng), Wanted()
    chaos.begin()
    storm_s = rng.uniform(*STORM_S)
    ends_s = began_s + storm_s
    try:
        for at_s in sorted(rng.uniform(0, storm_s) for _ in range(rng.randint(0, 5))):
            await chaos.play(began_s + at_s - world.clock.monotonic())
            did = act(world, wanted, rng, ends_s - world.clock.monotonic())
            chaos.said.append(f"{world.clock.monotonic():8.3f} {did}")
        await chaos.play(ends_s - world.clock.monotonic())
        chaos.end()
        if not wanted.there and rng.random() < 0.5:
            write(world, wanted)
        await world.until(
            lambda: not list(missing(world, wanted)), within_s=CONVERGE_S, what="what was wanted"
        )
        await world.quiet(QUIET_S)
        wrong = [*missing(world, wanted), *world.bugs()]
        assert not wrong, "\n".join(wrong)
    except AssertionError as error:
        lines = [f"seed {seed}: {error}", f"faults: {chaos}", f"wanted: {wanted}", *chaos.said[-40:]]
        lines += list(missing(world, wanted))
        raise AssertionError("\n".join(lines)) from None
    trace = hashlib.sha256(
        "\n".join(f"{e.client} {e.what}" for e in world.effects[first:]).encode()
    ).hexdigest()
    return Lived(seed, world.clock.monotonic() - began_s, len(world.effects) - first, trace, str(chaos))


def act(world: World, wanted: Wanted, rng: random.Random, left_s: float) -> str:
    """Something that people do, by hand in etcd and in Docker. In `left_s` seconds they are done."""
    kind = rng.choice(PEOPLE)
    if kind == "delete":
        wanted.there = False
        world.delete()
        return "deleted"
    if kind == "drift":
        return drift(world, rng)
    if kind == "nonsense" and wanted.there:
        world.apply("spec: [")
        soon_s = min(rng.uniform(0.0, 5.0), left_s)
        world.later(soon_s, lambda: write(world, wanted) if wanted.there else None)
        return "nonsense was written"
    if kind == "hosts":
        wanted.hosts = tuple(rng.sample(HOSTS, rng.randint(1, 3)))
    elif kind == "memory":
        wanted.memory = rng.choice(MEMORIES)
    elif kind == "role":
        wanted.reader = True
    write(world, wanted)
    return f"written: {wanted}"


def write(world: World, wanted: Wanted) -> None:
    wanted.there = True
    world.apply(wanted.text())


def drift(world: World, rng: random.Random) -> str:
    services = [s for s in world.swarm.services.values() if naming.CLUSTER in s.payload["Labels"]]
    if not services:
        return "nothing to spoil"
    service = rng.choice(services)
    kind = rng.choice(BY_HAND)
    name = service.payload["Name"]
    if kind == "remove":
        world.swarm.drop(service.id)
        return f"{name} was removed by hand"

    def change(payload: dict[str, Any]) -> None:
        if kind == "scale":
            payload["Mode"]["Replicated"]["Replicas"] = rng.choice((0, 2))
        elif kind == "label":
            payload["Labels"].pop(naming.DATABASE, None)
        else:
            payload["TaskTemplate"].setdefault("Resources", {}).setdefault("Limits", {})["MemoryBytes"] = (
                1 << 26
            )

    world.swarm.edit(service.id, change)
    return f"{name}: {kind} by hand"


def missing(world: World, wanted: Wanted) -> Iterator[str]:
    """What is not as the last spec says."""
    if not wanted.there:
        yield from (f"left: {one}" for one in left_of(world))
        return
    record = world.etcd.get(paths.spec(Key("database", "orders")))
    if record is None or not world.ready(record.mod_revision):
        yield "it is not Ready"
        return
    state = world.end_state()
    names = {world.instance(host) for host in wanted.hosts}
    if set(state["services"]) != {*names, "orders-fence"}:
        yield f"services: {sorted(state['services'])}"
    memory = int(wanted.memory.removesuffix("GiB").removesuffix("MiB")) << (
        30 if "GiB" in wanted.memory else 20
    )
    for name in sorted(names & set(state["services"])):
        replicas, _, resources, _, running = state["services"][name]
        if (replicas, running) != (1, 1) or resources["Limits"]["MemoryBytes"] != memory:
            yield f"{name}: {replicas} wanted, {running} running, {resources}"
    if len(state["networks"]) != 1:
        yield f"networks: {state['networks']}"
    used = {one for s in world.swarm.services.values() for one in _files(s.payload)}
    for blob in (*world.swarm.secrets.values(), *world.swarm.configs.values()):
        if naming.CLUSTER in blob.labels and blob.id not in used:
            yield f"nobody uses {blob.name}"
    accounts = {naming.etcd_user(name) for name in names}
    if set(state["accounts"]) != accounts:
        yield f"accounts: {state['accounts']}"
    leader = world.etcd.get(paths.patroni(SCOPE, "leader"))
    if leader is None or leader.value.decode() not in names:
        yield "no primary"
        return
    roles = world.patroni.postgres(SCOPE).state.roles
    if not {"app", *(["reader"] if wanted.reader else [])} <= set(roles):
        yield f"roles: {sorted(roles)}"


def _files(payload: dict[str, Any]) -> Iterator[str]:
    container = payload["TaskTemplate"]["ContainerSpec"]
    yield from (one["SecretID"] for one in container.get("Secrets", ()))
    yield from (one["ConfigID"] for one in container.get("Configs", ()))


def years(tally: Tally) -> float:
    return sum(one.virtual_s for one in tally.lived) / (DAYS * 86_400)


def report(tally: Tally, began_s: float) -> str:
    took_s = time.monotonic() - began_s
    count = len(tally.lived) + len(tally.failed)
    return (
        f"{len(tally.lived)} of {count} seeds came to what was wanted: {took_s:.0f} s, "
        f"{count / max(took_s, 0.001):.1f} seeds/s on {os.cpu_count()} cores, "
        f"{used_s() / max(count, 1):.3f} s of a core each; {years(tally):.4f} simulated years "
        f"({years(tally) * DAYS:.1f} days) of one database on three hosts, "
        f"{sum(one.effects for one in tally.lived)} effects"
    )


def used_s() -> float:
    """Seconds of processor time that the runs took."""
    spent = os.times()
    return spent.children_user + spent.children_system
