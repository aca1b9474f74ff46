"""
One life of a database, lived in the simulated world and on the lab: after each chapter both must have the same objects.

What the simulated world makes of a story is what all the crashes and storms are judged by; so it has to be the truth.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from clustertest.cluster import Cluster, database
from clustertest.normal_form import (
    NormalForm,
    differences,
    of_lab,
    of_world,
    verbs_of_lab,
    verbs_of_world,
)
from reconcilers.resources import naming
from tests.sim.loop import run
from tests.sim.world import HOSTS, World
from tests.sim.world import cluster as simulated

NAME, PORT = "twin", 6488
LIMIT_S = 300.0


def spec(hosts: int, **fields: Any) -> dict[str, Any]:
    return database(NAME, HOSTS[:hosts], port=PORT, **fields)


def instance(host: int) -> str:
    return naming.instance(NAME, "n1", HOSTS[host])


LARGER = {"resources": {"cpus": "1", "memory": "320MiB"}}
INSIDE = {**LARGER, "roles": [{"name": "app", "login": True}, {"name": "reader", "login": True}]}
FOR_GOOD = {**INSIDE, "deletion": {"policy": "delete"}}


@dataclass(frozen=True, slots=True)
class Chapter:
    title: str
    write: dict[str, Any] | None = None
    """A spec, after which the database is Ready."""
    removed: str = ""
    """Service that somebody removes."""
    scaled: str = ""
    """Service that somebody scales to nothing."""
    ends: str = ""
    """The spec is deleted, and this is the phase that it comes to; `gone`: nothing is left."""


LIFE = (
    Chapter("one instance is made", write=spec(1)),
    Chapter("two replicas are added", write=spec(3)),
    Chapter("it gets more memory", write=spec(3, **LARGER)),
    Chapter("a role is added", write=spec(3, **INSIDE)),
    Chapter("somebody removes a service", removed=instance(1)),
    Chapter("somebody scales a service to nothing", scaled=instance(2)),
    Chapter("a host is taken out", write=spec(2, **INSIDE)),
    Chapter("it is deleted and its data retained", ends="Retained"),
    Chapter("it is written again", write=spec(2, **INSIDE)),
    Chapter("it is to go for good", write=spec(2, **FOR_GOOD)),
    Chapter("it is deleted", ends="gone"),
)


@dataclass(frozen=True, slots=True)
class Told:
    form: NormalForm
    verbs: Counter[str]


async def play(world: World, chapter: Chapter) -> None:
    if chapter.write is not None:
        revision = world.apply(json.dumps(chapter.write), NAME)
        await world.until(lambda: world.ready(revision, NAME), within_s=LIMIT_S, what=chapter.title)
    if chapter.removed:
        before = world.service(chapter.removed).id
        world.swarm.drop(before)
        await world.until(
            lambda: chapter.removed in world.services() and world.service(chapter.removed).id != before,
            within_s=LIMIT_S,
        )
    if chapter.scaled:
        world.swarm.edit(world.service(chapter.scaled).id, _to_nothing)
    if chapter.ends == "gone":
        world.delete(NAME)
        await world.until(
            lambda: not any(NAME in one.path for one in world.etcd.under("accepted/")), within_s=LIMIT_S
        )
    elif chapter.ends:
        world.delete(NAME)
        await world.until(lambda: world.phase(NAME) == chapter.ends, within_s=LIMIT_S, what=chapter.title)
    await world.quiet()


def _to_nothing(payload: dict[str, Any]) -> None:
    payload["Mode"]["Replicated"]["Replicas"] = 0


def simulate() -> dict[str, Told]:
    """How each chapter ends in the simulated world."""
    found: dict[str, Told] = {}

    async def story() -> None:
        async with simulated() as world:
            for chapter in LIFE:
                first = len(world.swarm.journal)
                await play(world, chapter)
                verbs = verbs_of_world(world.swarm.journal[first:], NAME)
                found[chapter.title] = Told(of_world(world, NAME), verbs)
            assert not world.bugs()

    run(story())
    return found


class Stream:
    """Docker's events of the whole Swarm, as a manager tells them from now on."""

    def __init__(self, cluster: Cluster) -> None:
        host = cluster.lab.host(cluster.hosts[0])
        self._told = host.folder / "events.json"
        self._file = self._told.open("wb")
        argv = ["docker", "-H", host.docker_url, "events", "--format", "{{json .}}"]
        self._stream = subprocess.Popen(argv, stdout=self._file)

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._told.read_text().splitlines() if line.endswith("}")]

    def close(self) -> None:
        self._stream.terminate()
        self._stream.wait(10)
        self._file.close()
        self._told.unlink()


@pytest.fixture
def stream(cluster: Cluster) -> Iterator[Stream]:
    it = Stream(cluster)
    try:
        yield it
    finally:
        it.close()


def live(cluster: Cluster, chapter: Chapter) -> None:
    if chapter.write is not None:
        cluster.apply(chapter.write)
        cluster.ready(NAME)
    if chapter.removed:
        before = cluster.service(chapter.removed)["ID"]
        cluster.docker(cluster.hosts[0], "service", "rm", chapter.removed)
        cluster.eventually(
            "it is back", lambda: cluster.service(chapter.removed).get("ID") not in (None, before), 60
        )
        cluster.ready(NAME)
    if chapter.scaled:
        cluster.docker(cluster.hosts[0], "service", "scale", "--detach", f"{chapter.scaled}=0")
        cluster.eventually(
            "it is scaled back",
            lambda: cluster.service(chapter.scaled)["Spec"]["Mode"]["Replicated"]["Replicas"] == 1,
            60,
        )
        cluster.ready(NAME)
    if chapter.ends:
        cluster.pgswarm("delete", NAME, "--yes")
    if chapter.ends == "gone":
        cluster.gone(NAME)
    elif chapter.ends:
        cluster.eventually(
            chapter.ends, lambda: cluster.status(NAME).get("status", {}).get("phase") == chapter.ends
        )


@pytest.mark.timeout(900)
def test_a_life_leaves_the_same_behind_in_both_worlds(cluster: Cluster, stream: Stream) -> None:
    simulated_end, seen = simulate(), 0
    wrong: list[str] = []
    for chapter in LIFE:
        live(cluster, chapter)
        want = simulated_end[chapter.title]

        def as_simulated(want: Told = want) -> bool:
            return not differences(want.form, of_lab(cluster, NAME))

        try:
            cluster.eventually(chapter.title, as_simulated, 45)
        except AssertionError:
            wrong += [f"{chapter.title}: {one}" for one in differences(want.form, of_lab(cluster, NAME))]
        told = stream.all()
        verbs = verbs_of_lab(told[seen:], NAME)
        seen = len(told)
        if verbs != want.verbs:
            less, more = dict(want.verbs - verbs), dict(verbs - want.verbs)
            wrong.append(f"{chapter.title}: only in the simulated world {less}, only on the lab {more}")
    assert not wrong, "\n".join(wrong)
