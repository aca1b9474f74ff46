"""What the owner does about one database, as values: scenes in, actions out."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from crds.instance import SqlObserved
from reconcilers.actions import (
    Action,
    ChangeClass,
    CreateService,
    RemoveService,
    UpdateService,
    Why,
    WriteRecords,
)
from reconcilers.database import health
from reconcilers.database.forecast import forecast, predict, settle
from reconcilers.database.plan import plan
from reconcilers.database.report import report
from reconcilers.observed import Fleet, Observed
from reconcilers.ports import Put, Remove, Secret, ServiceView, TaskView
from reconcilers.resources import naming, patroni_file, service, topology
from tests.unit.reconcilers.database.scene import HOSTS, database, edited, empty, instance, running

FIRST, SECOND, THIRD = (instance(name) for name in HOSTS)


def actions(observed: Observed) -> list[Action]:
    return list(plan(observed).actions)


def touched(observed: Observed, name: str, **fields: Any) -> Observed:
    """Somebody ran `docker service update` on the instance."""
    view = observed.services[name]
    changed = ServiceView(view.id, view.version + 1, replace(view.spec, **fields))
    return replace(observed, services={**observed.services, name: changed})


def failing(observed: Observed, name: str) -> Observed:
    """The instance's container and its Patroni are gone."""
    scope = f"{observed.key.name}-n1"
    cluster = observed.patroni[scope]
    members = {member: view for member, view in cluster.members.items() if member != name}
    return replace(
        observed,
        instances={one: seen for one, seen in observed.instances.items() if one != name},
        patroni={
            scope: replace(
                cluster, members=members, leader=None if cluster.leader == name else cluster.leader
            )
        },
    )


def test_a_new_database_comes_up_in_a_bounded_number_of_frontiers() -> None:
    loops, world = forecast(empty(database()))

    assert len(loops) <= 12
    assert {name for name, view in world.services.items() if view.spec.replicas == 1} == {
        FIRST,
        SECOND,
        THIRD,
    }
    assert plan(world).actions == ()
    assert plan(world).waiting == ()


def test_a_finished_database_is_ready_and_synced() -> None:
    world = running()
    status = report(world, plan(world), None)

    assert status.phase == "Ready"
    assert {one.type: one.status.value for one in status.conditions} == {
        "Ready": "True",
        "Synced": "True",
        "SpecValid": "True",
        "Degraded": "False",
    }
    assert status.nodes[0].primary == FIRST


def test_services_are_created_inert_and_start_together() -> None:
    loops, _ = forecast(empty(database()))
    creates = [
        a for loop in loops for a in loop.actions if isinstance(a, CreateService) and a.kind == "service"
    ]
    activations = [{a.name for a in loop.actions if a.why is Why.ACTIVATE} for loop in loops]

    assert [one.spec.replicas for one in creates] == [0, 0, 0]
    assert [names for names in activations if names] == [{FIRST, SECOND, THIRD}]


def bootstrapping(observed: Observed) -> list[str]:
    """The hosts whose instance may initialise the node."""
    accepted = observed.accepted
    assert accepted is not None
    wanted = topology.instances(observed.key.name, accepted)
    files = {one.host: patroni_file.render(one, "17", Vault(), (), etcd_auth=False) for one in wanted}
    return [host for host, file in files.items() if "bootstrap" in json.loads(file.reveal())]


class Vault(dict[str, Secret]):
    """Any secret."""

    def __missing__(self, name: str) -> Secret:
        return Secret(name)


def lost(observed: Observed, *names: str) -> Observed:
    """The Swarm calls these hosts down."""
    hosts = dict(observed.hosts)
    for name in names:
        node = hosts[name].node
        assert node is not None
        hosts[name] = replace(hosts[name], record=None, node=replace(node, ready=False))
    return replace(observed, hosts=hosts)


def begun(observed: Observed) -> Observed:
    """As far as every service runs, and nobody has initialised."""
    while True:
        for action in actions(observed):
            observed = predict(observed, action)
        if any(
            view.spec.replicas and naming.INSTANCE in view.spec.labels for view in observed.services.values()
        ):
            return observed
        observed = settle(observed)


def test_one_host_alone_may_initialise_a_node() -> None:
    assert bootstrapping(running()) == ["host-1"]


def test_a_node_is_initialised_on_the_first_host_that_is_up() -> None:
    _, world = forecast(lost(empty(database()), "host-1"))

    assert bootstrapping(world) == ["host-2"]
    assert world.patroni["orders-n1"].leader == SECOND


