"""Kind `Host`: one machine. It exists by running `pgswarm run`; a spec only says what may be put on it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crds.meta import Condition, Model
from crds.names import Annotations, HostName, Labels


class HostMeta(Model):
    name: HostName
    labels: Labels = Field(default={}, description="For people and selectors; pgswarm reads none of them.")
    annotations: Annotations = Field(default={}, description="Notes of tools; pgswarm reads none of them.")


class HostSpec(Model):
    unschedulable: bool = Field(
        default=False, description="No instance is placed here that is not here already; those that are stay."
    )
    labels: Labels = Field(default={}, description="What the machine is: rack, zone, disks.")


class Host(Model):
    """A machine of the Swarm, as a user describes it."""

    api_version: Literal["pgswarm.dev/v1"] = "pgswarm.dev/v1"
    kind: Literal["Host"] = "Host"
    metadata: HostMeta
    spec: HostSpec = HostSpec()


class HostStatus(Model):
    """What is seen of a host; every field has a default, so it is built up in steps."""

    observed_revision: int = Field(
        default=0, description="etcd mod_revision of the spec that was looked at last."
    )
    phase: str = Field(default="Unknown", description="One word for people; programs read the conditions.")
    conditions: tuple[Condition, ...] = ()
    node_id: str = Field(default="", description="Swarm node ID.")
    address: str = ""
    manager: bool = False
    unschedulable: bool = False
    cpus: int = 0
    memory_bytes: int = 0
    engine_version: str = ""
    pgswarm_version: str = ""
    last_heartbeat: str = Field(default="", description="RFC 3339: when its process last wrote its facts.")
    instances: tuple[str, ...] = Field(default=(), description="Names of the instances placed here.")
