"""The Orchestrator port: the same promises from the fake and from a real Swarm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from controlplane.orchestrators.events import GAP
from reconcilers.errors import Conflict, Refused
from reconcilers.ports import (
    FileRef,
    HealthCheck,
    NetworkAttachment,
    NetworkSpec,
    PublishedPort,
    Secret,
    ServiceSpec,
    Share,
    TmpfsMount,
    VolumeMount,
)
from tests.contract.swarm_harness import Harness, accepted, listening, swarm, until
from tests.dockerd import IMAGE, SECOND_IMAGE, docker_url

__all__ = ["docker_url", "swarm"]

UNKNOWN_ID = "0" * 25


async def full(swarm: Harness) -> ServiceSpec:
    """Everything a ServiceSpec can say."""
    network = await swarm.orchestrator.create_network(swarm.network())
    secret = await swarm.orchestrator.create_secret(swarm.name("s-1"), swarm.labels(), Secret("s3cret"))
    config = await swarm.orchestrator.create_config(swarm.name("c-1"), swarm.labels(), "key: value\n")
    return swarm.service(
        args=("one", "two"),
        env=("B=2", "A=1"),
        hostname="host-of-it",
        container_labels=swarm.labels(instance="i1", incarnation="9f"),
        mounts=(VolumeMount(swarm.name("vol"), "/data"), TmpfsMount("/dev/shm", 16 << 20)),
        secrets=(FileRef(secret, swarm.name("s-1"), "password"),),
        configs=(FileRef(config, swarm.name("c-1"), "/etc/it.yml", mode=0o444),),
        networks=(NetworkAttachment(network, ("alias",)), NetworkAttachment("bridge")),
        memory_bytes=64 << 20,
        nano_cpus=250_000_000,
        pids_limit=64,
        drop_capabilities=("ALL",),
        add_capabilities=("CHOWN",),
        no_new_privileges=True,
        stop_grace_s=120,
        stop_signal="SIGTERM",
        health=HealthCheck(("CMD", "/bin/cat", "/etc/it.yml"), 5, 3, 4, 30),
        ports=(PublishedPort(5432, 20_000 + int(swarm.prefix.rpartition("x")[2])),),
        restart_delay_s=2.5,
    )


# --- services ---


async def test_a_service_reads_back_exactly_as_it_was_asked_for(swarm: Harness) -> None:
    spec = await full(swarm)

    service_id = await swarm.orchestrator.create_service(spec)

    view = await swarm.one(service_id)
    assert view.spec == spec
    assert view.spec.foreign == ""
    assert view.version > 0


async def test_a_service_with_the_least_reads_back_exactly_as_it_was_asked_for(swarm: Harness) -> None:
    spec = ServiceSpec(name=swarm.name("fence"), labels=swarm.labels(), image="pgswarm/fence:none")

    service_id = await swarm.orchestrator.create_service(spec)

    assert (await swarm.one(service_id)).spec == spec


async def test_a_taken_name_is_a_conflict_whatever_its_case(swarm: Harness) -> None:
    await swarm.orchestrator.create_service(swarm.service("n1-aaaaaa"))

    with pytest.raises(Conflict):
        await swarm.orchestrator.create_service(swarm.service("n1-aaaaaa"))
    with pytest.raises(Conflict):
        await swarm.orchestrator.create_service(swarm.service("N1-aaaaaa"))
    assert len((await swarm.fresh()).services) == 1


async def test_of_two_updates_from_one_reading_the_second_is_a_conflict_and_changes_nothing(
    swarm: Harness,
) -> None:
    service_id = await swarm.orchestrator.create_service(swarm.service())
    ours = (await swarm.orchestrator.view()).services[0]
    theirs = (await swarm.other.view()).services[0]
    assert ours == theirs

    await swarm.orchestrator.update_service(service_id, ours.version, replace(ours.spec, env=("WHO=first",)))
    with pytest.raises(Conflict):
        await swarm.other.update_service(service_id, theirs.version, replace(theirs.spec, env=("WHO=2nd",)))

    after = await swarm.one(service_id)
    assert after.spec.env == ("WHO=first",)
    assert after.version > ours.version


async def test_an_update_after_the_same_process_wrote_needs_a_new_reading(swarm: Harness) -> None:
    service_id = await swarm.orchestrator.create_service(swarm.service())
    before = (await swarm.orchestrator.view()).services[0]
    await swarm.orchestrator.update_service(service_id, before.version, replace(before.spec, env=("A=1",)))

    with pytest.raises(Conflict):
        await swarm.orchestrator.update_service(service_id, before.version, before.spec)

    now = (await swarm.orchestrator.view()).services[0]
    await swarm.orchestrator.update_service(service_id, now.version, replace(now.spec, env=("A=2",)))
    assert (await swarm.one(service_id)).spec.env == ("A=2",)


async def test_an_update_of_a_service_that_is_gone_is_a_conflict(swarm: Harness) -> None:
    service_id = await swarm.orchestrator.create_service(swarm.service())
    view = await swarm.one(service_id)
    await swarm.drop(service_id)

    with pytest.raises(Conflict):
        await swarm.orchestrator.update_service(service_id, view.version, view.spec)
    assert (await swarm.orchestrator.view()).services == ()


async def test_removing_twice_by_id_is_fine_and_removing_by_name_is_impossible(swarm: Harness) -> None:
    service_id = await swarm.orchestrator.create_service(swarm.service())

    with pytest.raises(ValueError, match="not the ID"):
        await swarm.orchestrator.remove_service(swarm.service().name)
    assert len((await swarm.fresh()).services) == 1
    await swarm.orchestrator.remove_service(service_id)
    await swarm.orchestrator.remove_service(service_id)
    assert (await swarm.orchestrator.view()).services == ()


async def test_a_late_removal_does_not_hit_a_new_service_of_the_same_name(swarm: Harness) -> None:
    old = await swarm.orchestrator.create_service(swarm.service())
    await swarm.orchestrator.remove_service(old)
    new = await swarm.orchestrator.create_service(swarm.service())

    await swarm.other.remove_service(old)

    assert new != old
    assert [service.id for service in (await swarm.fresh()).services] == [new]


async def test_a_service_of_another_cluster_is_not_seen_and_cannot_be_made(swarm: Harness) -> None:
    foreign = {"pgswarm.cluster": "somebody-else"}

    with pytest.raises(ValueError, match="cluster"):
        await swarm.orchestrator.create_service(swarm.service(labels=foreign))

    service_id = await swarm.orchestrator.create_service(swarm.service())
    await swarm.edit(service_id, lambda spec: strip_labels(spec, foreign))
    assert (await swarm.fresh()).services == ()


def strip_labels(spec: dict[str, Any], labels: dict[str, str]) -> None:
    spec["Labels"] = dict(labels)
    spec["TaskTemplate"]["ContainerSpec"]["Labels"] = dict(labels)


async def test_a_name_that_somebody_elses_service_has_is_refused_not_tried_for_ever(swarm: Harness) -> None:
    service_id = await swarm.orchestrator.create_service(swarm.service())
    await swarm.edit(service_id, lambda spec: strip_labels(spec, {}))

    with pytest.raises(Refused, match="somebody else"):
        await swarm.orchestrator.create_service(swarm.service())
    assert (await swarm.fresh()).services == ()


async def test_a_service_whose_cluster_label_was_taken_off_is_found_again_and_repaired(
    swarm: Harness,
) -> None:
    want = swarm.service()
    service_id = await swarm.orchestrator.create_service(want)
    await swarm.edit(service_id, lambda spec: spec["Labels"].pop("pgswarm.cluster"))
    assert (await swarm.fresh()).services == ()

    with pytest.raises(Conflict):
        await swarm.orchestrator.create_service(want)
    found = (await swarm.orchestrator.view()).services[0]
    assert found.id == service_id
    assert found.spec.labels["pgswarm.database"] == swarm.prefix
    assert found.spec != want
    await swarm.orchestrator.update_service(service_id, found.version, want)

    assert (await swarm.other.view()).services[0].spec == want


async def test_a_service_whose_database_label_was_changed_still_says_whose_it_is(swarm: Harness) -> None:
    want = swarm.service()
    service_id = await swarm.orchestrator.create_service(want)
    await swarm.edit(service_id, lambda spec: spec["Labels"].update({"pgswarm.database": "another"}))

    found = await swarm.one(service_id)
    assert found.spec.labels["pgswarm.database"] == swarm.prefix
    assert found.spec.labels != want.labels
    assert replace(found.spec, labels=want.labels) == want


async def test_one_reading_shows_services_as_they_were_at_one_moment(swarm: Harness) -> None:
    """A writer moves a pair of services in turn; no reading may show the second ahead of the first by two."""
    first = await swarm.orchestrator.create_service(swarm.service("n1-aaaaaa", env=("N=0",)))
    second = await swarm.orchestrator.create_service(swarm.service("n2-aaaaaa", env=("N=0",)))

    async def write() -> None:
        for number in range(1, 9):
            for service_id in (first, second):
                await swarm.edit(service_id, lambda spec, n=number: env(spec, f"N={n}"))  # type: ignore[misc]

    async def read(readings: list[tuple[int, int]]) -> None:
        while len(readings) < 30:
            seen = {s.id: int(s.spec.env[0].removeprefix("N=")) for s in (await swarm.fresh()).services}
            readings.append((seen[first], seen[second]))

    readings: list[tuple[int, int]] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        group.create_task(read(readings))
    assert all(0 <= a - b <= 1 for a, b in readings), readings


def env(spec: dict[str, Any], *values: str) -> None:
    spec["TaskTemplate"]["ContainerSpec"]["Env"] = list(values)


# --- drift ---


def container(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec["TaskTemplate"]["ContainerSpec"].update(fields)


def task(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec["TaskTemplate"].update(fields)


def inside(*path: str, **fields: Any) -> Callable[[dict[str, Any]], None]:
    def change(spec: dict[str, Any]) -> None:
        for part in path:
            spec = spec.setdefault(part, {})
        spec.update(fields)

    return change


BIND = {"Type": "bind", "Source": "/tmp", "Target": "/mnt"}
CONSTRAINTS = ["node.labels.disk==fast"]

NAMED = [
    pytest.param(container(Env=["X=1"]), "env", id="--env-add"),
    pytest.param(container(Image=SECOND_IMAGE), "image", id="--image"),
    pytest.param(container(Args=["other"]), "args", id="--args"),
    pytest.param(container(Hostname="other"), "hostname", id="--hostname"),
    pytest.param(container(Mounts=[]), "mounts", id="--mount-rm"),
    pytest.param(container(Secrets=[]), "secrets", id="--secret-rm"),
    pytest.param(container(Configs=[]), "configs", id="--config-rm"),
    pytest.param(container(CapabilityAdd=["CAP_SYS_ADMIN"]), "add_capabilities", id="--cap-add"),
    pytest.param(container(CapabilityDrop=[]), "drop_capabilities", id="--cap-drop"),
    pytest.param(container(StopGracePeriod=10**9), "stop_grace_s", id="--stop-grace-period"),
    pytest.param(container(StopSignal="SIGKILL"), "stop_signal", id="--stop-signal"),
    pytest.param(container(Healthcheck={"Test": ["NONE"]}), "health", id="--no-healthcheck"),
    pytest.param(
        inside("TaskTemplate", "ContainerSpec", "Labels", **{"a.b": "c"}),
        "container_labels",
        id="--container-label-add",
    ),
    pytest.param(
        inside("TaskTemplate", "Resources", "Limits", MemoryBytes=8 << 20),
        "memory_bytes",
        id="--limit-memory",
    ),
    pytest.param(
        inside("TaskTemplate", "Resources", "Limits", NanoCPUs=10**9), "nano_cpus", id="--limit-cpu"
    ),
    pytest.param(inside("TaskTemplate", "Resources", "Limits", Pids=1000), "pids_limit", id="--limit-pids"),
    pytest.param(
        inside("TaskTemplate", "RestartPolicy", Delay=10**10), "restart_delay_s", id="--restart-delay"
    ),
    pytest.param(task(Networks=[]), "networks", id="--network-rm"),
    pytest.param(task(Placement={}), "node_id", id="--constraint-rm"),
    pytest.param(inside("EndpointSpec", Ports=[]), "ports", id="--publish-rm"),
    pytest.param(inside("Mode", "Replicated", Replicas=3), "replicas", id="scale"),
    pytest.param(inside("Labels", **{"pgswarm.hash": "other"}), "labels", id="--label-add of ours"),
    pytest.param(inside("Labels", **{"pgswarm.more": "x"}), "labels", id="--label-add with our prefix"),
    pytest.param(lambda spec: spec["Labels"].pop("pgswarm.hash"), "labels", id="--label-rm"),
]
UNNAMED = [
    pytest.param(
        inside("TaskTemplate", "Placement", Constraints=CONSTRAINTS),
        "TaskTemplate.Placement.Constraints",
        id="--constraint-add",
    ),
    pytest.param(
        inside("TaskTemplate", "Placement", MaxReplicas=1),
        "TaskTemplate.Placement.MaxReplicas",
        id="--replicas-max-per-node",
    ),
    pytest.param(
        container(Mounts=[BIND]), "TaskTemplate.ContainerSpec.Mounts[/mnt].Type", id="--mount-add bind"
    ),
    pytest.param(
        container(Mounts=[{"Type": "volume", "Source": "v", "Target": "/data", "ReadOnly": True}]),
        "TaskTemplate.ContainerSpec.Mounts[/data].ReadOnly",
        id="--mount-add readonly",
    ),
    pytest.param(
        container(Sysctls={"net.core.somaxconn": "9"}),
        "TaskTemplate.ContainerSpec.Sysctls",
        id="--sysctl-add",
    ),
    pytest.param(container(User="1:1"), "TaskTemplate.ContainerSpec.User", id="--user"),
    pytest.param(container(Dir="/tmp"), "TaskTemplate.ContainerSpec.Dir", id="--workdir"),
    pytest.param(container(ReadOnly=True), "TaskTemplate.ContainerSpec.ReadOnly", id="--read-only"),
    pytest.param(container(TTY=True), "TaskTemplate.ContainerSpec.TTY", id="--tty"),
    pytest.param(container(Init=True), "TaskTemplate.ContainerSpec.Init", id="--init"),
    pytest.param(container(Hosts=["10.0.0.1 a"]), "TaskTemplate.ContainerSpec.Hosts", id="--host-add"),
    pytest.param(container(Groups=["7"]), "TaskTemplate.ContainerSpec.Groups", id="--group-add"),
    pytest.param(
        container(DNSConfig={"Nameservers": ["10.0.0.1"]}),
        "TaskTemplate.ContainerSpec.DNSConfig",
        id="--dns-add",
    ),
    pytest.param(
        container(Ulimits=[{"Name": "nofile", "Soft": 5, "Hard": 5}]),
        "TaskTemplate.ContainerSpec.Ulimits",
        id="--ulimit-add",
    ),
    pytest.param(
        inside("TaskTemplate", "Resources", Reservations={"MemoryBytes": 4 << 20}),
        "TaskTemplate.Resources.Reservations",
        id="--reserve-memory",
    ),
    pytest.param(
        inside("TaskTemplate", "RestartPolicy", Condition="none"),
        "TaskTemplate.RestartPolicy.Condition",
        id="--restart-condition",
    ),
    pytest.param(
        inside("TaskTemplate", "RestartPolicy", MaxAttempts=2),
        "TaskTemplate.RestartPolicy.MaxAttempts",
        id="--restart-max-attempts",
    ),
    pytest.param(task(LogDriver={"Name": "none"}), "TaskTemplate.LogDriver", id="--log-driver"),
    pytest.param(inside("UpdateConfig", Order="start-first"), "UpdateConfig.Order", id="--update-order"),
    pytest.param(
        inside("UpdateConfig", FailureAction="pause"), "UpdateConfig.FailureAction", id="--update-failure"
    ),
    pytest.param(inside("RollbackConfig", Parallelism=2), "RollbackConfig", id="--rollback-parallelism"),
    pytest.param(inside("EndpointSpec", Mode="vip"), "EndpointSpec.Mode", id="--endpoint-mode"),
]


@pytest.mark.parametrize(("change", "field"), NAMED)
async def test_a_change_by_hand_shows_in_its_field_and_one_update_repairs_it(
    swarm: Harness, change: Callable[[dict[str, Any]], None], field: str
) -> None:
    want = await full(swarm)
    service_id = await swarm.orchestrator.create_service(want)

    await swarm.edit(service_id, change)

    found = await swarm.one(service_id)
    assert getattr(found.spec, field) != getattr(want, field)
    await swarm.orchestrator.update_service(service_id, found.version, want)
    assert (await swarm.one(service_id)).spec == want


@pytest.mark.parametrize(("change", "path"), UNNAMED)
async def test_a_change_by_hand_without_a_field_is_named_by_its_path_and_one_update_repairs_it(
    swarm: Harness, change: Callable[[dict[str, Any]], None], path: str
) -> None:
    want = await full(swarm)
    service_id = await swarm.orchestrator.create_service(want)

    await swarm.edit(service_id, change)

    found = await swarm.one(service_id)
    assert path in found.spec.foreign.split(", ")
    await swarm.orchestrator.update_service(service_id, found.version, want)
    assert (await swarm.one(service_id)).spec == want


async def test_labels_of_others_are_no_drift_and_survive_our_update(swarm: Harness) -> None:
    want = swarm.service()
    service_id = await swarm.orchestrator.create_service(want)
    await swarm.edit(service_id, inside("Labels", team="shop"))

    found = await swarm.one(service_id)
    assert found.spec == want
    await swarm.orchestrator.update_service(service_id, found.version, replace(want, env=("A=1",)))

    kept: dict[str, str] = {}
    await swarm.edit(service_id, lambda spec: kept.update(spec["Labels"]))
    assert kept["team"] == "shop"


async def test_a_forced_restart_is_no_drift_and_our_update_does_not_undo_it(swarm: Harness) -> None:
    want = swarm.service()
    service_id = await swarm.orchestrator.create_service(want)
    await swarm.edit(service_id, task(ForceUpdate=4))

    found = await swarm.one(service_id)
    assert found.spec == want
    relabelled = replace(want, labels=swarm.labels(epoch="9"))
    await swarm.orchestrator.update_service(service_id, found.version, relabelled)

    kept: list[int] = []
    await swarm.edit(service_id, lambda spec: kept.append(spec["TaskTemplate"]["ForceUpdate"]))
    assert kept == [4]
    assert (await swarm.one(service_id)).spec == relabelled


async def test_an_update_makes_new_tasks_when_it_is_told_to(swarm: Harness) -> None:
    want = swarm.service()
    service_id = await swarm.orchestrator.create_service(want)
    found = await swarm.one(service_id)
    await swarm.orchestrator.update_service(service_id, found.version, want, afresh=True)
    again = await swarm.one(service_id)
    await swarm.orchestrator.update_service(service_id, again.version, want, afresh=True)

    kept: list[int] = []
    await swarm.edit(service_id, lambda spec: kept.append(spec["TaskTemplate"]["ForceUpdate"]))
    assert kept == [2]
    assert (await swarm.one(service_id)).spec == want


async def test_a_spec_with_hand_made_changes_can_be_written_back_as_it_was_read(swarm: Harness) -> None:
    """Tombstones and sweeps write what they read; whatever a person put there must not stop them."""
    service_id = await swarm.orchestrator.create_service(swarm.service())

    def change(spec: dict[str, Any]) -> None:
        spec["TaskTemplate"]["Placement"] = {"Constraints": ["node.id==no such node"]}
        spec["TaskTemplate"]["ContainerSpec"]["Labels"].update({"Not A Label!": "x" * 2000})
        spec["Labels"].update({"pgswarm.Odd Label!": "y" * 2000})

    await swarm.edit(service_id, change)
    found = await swarm.one(service_id)
    marked = replace(found.spec, labels={**found.spec.labels, "pgswarm.tombstone": "7"}, replicas=0)
    await swarm.orchestrator.update_service(service_id, found.version, marked)

    assert (await swarm.one(service_id)).spec == marked


# --- networks, secrets, configs ---


async def test_a_network_reads_back_with_its_subnet_and_labels(swarm: Harness) -> None:
    spec = swarm.network()

    network_id = await swarm.orchestrator.create_network(spec)

    found = next(n for n in (await swarm.orchestrator.view()).networks if n.id == network_id)
    assert (found.name, found.labels, found.subnets) == (spec.name, spec.labels, (spec.subnet,))
    assert (found.driver, found.scope) == ("overlay", "swarm")


async def test_networks_of_others_are_seen_so_that_their_subnets_can_be_avoided(swarm: Harness) -> None:
    networks = {network.name: network for network in (await swarm.orchestrator.view()).networks}

    assert networks["ingress"].subnets == ("10.0.0.0/24",)
    assert networks["bridge"].scope == "local"
    assert networks["bridge"].subnets


async def test_a_taken_network_name_is_a_conflict(swarm: Harness) -> None:
    await swarm.orchestrator.create_network(swarm.network())

    with pytest.raises(Conflict):
        await swarm.orchestrator.create_network(swarm.network())


async def test_an_encrypted_network_can_be_made(swarm: Harness) -> None:
    spec = swarm.network("sealed")

    await swarm.orchestrator.create_network(NetworkSpec(spec.name, spec.labels, spec.subnet, encrypted=True))

    assert spec.name in {network.name for network in (await swarm.orchestrator.view()).networks}


async def test_a_network_in_use_is_refused_and_goes_once_the_service_is_gone(swarm: Harness) -> None:
    network_id = await swarm.orchestrator.create_network(swarm.network())
    attached = swarm.service(networks=(NetworkAttachment(network_id),))
    service_id = await swarm.orchestrator.create_service(attached)

    with pytest.raises(Refused):
        await swarm.orchestrator.remove_network(network_id)
    assert network_id in {network.id for network in (await swarm.orchestrator.view()).networks}
    await swarm.orchestrator.remove_service(service_id)
    await until(lambda: accepted(swarm.orchestrator.remove_network(network_id)))
    await swarm.orchestrator.remove_network(network_id)
    assert network_id not in {network.id for network in (await swarm.orchestrator.view()).networks}


async def test_a_service_on_a_network_that_is_gone_is_a_conflict(swarm: Harness) -> None:
    with pytest.raises(Conflict):
        await swarm.orchestrator.create_service(swarm.service(networks=(NetworkAttachment(UNKNOWN_ID),)))


@pytest.mark.parametrize("kind", ["secret", "config"])
async def test_a_blob_is_listed_refused_while_in_use_and_removed_by_id_twice(
    swarm: Harness, kind: str
) -> None:
    name, labels = swarm.name("blob-1"), swarm.labels(kind=kind)
    orchestrator = swarm.orchestrator

    async def create() -> str:
        if kind == "secret":
            return await orchestrator.create_secret(name, labels, Secret("pässwörd\n"))
        return await orchestrator.create_config(name, labels, "# é\n")

    async def remove() -> None:
        await (
            orchestrator.remove_secret(blob_id) if kind == "secret" else orchestrator.remove_config(blob_id)
        )

    blob_id = await create()
    view = await orchestrator.view()
    found = (view.secrets if kind == "secret" else view.configs)[0]
    assert (found.id, found.name, found.labels) == (blob_id, name, labels)
    with pytest.raises(Conflict):
        await create()
    reference = (FileRef(blob_id, name, "file"),)
    spec = swarm.service(secrets=reference) if kind == "secret" else swarm.service(configs=reference)
    service_id = await orchestrator.create_service(spec)
    with pytest.raises(Refused):
        await remove()
    await orchestrator.remove_service(service_id)
    await remove()
    await remove()
    view = await orchestrator.view()
    assert view.secrets + view.configs == ()
    with pytest.raises(Conflict):
        await orchestrator.create_service(spec)


# --- nodes, tasks, cache, events ---


async def test_the_node_is_ready_active_and_a_manager(swarm: Harness) -> None:
    nodes = (await swarm.orchestrator.view()).nodes

    assert [node.id for node in nodes] == [swarm.node_id]
    assert (nodes[0].ready, nodes[0].active, nodes[0].manager) == (True, True, True)
    assert nodes[0].hostname
    assert nodes[0].address


async def test_an_inert_service_has_no_task_and_an_activated_one_runs_on_its_node(swarm: Harness) -> None:
    service_id = await swarm.orchestrator.create_service(swarm.service())
    inert = await swarm.one(service_id)
    assert (await swarm.orchestrator.view()).tasks == ()

    await swarm.orchestrator.update_service(service_id, inert.version, replace(inert.spec, replicas=1))

    async def runs() -> bool:
        return any(task.state == "running" for task in (await swarm.fresh()).tasks)

    await until(runs)
    task = next(task for task in (await swarm.orchestrator.view()).tasks if task.state == "running")
    assert (task.service_id, task.node_id, task.desired_state) == (service_id, swarm.node_id, "running")
    assert task.since


async def test_new_labels_of_a_service_do_not_restart_its_task(swarm: Harness) -> None:
    service_id = await swarm.orchestrator.create_service(swarm.service(replicas=1))

    async def running() -> set[str]:
        return {task.id for task in (await swarm.fresh()).tasks if task.state == "running"}

    async def runs() -> bool:
        return bool(await running())

    await until(runs)
    before = await running()
    found = await swarm.one(service_id)
    swept = replace(found.spec, labels=swarm.labels(hash="h1", epoch="12"))
    await swarm.orchestrator.update_service(service_id, found.version, swept)
    await asyncio.sleep(0.5)

    assert await running() == before


async def test_a_task_that_is_replaced_is_told_to_end_and_the_service_says_when_it_was_changed(
    swarm: Harness,
) -> None:
    service_id = await swarm.orchestrator.create_service(swarm.service(replicas=1))

    async def states() -> dict[str, tuple[str, str]]:
        return {task.id: (task.desired_state, task.state) for task in (await swarm.fresh()).tasks}

    async def runs() -> bool:
        return ("running", "running") in (await states()).values()

    await until(runs)
    [old] = await states()
    found = await swarm.one(service_id)
    await swarm.orchestrator.update_service(
        service_id, found.version, replace(found.spec, memory_bytes=128 << 20)
    )

    async def told() -> bool:
        return (await states())[old][0] == "shutdown"

    await until(told)
    await until(runs)
    times = [datetime.fromisoformat(one.updated_at) for one in (found, await swarm.one(service_id))]
    assert times == sorted(times)
    assert {state for state, _ in (await states()).values()} == {"shutdown", "running"}


async def test_a_reading_is_kept_until_something_invalidates_it(swarm: Harness) -> None:
    before = await swarm.orchestrator.view()

    assert await swarm.orchestrator.view() is before
    await swarm.other.create_service(swarm.service())
    assert await swarm.orchestrator.view() is before
    swarm.orchestrator.invalidate()
    after = await swarm.orchestrator.view()
    assert after.at_s >= before.at_s
    assert len(after.services) == 1


async def test_a_share_is_what_the_whole_reading_has_of_one_database(swarm: Harness) -> None:
    """However it was read: with everything, or alone."""
    other = {**swarm.labels(), "pgswarm.database": f"{swarm.prefix}-eu"}
    network = await swarm.orchestrator.create_network(swarm.network())
    secret = await swarm.orchestrator.create_secret(swarm.name("s"), swarm.labels(), Secret("x"))
    config = await swarm.orchestrator.create_config(swarm.name("c"), swarm.labels(), "x")
    service = await swarm.orchestrator.create_service(swarm.service(replicas=1))
    theirs = await swarm.orchestrator.create_service(
        swarm.service("eu-n1-aaaaaa", labels=other, container_labels=other)
    )
    await swarm.orchestrator.create_secret(swarm.name("eu-s"), other, Secret("x"))

    for database in (swarm.prefix, f"{swarm.prefix}-eu"):
        whole = (await swarm.fresh(), await swarm.orchestrator.share(database))[1]
        swarm.orchestrator.invalidate(database)
        alone = await swarm.orchestrator.share(database)

        assert alone is not whole
        assert (alone.services, alone.networks) == (whole.services, whole.networks)
        assert (alone.secrets, alone.configs) == (whole.secrets, whole.configs)
        assert [task.id for task in alone.tasks] == [task.id for task in whole.tasks]
    mine = await swarm.orchestrator.share(swarm.prefix)
    assert [one.id for one in mine.services.values()] == [service]
    assert [one.id for kind in (mine.networks, mine.secrets, mine.configs) for one in kind.values()] == [
        network,
        secret,
        config,
    ]
    assert {task.service_id for task in mine.tasks} == {service}
    assert swarm.orchestrator.owner_of(service) == swarm.prefix
    assert swarm.orchestrator.owner_of(theirs) == f"{swarm.prefix}-eu"
    assert await swarm.orchestrator.share("nobody") == Share()


async def test_a_change_of_one_database_leaves_what_is_known_of_another(swarm: Harness) -> None:
    other = f"{swarm.prefix}-eu"
    await swarm.orchestrator.create_service(swarm.service())
    mine, theirs = await swarm.orchestrator.share(swarm.prefix), await swarm.orchestrator.share(other)
    await swarm.other.create_service(swarm.service("n1-bbbbbb"))

    assert await swarm.orchestrator.share(swarm.prefix) is mine
    swarm.orchestrator.invalidate(other)
    assert await swarm.orchestrator.share(swarm.prefix) is mine
    swarm.orchestrator.invalidate(swarm.prefix)
    assert len((await swarm.orchestrator.share(swarm.prefix)).services) == 2
    assert (await swarm.orchestrator.share(other)) == theirs


@pytest.mark.parametrize("label", ["pgswarm.database", "pgswarm.cluster"])
async def test_a_service_without_its_label_is_still_in_its_databases_share(
    swarm: Harness, label: str
) -> None:
    """Else a deletion would leave it behind, running."""
    service_id = await swarm.orchestrator.create_service(swarm.service())
    await swarm.orchestrator.share(swarm.prefix)

    def strip(spec: dict[str, Any]) -> None:
        del spec["Labels"][label]

    await swarm.edit(service_id, strip)
    swarm.orchestrator.invalidate(swarm.prefix)
    found = (await swarm.orchestrator.share(swarm.prefix)).services

    assert [one.id for one in found.values()] == [service_id]
    assert found[swarm.service().name].spec.labels[label] == swarm.labels()[label]
    assert "pgswarm.hash" not in found[swarm.service().name].spec.labels
    assert (await swarm.fresh()).services == tuple(found.values())


async def test_ones_own_write_invalidates_the_reading(swarm: Harness) -> None:
    before = await swarm.orchestrator.view()

    await swarm.orchestrator.create_config(swarm.name("c"), swarm.labels(), "x")

    after = await swarm.orchestrator.view()
    assert after is not before
    assert [config.name for config in after.configs] == [swarm.name("c")]


async def test_each_change_of_a_service_is_an_event_and_the_stream_begins_with_a_gap(swarm: Harness) -> None:
    async with listening(swarm) as seen:
        service_id = await swarm.orchestrator.create_service(swarm.service())
        await swarm.edit(service_id, container(Env=["X=1"]))
        await swarm.drop(service_id)

        async def heard() -> bool:
            return [e.action for e in seen if e.id == service_id] == ["create", "update", "remove"]

        await until(heard)

    assert seen[0].kind == GAP
    mine = [event for event in seen if event.id == service_id]
    assert {event.kind for event in mine} == {"service"}
    assert {event.name for event in mine} == {swarm.service().name}


async def test_networks_secrets_and_configs_that_go_are_events_with_id_and_name(swarm: Harness) -> None:
    network_id = await swarm.orchestrator.create_network(swarm.network())
    secret_id = await swarm.orchestrator.create_secret(swarm.name("s"), swarm.labels(), Secret("x"))
    config_id = await swarm.orchestrator.create_config(swarm.name("c"), swarm.labels(), "x")
    expected = {
        ("network", "remove", network_id, swarm.network().name),
        ("secret", "remove", secret_id, swarm.name("s")),
        ("config", "remove", config_id, swarm.name("c")),
    }

    async with listening(swarm) as seen:
        await swarm.orchestrator.remove_network(network_id)
        await swarm.orchestrator.remove_secret(secret_id)
        await swarm.orchestrator.remove_config(config_id)

        async def heard() -> bool:
            return expected <= {(event.kind, event.action, event.id, event.name) for event in seen}

        await until(heard)


async def test_names_that_docker_would_not_take_are_refused_before_any_call(swarm: Harness) -> None:
    for name in ("", "-x", "a b", "../x", "x" * 64, "x\n"):
        with pytest.raises(ValueError, match="not a name"):
            await swarm.orchestrator.create_service(replace(swarm.service(), name=name))
        with pytest.raises(ValueError, match="not a name"):
            await swarm.orchestrator.create_config(name, swarm.labels(), "x")
    with pytest.raises(ValueError, match="not a label"):
        await swarm.orchestrator.create_config(swarm.name("c"), swarm.labels() | {"other": "x"}, "x")


async def test_the_image_is_stored_as_given_without_a_digest(swarm: Harness) -> None:
    service_id = await swarm.orchestrator.create_service(swarm.service())

    assert (await swarm.one(service_id)).spec.image == IMAGE