def test_hosts_in_another_order_change_no_file_of_what_runs() -> None:
    world = edited(running(), database(hosts=("host-3", "host-1", "host-2")))
    loops, after = forecast(world)

    assert {one.kind for loop in loops for one in loop.actions} == {"spec"}
    assert bootstrapping(after) == ["host-1"]


def test_nobody_may_initialise_a_node_whose_first_host_has_left() -> None:
    _, after = forecast(edited(running(), database(hosts=("host-2", "host-3"))))

    assert bootstrapping(after) == []


def test_the_host_that_may_initialise_moves_when_it_is_lost_before_it_has_begun() -> None:
    world = begun(empty(database()))
    assert bootstrapping(world) == ["host-1"]

    [one] = [a for a in actions(lost(world, "host-1")) if a.kind == "initialization"]
    assert one.detail == "n1 is to be initialised on host-2"
    _, after = forecast(lost(world, "host-1"))
    assert bootstrapping(after) == ["host-2"]


def racing(observed: Observed, **fields: Any) -> Observed:
    """Patroni on the first host has said that it begins to initialise the node."""
    started = replace(observed.patroni["orders-n1"], initialize="", initialize_revision=77, **fields)
    return replace(observed, patroni={"orders-n1": started})


def test_who_has_begun_to_initialise_a_node_is_left_alone_while_its_host_is_up() -> None:
    world = racing(begun(empty(database())))
    waiting = [one for one in plan(world).waiting if one.kind == "initialization"]

    assert not [a for a in actions(world) if a.kind == "initialization"]
    assert [(one.reason, one.message.partition(" ")[0]) for one in waiting] == [("Initialising", "host-1")]


def test_a_node_whose_host_died_while_it_initialised_is_initialised_on_another() -> None:
    world = lost(racing(begun(empty(database()))), "host-1")

    taken, moved = [a for a in actions(world) if a.kind == "initialization"]
    assert isinstance(taken, WriteRecords)
    assert taken.writes == (Remove("patroni/orders-n1/initialize", expected=77),)
    assert taken.detail == "host-1 had begun to initialise it and is down"
    assert moved.detail == "n1 is to be initialised on host-2"
    after = predict(predict(world, taken), moved)
    assert bootstrapping(after) == ["host-2"]
    assert after.patroni["orders-n1"].initialize is None


def test_a_node_that_has_a_leader_is_never_initialised_elsewhere() -> None:
    world = lost(racing(begun(empty(database())), leader=FIRST), "host-1")

    assert not [a for a in actions(world) if a.kind == "initialization"]


def test_who_began_to_initialise_a_node_that_has_data_may_not_finish() -> None:
    """S10: an empty volume was faster than the owner that puts the record back."""
    world = racing(running(), leader=None)

    [one] = [a for a in actions(world) if a.kind == "initialization"]
    assert isinstance(one, WriteRecords)
    assert one.writes == (Put("patroni/orders-n1/initialize", b"1", expected=77),)


def test_another_choice_is_not_taken_back_when_the_first_host_returns() -> None:
    world = begun(lost(empty(database()), "host-1"))
    back = replace(world, hosts=empty(database()).hosts)

    assert not [a for a in actions(back) if a.kind == "initialization"]


def test_a_network_that_an_earlier_database_left_is_made_anew() -> None:
    world = running()
    network = world.networks["orders-net"]
    stale = replace(network, id="old", subnets=("10.9.0.0/24",))
    alone = replace(
        world, services={"orders-fence": world.services["orders-fence"]}, networks={"orders-net": stale}
    )
    loops, after = forecast(alone)

    assert (loops[0].actions[0].kind, loops[0].actions[0].verb) == ("network", "Remove")
    assert after.networks["orders-net"].subnets == network.subnets
    assert after.services.keys() == world.services.keys()
    # One that is in use stays: it cannot be taken away.
    assert actions(replace(world, networks={"orders-net": replace(network, subnets=("10.9.0.0/24",))})) == []


def test_nothing_happens_without_the_fence() -> None:
    """Rule F2: before the fence carries our epoch, no other Docker effect is planned."""
    accepted = predict(empty(database()), actions(empty(database()))[0])

    assert {one.kind for one in actions(accepted)} == {"fence"}


def test_a_new_owner_fences_and_sweeps_every_service_first() -> None:
    """Rules F2 and F4: fence first, the older labels in the same breath, nothing else."""
    world = replace(running(), epoch=9)

    swept = {one.name for one in actions(world) if one.why is Why.SWEEP}

    assert swept == {FIRST, SECOND, THIRD}
    assert {one.why for one in actions(world)} == {Why.FENCE, Why.SWEEP}
    for one in actions(world):
        assert isinstance(one, UpdateService)
        assert one.spec.labels[naming.EPOCH] == "9"


