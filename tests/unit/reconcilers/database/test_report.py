"""What status says of each instance, and what of it may move without a write."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crds.instance import PatroniObserved
from crds.problems import SpecProblem
from crds.status import KEPT
from reconcilers.database.plan import plan
from reconcilers.database.report import report, same
from reconcilers.observed import Observed, SpecReading
from reconcilers.resources import complaint
from tests.unit.reconcilers.database.scene import HOSTS, instance, running

FIRST, SECOND, _ = (instance(name) for name in HOSTS)


def answering(world: Observed, name: str, **fields: object) -> Observed:
    """The instance's agent has this from its Patroni."""
    seen = world.instances[name]
    assert seen.patroni is not None
    changed = PatroniObserved.model_validate({**seen.patroni.model_dump(), **fields})
    return replace(world, instances={**world.instances, name: seen.model_copy(update={"patroni": changed})})


def moved(world: Observed, by: int) -> Observed:
    """The primary has written so many bytes, and the replicas have not replayed them."""
    cluster = world.patroni["orders-n1"]
    primary = cluster.members[FIRST]
    members = {**cluster.members, FIRST: replace(primary, lsn=primary.lsn + by)}
    return replace(world, patroni={"orders-n1": replace(cluster, members=members)})


def test_each_instance_is_told_with_what_its_agent_saw() -> None:
    seen = answering(running(), FIRST, serverVersion=170006, certificateExpires="2029-02-24T11:00:00Z")
    (node,) = report(seen, plan(seen), None).nodes
    first = next(one for one in node.instances if one.name == FIRST)

    assert (first.version, first.certificate_expires) == ("17.6", "2029-02-24T11:00:00Z")
    assert first.volume == f"{FIRST}-{seen.instances[FIRST].incarnation.replace('-', '')[:8]}"
    assert node.system_identifier == seen.patroni["orders-n1"].initialize != ""


def test_nothing_is_told_of_an_instance_that_nobody_sees() -> None:
    world = running()
    dark = replace(world, instances={name: one for name, one in world.instances.items() if name != FIRST})
    (node,) = report(dark, plan(dark), None).nodes
    first = next(one for one in node.instances if one.name == FIRST)

    assert (first.version, first.started_at, first.volume, first.certificate_expires) == ("", "", "", "")


def test_a_database_on_a_full_disk_is_not_ready_though_it_serves_reads() -> None:
    world = running()
    seen = world.instances[SECOND].model_copy(update={"problems": (complaint.FULL,)})
    world = replace(world, instances={**world.instances, SECOND: seen})
    status = report(world, plan(world), None)
    said = {one.type: (one.status, one.reason, one.message) for one in status.conditions}

    assert status.phase == "Degraded"
    assert said["Ready"] == ("False", "DiskFull", f"{SECOND}: the disk of its volume is full")
    assert said["Degraded"][:2] == ("True", "DiskFull")


def test_the_system_identifier_stays_known_while_patronis_record_is_lost() -> None:
    world = running()
    lost = replace(world, patroni={"orders-n1": replace(world.patroni["orders-n1"], initialize=None)})

    assert report(lost, plan(lost), None).nodes == report(world, plan(world), None).nodes


@pytest.mark.parametrize("bytes_", [1, 10**12])
def test_a_position_that_moves_is_no_reason_to_write(bytes_: int) -> None:
    world = running()
    old = report(world, plan(world), None)
    later = replace(moved(world, bytes_), status=old, at="2026-01-01T00:01:00Z")
    new = report(later, plan(later), None)

    assert new != old
    assert same(old, new)
    assert [one.lsn or one.lag_bytes for node in new.nodes for one in node.instances] == [None] * 3


def test_another_version_is_a_reason_to_write() -> None:
    world = running()
    newer = answering(world, SECOND, serverVersion=170007)

    assert not same(report(world, plan(world), None), report(newer, plan(newer), None))


def test_a_refused_spec_leaves_the_last_one_in_force_and_says_so_at_the_end() -> None:
    """Where it ends is what the command cuts off to show the problems alone."""
    world = running()
    bad = SpecReading(
        problems=(SpecProblem(8, 3, "spec.port", "no port", "give one"),), revision=world.revision + 1
    )
    refused = replace(world, spec=bad)
    status = report(refused, plan(refused), None)
    valid = status.condition("SpecValid")

    assert status.phase == "Ready"
    assert valid is not None
    assert valid.message.endswith(KEPT)
