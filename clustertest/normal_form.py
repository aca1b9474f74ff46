"""
What a simulated world and the lab have in common when they ended alike: nothing with an identity, a version or a time.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from clustertest.cluster import Cluster
from reconcilers import paths
from reconcilers.resources import naming
from tests.sim.world import World

PREFIX = "/pgswarm/v1/"
OF_PATRONI = ("config", "initialize", "leader", "members")
"""What every Patroni writes; the rest it writes when it has something to say."""
KINDS = ("service", "network", "secret", "config")


@dataclass(frozen=True, slots=True)
class NormalForm:
    """Of one database."""

    services: tuple[str, ...]
    networks: tuple[str, ...]
    secrets: tuple[str, ...]
    configs: tuple[str, ...]
    volumes: tuple[str, ...]
    records: tuple[str, ...]
    accounts: tuple[str, ...]


def of_world(world: World, name: str) -> NormalForm:
    swarm, mine = world.swarm, re.compile(rf"{name}\b")
    volumes = [(e.hostname, v.name) for e in swarm.engines.values() for v in e.volumes.values()]
    services = [(s.payload, s.tasks) for s in swarm.services.values() if mine.match(s.payload["Name"])]
    return NormalForm(
        tuple(
            sorted(
                _service(spec, sum(t.desired_state == "running" for t in tasks)) for spec, tasks in services
            )
        ),
        _named(n.name for n in swarm.networks.values() if mine.match(n.name)),
        _named(_stem(b.name) for b in swarm.secrets.values() if mine.match(b.name)),
        _named(_stem(b.name) for b in swarm.configs.values() if mine.match(b.name)),
        _named(f"{host}: {_stem(volume)}" for host, volume in volumes if mine.match(volume)),
        _records((record.path for record in world.etcd.under("")), name),
        _named(one for one in world.etcd.accounts if name in one),
    )


def of_lab(cluster: Cluster, name: str) -> NormalForm:
    host, label = cluster.live_host(), f"label={naming.DATABASE}={name}"

    def ls(kind: str, where: str = host, what: str = "{{.Name}}") -> list[str]:
        return cluster.docker(where, kind, "ls", "--filter", label, "--format", what).split()

    found = ls("service", what="{{.ID}}")
    specs = json.loads(cluster.docker(host, "service", "inspect", *found)) if found else []
    running = ("--filter", "desired-state=running", "-q")
    services = [
        (one["Spec"], cluster.docker(host, "service", "ps", *running, one["ID"]).split()) for one in specs
    ]
    keys = [*cluster.etcd_keys(PREFIX), *cluster.etcd_keys("/patroni/")]
    return NormalForm(
        tuple(sorted(_service(spec, len(tasks)) for spec, tasks in services)),
        _named(ls("network")),
        _named(_stem(one) for one in ls("secret")),
        _named(_stem(one) for one in ls("config")),
        _named(f"{where}: {_stem(one)}" for where in cluster.hosts for one in ls("volume", where)),
        _records((key.removeprefix(PREFIX).removeprefix("/") for key in keys), name),
        _named(one for one in cluster.etcdctl("user", "list").split() if name in one),
    )


def verbs_of_world(journal: Iterable[str], name: str) -> Counter[str]:
    """How often what was made and removed, by people, too; from a part of `SwarmWorld.journal`."""
    return Counter(one for one in journal if f" {name}-" in one and one.split()[1] in KINDS)


def verbs_of_lab(events: Iterable[dict[str, Any]], name: str) -> Counter[str]:
    """The same from the stream of one manager."""
    found: Counter[str] = Counter()
    for event in events:
        kind, verb, object_ = event["Type"], event["Action"], event["Actor"]["Attributes"].get("name", "")
        if event.get("scope") != "swarm" or verb not in ("create", "remove") or kind not in KINDS:
            continue
        if object_.startswith(f"{name}-"):
            found[f"{verb} {kind} {_stem(object_) if kind in ('secret', 'config') else object_}"] += 1
    return found


def differences(one: NormalForm, other: NormalForm) -> list[str]:
    """In words, for people."""
    found = []
    for field in NormalForm.__dataclass_fields__:
        mine, yours = Counter(getattr(one, field)), Counter(getattr(other, field))
        found += [
            f"{field}: only in the simulated world: {what}" for what in sorted((mine - yours).elements())
        ]
        found += [f"{field}: only on the lab: {what}" for what in sorted((yours - mine).elements())]
    return found


def _service(spec: dict[str, Any], running: int) -> str:
    container, limits = (
        spec["TaskTemplate"]["ContainerSpec"],
        spec["TaskTemplate"].get("Resources", {}).get("Limits"),
    )
    text = {
        "name": spec["Name"],
        "replicas": spec["Mode"]["Replicated"].get("Replicas", 0),
        "running": running,
        "image": container["Image"],
        "limits": {name: value for name, value in sorted((limits or {}).items()) if value},
        "labels": sorted(spec["Labels"]),
        "container labels": sorted(container.get("Labels") or {}),
        "mounts": sorted(f"{one['Type']} {one['Target']}" for one in container.get("Mounts") or []),
        "secrets": sorted(one["File"]["Name"] for one in container.get("Secrets") or []),
        "configs": sorted(one["File"]["Name"] for one in container.get("Configs") or []),
        "ports": [
            (one["TargetPort"], one.get("PublishedPort"))
            for one in spec.get("EndpointSpec", {}).get("Ports") or []
        ],
    }
    return json.dumps(text, sort_keys=True)


def _records(found: Iterable[str], name: str) -> tuple[str, ...]:
    """Without events, and with allocations by their kind: which subnet is free differs."""
    kept = set()
    for path in found:
        if name not in path or path.startswith((paths.EVENTS, paths.HALTED)):
            continue
        parts = path.split("/")
        if path.startswith(paths.PATRONI) and parts[2] not in OF_PATRONI:
            continue
        kept.add(path)
    return tuple(sorted(kept))


def _named(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def _stem(name: str) -> str:
    """Without its last part, which is a hash or an incarnation."""
    return name.rpartition("-")[0]