def test_a_sweep_restarts_nothing() -> None:
    world = replace(running(), epoch=9)

    for one in actions(world):
        assert isinstance(one, UpdateService)
        assert not service.restarts(world.services[one.name], one.spec)


def test_every_update_carries_the_version_of_its_own_snapshot() -> None:
    world = touched(running(), SECOND, replicas=0)

    [one] = actions(world)

    assert isinstance(one, UpdateService)
    assert one.version == world.services[SECOND].version


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        pytest.param({"image": "evil:1"}, "image", id="image"),
        pytest.param({"env": ("A=1",)}, "env", id="environment"),
        pytest.param({"mounts": ()}, "mounts", id="mounts"),
        pytest.param({"memory_bytes": 1}, "memory bytes", id="memory limit"),
        pytest.param(
            {"foreign": "TaskTemplate.ContainerSpec.Sysctls"}, "Sysctls", id="a field pgswarm never sets"
        ),
        pytest.param({"node_id": ""}, "node id", id="placement"),
    ],
)
def test_a_hand_made_service_update_on_a_replica_is_taken_back(
    fields: dict[str, object], detail: str
) -> None:
    [one] = actions(touched(running(), SECOND, **fields))

    assert isinstance(one, UpdateService)
    assert (one.name, one.why, one.change) == (SECOND, Why.DRIFTED, ChangeClass.RESTART_REPLICA)
    assert detail in one.detail


@pytest.mark.parametrize("replicas", [0, 2])
def test_scaling_by_hand_is_taken_back(replicas: int) -> None:
    [one] = actions(touched(running(), THIRD, replicas=replicas))

    assert isinstance(one, UpdateService)
    assert one.spec.replicas == 1


def test_labels_changed_by_hand_are_put_back_without_a_restart() -> None:
    world = running()
    labels = {**world.services[FIRST].spec.labels, naming.NODE: "n9"}

    [one] = actions(touched(world, FIRST, labels=labels))

    assert isinstance(one, UpdateService)
    assert one.change is ChangeClass.NONE


def test_a_removed_service_is_created_again_also_the_primarys() -> None:
    world = running()
    gone = replace(world, services={n: v for n, v in world.services.items() if n != FIRST})

    creates = [one for one in actions(failing(gone, FIRST)) if isinstance(one, CreateService)]

    assert [one.name for one in creates] == [FIRST]


def test_drift_on_the_primary_with_replicas_is_mended_after_a_switchover() -> None:
    world = touched(running(), FIRST, memory_bytes=1)

    [move] = actions(world)
    loops, after = forecast(world)

    assert isinstance(move, WriteRecords)
    assert (move.kind, move.change) == ("leadership", ChangeClass.SWITCHOVER)
    assert after.patroni["orders-n1"].leader != FIRST
    assert after.services[FIRST].spec.memory_bytes != 1
    assert len(loops) == 2


def test_drift_on_the_only_instance_is_mended_in_place() -> None:
    world = running(database(hosts=("host-1",)))

    [one] = actions(touched(world, FIRST, image="evil:1"))

    assert (one.name, one.change) == (FIRST, ChangeClass.RESTART_PRIMARY)


def test_a_rolling_change_disturbs_one_serving_instance_at_a_time_and_the_primary_last() -> None:
    world = edited(running(), database(resources={"memory": "1GiB", "cpus": "1"}))
    order: list[str] = []
    loops, after = forecast(world)

    for loop in loops:
        disturbing = [
            a for a in loop.actions if a.change in (ChangeClass.RESTART_REPLICA, ChangeClass.RESTART_PRIMARY)
        ]
        assert len(disturbing) <= 1
        order += [a.name for a in disturbing]

    assert order[-1] == FIRST
    assert sorted(order) == sorted([FIRST, SECOND, THIRD])
    assert plan(after).actions == ()


def test_a_rolling_change_waits_while_another_instance_is_down() -> None:
    world = failing(edited(running(), database(resources={"memory": "1GiB"})), THIRD)
    for _ in range(3):
        for one in actions(world):
            if one.kind != "service":
                world = predict(world, one)

    disturbing = [
        one for one in actions(world) if one.change is not ChangeClass.NONE and one.kind == "service"
    ]

    assert disturbing == []


def ending(observed: Observed, name: str, **container: str) -> Observed:
    """The instance's container still runs, and says which service and task it is."""
    seen = observed.instances[name]
    assert seen.container is not None
    said = seen.model_copy(update={"container": seen.container.model_copy(update=container)})
    return replace(observed, instances={**observed.instances, name: said})


