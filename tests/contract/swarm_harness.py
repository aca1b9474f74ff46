"""What the Docker contract suites run on: the same handles for the fakes and for a real engine."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from controlplane.clock import SystemClock
from controlplane.orchestrators.engine import LocalEngine
from controlplane.orchestrators.events import GAP, DockerEvent, EventStream
from controlplane.orchestrators.swarm import SwarmOrchestrator
from reconcilers.errors import Refused
from reconcilers.ports import Engine, NetworkSpec, Orchestrator, ServiceSpec, ServiceView, SwarmView
from tests.dockerd import IMAGE, Raw
from tests.scale.dockerd import FakeDockerd
from tests.sim.clock import FakeClock
from tests.sim.engine import FakeEngine
from tests.sim.swarm import FakeEventStream, FakeOrchestrator
from tests.sim.swarm_world import SwarmWorld

Change = Callable[[dict[str, Any]], None]
NUMBERS = itertools.count(1)


class Events(Protocol):
    def events(self) -> AsyncGenerator[DockerEvent, None]: ...


class OrchestratorUnderTest(Orchestrator, Protocol):
    def owner_of(self, identity: str) -> str | None: ...


@dataclass
class Harness:
    """One Swarm with one node. Every test has a cluster label and names of its own, so they do not meet."""

    orchestrator: OrchestratorUnderTest
    other: OrchestratorUnderTest
    """A second process on the same Swarm."""
    engine: Engine
    stream: Events
    edit: Callable[[str, Change], Awaitable[None]]
    """`docker service update` by a person: service ID, change of its JSON spec."""
    drop: Callable[[str], Awaitable[None]]
    """`docker service rm` by a person."""
    kill: Callable[[str], Awaitable[None]]
    """SIGKILL to a container by ID."""
    node_id: str
    cluster: str
    prefix: str

    def labels(self, **more: str) -> dict[str, str]:
        own = {"pgswarm.cluster": self.cluster, "pgswarm.database": self.prefix}
        return own | {f"pgswarm.{key}": value for key, value in more.items()}

    def name(self, suffix: str) -> str:
        return f"{self.prefix}-{suffix}"

    def network(self, suffix: str = "net") -> NetworkSpec:
        number = int(self.prefix.rpartition("x")[2])
        return NetworkSpec(
            self.name(suffix), self.labels(), f"10.121.{number % 250}.{64 * (len(suffix) % 4)}/26"
        )

    def service(self, suffix: str = "n1-aaaaaa", **fields: Any) -> ServiceSpec:
        """A small service that does not run until it has replicas."""
        defaults: dict[str, Any] = {
            "name": self.name(suffix),
            "labels": self.labels(hash="h1"),
            "container_labels": self.labels(),
            "image": IMAGE,
            "command": ("/bin/sh", "-c", "exec sleep 1000"),
            "node_id": self.node_id,
            "stop_grace_s": 0.1,
            "restart_delay_s": 0.1,
        }
        return ServiceSpec(**(defaults | fields))

    async def fresh(self) -> SwarmView:
        self.orchestrator.invalidate()
        return await self.orchestrator.view()

    async def one(self, service_id: str) -> ServiceView:
        view = await self.fresh()
        return next(service for service in view.services if service.id == service_id)


async def until(holds: Callable[[], Awaitable[bool]], *, within_s: float = 20.0) -> None:
    """Look again until it holds. Raises: AssertionError."""
    deadline_s = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < deadline_s, "it did not come true in time"
        await asyncio.sleep(0.03)


@asynccontextmanager
async def listening(harness: Harness) -> AsyncIterator[list[DockerEvent]]:
    """What the event stream yields while the body runs, from its first GAP on."""
    seen: list[DockerEvent] = []

    async def listen() -> None:
        async with aclosing(harness.stream.events()) as events:
            async for event in events:
                seen.append(event)  # noqa: PERF401, it is read while it grows

    async def begun() -> bool:
        return any(event.kind == GAP for event in seen)

    task = asyncio.get_running_loop().create_task(listen())
    try:
        await until(begun)
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def fake_harness(number: int) -> Harness:
    clock = FakeClock()
    world = SwarmWorld(("host-1",), clock.now)
    node_id = world.node_id("host-1")
    cluster = f"c{number}"

    async def edit(service_id: str, change: Change) -> None:
        world.edit(service_id, change)

    async def drop(service_id: str) -> None:
        world.remove_service(service_id)

    async def kill(container_id: str) -> None:
        world.engines[node_id].kill(container_id)

    return Harness(
        orchestrator=FakeOrchestrator(world, cluster, clock),
        other=FakeOrchestrator(world, cluster, clock),
        engine=FakeEngine(world.engines[node_id], cluster, clock),
        stream=FakeEventStream(world, node_id),
        edit=edit,
        drop=drop,
        kill=kill,
        node_id=node_id,
        cluster=cluster,
        prefix=f"t{number}x{number}",
    )


def edit_raw(raw: Raw, service_id: str, change: Change, tries: int = 5) -> None:
    """As a person would, who looks and tries again when Swarm itself has written to the service meanwhile."""
    live = raw.call("GET", f"services/{service_id}")
    change(live["Spec"])
    try:
        raw.call("POST", f"services/{service_id}/update", live["Spec"], version=str(live["Version"]["Index"]))
    except RuntimeError as error:
        if "out of sequence" not in str(error) or tries <= 1:
            raise
        edit_raw(raw, service_id, change, tries - 1)


async def real_harness(url: str, number: int) -> AsyncIterator[Harness]:
    raw, clock = Raw(url), SystemClock()
    cluster = f"c{os.getpid()}-{number}"
    orchestrator = SwarmOrchestrator(url, cluster, clock)
    other = SwarmOrchestrator(url, cluster, clock)
    engine = LocalEngine(url, cluster, clock)
    stream = EventStream(url, clock)
    harness = Harness(
        orchestrator=orchestrator,
        other=other,
        engine=engine,
        stream=stream,
        edit=lambda service_id, change: asyncio.to_thread(edit_raw, raw, service_id, change),
        drop=lambda service_id: asyncio.to_thread(raw.call, "DELETE", f"services/{service_id}"),
        kill=lambda container_id: asyncio.to_thread(
            raw.call, "POST", f"containers/{container_id}/kill", None, signal="KILL"
        ),
        node_id=(await engine.facts()).node_id,
        cluster=cluster,
        prefix=f"t{os.getpid()}x{number}",
    )
    try:
        yield harness
    finally:
        await _clean(harness, raw, given="PGSWARM_TEST_DOCKER" in os.environ)
        for client in (orchestrator, other, engine, stream):
            await client.close()


async def _clean(harness: Harness, raw: Raw, *, given: bool) -> None:
    """End what runs, and leave an engine that is not ours as it was."""
    for service in raw.listed("services"):
        if service["Spec"]["Name"].startswith(f"{harness.prefix}-"):
            raw.call("DELETE", f"services/{service['ID']}")

    if not given:
        return

    async def empty() -> bool:
        harness.engine.invalidate()
        return not (await harness.engine.view()).containers

    await until(empty)
    view = await harness.fresh()
    for secret in view.secrets:
        await harness.orchestrator.remove_secret(secret.id)
    for config in view.configs:
        await harness.orchestrator.remove_config(config.id)
    for network in view.networks:
        if network.labels.get("pgswarm.cluster") == harness.cluster:
            await until(lambda: accepted(harness.orchestrator.remove_network(network.id)))  # noqa: B023
    for volume in (await harness.engine.view()).volumes:
        await until(lambda: accepted(harness.engine.remove_volume(volume.name)))  # noqa: B023


async def accepted(call: Awaitable[None]) -> bool:
    """Whether the call went through; False when it was refused, which may pass."""
    try:
        await call
    except Refused:
        return False
    return True


@contextmanager
def http_fake(folder: Path) -> Iterator[str]:
    """The fake dockerd of the scale tests in a thread of its own: the harness also calls it without awaiting."""
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        world, end = SwarmWorld(("host-1",), SystemClock().now), asyncio.Event()
        async with FakeDockerd(world, "host-1").serving(folder / "docker.sock") as url:
            started.set_result((url, asyncio.get_running_loop(), end))
            await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    url, loop, end = started.result(10)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(10)


@pytest.fixture(params=["fake", "http", "real"])
async def swarm(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    """`http`: the adapter that talks to the real one, and a fake that listens."""
    number = next(NUMBERS)
    if request.param == "fake":
        yield fake_harness(number)
        return
    with ExitStack() as stack:
        if request.param == "http":
            url = stack.enter_context(http_fake(tmp_path))
        else:
            url = request.getfixturevalue("docker_url")
        async for harness in real_harness(url, number):
            yield harness
