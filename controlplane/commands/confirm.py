"""pgswarm confirm-deletion"""

from __future__ import annotations

from typing import Any

import click

from controlplane.api.views import DATABASE
from controlplane.commands.options import client_settings, database_argument, read, world
from controlplane.commands.outcome import Failure, not_found, translated
from controlplane.commands.patience import patient
from controlplane.commands.question import ask, yes_option
from controlplane.commands.session import Session, stored
from crds.accepted import Accepted
from crds.meta import Key
from reconcilers import paths
from reconcilers.ports import Put


@click.command("confirm-deletion")
@database_argument
@yes_option
@client_settings
@click.pass_context
def command(context: click.Context, /, name: str, yes: bool, **given: Any) -> None:
    """Confirm a deletion that pgswarm has stopped.

    When three or more specs, and most of all, vanish at once, pgswarm removes nothing until a person
    says for each database that it is meant. The word counts for the data that is there now, not for a later
    database of the same name.
    """
    config, outside = read(given), world(context)
    key = Key(DATABASE, name)

    async def look() -> tuple[Accepted, int]:
        async with outside.session(config) as session:
            return await patient(_look(session, key), config.etcd_endpoints)

    async def write(accepted: Accepted, revision: int) -> None:
        put = Put(paths.confirmation(key), accepted.incarnation.encode(), expected=revision)
        async with outside.session(config) as session:
            await patient(session.store.commit([put]), config.etcd_endpoints)

    with translated(config.etcd_endpoints):
        accepted, revision = outside.run(look())
    policy = accepted.spec.deletion.policy
    after = "its data is DESTROYED" if policy == "delete" else "its services go, its data stays"
    click.echo(
        f"database {name} (incarnation {accepted.incarnation}), deletion.policy {policy}: {after}.", err=True
    )
    if not yes:
        ask(f"Delete database {name}?", meant="the deletion is meant")
    with translated(config.etcd_endpoints):
        outside.run(write(accepted, revision))
    click.echo(f"deletion of database/{name} confirmed")


async def _look(session: Session, key: Key) -> tuple[Accepted, int]:
    """The accepted record, and the revision of a confirmation that is there already. Raises: Failure."""
    record = await session.store.read(paths.accepted(key))
    if record is None:
        raise not_found(key.kind, key.name)
    if await session.store.read(paths.spec(key)) is not None:
        raise Failure(f"the spec of {key.name} is there, so nothing waits for a word; use `pgswarm delete`")
    accepted = stored(record, Accepted)
    if accepted.spec.deletion.protected:
        raise Failure(
            f"database {key.name} is protected; apply its spec with deletion.protected: false first"
        )
    before = await session.store.read(paths.confirmation(key))
    return accepted, before.mod_revision if before is not None else 0