def about_to_roll(observed: Observed) -> Observed:
    """Everything is done that comes before the services' turn."""
    for _ in range(3):
        for one in actions(observed):
            if one.kind != "service":
                observed = predict(observed, one)
    return observed


def restarts(observed: Observed) -> list[str]:
    return [one.name for one in actions(observed) if one.kind == "service"]


LARGER = database(resources={"memory": "1GiB"})


@pytest.mark.parametrize("desired_state", ["shutdown", "remove"])
def test_the_next_waits_until_the_container_of_the_one_before_has_ended(desired_state: str) -> None:
    world = about_to_roll(edited(running(), LARGER))
    service_id = world.services[THIRD].id
    world = ending(world, THIRD, service=service_id, task="t1")
    assert len(restarts(world)) == 1

    old = TaskView("t1", service_id, "", "running", desired_state, "", "")
    assert restarts(replace(world, tasks=(old,))) == [THIRD], "it ends already, so it may end for this, too"


def test_a_container_of_a_removed_service_does_not_count_any_more() -> None:
    world = running()
    accepted = world.accepted
    assert accepted is not None
    assert health.all_serve(ending(world, THIRD, service=""), accepted), "an agent that does not say"
    assert health.all_serve(ending(world, THIRD, service=world.services[THIRD].id), accepted)
    assert not health.all_serve(ending(world, THIRD, service="another"), accepted)
    gone = replace(world, services={n: s for n, s in world.services.items() if n != THIRD})
    assert not health.all_serve(ending(gone, THIRD, service="v1"), accepted)


@pytest.mark.parametrize(("ago_s", "may"), [(0.5, False), (30, True), (-0.5, False), (-30, True)])
def test_a_change_of_a_moment_ago_is_first_acted_on_by_swarm(ago_s: float, *, may: bool) -> None:
    world = about_to_roll(edited(running(), LARGER))
    changed = (datetime.fromisoformat(world.at) - timedelta(seconds=ago_s)).isoformat()
    fence = next(name for name in world.services if name not in (FIRST, SECOND, THIRD))
    for name in (THIRD, fence):
        view = replace(world.services[name], updated_at=changed)
        other = replace(world, services={**world.services, name: view})

        assert bool(restarts(other)) is (may or name == fence)
        assert any(one.unannounced for one in plan(other).waiting) is not bool(restarts(other))


def test_an_instance_whose_agent_is_away_is_not_taken_for_dead() -> None:
    """Its Postgres serves on, here as the primary: stopping it for a change would be an outage of our making."""
    world = edited(running(), database(resources={"memory": "1GiB"}))
    mute = replace(
        world,
        hosts={**world.hosts, "host-1": replace(world.hosts["host-1"], record=None)},
        instances={name: seen for name, seen in world.instances.items() if name != FIRST},
    )
    for _ in range(3):
        for one in actions(mute):
            assert one.kind != "service" or one.change is not ChangeClass.NONE, str(one)
            if one.kind in ("spec", "dynamic-configuration"):
                mute = predict(mute, one)

    assert [one for one in actions(mute) if one.kind == "service"] == []
    assert {one.reason for one in plan(mute).waiting} == {"RollingUpdate"}


def test_a_parameter_change_reloads_and_restarts_no_container() -> None:
    world = edited(running(), database(postgres={"parameters": {"work_mem": "16MB"}}))
    loops, _ = forecast(world)
    made = [one for loop in loops for one in loop.actions]

    assert not [one for one in made if one.kind == "service"]
    [config] = [one for one in made if one.kind == "dynamic-configuration"]
    assert config.change is ChangeClass.RELOAD
    assert "work_mem" in config.detail
    assert "16MB" not in config.detail


def test_an_edit_of_patronis_configuration_by_hand_is_taken_back() -> None:
    world = running()
    cluster = world.patroni["orders-n1"]
    assert cluster.config is not None
    spoilt = replace(cluster, config={**cluster.config, "ttl": 3600})

    [one] = actions(replace(world, patroni={"orders-n1": spoilt}))

    assert (one.kind, one.why) == ("dynamic-configuration", Why.DRIFTED)


def test_a_lost_initialize_record_is_put_back_before_anything_starts() -> None:
    """S10: with the record gone, an empty volume would be initialised anew."""
    world = running()
    cluster = replace(world.patroni["orders-n1"], initialize=None, leader=None, members={})
    stopped = replace(
        touched(world, FIRST, replicas=0), patroni={"orders-n1": cluster}, instances=world.instances
    )

    made = actions(stopped)

    assert [one.kind for one in made] == ["initialization"]


