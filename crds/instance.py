"""
The two records between the owner of a database and the agent on an instance's host.

`desired/<host>/<instance>` says what one instance should be; `observed/<host>/<instance>` what the agent
sees. No secret is in either: they carry the *paths* of secrets.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crds.meta import Model


class RoleDesired(Model):
    """One role inside Postgres, complete: attributes not named here are to be off."""

    name: str
    ensure: Literal["present", "absent"] = "present"
    login: bool = False
    superuser: bool = False
    createdb: bool = False
    createrole: bool = False
    replication: bool = False
    bypassrls: bool = False
    inherit: bool = True
    connection_limit: int = -1
    valid_until: str | None = None
    member_of: tuple[str, ...] = ()
    comment: str | None = None
    password_path: str | None = Field(
        default=None, description="Path of the secret; None: no password of ours."
    )
    scram: str | None = Field(default=None, description="SCRAM-SHA-256 verifier given by the user.")


class LogicalDatabaseDesired(Model):
    """One `CREATE DATABASE` and what belongs in it."""

    name: str
    owner: str | None = None
    encoding: str = "UTF8"
    locale: str | None = None
    extensions: tuple[str, ...] = ()


class InstanceDesired(Model):
    """What the owner wants of one instance."""

    database: str
    node: str
    instance: str
    host: str
    incarnation: str
    epoch: int = Field(description="The owner's fence when it wrote this.")
    ensure: Literal["present", "stopped", "absent"] = Field(
        default="present",
        description="stopped: keep the data, run nothing. absent: remove the volume of this incarnation.",
    )
    volume: str
    image: str
    scope: str = Field(description="Patroni scope: <database>-<node>.")
    superuser_path: str = Field(description="Secret: password of the superuser `pgswarm`.")
    rest_path: str = Field(description="Secret: password of Patroni's REST user `pgswarm`.")
    ca_path: str = Field(description="Secret: PEM of the database's CA certificate and key.")
    restart_pending: bool = Field(default=False, description="Restart Postgres now if it says it must.")
    roles: tuple[RoleDesired, ...] = ()
    databases: tuple[LogicalDatabaseDesired, ...] = ()


class ContainerObserved(Model):
    id: str
    state: str
    health: str
    image: str
    address: str
    started_at: str
    service: str = Field(default="", description='ID of the Swarm service it runs for; "": not known.')
    task: str = Field(default="", description='ID of the Swarm task that it is; "": not known.')


class PatroniObserved(Model):
    state: str
    role: str
    timeline: int
    server_version: int
    pending_restart: bool
    paused: bool
    sysid: str
    certificate_expires: str = Field(
        default="", description='RFC 3339: end of the certificate that was presented; "": not known.'
    )


class SqlObserved(Model):
    """What lives inside Postgres, looked at on the primary only."""

    in_sync: bool = Field(description="Roles, databases and extensions are as desired.")
    databases: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    lost_databases: tuple[str, ...] = Field(
        default=(), description="Were created by pgswarm and are gone: data loss, not created again."
    )
    drift: tuple[str, ...] = Field(default=(), description="What still differs, in words, without values.")


class Problem(Model):
    reason: str
    message: str


class InstanceObserved(Model):
    """What the agent sees; on the agent's lease, so a dead host's view disappears by itself."""

    host: str
    instance: str
    incarnation: str
    desired_revision: int = Field(description="mod_revision of the desired record this was judged against.")
    volume: bool = Field(description="The volume of this incarnation exists on the host.")
    container: ContainerObserved | None = None
    patroni: PatroniObserved | None = None
    sql: SqlObserved | None = None
    problems: tuple[Problem, ...] = ()
