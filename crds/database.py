"""
Kind `Database`: what a user may say about one (architecture.md 6). Its status is in `crds.status`.

Whatever holds for one field is checked on the field; whatever ties fields together on the later one of them,
so that one reading of a text reports everything that is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, JsonValue, ValidationInfo, WithJsonSchema, field_validator

from crds.hba import HbaRule
from crds.meta import Model
from crds.names import HostName, Image, NodeName, ObjectMeta
from crds.parameters import Parameters, size_bytes, unknown_findings
from crds.problems import Finding, SpecProblem, refuse, refuse_all
from crds.roles import LogicalDatabase, Role, SecretRef, database_findings, repeated, role_findings
from crds.status import DatabaseStatus, Endpoint, InstanceStatus, NodeStatus, PendingAction
from crds.units import MIB, Cpus, Duration, Memory, PublishedPort

__all__ = [
    "Database",
    "DatabaseSpec",
    "DatabaseStatus",
    "DeletionSpec",
    "Endpoint",
    "InstanceStatus",
    "LogicalDatabase",
    "NodeSpec",
    "NodeStatus",
    "PatroniSpec",
    "PendingAction",
    "PostgresSpec",
    "Resources",
    "Role",
    "SecretRef",
    "check_against_hosts",
]

MAJORS = (15, 16, 17, 18)
MEMORY_MIN = Memory(128 * MIB)
SHARED_BUFFERS_MAX_PERCENT = 60
HOSTS_PER_NODE_MAX = 16
# Not min_length: pydantic counts valid items only and would call a list of one bad item empty.
_NOT_EMPTY: dict[str, JsonValue] = {"minItems": 1}


def _check_version(value: object) -> str:
    # 17.10 without quotes is the number 17.1: a number with a point cannot be trusted.
    if isinstance(value, float):
        raise refuse("version is a number with a point, which loses zeros", 'put it in quotes: "17.10"')
    said = str(value) if type(value) in (int, str) else ""
    match = re.fullmatch(r"([0-9]{1,3})(\.[0-9]{1,2})?", said, re.ASCII)
    if match is None or int(match[1]) not in MAJORS:
        known = ", ".join(f'"{major}"' for major in MAJORS)
        raise refuse(f"{said[:32]!a} is not a version of Postgres that pgswarm runs", f"give one of {known}")
    return said


Version = Annotated[
    str,
    BeforeValidator(_check_version),
    WithJsonSchema(
        {"type": ["string", "integer"], "pattern": rf"^({'|'.join(map(str, MAJORS))})(\.[0-9]{{1,2}})?$"}
    ),
]


class PostgresSpec(Model):
    version: Version = Field(description="Major (17: the newest minor the catalogue has) or major.minor.")
    image: Image | None = Field(default=None, description="Instead of the image catalogue's.")
    flavour: Literal["pgswarm", "spock"] = Field(
        default="pgswarm", description="Which images of the catalogue; only pgswarm's own can run yet."
    )
    parameters: Parameters = Field(default={}, description="Over the tuned defaults.")
    hba: tuple[HbaRule, ...] = Field(
        default=(), max_length=200, description="Rules after pgswarm's own, in order."
    )

    @field_validator("flavour")
    @classmethod
    def _runs(cls, flavour: str) -> str:
        if flavour == "spock":
            # Their entrypoint, paths and user are not the ones that an instance is started with.
            raise refuse("images of flavour spock cannot be run yet", "leave flavour out, or write pgswarm")
        return flavour

    @field_validator("parameters")
    @classmethod
    def _are_known(cls, parameters: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        # Another Postgres than the catalogue's may have others.
        if "version" in info.data and info.data.get("image") is None:
            found = [*unknown_findings(parameters, int(info.data["version"].partition(".")[0]))]
            if found:
                raise refuse_all(found)
        return parameters

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])


class NodeSpec(Model):
    name: NodeName
    hosts: tuple[HostName, ...] = Field(
        json_schema_extra=_NOT_EMPTY,
        max_length=HOSTS_PER_NODE_MAX,
        description="The first that is up is the primary at birth, the rest replicas.",
    )
    parameters: Parameters = Field(default={}, description="Over spec.postgres.parameters, on this node.")

    @field_validator("hosts")
    @classmethod
    def _no_host_twice(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        if not hosts:
            raise refuse("no host is listed", "name at least one")
        found = repeated(hosts, "host", field="")
        if found:
            raise refuse_all(found)
        return hosts


class Resources(Model):
    """Limits of one instance."""

    cpus: Cpus = Field(default=Cpus(1000), description="Processors.")
    memory: Memory = Field(
        default=Memory(512 * MIB), description="Limit of the container; Postgres is tuned to it."
    )

    @field_validator("memory")
    @classmethod
    def _enough(cls, memory: Memory) -> Memory:
        if memory < MEMORY_MIN:
            raise refuse(f"{memory} is too little for Postgres and Patroni", f"give at least {MEMORY_MIN}")
        return memory


class PatroniSpec(Model):
    """Patroni's clock and its rules for failover."""

    ttl: Duration = Field(default=Duration(20), description="Life of the leader's key.")
    loop_wait: Duration = Field(default=Duration(5), description="Pause between two looks.")
    retry_timeout: Duration = Field(
        default=Duration(5), description="How long etcd or Postgres may be silent."
    )
    synchronous: Literal["off", "on", "strict"] = Field(
        default="off", description="on: one synchronous replica; strict: no commit without one."
    )
    maximum_lag_on_failover: int = Field(
        default=1048576, ge=0, le=2**40, description="Bytes a replica may be behind and still take over."
    )
    failsafe_mode: bool = Field(
        default=True, description="Stay primary without etcd while all members agree."
    )

    @field_validator("ttl", "loop_wait", "retry_timeout")
    @classmethod
    def _patronis_limits(cls, value: Duration, info: ValidationInfo) -> Duration:
        least = {"ttl": 20, "loop_wait": 1, "retry_timeout": 3}[str(info.field_name)]
        if not least <= value.seconds <= 3600:
            raise refuse(f"{value} is out of Patroni's range", f"give {least}s to 1h")
        return value

    @field_validator("retry_timeout")
    @classmethod
    def _fits_into_ttl(cls, retry: Duration, info: ValidationInfo) -> Duration:
        ttl, loop = info.data.get("ttl"), info.data.get("loop_wait")
        if isinstance(ttl, Duration) and isinstance(loop, Duration):
            need_s = loop.seconds + 2 * retry.seconds
            if need_s > ttl.seconds:
                raise refuse(
                    f"loopWait + 2 * retryTimeout is {need_s}s, more than the ttl of {ttl}: "
                    "the primary would lose its lock before it may retry",
                    f"raise ttl to {need_s}s, or lower the other two",
                )
        return retry


