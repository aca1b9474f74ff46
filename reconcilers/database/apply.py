"""Carry out one frontier. Writes only; the claim is looked at before every single effect (S4)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from reconcilers.actions import (
    Action,
    CreateBlob,
    CreateNetwork,
    CreateService,
    DropAccount,
    EnsureAccount,
    GenerateSecret,
    RemoveBlob,
    RemoveNetwork,
    RemoveService,
    UpdateService,
    WriteRecords,
)
from reconcilers.contract import Claim
from reconcilers.errors import Conflict, OwnershipLost, PgswarmError
from reconcilers.ports import (
    Accounts,
    Certificates,
    Clock,
    Fence,
    Ids,
    Orchestrator,
    Put,
    Secret,
    Store,
    Vault,
)

PARALLEL_MAX = 8
"""Effects of one database at once; a host must not be flooded by one pass."""


@dataclass(frozen=True, slots=True)
class Effects:
    """The only way to change the world."""

    store: Store
    orchestrator: Orchestrator
    accounts: Accounts
    vault: Vault
    certificates: Certificates
    clock: Clock
    ids: Ids


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a frontier."""

    done: tuple[Action, ...]
    failed: tuple[tuple[Action, PgswarmError], ...] = ()
    revision: int = 0
    """Newest etcd revision that this pass wrote; 0 when it wrote none."""

    def error(self) -> PgswarmError | None:
        """The error that decides what comes next: losing the claim beats all, a conflict beats waiting."""
        for kind in (OwnershipLost, Conflict, PgswarmError):
            for _, error in self.failed:
                if isinstance(error, kind):
                    return error
        return None


async def apply(
    actions: Sequence[Action], claim: Claim, effects: Effects, standing: Sequence[Fence] = ()
) -> Outcome:
    """
    Do the actions side by side; one that fails stops none of the others. Safe to cancel between effects.

    Args:
        standing: What must hold, besides the claim, for whatever is written to etcd.
    """
    done: list[Action] = []
    failed: list[tuple[Action, PgswarmError]] = []
    revisions = [0]
    gate = asyncio.Semaphore(PARALLEL_MAX)

    async def one(action: Action) -> None:
        async with gate:
            try:
                if not claim.may_act():
                    raise OwnershipLost(claim.path)
                revisions.append(await perform(action, claim, effects, standing))
            except PgswarmError as error:
                failed.append((action, error))
            else:
                done.append(action)

    async with asyncio.TaskGroup() as group:
        for action in actions:
            group.create_task(one(action))
    order = {id(action): position for position, action in enumerate(actions)}
    done.sort(key=lambda action: order[id(action)])
    failed.sort(key=lambda item: order[id(item[0])])
    return Outcome(tuple(done), tuple(failed), max(revisions))


async def perform(action: Action, claim: Claim, effects: Effects, standing: Sequence[Fence] = ()) -> int:
    """Do one action; return the etcd revision it wrote, or 0."""
    fences = (Fence(claim.path, claim.epoch), *standing)
    swarm = effects.orchestrator
    match action:
        case WriteRecords():
            return await effects.store.commit(action.writes, (*fences, *action.fences))
        case GenerateSecret():
            return await _generate(action, fences, effects)
        case EnsureAccount():
            if action.announcement is not None:
                await effects.store.commit([action.announcement], fences)
            await effects.accounts.ensure(action.user, action.password, action.prefix_path)
            return await effects.store.commit([action.record], fences)
        case DropAccount():
            await effects.accounts.drop(action.user)
            return await effects.store.commit([action.record], fences)
        case CreateNetwork():
            await swarm.create_network(action.spec)
        case RemoveNetwork():
            await swarm.remove_network(action.network_id)
        case CreateBlob():
            await _create_blob(action, swarm)
        case RemoveBlob():
            await (swarm.remove_secret if action.kind == "secret" else swarm.remove_config)(action.blob_id)
        case CreateService():
            await swarm.create_service(action.spec)
        case UpdateService():
            await swarm.update_service(action.service_id, action.version, action.spec, afresh=action.afresh)
        case RemoveService():
            await swarm.remove_service(action.service_id)
        case _:
            raise AssertionError(f"no way to perform {type(action).__name__}")
    return 0


async def _generate(action: GenerateSecret, fences: Sequence[Fence], effects: Effects) -> int:
    """Whoever writes first wins; a second one is a Conflict, and the next pass reads the winner's."""
    secret = _recipe(action, effects)
    sealed = effects.vault.seal(action.path, secret)
    return await effects.store.commit([Put(action.path, sealed, expected=action.expected)], fences)


def _recipe(action: GenerateSecret, effects: Effects) -> Secret:
    if action.recipe == "password":
        return effects.ids.token()
    if action.recipe == "ca":
        return effects.certificates.issue_ca(action.subject, effects.clock.epoch_s())
    assert action.recipe == "server", action.recipe
    assert action.issuer is not None, "a server certificate needs its CA"
    return effects.certificates.issue_server(
        action.issuer, action.subject, action.names, effects.clock.epoch_s()
    )


async def _create_blob(action: CreateBlob, swarm: Orchestrator) -> None:
    if action.kind == "secret":
        await swarm.create_secret(action.name, action.labels, action.data)
    else:
        await swarm.create_config(action.name, action.labels, action.data.reveal())
