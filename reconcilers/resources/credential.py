"""The secrets a database needs, generated once, encrypted in etcd, kept when the database is retained."""

from __future__ import annotations

from collections.abc import Iterator

from crds.accepted import Accepted
from crds.meta import Key
from reconcilers import paths
from reconcilers.actions import Action, GenerateSecret, Why
from reconcilers.observed import Observed
from reconcilers.resources import topology

KIND = "credential"
CA = "ca"
PASSWORDS = ("superuser", "replication", "rest")


def server(instance: str) -> str:
    return f"server-{instance}"


def etcd(instance: str) -> str:
    return f"etcd-{instance}"


def role(name: str) -> str:
    return f"role-{name}"


def wanted_passwords(database: str, accepted: Accepted, *, etcd_auth: bool) -> Iterator[str]:
    yield from PASSWORDS
    if etcd_auth:
        for instance in topology.instances(database, accepted):
            yield etcd(instance.name)
    for declared in accepted.spec.roles:
        if (
            declared.login
            and declared.ensure == "present"
            and declared.secret_ref is None
            and declared.scram is None
        ):
            yield role(declared.name)


def missing(observed: Observed, accepted: Accepted) -> list[Action]:
    """What is to be generated now; server certificates follow once their CA is there."""
    have = observed.vault
    key = observed.key
    wanted = wanted_passwords(key.name, accepted, etcd_auth=observed.etcd_auth)
    actions: list[Action] = [_password(key, name) for name in wanted if name not in have]
    if CA not in have:
        return [*actions, _authority(key)]
    due = [name for one in topology.instances(key.name, accepted) if _due(observed, name := one.name)]
    return [*actions, *(_server(observed, name) for name in due)]


def _due(observed: Observed, instance: str) -> bool:
    """The instance has no server certificate, or one whose life is nearly over."""
    return server(instance) not in observed.vault or server(instance) in observed.expiring


def complete(observed: Observed, accepted: Accepted) -> bool:
    return not missing(observed, accepted)


def _password(key: Key, name: str) -> Action:
    return GenerateSecret(
        kind=KIND, name=name, why=Why.ABSENT, path=paths.secret(key, name), recipe="password"
    )


def _authority(key: Key) -> Action:
    return GenerateSecret(
        kind=KIND,
        name=CA,
        why=Why.ABSENT,
        path=paths.secret(key, CA),
        recipe="ca",
        subject=f"pgswarm database {key.name}",
    )


def _server(observed: Observed, instance: str) -> Action:
    name = server(instance)
    return GenerateSecret(
        kind=KIND,
        name=name,
        why=Why.EXPIRING if name in observed.expiring else Why.ABSENT,
        path=paths.secret(observed.key, name),
        expected=observed.expiring.get(name, 0),
        recipe="server",
        subject=instance,
        names=(instance, "localhost"),
        issuer=observed.vault[CA],
    )
