"""ServiceSpec and Docker's JSON, there and back."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.orchestrators.identity import is_ours, restored
from controlplane.orchestrators.payload import Kept, check_id, check_name, network_payload, to_payload
from controlplane.orchestrators.payload_reader import FOREIGN_MAX, from_payload, kept
from reconcilers.ports import NetworkAttachment, NetworkSpec, ServiceSpec, VolumeMount
from tests.unit.controlplane.orchestrators.specs import services

APIS = st.sampled_from([(1, 41), (1, 43), (1, 44), (1, 51)])
LABELS = {"pgswarm.cluster": "c", "pgswarm.database": "orders"}
SPEC = ServiceSpec(name="orders-n1-abcdef", labels=LABELS, image="pg:17")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


@given(services, APIS)
def test_what_is_written_reads_back_equal(spec: ServiceSpec, api: tuple[int, int]) -> None:
    through_the_wire = json.loads(json.dumps(to_payload(spec, api)))

    assert from_payload(through_the_wire, api) == spec


@given(services)
def test_what_docker_fills_in_is_not_drift(spec: ServiceSpec) -> None:
    payload = to_payload(spec)
    task, container = payload["TaskTemplate"], payload["TaskTemplate"]["ContainerSpec"]
    for network in task.get("Networks", []):
        if network["Target"] == "bridge":
            network["Target"] = "s5b8wi6rncimqfmtksjallrnr"
    container.update(
        Isolation="default", DNSConfig={}, Privileges={"CredentialSpec": None, "SELinuxContext": None}
    )
    task.update(
        Runtime="container", ForceUpdate=0, Resources={"Reservations": {}, **task.get("Resources", {})}
    )
    task["RestartPolicy"].update(MaxAttempts=0)
    task.setdefault("Placement", {}).update(Platforms=[], MaxReplicas=0)
    payload["UpdateConfig"].update(MaxFailureRatio=0)
    payload.update(RollbackConfig=None, Networks=[])

    assert from_payload(payload, bridges=frozenset({"s5b8wi6rncimqfmtksjallrnr"})) == spec


@given(services)
def test_writing_leaves_the_spec_alone_and_builds_a_fresh_object_each_time(spec: ServiceSpec) -> None:
    before = copy.deepcopy(spec)
    first, second = to_payload(spec), to_payload(spec)
    first["TaskTemplate"]["ContainerSpec"]["Env"] = ["spoilt"]
    first["UpdateConfig"]["Order"] = "spoilt"
    first["Labels"]["pgswarm.spoilt"] = "x"

    assert spec == before
    assert to_payload(spec) == second


@given(JSON)
def test_no_json_makes_the_reader_raise(payload: Any) -> None:
    assert isinstance(from_payload(payload), ServiceSpec)


@given(services, st.data())
def test_a_spoilt_field_never_makes_the_reader_raise_and_is_always_seen(
    spec: ServiceSpec, data: st.DataObject
) -> None:
    payload = to_payload(spec)
    place: Any = payload
    while True:
        key = data.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place))))
        )
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = {"What": ["is", "this"]}

    found = from_payload(payload)

    assert found != spec or key == "ForceUpdate"


@given(services, st.from_regex(r"\A[A-Z][A-Za-z]{3,12}X\Z"))
def test_a_field_nobody_knows_is_named_by_its_path_but_never_by_its_value(
    spec: ServiceSpec, key: str
) -> None:
    payload = to_payload(spec)
    payload["TaskTemplate"]["ContainerSpec"][key] = {"inner": "s3cret"}

    assert from_payload(payload).foreign == f"TaskTemplate.ContainerSpec.{key}"


def test_the_list_of_foreign_paths_is_bounded_and_says_how_many_more() -> None:
    payload = to_payload(SPEC)
    payload.update({f"Key{number:03}": "x" for number in range(FOREIGN_MAX + 7)})

    foreign = from_payload(payload).foreign

    assert foreign.startswith("Key000, Key001, ")
    assert foreign.endswith(" and 7 more")
    assert len(foreign.split(", ")) == FOREIGN_MAX


def test_an_update_carries_force_update_and_labels_of_others_but_ours_win() -> None:
    live = to_payload(SPEC, kept=Kept(3, {"team": "shop"}))
    live["Labels"]["pgswarm.hash"] = "old"

    carried = kept(live)
    updated = to_payload(SPEC, kept=carried)

    assert carried == Kept(3, {"team": "shop"})
    assert updated["TaskTemplate"]["ForceUpdate"] == 3
    assert updated["Labels"] == {"team": "shop", **LABELS}
    assert to_payload(SPEC, kept=Kept(0, {"pgswarm.cluster": "x"}))["Labels"] == LABELS


def test_no_new_privileges_is_a_field_from_api_1_44_on_and_a_label_before() -> None:
    spec = replace(SPEC, no_new_privileges=True)

    old, new = to_payload(spec, (1, 43)), to_payload(spec, (1, 44))

    assert "Privileges" not in old["TaskTemplate"]["ContainerSpec"]
    assert new["TaskTemplate"]["ContainerSpec"]["Privileges"] == {"NoNewPrivileges": True}
    assert new["Labels"] == LABELS
    assert (
        from_payload(old, (1, 44)).no_new_privileges is False
    )  # the engine was upgraded: drift, to be repaired


def test_switching_no_new_privileges_off_by_hand_is_drift() -> None:
    payload = to_payload(replace(SPEC, no_new_privileges=True), (1, 44))
    payload["TaskTemplate"]["ContainerSpec"]["Privileges"] = {"NoNewPrivileges": False}

    assert from_payload(payload, (1, 44)).no_new_privileges is False


def test_volumes_are_labelled_with_what_never_changes() -> None:
    labels = {**LABELS, "pgswarm.incarnation": "9f", "pgswarm.epoch": "7", "other": "x"}
    spec = replace(SPEC, container_labels=labels, mounts=(VolumeMount("v", "/data"),))

    mount = to_payload(spec)["TaskTemplate"]["ContainerSpec"]["Mounts"][0]

    assert mount["VolumeOptions"]["Labels"] == {**LABELS, "pgswarm.incarnation": "9f"}
    assert "NoCopy" not in mount["VolumeOptions"]


def test_a_target_that_is_no_mirror_of_the_bridge_keeps_its_id() -> None:
    spec = replace(SPEC, networks=(NetworkAttachment("n" * 25),))

    assert from_payload(to_payload(spec), bridges=frozenset({"b" * 25})).networks == spec.networks


def test_a_mode_that_is_left_out_is_vip_and_so_foreign() -> None:
    payload = to_payload(SPEC)
    payload["EndpointSpec"] = {}

    assert from_payload(payload).foreign == "EndpointSpec.Mode"


def test_a_global_service_is_foreign() -> None:
    payload = to_payload(SPEC)
    payload["Mode"] = {"Global": {}, "Replicated": None}
    assert from_payload(payload).replicas == 0
    payload["Mode"] = {"GlobalJob": {"X": 1}}
    assert from_payload(payload).foreign == "Mode.GlobalJob"


def test_a_second_pin_is_foreign_and_the_first_one_read() -> None:
    payload = to_payload(replace(SPEC, node_id="a" * 25))
    payload["TaskTemplate"]["Placement"]["Constraints"].append("node.id==" + "b" * 25)

    found = from_payload(payload)

    assert (found.node_id, found.foreign) == ("a" * 25, "TaskTemplate.Placement.Constraints")


def test_a_restart_policy_without_delay_waits_what_swarm_waits() -> None:
    payload = to_payload(SPEC)
    payload["TaskTemplate"]["RestartPolicy"] = {}

    assert from_payload(payload).restart_delay_s == 5


@pytest.mark.parametrize("name", ["", "-a", "a-", "a b", "a/b", "a" * 64, "a\n", "ä"])
def test_a_name_that_docker_would_refuse_raises(name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        check_name(name)


@pytest.mark.parametrize("identity", ["", "orders-n1-abcdef", "A" * 25, "a" * 24, "a" * 26, "a" * 25 + "\n"])
def test_what_is_no_id_raises(identity: str) -> None:
    with pytest.raises(ValueError, match="not the ID"):
        check_id(identity)


def test_a_label_without_our_prefix_cannot_be_put_on_a_service() -> None:
    with pytest.raises(ValueError, match="not a label"):
        to_payload(replace(SPEC, labels={"team": "shop"}))


def test_a_network_is_an_overlay_that_nobody_attaches_to() -> None:
    plain = network_payload(NetworkSpec("orders-net", LABELS, "10.121.0.0/26"))
    sealed = network_payload(NetworkSpec("orders-net", LABELS, "10.121.0.0/26", encrypted=True))

    assert (plain["Driver"], plain["Attachable"], plain["Options"]) == ("overlay", False, {})
    assert plain["IPAM"]["Config"] == [{"Subnet": "10.121.0.0/26"}]
    assert sealed["Options"] == {"encrypted": ""}


# --- identity ---


@pytest.mark.parametrize(
    ("labels", "container", "ours"),
    [
        pytest.param(LABELS, LABELS, True, id="as made"),
        pytest.param({}, LABELS, True, id="only the container says so"),
        pytest.param({"pgswarm.kind": "fence"}, {}, True, id="no cluster named, but a label of ours"),
        pytest.param({}, {}, False, id="nothing says so"),
        pytest.param({"team": "shop"}, {}, False, id="labels of others"),
        pytest.param({"pgswarm.cluster": "d"}, {}, False, id="another cluster"),
        pytest.param(LABELS, {"pgswarm.cluster": "d"}, False, id="two clusters"),
    ],
)
def test_whose_a_service_is(labels: dict[str, str], container: dict[str, str], ours: bool) -> None:
    assert is_ours(replace(SPEC, labels=labels, container_labels=container), "c") is ours


def test_a_service_with_its_labels_is_left_as_it_is() -> None:
    spec = replace(SPEC, labels={**LABELS, "pgswarm.hash": "h"}, container_labels=LABELS)

    assert restored(spec, "c") == spec


def test_restored_labels_still_count_as_drift() -> None:
    spec = replace(SPEC, labels={"pgswarm.database": "another", "pgswarm.hash": "h"}, container_labels=LABELS)

    assert restored(spec, "c").labels == LABELS
