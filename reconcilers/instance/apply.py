"""
Carry out a frontier. Writes only; the claim is asked before every single effect.

One after the other: all SQL of an instance stands behind one fence row, so nothing could run side by side.
A refusal stops one action; anything that leaves the truth unknown stops the pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from crds.instance import InstanceDesired, Problem
from reconcilers import paths
from reconcilers.actions import Action, ChangeClass
from reconcilers.contract import Claim
from reconcilers.errors import Conflict, OwnershipLost, PgswarmError, Refused
from reconcilers.instance.actions import CreateVolume, RemoveVolume, RestartPostgres
from reconcilers.instance.refresh import Observed, in_use
from reconcilers.ports import Engine, InstanceAccess, Patroni, Sql, Store
from reconcilers.resources.sql import RunSql


@dataclass(frozen=True, slots=True)
class Outcome:
    done: int = 0
    refused: tuple[Problem, ...] = ()
    error: PgswarmError | None = None
    """What ended the pass early; the controller decides what it means."""


@dataclass(frozen=True, slots=True)
class Writer:
    """The ports that apply writes to."""

    store: Store
    engine: Engine
    patroni: Patroni
    sql: Sql

    async def apply(
        self, desired: InstanceDesired, observed: Observed, actions: tuple[Action, ...], claim: Claim
    ) -> Outcome:
        """Raise no error of ours: it is in the outcome, so that what was seen can still be reported."""
        done = 0
        refused: list[Problem] = []
        for action in actions:
            try:
                _must_act(claim)
                await self._carry_out(action, desired, observed.access, claim)
            except Refused as exc:
                refused.append(
                    Problem(reason="Refused", message=f"{action.kind} {action.name}: {exc.detail}")
                )
            except PgswarmError as exc:
                return Outcome(done, tuple(refused), exc)
            else:
                done += 1
        return Outcome(done, tuple(refused))

    async def _carry_out(
        self, action: Action, desired: InstanceDesired, access: InstanceAccess | None, claim: Claim
    ) -> None:
        match action:
            case CreateVolume():
                await self.engine.create_volume(action.name, action.labels)
            case RemoveVolume():
                await self._remove_volume(action.name, desired, claim)
            case RunSql():
                assert access is not None, "SQL is planned only for an instance that was looked into"
                await self.sql.execute(access, action.database, action.statements, epoch=desired.epoch)
                if action.change is ChangeClass.RELOAD:
                    # Patroni looks for settings that wait for a restart only when it reloads by itself.
                    _must_act(claim)
                    await self.patroni.reload(access)
            case RestartPostgres():
                assert access is not None, "a restart is planned only for an instance that answered"
                await self.patroni.restart(access)
            case _:
                raise AssertionError(f"{action} is no action of an agent")

    async def _remove_volume(self, volume: str, desired: InstanceDesired, claim: Claim) -> None:
        """
        Remove the data, after asking etcd itself, not a mirror, whether that is still wanted.

        Raises:
            Conflict: The desired record says something else by now.
            Refused: A container has the volume.
        """
        self.engine.invalidate()
        if in_use(await self.engine.view(), volume):
            raise Refused("docker", f"a container has volume {volume}")
        path = paths.desired(desired.host, desired.instance)
        record = await self.store.read(path)
        if record is None or not _still_absent(record.value, desired):
            raise Conflict(path)
        _must_act(claim)
        await self.engine.remove_volume(volume)


def _still_absent(value: bytes, planned: InstanceDesired) -> bool:
    try:
        now = InstanceDesired.model_validate_json(value)
    except ValidationError:
        return False
    same = (now.epoch, now.incarnation, now.volume) == (planned.epoch, planned.incarnation, planned.volume)
    return same and now.ensure == "absent"


def _must_act(claim: Claim) -> None:
    if not claim.may_act():
        raise OwnershipLost(claim.path)