def test_adding_a_replica_touches_no_running_service() -> None:
    world = running(database(hosts=("host-1", "host-2")))
    loops, after = forecast(edited(world, database()))
    updates = [one for loop in loops for one in loop.actions if isinstance(one, UpdateService)]

    assert {one.name for one in updates} == {THIRD}
    assert after.services[THIRD].spec.replicas == 1


def test_removing_the_primarys_host_moves_the_primary_first() -> None:
    world = edited(running(), database(hosts=("host-2", "host-3")))
    loops, after = forecast(world)
    verbs = [
        (one.kind, one.verb)
        for loop in loops
        for one in loop.actions
        if one.kind in ("leadership", "service")
    ]

    assert verbs[0] == ("leadership", "Write")
    assert verbs[-2:] == [("service", "Update"), ("service", "Remove")]
    assert FIRST not in after.services
    assert after.patroni["orders-n1"].leader in (SECOND, THIRD)


def test_a_removed_service_was_tombstoned_before_and_goes_by_id() -> None:
    """Rule F6."""
    loops, _ = forecast(edited(running(), database(hosts=("host-1", "host-2"))))
    steps = [one for loop in loops for one in loop.actions if one.name == THIRD and one.kind == "service"]

    assert isinstance(steps[0], UpdateService)
    assert naming.TOMBSTONE in steps[0].spec.labels
    assert steps[0].spec.replicas == 0
    assert isinstance(steps[1], RemoveService)
    assert steps[1].service_id == steps[0].service_id


def stopping(node: str = "node-host-3", state: str = "running", desired: str = "remove") -> Observed:
    """The third instance was taken out of the spec and has its tombstone; Swarm lists a task of it."""
    world = edited(running(), database(hosts=("host-1", "host-2")))
    for _ in range(9):
        if service.tombstoned(world.services[THIRD]):
            break
        for action in actions(world):
            world = predict(world, action)
        world = settle(world)
    task = TaskView("t1", world.services[THIRD].id, node, state, desired, "", "")
    return replace(world, tasks=(task,))


def removed(observed: Observed) -> list[str]:
    return [one.name for one in actions(observed) if isinstance(one, RemoveService)]


@pytest.mark.parametrize(
    "world",
    [
        stopping(),
        stopping(desired="running"),
        stopping(state="shutdown"),
        stopping(desired="shutdown"),
        stopping(node="", state="pending"),
    ],
    ids=["told", "not told yet", "not forgotten yet", "of an earlier update", "nowhere"],
)
def test_a_service_goes_when_its_tasks_are_over(world: Observed) -> None:
    assert removed(world) == []
    assert [(one.name, one.unannounced) for one in plan(world).waiting] == [(THIRD, True)]
    assert removed(replace(world, tasks=())) == [THIRD]


@pytest.mark.parametrize(
    "world",
    [stopping(state="failed", desired="shutdown"), stopping(node="node-gone")],
    ids=["history", "on a node that the Swarm does not know"],
)
def test_a_task_that_stays_holds_up_nothing(world: Observed) -> None:
    assert removed(world) == [THIRD]


def test_a_task_on_a_host_that_is_down_holds_up_nothing() -> None:
    world = stopping()
    third = world.hosts["host-3"]
    assert third.node is not None
    down = replace(third, node=replace(third.node, ready=False))

    assert removed(replace(world, hosts={**world.hosts, "host-3": down})) == [THIRD]


AT = "2026-01-01T01:00:00Z"
PUT_OFF = "no suitable node (3 nodes not available for new tasks)"


def put_off(
    since: str = "2026-01-01T00:59:00.123456789Z",
    error: str = PUT_OFF,
    state: str = "pending",
    *,
    ready: bool = True,
) -> Observed:
    """Nothing differs from the spec, and Swarm lists a task of the third instance that has no host."""
    world = replace(running(), at=AT)
    third = world.hosts["host-3"]
    assert third.node is not None
    hosts = {**world.hosts, "host-3": replace(third, node=replace(third.node, ready=ready))}
    task = TaskView("t1", world.services[THIRD].id, "", state, "running", error, since)
    return replace(world, hosts=hosts, tasks=(task,))


def test_a_task_that_swarm_has_forgotten_is_made_anew() -> None:
    [action] = actions(put_off())

    assert isinstance(action, UpdateService)
    assert (action.name, action.afresh, action.why) == (THIRD, True, Why.FORGOTTEN)
    assert action.spec == running().services[THIRD].spec
    assert actions(predict(put_off(), action)) == []


