"""
What pgswarm sends to Docker, byte for byte, so that a change of it is seen in review.

PGSWARM_GOLDEN=write rewrites the files; commit them only when you know what changed them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from controlplane.orchestrators.payload import network_payload, to_payload
from reconcilers.ports import (
    FileRef,
    HealthCheck,
    NetworkAttachment,
    NetworkSpec,
    PublishedPort,
    ServiceSpec,
    TmpfsMount,
    VolumeMount,
)

FOLDER = Path(__file__).parent / "swarm"
LABELS = {
    "pgswarm.cluster": "default",
    "pgswarm.database": "orders",
    "pgswarm.node": "n1",
    "pgswarm.instance": "orders-n1-k3jq2a",
    "pgswarm.incarnation": "0b8f3a52-6f0e-4c57-9f51-3c1a8f1f7f10",
    "pgswarm.kind": "instance",
}
INSTANCE = ServiceSpec(
    name="orders-n1-k3jq2a",
    labels={**LABELS, "pgswarm.epoch": "4711", "pgswarm.hash": "5d41402abc4b"},
    image="pgswarm/postgres:17.11",
    hostname="orders-n1-k3jq2a",
    container_labels=LABELS,
    mounts=(
        VolumeMount("orders-n1-k3jq2a-0b8f3a52", "/var/lib/postgresql"),
        TmpfsMount("/dev/shm", 128 << 20),
    ),
    secrets=(FileRef("1" * 25, "orders-superuser-9a0b1c2d3e", "superuser"),),
    configs=(FileRef("2" * 25, "orders-n1-k3jq2a-patroni-0f1e2d3c4b", "/etc/patroni.yml"),),
    networks=(NetworkAttachment("3" * 25, ("orders-n1-k3jq2a",)), NetworkAttachment("bridge")),
    node_id="4" * 25,
    replicas=1,
    memory_bytes=512 << 20,
    nano_cpus=500_000_000,
    pids_limit=512,
    drop_capabilities=("ALL",),
    no_new_privileges=True,
    stop_grace_s=120,
    health=HealthCheck(("CMD", "pgswarm-health"), 5, 3, 3, 60),
    ports=(PublishedPort(5432, 6432),),
    restart_delay_s=1,
)
FENCE = ServiceSpec(
    name="orders-fence",
    labels={
        "pgswarm.cluster": "default",
        "pgswarm.database": "orders",
        "pgswarm.epoch": "4711",
        "pgswarm.kind": "fence",
    },
    image="pgswarm/fence:none",
)
NETWORK = NetworkSpec(
    "orders-net",
    {"pgswarm.cluster": "default", "pgswarm.database": "orders"},
    "10.121.0.0/26",
    encrypted=True,
)


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("instance-api-1.41", to_payload(INSTANCE, (1, 41))),
        ("instance-api-1.44", to_payload(INSTANCE, (1, 44))),
        ("fence", to_payload(FENCE)),
        ("network", network_payload(NETWORK)),
    ],
)
def test_the_payload_is_as_recorded(name: str, payload: dict[str, Any]) -> None:
    file = FOLDER / f"{name}.json"
    text = json.dumps(payload, indent=2) + "\n"
    if os.environ.get("PGSWARM_GOLDEN") == "write":
        file.write_text(text)

    assert text == file.read_text()
