"""What users do, step by step of a script: write and delete specs, back etcd up and restore it."""

from __future__ import annotations

from tests.model.state import IDLE, NOBODY, Backup, Spec, World, newest_epoch
from tests.model.words import written

WRITE, GONE, BACKUP, RESTORE, BUMP = "write", "delete", "back etcd up", "restore etcd", "restore etcd, bumped"
GAP = 2
"""A backup that is restored without a bump is at least this many epochs older than the newest label."""

User = tuple[str, Spec | None]


def act(world: World, script: tuple[User, ...]) -> tuple[str, World] | None:
    """The next step of the script, or None if there is none, or not yet."""
    if world.step >= len(script):
        return None
    what, spec = script[world.step]
    after: World | None = world._replace(step=world.step + 1)
    assert after is not None
    if what == WRITE:
        assert spec is not None
        after = after._replace(spec=spec._replace(revision=world.step + 1))
    elif what == GONE:
        after = after._replace(spec=None)
    elif what == BACKUP:
        backup = Backup(world.revision, world.spec, world.accepted, world.ask)
        after = after._replace(backup=backup) if world.accepted is not None else None
    else:
        after = _restore(after, bumped=what == BUMP)
    return None if after is None else (f"{what}{written(spec)}", after)


def _restore(world: World, *, bumped: bool) -> World | None:
    """
    etcd forgets what came after the backup; whoever had a claim loses it with its lease, and one more may be made.

    It was away for long enough: whatever was under way has arrived or got lost, and no manager answers with old lists.
    """
    backup = world.backup
    if backup is None or (not bumped and newest_epoch(world) < backup.revision + GAP):
        return None
    return world._replace(
        revision=world.revision + 1 if bumped else backup.revision,
        owner=NOBODY,
        spec=backup.spec,
        accepted=backup.accepted,
        ask=backup.ask,
        ready=(0, 0),
        controllers=tuple(IDLE for _ in world.controllers),
        network=(),
        older=(),
        claims=world.claims - 1,
        backup=None,
        rewound=not bumped,
    )
