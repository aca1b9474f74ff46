"""pgswarm delete"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import click

from controlplane.api.views import DATABASE, HOST
from controlplane.commands.options import client_settings, read, world
from controlplane.commands.outcome import Failure, not_found, translated
from controlplane.commands.patience import patient
from controlplane.commands.session import Session, stored
from crds import text
from crds.accepted import Accepted
from crds.database import DeletionSpec
from crds.meta import Key
from crds.problems import SpecRefused
from reconcilers import paths
from reconcilers.errors import UnknownFate
from reconcilers.ports import Record, Remove


@dataclass(frozen=True, slots=True)
class Removal:
    key: Key
    revision: int
    """mod_revision of the spec that was looked at; it must still be the one."""
    deletion: DeletionSpec


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask. Needed with policy `delete` when nobody can be asked.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@client_settings
@click.pass_context
def command(context: click.Context, /, name: str, yes: bool, dry_run: bool, **given: Any) -> None:
    """Remove a database's spec.

    What happens to the data is the spec's deletion.policy: `retain` keeps it for a spec of the same name, `delete`
    destroys it. A database with deletion.protected is not touched. host/NAME removes a host's spec.
    """
    config, outside = read(given), world(context)
    kind, slash, rest = name.rpartition("/")
    key = Key(kind if slash else DATABASE, rest)
    if key.kind not in (DATABASE, HOST):
        raise click.UsageError(f"{name} is not NAME, database/NAME or host/NAME")

    async def look() -> Removal | None:
        async with outside.session(config) as session:
            return await patient(_look(session, key), config.etcd_endpoints)

    async def remove(removal: Removal) -> None:
        async with outside.session(config) as session:
            await patient(_remove(session, removal), config.etcd_endpoints)

    with translated(config.etcd_endpoints):
        removal = outside.run(look())
    if removal is None:
        raise not_found(key.kind, key.name)
    if key.kind == DATABASE:
        _agree(removal, yes=yes or dry_run)
    if dry_run:
        return
    with translated(config.etcd_endpoints):
        outside.run(remove(removal))
    click.echo(
        f"{key} removed; `pgswarm wait {key.name} --for delete` waits until it is done"
        if key.kind == DATABASE
        else f"{key} removed"
    )


def _agree(removal: Removal, *, yes: bool) -> None:
    """Say what will happen and ask. Raises: Failure when it may not, or must not without a word."""
    name, deletion = removal.key.name, removal.deletion
    if deletion.protected:
        raise Failure(
            f"database {name} is protected: pgswarm would ignore the removal. To delete it, apply its spec with "
            "deletion.protected: false first"
        )
    if deletion.policy == "delete":
        click.echo(
            f"deletion.policy is delete: ALL DATA of {name} and its secrets are destroyed for good.", err=True
        )
        if not yes and not sys.stdin.isatty():
            raise Failure("nobody can be asked here; give --yes if the data is to be destroyed")
    else:
        words = f"deletion.policy is retain: services and network of {name} go, volumes and secrets stay; "
        click.echo(f"{words}a spec of the same name finds its data again.", err=True)
    if not yes and sys.stdin.isatty():
        click.confirm(f"Remove database {name}?", abort=True, err=True)


async def _look(session: Session, key: Key) -> Removal | None:
    record = await session.store.read(paths.spec(key))
    if record is None:
        return None
    accepted = await session.store.read(paths.accepted(key))
    return Removal(key, record.mod_revision, _deletion(record, accepted))


def _deletion(spec: Record, accepted: Record | None) -> DeletionSpec:
    """The rule in force is the accepted spec's; before there is one, what the text says."""
    if accepted is not None:
        return stored(accepted, Accepted).spec.deletion
    try:
        return text.load(spec.value, "Database").spec.deletion
    except SpecRefused:
        return DeletionSpec()


async def _remove(session: Session, removal: Removal) -> None:
    path = paths.spec(removal.key)
    try:
        await session.store.commit([Remove(path, expected=removal.revision)])
    except UnknownFate:
        if await session.store.read(path) is not None:
            raise
