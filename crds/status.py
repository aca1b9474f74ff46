"""
Status of a Database: observations only, never intent. Every field has a default, so it is built up in steps.

Plain strings rather than enumerations: an older process must be able to read what a newer one wrote.
"""

from __future__ import annotations

from pydantic import Field

from crds.meta import Condition, Model

KEPT = "; the last accepted spec stays in force"
"""How the message of SpecValid=False ends when there is an accepted one."""


class InstanceStatus(Model):
    name: str
    host: str = ""
    role: str = Field(default="unknown", description="primary, replica or unknown, as Patroni has it.")
    state: str = Field(
        default="absent", description="running, starting, stopped, ...; absent: nothing is seen."
    )
    timeline: int = 0
    lsn: str | None = Field(
        default=None,
        description="Write position of a primary, replay position of a replica, as Patroni told it last. Read from "
        "Patroni's record when one database is shown, so no older than `patroni.ttl` (and than what the process that "
        "answers has of etcd); null in lists and in etcd, and while unknown.",
    )
    lag_bytes: int | None = Field(
        default=None, description="From the primary's lsn to this one's; null as lsn is, and on a primary."
    )
    pending_restart: bool = False
    image: str = ""
    version: str = Field(
        default="", description='Of the Postgres that runs, as it says, like 17.6; "": none answers.'
    )
    started_at: str = Field(default="", description="RFC 3339: when the container was started.")
    volume: str = Field(default="", description='Docker volume with the data; "": none is seen on the host.')
    certificate_expires: str = Field(
        default="",
        description='RFC 3339: end of the server certificate that the instance presents; "": not seen.',
    )
    address: str = ""
    health: str = Field(default="unknown", description="healthy, unhealthy, starting, none or unknown.")
    sync: str | None = Field(
        default=None, description="sync or async on a replica; null: unknown, or the primary."
    )


class NodeStatus(Model):
    name: str
    primary: str | None = Field(default=None, description="Instance that holds Patroni's leader key.")
    timeline: int = 0
    system_identifier: str = Field(
        default="",
        description='Of this node\'s data, as Patroni keeps it; "": nobody has initialised it yet.',
    )
    instances: tuple[InstanceStatus, ...] = ()


class Endpoint(Model):
    host: str
    port: int
    role: str = Field(default="any", description="primary, replica or any, as seen last.")


class PendingAction(Model):
    """What is planned and not yet done."""

    action: str
    name: str
    why: str = ""
    change: str = Field(
        default="none",
        description="none, reload, restart-replica, switchover, restart-primary, rebuild or data-risk.",
    )
    waiting_for: str = Field(default="", description='What it waits for; "" when it is next.')


class DatabaseStatus(Model):
    observed_revision: int = Field(
        default=0, description="etcd mod_revision of the spec that was looked at last."
    )
    phase: str = Field(default="Pending", description="One word for people; programs read the conditions.")
    conditions: tuple[Condition, ...] = ()
    owner: str = Field(default="", description="Controller that wrote this.")
    epoch: int = Field(default=0, description="Its fence.")
    incarnation: str = ""
    spec_hash: str = Field(default="", description="Of the accepted spec that is in force.")
    nodes: tuple[NodeStatus, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    pending: tuple[PendingAction, ...] = ()
    last_success: str = Field(default="", description="RFC 3339: when a pass last ended without an error.")
    messages: tuple[str, ...] = ()

    def condition(self, type_: str) -> Condition | None:
        return next((c for c in self.conditions if c.type == type_), None)
