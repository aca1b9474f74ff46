"""The Engine port: the same promises from the fake and from a real engine."""

from __future__ import annotations

import ipaddress

import pytest

from reconcilers.errors import Refused
from reconcilers.ports import ContainerView, HealthCheck, NetworkAttachment, VolumeMount
from tests.contract.swarm_harness import Harness, accepted, listening, swarm, until
from tests.dockerd import IMAGE, docker_url

__all__ = ["docker_url", "swarm"]


async def running(swarm: Harness) -> ContainerView:
    """The one running container of the test, once it runs."""
    found: list[ContainerView] = []

    async def runs() -> bool:
        swarm.engine.invalidate()
        found[:] = [c for c in (await swarm.engine.view()).containers if c.state == "running"]
        return bool(found)

    await until(runs)
    return found[0]


async def test_a_task_is_a_container_with_our_labels_its_image_and_an_address_on_the_bridge(
    swarm: Harness,
) -> None:
    spec = swarm.service(
        replicas=1,
        container_labels=swarm.labels(instance="orders-n1-aaaaaa"),
        networks=(NetworkAttachment("bridge"),),
        mounts=(VolumeMount(swarm.name("vol"), "/data"),),
    )
    service_id = await swarm.orchestrator.create_service(spec)

    container = await running(swarm)
    [task] = (await swarm.fresh()).tasks

    assert container.labels["pgswarm.instance"] == "orders-n1-aaaaaa"
    assert container.labels["com.docker.swarm.service.id"] == service_id
    assert container.labels["com.docker.swarm.task.id"] == task.id
    assert container.image == IMAGE
    assert container.image_id.startswith("sha256:")
    assert container.name.startswith(f"{spec.name}.1.")
    assert container.started_at
    assert container.volumes == (swarm.name("vol"),)
    assert ipaddress.ip_address(container.address) in ipaddress.ip_network("172.17.0.0/16")


async def test_a_container_on_an_overlay_only_has_no_address_for_the_host(swarm: Harness) -> None:
    network_id = await swarm.orchestrator.create_network(swarm.network())
    await swarm.orchestrator.create_service(
        swarm.service(replicas=1, networks=(NetworkAttachment(network_id),))
    )

    assert (await running(swarm)).address == ""


async def test_a_container_without_networks_is_on_the_bridge(swarm: Harness) -> None:
    await swarm.orchestrator.create_service(swarm.service(replicas=1))

    assert (await running(swarm)).address.startswith("172.17.")


async def test_a_killed_container_is_replaced_and_its_end_is_an_event(swarm: Harness) -> None:
    await swarm.orchestrator.create_service(swarm.service(replicas=1))
    before = await running(swarm)

    async with listening(swarm) as seen:
        await swarm.kill(before.id)

        async def heard() -> bool:
            return any(event.action == "die" and event.id == before.id for event in seen)

        await until(heard)
        died = next(event for event in seen if event.action == "die" and event.id == before.id)

    assert died.attributes["pgswarm.cluster"] == swarm.cluster

    async def replaced() -> bool:
        return (await running(swarm)).id != before.id

    await until(replaced)


async def test_a_container_that_ended_has_no_address_and_no_start(swarm: Harness) -> None:
    await swarm.orchestrator.create_service(
        swarm.service(replicas=1, networks=(NetworkAttachment("bridge"),), restart_delay_s=2)
    )
    before = await running(swarm)
    await swarm.kill(before.id)

    async def ended() -> bool:
        swarm.engine.invalidate()
        states = {c.id: c.state for c in (await swarm.engine.view()).containers}
        return states.get(before.id) == "exited"

    await until(ended)
    gone = next(c for c in (await swarm.engine.view()).containers if c.id == before.id)
    assert (gone.address, gone.started_at, gone.health) == ("", "", "none")


async def test_scaling_to_zero_takes_the_container_away(swarm: Harness) -> None:
    service_id = await swarm.orchestrator.create_service(swarm.service(replicas=1))
    await running(swarm)
    await swarm.edit(service_id, lambda spec: spec["Mode"]["Replicated"].update(Replicas=0))

    async def none_runs() -> bool:
        swarm.engine.invalidate()
        return not any(c.state == "running" for c in (await swarm.engine.view()).containers)

    await until(none_runs)


