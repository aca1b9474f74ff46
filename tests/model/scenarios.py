"""What users do while everything else goes wrong, how far each search goes, and what it must come to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.model import checks
from tests.model.moves import Bounds
from tests.model.rules import CODE, Rule
from tests.model.search import Found, Progress, search
from tests.model.state import FENCE, NOBODY, Life, Spec, World
from tests.model.users import BACKUP, BUMP, GONE, RESTORE, WRITE, User

LIMIT = 10_000_000
"""States; more do not fit into memory."""
STRICT = frozenset({checks.FENCE_HIT, checks.OWN, checks.SPEC, checks.LEFT})
"""Checks on top of those that are made in every search; see `checks`."""


def write(generation: int, *hosts: int, retain: bool = False) -> User:
    return WRITE, Spec(generation, hosts or (1,), deletes=not retain)


DELETE: User = (GONE, None)

SCRIPTS: dict[str, tuple[User, ...]] = {
    "create": (write(1),),
    "edit": (write(1), write(2)),
    "edit and revert": (write(1), write(2), write(1)),
    "delete": (write(1), DELETE),
    "delete and create again": (write(1), DELETE, write(2)),
    "retain": (write(1, retain=True), DELETE),
    "retain and adopt": (write(1, retain=True), DELETE, write(2, retain=True)),
    "add an instance and take it away": (write(1, 1), write(2, 1, 2), write(3, 1)),
    "etcd restored, with the bump": (write(1), (BACKUP, None), write(2), (BUMP, None)),
    "etcd restored, without the bump": (write(1), (BACKUP, None), (RESTORE, None)),
}
_SHORT = ("create", "edit", "delete", "retain")


@dataclass(frozen=True)
class Scenario:
    """One search. `name` is unique."""

    name: str
    bounds: Bounds

    def search(self, *, limit: int = LIMIT, progress: Progress | None = None) -> Found:
        return run(self.bounds, limit=limit, progress=progress)


def _scenario(script: str, note: str = "", **limits: int) -> Scenario:
    bounds = Bounds(SCRIPTS[script], strict=STRICT, **limits)  # type: ignore[arg-type]
    if script.startswith("add an instance"):
        bounds = replace(bounds, slots=2)
    return Scenario(script + note, bounds)


QUICK = (
    _scenario("edit", epochs=2, network=2),
    _scenario("edit and revert", epochs=2, network=1),
    _scenario("delete", epochs=1, network=2),
    _scenario("delete", ", two lists back", epochs=1, network=2, depth=2),
    _scenario("delete and create again", epochs=2, network=1),
    _scenario("retain and adopt", epochs=2, network=1),
    _scenario("add an instance and take it away", epochs=1, network=1),
    _scenario("etcd restored, with the bump", epochs=1, network=2),
    _scenario("etcd restored, without the bump", epochs=3, network=1),
)
"""What the protocol promises holds, and it is never stuck. Half a minute."""

FULL = (
    *(_scenario(script, epochs=2, network=2) for script in SCRIPTS if not script.startswith("etcd")),
    _scenario("edit", ", three owners", epochs=3, network=2),
    _scenario("edit", ", three requests under way", epochs=2, network=3),
    _scenario("edit", ", three controllers", epochs=2, network=2, controllers=3),
    _scenario("delete", ", three owners", epochs=3, network=2),
    _scenario("delete", ", two lists back", epochs=2, network=2, depth=2),
    _scenario("edit and revert", ", two lists back", epochs=2, network=2, depth=2),
    _scenario("etcd restored, with the bump", epochs=2, network=2),
    _scenario("etcd restored, without the bump", epochs=5, network=1),
)


@dataclass(frozen=True)
class Without:
    """One rule taken away: a violation must be found."""

    rule: Rule
    scenario: Scenario
    wrong: str
    """LEFT shows as states from which the wanted end cannot be reached."""

    @property
    def bounds(self) -> Bounds:
        return replace(self.scenario.bounds, rules=CODE - {self.rule}, strict=frozenset({self.wrong}))

    def noticed(self, found: Found) -> bool:
        """Whether a search within these bounds came upon what is wrong without the rule."""
        stuck = self.wrong == checks.LEFT and not found.wrong and found.complete and found.stuck > 0
        return found.wrong == self.wrong or stuck


WITHOUT = (
    Without(Rule.F1, _scenario("edit"), checks.S1),
    Without(Rule.F2, _scenario("delete"), checks.S13),
    Without(Rule.F3, _scenario("delete"), checks.S1),
    Without(Rule.F4, _scenario("edit and revert", depth=0), checks.READY),
    Without(Rule.F5, _scenario("delete"), checks.S13),
    Without(Rule.F6, _scenario("delete"), checks.S12),
    Without(Rule.F6_ID, _scenario("delete"), checks.S12),
    Without(Rule.F6_DEAD, _scenario("retain and adopt", depth=0), checks.S12),
    Without(Rule.F7, _scenario("delete and create again", epochs=1), checks.S5),
    Without(Rule.DEADLINE, _scenario("retain and adopt", network=1, depth=0), checks.S2),
    Without(Rule.RECORD, _scenario("delete", epochs=1), checks.LEFT),
    Without(Rule.DISMISSAL, _scenario("delete and create again", epochs=1, network=1), checks.SPEC),
    Without(Rule.CLOSING, _scenario("delete", ", two lists back", epochs=1, depth=2), checks.S13),
    Without(Rule.CLOSING, _scenario("retain and adopt"), checks.FENCE_HIT),
    Without(Rule.UNSEEN, _scenario("edit and revert", epochs=1), checks.OWN),
    Without(Rule.HALT, _scenario("etcd restored, without the bump", epochs=5, network=1), checks.RESTORED),
)


def run(bounds: Bounds, *, limit: int = LIMIT, progress: Progress | None = None) -> Found:
    return search(bounds, lambda world: end(world, bounds), limit=limit, progress=progress)


def end(world: World, bounds: Bounds) -> bool:
    """As the user wants it: the last step of the script is done, and there is nothing left to do."""
    if bounds.script[-1][0] == RESTORE:
        return world.halted or not world.rewound  # nobody goes on, and it is written down why
    if world.step < len(bounds.script) or world.network:
        return False
    if world.spec is not None:
        return _serves(world, world.spec)
    forgives = checks.LEFT not in bounds.strict
    record = world.accepted
    if record is None:
        clean = world.ask is None and not world.volumes
        return not any(world.services) and (clean or forgives)
    kept = world.volumes >> record.incarnation & 1 or world.ready_epoch == 0
    return record.life is Life.RETAINED and not any(world.services) and world.ask is None and bool(kept)


def _serves(world: World, spec: Spec) -> bool:
    record, fence = world.accepted, world.services[FENCE]
    if record is None or fence is None or world.owner == NOBODY:
        return False
    if world.ready != (world.owner_epoch, spec.revision) or fence.epoch != world.owner_epoch:
        return False
    body = (world.owner_epoch, record.incarnation, spec.generation, 1, False)
    return all(
        one is not None and one[2:] == body if slot in spec.hosts else one is None
        for slot, one in enumerate(world.services)
        if slot != FENCE
    )
