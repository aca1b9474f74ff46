"""Rules of fencing at the places where nothing else would notice that one of them is gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from crds.accepted import Accepted
from crds.meta import Key
from reconcilers import paths
from reconcilers.actions import GenerateSecret, RemoveService, UpdateService, Why, WriteRecords
from reconcilers.database import acceptance
from reconcilers.database.apply import Effects, apply, perform
from reconcilers.database.plan import plan
from reconcilers.database.reconciler import DatabaseReconciler
from reconcilers.errors import OwnershipLost
from reconcilers.observed import Observed
from reconcilers.ports import Fence, Put, Secret, ServiceSpec, ServiceView, SwarmView, Write
from reconcilers.resources import naming, service
from tests.unit.reconcilers.database.scene import database, edited, empty, instance, running

KEY = Key("database", "orders")
EPOCH, VERSION = 7, 41
SERVICE = ServiceSpec(name="orders-n1-abc234", labels={}, image="postgres")
UPDATE = UpdateService(
    kind="service", name=SERVICE.name, why=Why.DRIFTED, service_id="s1", version=VERSION, spec=SERVICE
)


class Claimed:
    """A claim that ends after it has been asked a few times."""

    epoch, path = EPOCH, paths.owner(KEY)

    def __init__(self, times: int = 1_000_000) -> None:
        self._left = times

    def may_act(self) -> bool:
        self._left -= 1
        return self._left >= 0


class World:
    """Swarm and etcd, as far as a pass writes to them; what was written is kept, and everything goes through."""

    def __init__(self, observed: Observed | None = None) -> None:
        self.observed = observed
        self.updates: list[tuple[str, int]] = []
        self.commits: list[tuple[Sequence[Write], Sequence[Fence]]] = []

    @property
    def effects(self) -> Effects:
        me = cast(Any, self)
        return Effects(me, me, me, me, me, me, me)

    async def reached(self, revision: int) -> None:
        return

    async def read(self, key: Key, claim: Claimed, known: Observed | None = None) -> Observed:
        assert self.observed is not None
        return self.observed

    async def view(self) -> SwarmView:
        """By now somebody else has written."""
        newer = ServiceView("s1", VERSION + 1, SERVICE)
        return SwarmView(at_s=0.0, services=(newer,), networks=(), secrets=(), configs=(), nodes=(), tasks=())

    def invalidate(self) -> None:
        return

    async def update_service(
        self, service_id: str, version: int, spec: ServiceSpec, *, afresh: bool = False
    ) -> None:
        self.updates.append((service_id, version))

    async def commit(self, writes: Sequence[Write], fences: Sequence[Fence] = ()) -> int:
        self.commits.append((writes, fences))
        return len(self.commits)

    def monotonic(self) -> float:
        return 0.0

    def token(self) -> Secret:
        return Secret("generated")

    def seal(self, path: str, secret: Secret) -> bytes:
        return b"sealed"

    def ulid(self) -> str:
        return str(len(self.commits))


async def test_an_update_is_for_the_version_that_it_was_planned_from() -> None:
    """F3: what was written since the list that the plan is made of must make the update fail."""
    world = World()
    await perform(UPDATE, Claimed(), world.effects)

    assert world.updates == [("s1", VERSION)]


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_no_effect_starts_under_a_claim_that_has_ended(times: int) -> None:
    """S4: the claim is asked before every single effect, not once a pass."""
    world = World()
    outcome = await apply([replace(UPDATE, name=f"s{n}") for n in range(5)], Claimed(times), world.effects)

    assert len(world.updates) == times
    assert len(outcome.done) == times
    assert isinstance(outcome.error(), OwnershipLost)


async def test_whatever_an_owner_writes_is_bound_to_its_epoch_and_to_the_database_being_there() -> None:
    """F1; and a record that arrives late must not outlive the deletion of its database."""
    memory = database(resources={"memory": "1GiB"})
    observed = replace(edited(running(), memory), accepted_created=33)
    accepted = acceptance.decide(observed)
    assert isinstance(accepted, WriteRecords)
    world = World(observed)
    me = cast(Any, world)
    await DatabaseReconciler(me, world.effects, me).reconcile(KEY, Claimed())

    written = [write for writes, _ in world.commits for write in writes]
    assert {paths.accepted(KEY), paths.status(KEY)} <= {write.path for write in written}
    for writes, fences in world.commits:
        assert Fence(paths.owner(KEY), EPOCH) in fences
        if writes[0].path != paths.status(KEY):
            assert Fence(paths.accepted(KEY), 33, owner=False) in fences
    for write in written:
        if write.path == paths.status(KEY):
            assert write.expected == observed.status_revision


async def test_a_secret_is_written_only_where_there_is_none_yet() -> None:
    """What was generated before may be in use already, though the answer to writing it was lost."""
    world, path = World(), paths.secret(KEY, "superuser")
    action = GenerateSecret(kind="credential", name="superuser", why=Why.ABSENT, path=path, recipe="password")
    await perform(action, Claimed(), world.effects)

    [([put], fences)] = world.commits
    assert (put.path, put.expected) == (path, 0)
    assert Fence(paths.owner(KEY), EPOCH) in fences


def test_a_service_with_a_tombstone_is_finished_off_and_never_adopted() -> None:
    """F6: its removal may be under way, and would hit whatever it has become."""
    observed = running()
    one = observed.services[instance("host-2")]
    dead = replace(one, version=one.version + 1, spec=service.tombstone(one, EPOCH))
    step = plan(replace(observed, services={**observed.services, one.spec.name: dead}))

    touching = [action for action in step.actions if action.name == one.spec.name]
    assert touching == [RemoveService(kind="service", name=one.spec.name, why=Why.DELETED, service_id=one.id)]


def test_a_deletion_begins_only_while_there_is_no_spec() -> None:
    """A mirror that is late shows none where somebody has written one again."""
    step = acceptance.decide(edited(running(), None))

    assert isinstance(step, WriteRecords)
    assert Fence(paths.spec(KEY), 0, owner=False) in step.fences


def test_two_databases_of_one_name_never_share_an_incarnation() -> None:
    """F7: a volume's late removal must not find another database's data under its name."""
    volumes = set()
    for fresh in ("11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"):
        step = acceptance.decide(empty(database(), fresh_id=fresh))
        assert isinstance(step, WriteRecords)
        put = step.writes[0]
        assert isinstance(put, Put)
        found = Accepted.model_validate_json(put.value)
        volumes.add(naming.volume("orders-n1-abc234", found.incarnation))
    assert len(volumes) == 2