def test_swarm_has_a_while_to_see_for_itself() -> None:
    world = put_off(since="2026-01-01T00:59:50Z")

    assert actions(world) == []
    assert [(one.name, one.unannounced) for one in plan(world).waiting] == [(THIRD, True)]


@pytest.mark.parametrize(
    "world",
    [
        put_off(ready=False),
        put_off(error="no suitable node (host-mode port already in use on 1 node)"),
        put_off(state="running"),
        put_off(since=""),
    ],
    ids=["its host is down", "for another reason", "it runs", "nobody knows since when"],
)
def test_no_other_task_is_made_anew(world: Observed) -> None:
    assert actions(world) == []


def test_deleting_for_good_also_removes_the_data_of_an_instance_that_was_taken_out() -> None:
    two = database(hosts=HOSTS[:2], deletion={"policy": "delete"})
    _, world = forecast(edited(running(database(deletion={"policy": "delete"})), two))
    assert world.accepted is not None
    assert world.accepted.departed == {"n1": ("host-3",)}
    loops, after = forecast(edited(world, None))
    asked = {
        one.name for loop in loops for one in loop.actions if one.detail.startswith("host-3 is to remove")
    }

    assert asked == {THIRD}
    assert after.accepted is None
    # Back in the spec it is wanted, and has departed from nowhere.
    _, back = forecast(edited(world, database(deletion={"policy": "delete"})))
    assert back.accepted is not None
    assert back.accepted.departed == {}


def test_a_host_that_is_gone_and_was_taken_out_does_not_hold_up_a_deletion() -> None:
    two = database(hosts=HOSTS[:2], deletion={"policy": "delete"})
    _, world = forecast(edited(running(database(deletion={"policy": "delete"})), two))
    _, after = forecast(edited(replace(world, hosts={h: world.hosts[h] for h in HOSTS[:2]}), None))

    assert after.accepted is None


def test_deleting_with_retain_keeps_secrets_and_patronis_records() -> None:
    world = running()
    _, after = forecast(edited(world, None))

    assert after.services == {}
    assert after.networks == {}
    assert after.secrets == {}
    assert after.accepted is not None
    assert after.accepted.state == "retained"
    assert after.vault == world.vault
    assert after.patroni["orders-n1"].initialize == "1"


def test_the_same_name_adopts_retained_data() -> None:
    world = running()
    assert world.accepted is not None
    _, retained = forecast(edited(world, None))
    _, again = forecast(edited(retained, database()))

    assert again.accepted is not None
    assert again.accepted.incarnation == world.accepted.incarnation
    assert again.accepted.state == "active"
    assert again.services[FIRST].spec.mounts == world.services[FIRST].spec.mounts


def test_deleting_with_policy_delete_leaves_nothing() -> None:
    world = running(database(port=16000, deletion={"policy": "delete"}))
    _, after = forecast(edited(world, None))

    assert after.accepted is None
    assert after.services == {}
    assert after.networks == {}
    assert after.secrets == {}
    assert after.configs == {}
    assert after.vault == {}
    assert after.desired == {}
    assert after.subnets == frozenset()
    assert after.ports == {}
    assert after.accounts == {}
    assert after.patroni == {}


def test_data_goes_only_after_its_services() -> None:
    loops, _ = forecast(edited(running(database(deletion={"policy": "delete"})), None))
    order = [(one.kind, one.verb) for loop in loops for one in loop.actions]
    last_service = max(place for place, one in enumerate(order) if one == ("service", "Remove"))
    first_absent = min(place for place, (kind, _) in enumerate(order) if kind == "desired")

    assert last_service < first_absent


def test_a_volume_on_a_dead_host_holds_the_deletion_and_says_so() -> None:
    world = edited(running(database(deletion={"policy": "delete"})), None)
    dead = replace(world.hosts["host-3"], record=None)
    _, after = forecast(world)
    for _ in range(30):
        step = plan(world)
        for one in step.actions:
            world = predict(world, one)
        world = settle(world)
        world = replace(
            world,
            hosts={**world.hosts, "host-3": dead},
            instances={name: seen for name, seen in world.instances.items() if name != THIRD},
        )

    assert after.accepted is None
    assert world.accepted is not None
    assert [one.reason for one in plan(world).waiting] == ["HostDown"]


def test_a_protected_database_ignores_the_removal_of_its_spec() -> None:
    world = edited(running(database(deletion={"protected": True})), None)

    assert actions(world) == []
    assert [one.reason for one in plan(world).waiting] == ["Protected"]


