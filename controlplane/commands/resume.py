"""pgswarm resume"""

from __future__ import annotations

from typing import Any

import click

from controlplane.api.views import DATABASE
from controlplane.commands.options import client_settings, database_argument, read, world
from controlplane.commands.outcome import Failure, not_found, translated
from controlplane.commands.patience import patient
from controlplane.commands.question import ask, yes_option
from controlplane.commands.session import Session, stored
from crds.halted import Halted
from crds.meta import Key
from reconcilers import paths
from reconcilers.ports import Record, Remove


@click.command("resume")
@database_argument
@yes_option
@client_settings
@click.pass_context
def command(context: click.Context, /, name: str, yes: bool, **given: Any) -> None:
    """Let pgswarm go on with a database after etcd was restored.

    When the database's services have seen a newer etcd than the one that is there, pgswarm touches nothing of it any
    more. Restore etcd with the revision bump first; then this removes the record that holds pgswarm back. If the
    services are still ahead of etcd, the next look at them halts it again.
    """
    config, outside = read(given), world(context)
    key = Key(DATABASE, name)

    async def look() -> Record:
        async with outside.session(config) as session:
            return await patient(_look(session, key), config.etcd_endpoints)

    async def remove(revision: int) -> None:
        async with outside.session(config) as session:
            await patient(
                session.store.commit([Remove(paths.halted(key), expected=revision)]), config.etcd_endpoints
            )

    with translated(config.etcd_endpoints):
        record = outside.run(look())
    found = stored(record, Halted)
    click.echo(
        f"database {name} was halted at {found.since}: its owner's epoch was {found.epoch}, and its services were "
        f"labelled with {found.newest}. If it goes on, pgswarm brings it to what etcd holds now.",
        err=True,
    )
    if not yes:
        ask(f"Go on with database {name}?", meant="etcd is as it should be")
    with translated(config.etcd_endpoints):
        outside.run(remove(record.mod_revision))
    click.echo(f"database/{name} goes on")


async def _look(session: Session, key: Key) -> Record:
    """The record that holds it back. Raises: Failure, also when it would be halted again at once."""
    record = await session.store.read(paths.halted(key))
    if record is None:
        known = [await session.store.read(path) for path in (paths.accepted(key), paths.spec(key))]
        if any(known):
            raise Failure(f"database {key.name} is not halted, so nothing was done")
        raise not_found(key.kind, key.name)
    owner = await session.store.read(paths.owner(key))
    newest = stored(record, Halted).newest
    if owner is not None and owner.create_revision < newest:
        raise Failure(
            f"etcd is still behind: the owner of {key.name} has epoch {owner.create_revision}, and its services are "
            f"labelled with {newest}; restore etcd with --bump-revision 1000000000 --mark-compacted first"
        )
    return record
