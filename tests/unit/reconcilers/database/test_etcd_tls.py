"""TLS to etcd as the planner sees it: which files an instance has, and what another certificate costs."""

from __future__ import annotations

import json
from dataclasses import replace

from reconcilers.actions import ChangeClass, CreateBlob, RemoveBlob, UpdateService
from reconcilers.database.forecast import forecast
from reconcilers.observed import Observed
from reconcilers.ports import Secret
from reconcilers.resources import blob, patroni_file, topology
from tests.unit.reconcilers.database.scene import database, running

ENDPOINTS = ("https://10.0.0.1:2379", "https://10.0.0.2:2379")
CERTIFICATE, ANOTHER = Secret("<certificate and key>"), Secret("<another certificate and key>")


def files(world: Observed) -> list[dict[str, blob.File]]:
    """Of each instance, by the path in its container."""
    assert world.accepted is not None
    wanted = topology.instances("orders", world.accepted)
    return [{file.target: file for file in blob.files(world, one, "17")} for one in wanted]


def named_in(found: dict[str, blob.File]) -> set[str]:
    """Paths that Patroni is told to read for etcd."""
    section = json.loads(found[patroni_file.TARGET].content.reveal())["etcd3"]
    return {section[name] for name in ("cacert", "cert", "key") if name in section}


def test_patroni_is_told_of_exactly_the_files_that_are_there() -> None:
    ours = {patroni_file.ETCD_CA_PEM, patroni_file.ETCD_CLIENT_PEM}
    for ca in ("", "<authority>"):
        for client in (None, CERTIFICATE):
            world = running(etcd_endpoints=ENDPOINTS, etcd_ca=ca, etcd_client=client)
            for found in files(world):
                assert named_in(found) == found.keys() & ours
                assert (patroni_file.ETCD_CA_PEM in found, patroni_file.ETCD_CLIENT_PEM in found) == (
                    bool(ca),
                    client is not None,
                )


def test_the_certificate_is_one_secret_of_the_database_and_every_service_has_it() -> None:
    world = running(etcd_endpoints=ENDPOINTS, etcd_client=CERTIFICATE)
    [file] = {found[patroni_file.ETCD_CLIENT_PEM] for found in files(world)}

    assert (file.kind, file.content) == (blob.SECRET, CERTIFICATE)
    mounted = [
        ref.target
        for service in world.services.values()
        for ref in service.spec.secrets
        if ref.object_name == file.name
    ]
    assert mounted == [patroni_file.ETCD_CLIENT_PEM] * 3


def test_a_certificate_does_not_replace_the_instances_own_login() -> None:
    world = running(etcd_endpoints=ENDPOINTS, etcd_client=CERTIFICATE)
    logins = [json.loads(found[patroni_file.TARGET].content.reveal())["etcd3"] for found in files(world)]

    assert len({login["username"] for login in logins}) == 3
    assert len({login["password"] for login in logins}) == 3


def test_another_certificate_restarts_one_instance_after_the_other_and_the_primary_last() -> None:
    before = running(database(), etcd_endpoints=ENDPOINTS, etcd_client=CERTIFICATE)
    frontiers, after = forecast(replace(before, etcd_client=ANOTHER))
    actions = [action for frontier in frontiers for action in frontier.actions]
    restarts = [
        [action.change for action in frontier.actions if isinstance(action, UpdateService)]
        for frontier in frontiers
    ]

    assert [changes for changes in restarts if changes] == [[ChangeClass.RESTART_REPLICA]] * 3
    assert sum(action.change is ChangeClass.SWITCHOVER for action in actions) == 1
    [made] = [action for action in actions if isinstance(action, CreateBlob)]
    [gone] = [action for action in actions if isinstance(action, RemoveBlob)]
    assert made.data == ANOTHER
    assert actions.index(made) < actions.index(gone)
    assert made.name in after.secrets
    assert gone.name in before.secrets
    assert gone.name not in after.secrets


def test_a_secret_content_is_in_no_line_of_the_plan() -> None:
    frontiers, _ = forecast(running(etcd_endpoints=ENDPOINTS))
    changed, _ = forecast(replace(running(etcd_endpoints=ENDPOINTS), etcd_client=CERTIFICATE))

    assert not [one for one in frontiers if one.actions]
    assert any(one.actions for one in changed)
    assert CERTIFICATE.reveal() not in repr(changed)