class DeletionSpec(Model):
    policy: Literal["retain", "delete"] = Field(
        default="retain",
        description="retain: data and secrets stay, and the same name adopts them. delete: all goes.",
    )
    protected: bool = Field(default=False, description="Removing the spec is ignored, and said so.")


class DatabaseSpec(Model):
    postgres: PostgresSpec
    nodes: tuple[NodeSpec, ...] = Field(max_length=16, json_schema_extra=_NOT_EMPTY)
    port: PublishedPort = Field(default=None, description="On each host; null: not published.")
    resources: Resources = Field(default=Resources(), validate_default=True)
    roles: tuple[Role, ...] = Field(default=(), max_length=500)
    databases: tuple[LogicalDatabase, ...] = Field(default=(), max_length=200)
    patroni: PatroniSpec = PatroniSpec()
    deletion: DeletionSpec = DeletionSpec()
    paused: bool = Field(default=False, description="pgswarm looks but does not touch; Patroni goes on.")

    @field_validator("nodes")
    @classmethod
    def _nodes_apart(cls, nodes: tuple[NodeSpec, ...], info: ValidationInfo) -> tuple[NodeSpec, ...]:
        if not nodes:
            raise refuse("no node is listed", "write for example - {name: n1, hosts: [host-1]}")
        found = repeated((node.name for node in nodes), "node")
        taken: dict[str, str] = {}
        for index, node in enumerate(nodes):
            for place, host in enumerate(node.hosts):
                if taken.setdefault(host, node.name) != node.name:
                    message = f"host {host} is already in node {taken[host]}"
                    found.append(Finding(message, "give each node hosts of its own", (index, "hosts", place)))
        postgres = info.data.get("postgres")
        if postgres is not None and postgres.image is None:
            for index, node in enumerate(nodes):
                for one in unknown_findings(node.parameters, postgres.major):
                    found.append(Finding(one.message, one.fix, (index, "parameters", *one.at)))
        if len(nodes) > 1:
            message = f"{len(nodes)} nodes need multi-active replication, which is not yet available"
            found.append(Finding(message, "keep one node; list more hosts in it for replicas", (1,)))
        if found:
            raise refuse_all(found)
        return nodes

    @field_validator("resources")
    @classmethod
    def _memory_fits(cls, resources: Resources, info: ValidationInfo) -> Resources:
        given = [info.data["postgres"].parameters] if "postgres" in info.data else []
        given += [node.parameters for node in info.data.get("nodes", ())]
        for parameters in given:
            buffers = size_bytes("shared_buffers", parameters.get("shared_buffers", ""))
            if buffers is not None and buffers * 100 > resources.memory.bytes * SHARED_BUFFERS_MAX_PERCENT:
                need = Memory(-(-buffers * 100 // SHARED_BUFFERS_MAX_PERCENT // MIB) * MIB)
                said = parameters["shared_buffers"]
                raise refuse(
                    f"memory {resources.memory} is too small for shared_buffers {said}: "
                    f"at most {SHARED_BUFFERS_MAX_PERCENT} % of it may be shared buffers",
                    f"give at least {need}, or lower shared_buffers",
                    ("memory",),
                )
        return resources

    @field_validator("roles")
    @classmethod
    def _roles_fit(cls, roles: tuple[Role, ...], info: ValidationInfo) -> tuple[Role, ...]:
        postgres = info.data.get("postgres")
        found = role_findings(roles, postgres.major if postgres is not None else None)
        if found:
            raise refuse_all(found)
        return roles

    @field_validator("databases")
    @classmethod
    def _databases_fit(
        cls, databases: tuple[LogicalDatabase, ...], info: ValidationInfo
    ) -> tuple[LogicalDatabase, ...]:
        found = database_findings(databases, info.data.get("roles"))
        if found:
            raise refuse_all(found)
        return databases

    def node(self, name: str) -> NodeSpec:
        """Raises KeyError when there is no such node."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)


class Database(Model):
    """Postgres on a Swarm, as a user declares it."""

    api_version: Literal["pgswarm.dev/v1"] = "pgswarm.dev/v1"
    kind: Literal["Database"] = "Database"
    metadata: ObjectMeta
    spec: DatabaseSpec


def check_against_hosts(
    spec: DatabaseSpec, name: str, hosts: Collection[str], ports_taken: Mapping[tuple[str, int], str]
) -> tuple[SpecProblem, ...]:
    """
    Judge what a text alone cannot tell: hosts that do not exist, ports that another database has.

    Args:
        name: The database's own name; its own ports are no clash.
        hosts: Every host that the cluster knows, alive or not.
        ports_taken: (host, port) to the name of the database that holds it.
    """
    found: list[SpecProblem] = []
    known = ", ".join(sorted(hosts)[:8]) or "none yet"
    for index, node in enumerate(spec.nodes):
        for place, host in enumerate(node.hosts):
            if host not in hosts:
                path = f"spec.nodes[{index}].hosts[{place}]"
                found.append(SpecProblem(0, 0, path, f"host {host} is not known", f"known hosts: {known}"))
            holder = ports_taken.get((host, spec.port)) if isinstance(spec.port, int) else None
            if holder is not None and holder != name:
                message = f"port {spec.port} on host {host} belongs to database {holder}"
                found.append(SpecProblem(0, 0, "spec.port", message, "give another port, or auto"))
    return tuple(found)