async def test_a_volume_is_made_with_its_labels_and_removed_twice(swarm: Harness) -> None:
    name, labels = swarm.name("v1"), swarm.labels(instance="i", incarnation="9f")

    await swarm.engine.create_volume(name, labels)
    await swarm.engine.create_volume(name, labels)

    volume = (await swarm.engine.view()).volumes[0]
    assert (volume.name, volume.labels) == (name, labels)
    assert volume.mountpoint.endswith("/_data")
    await swarm.engine.remove_volume(name)
    await swarm.engine.remove_volume(name)
    assert (await swarm.engine.view()).volumes == ()


async def test_a_volume_that_exists_for_another_incarnation_is_refused(swarm: Harness) -> None:
    await swarm.engine.create_volume(swarm.name("v1"), swarm.labels(incarnation="old"))

    with pytest.raises(Refused, match="other labels"):
        await swarm.engine.create_volume(swarm.name("v1"), swarm.labels(incarnation="new"))
    assert (await swarm.engine.view()).volumes[0].labels["pgswarm.incarnation"] == "old"


async def test_a_volume_that_swarm_made_first_carries_the_labels_that_say_whose_it_is(swarm: Harness) -> None:
    labels = swarm.labels(instance="i", incarnation="9f", kind="instance")
    spec = swarm.service(replicas=1, container_labels=labels, mounts=(VolumeMount(swarm.name("v"), "/data"),))
    await swarm.orchestrator.create_service(spec)
    await running(swarm)

    volume = (await swarm.engine.view()).volumes[0]
    assert volume.name == swarm.name("v")
    assert volume.labels == swarm.labels(instance="i", incarnation="9f")
    await swarm.engine.create_volume(volume.name, volume.labels)


async def test_a_volume_in_use_is_refused_and_goes_once_its_container_is_gone(swarm: Harness) -> None:
    await swarm.engine.create_volume(swarm.name("v"), swarm.labels())
    mounts = (VolumeMount(swarm.name("v"), "/data"),)
    service_id = await swarm.orchestrator.create_service(swarm.service(replicas=1, mounts=mounts))
    await running(swarm)

    with pytest.raises(Refused):
        await swarm.engine.remove_volume(swarm.name("v"))
    await swarm.orchestrator.remove_service(service_id)
    await until(lambda: accepted(swarm.engine.remove_volume(swarm.name("v"))))


async def test_a_reading_is_kept_until_something_invalidates_it(swarm: Harness) -> None:
    before = await swarm.engine.view()

    assert await swarm.engine.view() is before
    await swarm.engine.create_volume(swarm.name("v"), swarm.labels())
    after = await swarm.engine.view()
    assert after is not before
    assert after.at_s >= before.at_s


async def test_containers_and_volumes_of_others_are_not_seen(swarm: Harness) -> None:
    with pytest.raises(ValueError, match="cluster"):
        await swarm.engine.create_volume(swarm.name("v"), {"pgswarm.cluster": "another"})

    view = await swarm.engine.view()
    assert (view.containers, view.volumes) == ((), ())


async def test_facts_say_what_the_host_is(swarm: Harness) -> None:
    facts = await swarm.engine.facts()

    assert facts.node_id == swarm.node_id
    assert facts.manager
    assert facts.cpus >= 1
    assert facts.memory_bytes > 1 << 20
    assert (facts.os, facts.bridge_gateway) == ("linux", "172.17.0.1")
    assert tuple(map(int, facts.api_version.split("."))) >= (1, 41)
    assert facts.engine_version
    assert facts.architecture
    assert facts.hostname


async def test_an_image_that_is_here_is_found(swarm: Harness) -> None:
    assert await swarm.engine.has_image(IMAGE)


async def test_the_health_of_a_container_is_seen(swarm: Harness) -> None:
    health = HealthCheck(("CMD", "/bin/cat", "/etc/hosts"), 0.2, 2, 2, 0)
    await swarm.orchestrator.create_service(swarm.service(replicas=1, health=health))

    async def healthy() -> bool:
        swarm.engine.invalidate()
        return any(c.health == "healthy" for c in (await swarm.engine.view()).containers)

    await until(healthy)


async def test_a_container_that_has_said_nothing_or_is_gone_has_an_empty_log(swarm: Harness) -> None:
    await swarm.orchestrator.create_service(swarm.service(replicas=1))
    container = await running(swarm)

    assert await swarm.engine.log(container.id, lines=10, since_s=60) == ()
    assert await swarm.engine.log("0" * 64, lines=10, since_s=60) == ()
    with pytest.raises(ValueError, match="not an ID"):
        await swarm.engine.log("../../version", lines=1, since_s=1)