def test_many_specs_gone_at_once_stop_every_removal_until_confirmed() -> None:
    world = stopped()
    assert world.accepted is not None
    confirmed = replace(world, confirmation=world.accepted.incarnation)

    assert world.accepted.state == "active"
    assert world.services == running().services
    assert actions(world) == []
    assert [one.reason for one in plan(world).waiting] == ["MassDeletionStopped"]
    _, gone = forecast(confirmed)
    assert gone.accepted is not None
    assert gone.accepted.state == "retained"


def stopped() -> Observed:
    """Three of four specs vanished at once; everything was done that is to be done about it."""
    _, world = forecast(replace(edited(running(), None), fleet=Fleet(active=4, vanished=3)))
    return world


@pytest.mark.parametrize("fleet", [Fleet(3, 2), Fleet(2, 1), Fleet(1, 1)], ids=str)
def test_a_removal_that_was_stopped_waits_for_its_own_word_whatever_happens_to_the_others(
    fleet: Fleet,
) -> None:
    later = replace(stopped(), fleet=fleet)

    assert actions(later) == []
    assert [one.reason for one in plan(later).waiting] == ["MassDeletionStopped"]


def test_a_stopped_removal_is_over_when_the_spec_is_back() -> None:
    world = edited(stopped(), database())
    loops, after = forecast(world)

    assert [str(one.why) for loop in loops for one in loop.actions] == [str(Why.OBSERVED)]
    assert after.accepted is not None
    assert after.accepted.stopped_at == ""
    [one] = actions(replace(edited(after, None), fleet=Fleet(1, 1)))
    assert "retain" in one.detail


def test_an_invalid_spec_changes_nothing_and_says_where() -> None:
    from crds.problems import SpecProblem
    from reconcilers.observed import SpecReading

    problem = SpecProblem(line=3, column=5, path="spec.nodes", message="no hosts", fix="name one")
    world = replace(running(), spec=SpecReading(problems=(problem,), revision=500))
    status = report(world, plan(world), None)
    valid, ready = status.condition("SpecValid"), status.condition("Ready")

    assert actions(world) == []
    assert world.accepted is not None
    assert valid is not None
    assert ready is not None
    assert (ready.status.value, ready.observed_revision) == ("True", world.accepted.revision)
    assert valid.observed_revision == 500
    assert valid.status.value == "False"
    assert "line 3, column 5" in valid.message
    assert "stays in force" in valid.message


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        pytest.param(
            database(hosts=("host-1", "host-9")),
            "line 12, column 7, spec.nodes[0].hosts[1]: host host-9",
            id="unknown host",
        ),
        pytest.param(database(postgres={"version": "15"}), "major upgrade", id="another major version"),
        pytest.param(database(postgres={"version": "18"}), "18", id="no image for it"),
    ],
)
def test_a_spec_that_the_cluster_cannot_take_is_refused_with_its_reason(spec: object, said: str) -> None:
    world = edited(running(), spec)  # type: ignore[arg-type]
    valid = report(world, plan(world), None).condition("SpecValid")

    assert actions(world) == []
    assert valid is not None
    assert valid.status.value == "False"
    assert said in valid.message


def test_a_host_that_is_down_does_not_make_a_spec_invalid() -> None:
    world = running()
    down = replace(world, hosts={**world.hosts, "host-3": replace(world.hosts["host-3"], record=None)})
    valid = report(down, plan(down), None).condition("SpecValid")

    assert valid is not None
    assert valid.status.value == "True"


def test_a_port_of_another_database_is_refused() -> None:
    world = empty(database(port=16005), ports={("host-2", 16005): "shop"})
    valid = report(world, plan(world), None).condition("SpecValid")

    assert actions(world) == []
    assert valid is not None
    assert "shop" in valid.message


def test_an_auto_port_is_the_one_that_was_found_free_and_stays() -> None:
    world = running(database(port="auto"), free_port=16001)
    mine = sorted(place for place, holder in world.ports.items() if holder == "orders")

    assert mine == [(name, 16001) for name in HOSTS]
    assert {one.role for one in report(world, plan(world), None).endpoints} == {"primary", "replica"}
    assert actions(replace(world, free_port=16002)) == []


def test_without_a_free_port_or_subnet_it_waits_and_says_so() -> None:
    world = running(database(port="auto"), free_port=None, free_subnet=None)
    reasons = {one.reason for one in plan(world).waiting}

    assert reasons >= {"NoFreePort", "SubnetPoolExhausted"}


