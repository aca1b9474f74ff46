"""
What pgswarm writes for Patroni, and what it does in which order, as text that a person reads in review.

PGSWARM_GOLDEN=write rewrites the files; commit them only when you know what changed them. A transcript has one block
a frontier: what is done side by side, each with its reason and, in brackets, what it costs those who use the database.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconcilers.database.forecast import forecast
from reconcilers.observed import Observed
from reconcilers.ports import Secret
from reconcilers.resources import dcs, patroni_file, topology
from tests.unit.reconcilers.database.scene import database, edited, empty, running

FOLDER = Path(__file__).parent


def check(file: Path, text: str) -> None:
    if os.environ.get("PGSWARM_GOLDEN") == "write":
        file.write_text(text)

    assert text == file.read_text()


@pytest.mark.parametrize(
    ("name", "number", "scheme", "given"),
    [
        ("first-instance", 0, "https", {"etcd_auth": True, "etcd_ca": True}),
        ("client-certificate", 0, "https", {"etcd_auth": True, "etcd_ca": True, "etcd_client": True}),
        ("roots-of-the-image", 0, "https", {"etcd_auth": True}),
        ("replica", 1, "http", {"etcd_auth": True}),
    ],
)
def test_patronis_own_file_is_as_recorded(
    name: str, number: int, scheme: str, given: dict[str, bool]
) -> None:
    world = running()
    assert world.accepted is not None
    one = topology.instances("orders", world.accepted)[number]
    vault = {name: Secret(f"<secret {name}>") for name in world.vault}
    endpoints = [f"{scheme}://10.0.0.{host}:2379" for host in (1, 2)]
    text = patroni_file.render(one, "17", vault, endpoints, **given)

    # Indented only here, for whoever reads the difference.
    check(FOLDER / "patroni_yml" / f"{name}.json", json.dumps(json.loads(text.reveal()), indent=1) + "\n")


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("defaults", {}),
        (
            "everything-given",
            {
                "postgres": {
                    "parameters": {"work_mem": "32MB", "max_connections": 77},
                    "hba": ["hostssl orders app 10.0.0.0/8 scram-sha-256"],
                },
                "resources": {"memory": "4GiB", "cpus": "3"},
                "patroni": {"ttl": "30s", "loopWait": "10s", "retryTimeout": "10s", "synchronous": "strict"},
            },
        ),
    ],
)
def test_the_dynamic_configuration_is_as_recorded(name: str, spec: dict[str, Any]) -> None:
    world = running(database(**spec))
    assert world.accepted is not None
    [node] = world.accepted.spec.nodes
    document = dcs.config(world.accepted, node, "10.121.0.0/26", ["172.17.0.1", "172.18.0.1"])

    check(FOLDER / "dynamic_configuration" / f"{name}.json", json.dumps(document, indent=2) + "\n")


def _new_owner(world: Observed) -> Observed:
    return replace(world, epoch=world.epoch + 1)


SCENARIOS = {
    "create-one": lambda: empty(database(hosts=("host-1",), port="auto")),
    "create-three": lambda: empty(database(port="auto")),
    "add-replica": lambda: edited(running(database(hosts=("host-1", "host-2"))), database()),
    "change-memory": lambda: edited(running(), database(resources={"memory": "1GiB"})),
    "change-a-parameter": lambda: edited(running(), database(postgres={"parameters": {"work_mem": "16MB"}})),
    "remove-the-primarys-host": lambda: edited(running(), database(hosts=("host-2", "host-3"))),
    "delete-and-retain": lambda: edited(running(), None),
    "delete-for-good": lambda: edited(running(database(port="auto", deletion={"policy": "delete"})), None),
    "adopt": lambda: edited(forecast(edited(running(), None))[1], database()),
    "another-owner": lambda: _new_owner(running()),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_plan_is_as_recorded(scenario: str) -> None:
    check(FOLDER / "plans" / f"{scenario}.txt", "\n".join(_transcript(SCENARIOS[scenario]())) + "\n")


def _transcript(world: Observed) -> Iterator[str]:
    for number, frontier in enumerate(forecast(world)[0], start=1):
        yield f"frontier {number}"
        for action in frontier.actions:
            yield f"  [{action.change}] {action}"
        for waiting in frontier.waiting:
            yield f"  waits: {waiting.kind}/{waiting.name} ({waiting.reason}: {waiting.message})"
