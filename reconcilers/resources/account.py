"""The etcd user of each instance: it may read and write its own cluster's Patroni records and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from reconcilers import paths
from reconcilers.actions import Action, DropAccount, EnsureAccount, Why
from reconcilers.observed import Observed
from reconcilers.ports import Put, Remove
from reconcilers.resources import credential, naming, topology

KIND = "account"
ANNOUNCED = "-"
"""In the place of a digest: the user is about to be made."""


def diff(observed: Observed, wanted: Iterable[topology.Instance]) -> list[Action]:
    if not observed.etcd_auth:
        return []
    return [action for one in wanted if (action := _ensure(observed, one)) is not None]


def ready(observed: Observed, instance: topology.Instance) -> bool:
    return not observed.etcd_auth or _ensure(observed, instance) is None


def surplus(observed: Observed, wanted: Iterable[topology.Instance]) -> list[Action]:
    """Accounts of instances that are no longer wanted. The caller has seen that their services are gone."""
    keep = {naming.etcd_user(one.name) for one in wanted}
    return [
        DropAccount(kind=KIND, name=user, why=Why.SURPLUS, user=user, record=Remove(paths.account(user)))
        for user in sorted(observed.accounts)
        if user not in keep
    ]


def _ensure(observed: Observed, one: topology.Instance) -> Action | None:
    user = naming.etcd_user(one.name)
    password = observed.vault.get(credential.etcd(one.name))
    if password is None:
        return None
    prefix = paths.patroni(one.scope)
    asked = naming.digest([observed.key.name, prefix, password.reveal()])
    done = observed.accounts.get(user) == asked
    lost = done and observed.etcd_users is not None and user not in observed.etcd_users
    if done and not lost:
        return None
    return EnsureAccount(
        kind=KIND,
        name=user,
        why=Why.DRIFTED if lost else Why.ABSENT,
        detail=f"read-write below {prefix}",
        user=user,
        password=password,
        prefix_path=prefix,
        record=Put(paths.account(user), f"{observed.key.name} {asked}".encode()),
        announcement=None
        if user in observed.accounts
        else Put(paths.account(user), f"{observed.key.name} {ANNOUNCED}".encode()),
    )