def test_a_dropped_database_is_data_loss_and_not_made_again() -> None:
    world = running()
    seen = world.instances[FIRST]
    sql = SqlObserved(in_sync=True, lost_databases=("orders",))
    world = replace(world, instances={**world.instances, FIRST: seen.model_copy(update={"sql": sql})})
    status = report(world, plan(world), None)
    loss = status.condition("DataLoss")

    assert actions(world) == []
    assert status.phase == "DataLoss"
    assert loss is not None
    assert "orders" in loss.message


def test_a_dead_primary_host_is_degraded_with_its_reason() -> None:
    world = failing(running(), SECOND)
    world = replace(
        world, hosts={**world.hosts, "host-2": replace(world.hosts["host-2"], record=None, node=None)}
    )
    status = report(world, plan(world), None)
    degraded = status.condition("Degraded")

    assert status.phase == "Degraded"
    assert degraded is not None
    assert "host-2 is down" in degraded.message


def test_a_paused_database_is_looked_at_and_left_alone() -> None:
    loops, world = forecast(edited(running(), database(paused=True)))
    spoilt = touched(world, SECOND, image="evil:1")

    assert len(loops) == 1
    assert actions(spoilt) == []
    assert report(spoilt, plan(spoilt), None).phase == "Paused"


def test_a_deleted_etcd_account_is_made_again() -> None:
    world = replace(running(), etcd_users=frozenset())

    loops, after = forecast(world)

    assert {one.kind for one in actions(world)} == {"account"}
    assert len(loops) == 1
    assert after.etcd_users == frozenset(world.accounts)


def test_old_secrets_go_once_no_service_uses_them() -> None:
    world = running()
    loops, after = forecast(replace(world, etcd_endpoints=("http://10.0.0.9:2379",)))
    used = {ref.object_name for view in after.services.values() for ref in view.spec.secrets}

    assert loops
    assert set(after.secrets) == used
    assert not set(after.secrets) & {name for name in world.secrets if "patroni" in name}


def test_an_unschedulable_host_takes_no_new_instance_and_keeps_its_own() -> None:
    def closed(world: Observed) -> Observed:
        return replace(
            world, hosts={**world.hosts, "host-3": replace(world.hosts["host-3"], schedulable=False)}
        )

    fresh = closed(empty(database()))
    valid = report(fresh, plan(fresh), None).condition("SpecValid")
    kept = closed(edited(running(), database(postgres={"parameters": {"work_mem": "16MB"}})))

    assert actions(fresh) == []
    assert valid is not None
    assert "host-3 is unschedulable" in valid.message
    assert [one.kind for one in actions(kept)] == ["spec"]


def test_a_server_certificate_is_renewed_and_rolled_out_one_instance_at_a_time() -> None:
    from reconcilers.resources import credential

    world = replace(running(), expiring={credential.server(SECOND): 55})

    [renewal] = actions(world)

    assert (renewal.kind, renewal.why, renewal.name) == (
        "credential",
        Why.EXPIRING,
        credential.server(SECOND),
    )
    assert renewal.expected == 55  # type: ignore[attr-defined]


def test_an_endpoint_keeps_its_address_while_the_host_is_down() -> None:
    world = running(database(port=16010))
    down = replace(world, hosts={**world.hosts, "host-2": replace(world.hosts["host-2"], record=None)})

    assert {one.host for one in report(down, plan(down), None).endpoints} >= {"10.0.0.1"}


def test_retained_data_is_not_looked_for_on_hosts_that_do_not_have_it() -> None:
    """Nothing runs that an empty volume could be filled from: it would wait for ever, and nobody would know why."""
    _, retained = forecast(edited(running(database(hosts=("host-1",))), None))
    elsewhere = edited(retained, database(hosts=("host-2",)))
    both = edited(retained, database(hosts=("host-2", "host-1")))
    valid = report(elsewhere, plan(elsewhere), None).condition("SpecValid")

    assert actions(elsewhere) == []
    assert valid is not None
    assert "host-1" in valid.message
    assert [one.kind for one in actions(both)] == ["spec"]


def test_a_host_that_vanished_does_not_make_an_edit_invalid() -> None:
    world = edited(running(), database(resources={"memory": "1GiB"}))
    hosts = {name: view for name, view in world.hosts.items() if name != "host-3"}

    assert [one.kind for one in actions(replace(world, hosts=hosts))] == ["spec"]


def test_what_ends_data_is_marked_as_such() -> None:
    loops, _ = forecast(edited(running(database(deletion={"policy": "delete"})), None))
    risky = [one.kind for loop in loops for one in loop.actions if one.change is ChangeClass.DATA_RISK]

    assert risky == ["spec", "desired", "desired", "desired", "database"]
