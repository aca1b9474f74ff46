"""`desired/<host>/<instance>`: what the owner asks of the agent on an instance's host."""

from __future__ import annotations

from collections.abc import Iterable

from crds.accepted import Accepted
from crds.instance import InstanceDesired, LogicalDatabaseDesired, RoleDesired
from crds.roles import Role
from reconcilers import paths
from reconcilers.actions import Action, ChangeClass, Why, WriteRecords
from reconcilers.observed import DesiredReading, Observed
from reconcilers.ports import Put, Remove
from reconcilers.resources import credential
from reconcilers.resources.topology import Instance

KIND = "desired"


def desired(
    observed: Observed, accepted: Accepted, one: Instance, *, restart_pending: bool
) -> InstanceDesired:
    key = observed.key
    return InstanceDesired(
        database=key.name,
        node=one.node,
        instance=one.name,
        host=one.host,
        incarnation=accepted.incarnation,
        epoch=observed.epoch,
        ensure={"active": "present", "retained": "stopped", "deleting": "absent"}[accepted.state],
        volume=one.volume,
        image=one.image,
        scope=one.scope,
        superuser_path=paths.secret(key, "superuser"),
        rest_path=paths.secret(key, "rest"),
        ca_path=paths.secret(key, credential.CA),
        restart_pending=restart_pending,
        roles=tuple(_role(observed, role) for role in accepted.spec.roles),
        databases=tuple(
            LogicalDatabaseDesired(
                name=database.name,
                owner=database.owner,
                encoding=database.encoding,
                locale=database.locale,
                extensions=database.extensions,
            )
            for database in accepted.spec.databases
        ),
    )


def _role(observed: Observed, role: Role) -> RoleDesired:
    path = None
    if role.scram is None and role.login and role.ensure == "present":
        path = paths.secret(observed.key, credential.role(role.name))
        if role.secret_ref is not None:
            path = f"{paths.SECRETS}shared/{role.secret_ref.name}/{role.secret_ref.key}"
    return RoleDesired(
        name=role.name,
        ensure=role.ensure,
        login=role.login,
        superuser=role.superuser,
        createdb=role.createdb,
        createrole=role.createrole,
        replication=role.replication,
        bypassrls=role.bypassrls,
        inherit=role.inherit,
        connection_limit=role.connection_limit,
        valid_until=role.valid_until,
        member_of=role.member_of,
        comment=role.comment,
        password_path=path,
        scram=role.scram,
    )


def diff(observed: Observed, wanted: Iterable[InstanceDesired]) -> list[Action]:
    """
    Records that are absent, differ, or carry an older epoch: the agent fences SQL by the epoch it finds here.
    """
    actions: list[Action] = []
    for want in wanted:
        have = observed.desired.get((want.host, want.instance))
        if have is not None and have.value == want:
            continue
        put = Put(
            paths.desired(want.host, want.instance),
            want.model_dump_json().encode(),
            expected=have.revision if have is not None else 0,
        )
        restart = want.restart_pending and not (
            have is not None and have.value and have.value.restart_pending
        )
        actions.append(
            WriteRecords(
                kind=KIND,
                name=want.instance,
                why=_why(have, want),
                change=_change(observed, want, restart=restart),
                detail=_detail(want, restart=restart),
                writes=(put,),
            )
        )
    return actions


def _why(have: DesiredReading | None, want: InstanceDesired) -> Why:
    if want.ensure == "absent":
        return Why.DELETED
    return Why.ABSENT if have is None else Why.SPEC_CHANGED


def _detail(want: InstanceDesired, *, restart: bool) -> str:
    if want.ensure == "absent":
        return f"{want.host} is to remove volume {want.volume}"
    return "restart Postgres: parameters ask for it" if restart else ""


def _change(observed: Observed, want: InstanceDesired, *, restart: bool) -> ChangeClass:
    if want.ensure == "absent":
        return ChangeClass.DATA_RISK
    if not restart:
        return ChangeClass.NONE
    cluster = observed.patroni.get(want.scope)
    leads = cluster is not None and cluster.leader == want.instance
    return ChangeClass.RESTART_PRIMARY if leads else ChangeClass.RESTART_REPLICA


def surplus(observed: Observed, keep: set[tuple[str, str]]) -> list[Action]:
    return [
        WriteRecords(
            kind=KIND,
            name=instance,
            why=Why.SURPLUS,
            writes=(Remove(paths.desired(host, instance), expected=reading.revision),),
        )
        for (host, instance), reading in sorted(observed.desired.items())
        if (host, instance) not in keep
    ]
