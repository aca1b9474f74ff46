"""Keep one instance of this host as its database's owner wants it: refresh -> plan -> apply -> report."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from crds.instance import InstanceDesired, InstanceObserved
from crds.meta import Key
from reconcilers import paths
from reconcilers.contract import Claim, Result
from reconcilers.errors import InvalidSpec, OwnershipLost
from reconcilers.instance.apply import Outcome, Writer
from reconcilers.instance.plan import InstancePlan, plan
from reconcilers.instance.refresh import Observed, Reader
from reconcilers.instance.report import report, unsettled
from reconcilers.ports import Engine, Ids, Patroni, Put, Record, Records, Remove, Sql, Store, Vault

KIND = "instance"
POLL_S = 15.0
"""How often Postgres is asked about drift, of which it sends no event."""
WAIT_S = 0.5
"""How often something that is starting is looked at."""


@dataclass(slots=True)
class _Memory:
    """What one key's last pass did. Nothing depends on it but pace and the number of etcd writes."""

    published: bytes = b""
    revision: int = 0
    """Of the etcd transaction that wrote `published`."""
    actions: tuple[str, ...] = ()


class InstanceReconciler:
    """Implements `reconcilers.contract.Reconciler` for `Key("instance", <name>)` on one host."""

    def __init__(
        self,
        *,
        host: str,
        cluster: str,
        records: Records,
        store: Store,
        engine: Engine,
        patroni: Patroni,
        sql: Sql,
        vault: Vault,
        ids: Ids,
        poll_s: float = POLL_S,
        wait_s: float = WAIT_S,
    ) -> None:
        self._host = host
        self._cluster = cluster
        self._records = records
        self._store = store
        self._reader = Reader(records, engine, patroni, sql, vault)
        self._writer = Writer(store, engine, patroni, sql)
        self._ids = ids
        self._poll_s = poll_s
        self._wait_s = wait_s
        self._memory: dict[str, _Memory] = {}

    async def reconcile(self, key: Key, claim: Claim) -> Result:
        """
        Bring the instance one frontier closer to its desired record, and say what was seen.

        Raises:
            InvalidSpec: the desired record cannot be read.
            OwnershipLost: the session's deadline has passed, or a newer epoch has written inside Postgres.
            Conflict: the desired record changed before the volume could be removed.
            RetryableError: Docker or etcd did not answer, or Postgres went away in the middle.
        """
        record = self._records.get(paths.desired(self._host, key.name))
        if record is None:
            return await self._forget(key.name, claim)
        desired = _parse(record, self._host, key.name)
        observed = await self._reader.refresh(desired, record.mod_revision)
        planned = plan(desired, observed, self._cluster)
        outcome = await self._writer.apply(desired, observed, planned.actions, claim)
        if planned.actions or unsettled(desired, observed):
            self._reader.forget(key.name)
        await self._publish(report(desired, observed, planned, outcome), claim)
        if outcome.error is not None:
            raise outcome.error
        return Result(self._requeue_s(desired, observed, planned, outcome), actions=outcome.done)

    def _requeue_s(
        self, desired: InstanceDesired, observed: Observed, planned: InstancePlan, outcome: Outcome
    ) -> float:
        memory = self._memory[desired.instance]
        actions = tuple(str(action) for action in planned.actions)
        fresh = actions != memory.actions
        memory.actions = actions
        if outcome.done and fresh:
            return 0.0
        # The same actions twice running: somebody undoes them, or they do not help. Not at full speed, then.
        if (outcome.done and not outcome.refused) or unsettled(desired, observed):
            return self._wait_s + self._ids.jitter(self._wait_s)
        return self._poll_s + self._ids.jitter(self._poll_s / 5)

    async def _publish(self, seen: InstanceObserved, claim: Claim) -> None:
        """Write what was seen if it is not what etcd already says."""
        path = paths.observed(self._host, seen.instance)
        value = seen.model_dump_json().encode()
        memory = self._memory.setdefault(seen.instance, _Memory())
        mirrored = self._records.get(path)
        # Until the mirror has caught up with our own write, our memory is the newer of the two.
        current = (
            memory.published if self._records.revision < memory.revision else mirrored and mirrored.value
        )
        if current == value:
            return
        if not claim.may_act():
            raise OwnershipLost(claim.path)
        memory.revision = await self._store.commit([Put(path, value, leased=True)])
        memory.published = value

    async def _forget(self, instance: str, claim: Claim) -> Result:
        """Nobody wants anything of this instance any more: its data stays, the word about it goes."""
        path = paths.observed(self._host, instance)
        memory = self._memory.get(instance, _Memory())
        if self._records.get(path) is not None or self._records.revision < memory.revision:
            if not claim.may_act():
                raise OwnershipLost(claim.path)
            await self._store.commit([Remove(path)])
        self._memory.pop(instance, None)
        self._reader.forget(instance)
        return Result()


def _parse(record: Record, host: str, instance: str) -> InstanceDesired:
    try:
        desired = InstanceDesired.model_validate_json(record.value)
    except ValidationError as exc:
        count = exc.error_count()
        raise InvalidSpec((f"{record.path} is not a desired instance: {count} fields are wrong",)) from None
    if (desired.host, desired.instance) != (host, instance):
        raise InvalidSpec((f"{record.path} speaks of another instance",))
    return desired
