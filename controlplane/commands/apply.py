"""pgswarm apply"""

from __future__ import annotations

from typing import Any

import click

from controlplane import manifests
from controlplane.api.views import DATABASE
from controlplane.commands.options import client_settings, read, world
from controlplane.commands.outcome import Failure, translated
from controlplane.commands.patience import patient
from controlplane.commands.session import Session, stored
from controlplane.manifests import Manifest
from crds.accepted import Accepted
from reconcilers import paths
from reconcilers.errors import UnknownFate
from reconcilers.ports import Put

FILE_MAX_BYTES = 64 * 1024**2
"""Ten thousand specs and more; what is larger is a disk image, or never ends."""


@click.command()
@click.option("-f", "--file", "files", metavar="FILE", multiple=True, required=True, help="YAML; - is stdin.")
@click.option("--dry-run", is_flag=True, help="Check and compare, but write nothing.")
@client_settings
@click.pass_context
def command(context: click.Context, /, files: tuple[str, ...], dry_run: bool, **given: Any) -> None:
    """Write specs into etcd, after checking them.

    A file may hold several documents, separated by ---. Either all are valid, or nothing is written. A spec that
    somebody else changes in the same moment is not overwritten.

    \b
    pgswarm apply -f orders.yaml
    generate-specs | pgswarm apply -f -
    """
    wanted = _read(files)
    config, outside = read(given), world(context)

    async def work() -> None:
        async with outside.session(config) as session:
            for manifest in wanted:
                said = await patient(_apply(session, manifest, dry_run), config.etcd_endpoints)
                click.echo(f"{manifest.key} {said}{' (dry run)' if dry_run else ''}")

    with translated(config.etcd_endpoints):
        outside.run(work())


def _read(files: tuple[str, ...]) -> list[Manifest]:
    found: list[Manifest] = []
    mistakes: list[manifests.Mistake] = []
    for file in files:
        valid, wrong = manifests.read("stdin" if file == "-" else file, _bytes(file))
        found += valid
        mistakes += wrong
    mistakes += manifests.twice(found)
    if mistakes:
        lines = "\n".join(f"  {mistake}" for mistake in mistakes)
        raise Failure(f"nothing was written; {len(mistakes)} problem(s):\n{lines}")
    if not found:
        raise Failure(f"there is no spec in {', '.join(files)}")
    return found


def _bytes(file: str) -> bytes:
    try:
        with click.open_file(file, "rb") as opened:
            raw = bytes(opened.read(FILE_MAX_BYTES + 1))
    except OSError as exc:
        raise Failure(f"{file} cannot be read: {exc.strerror}") from exc
    if len(raw) > FILE_MAX_BYTES:
        raise Failure(f"{file} is larger than {FILE_MAX_BYTES // 1024**2} MiB; is it the right one?")
    return raw


async def _apply(session: Session, manifest: Manifest, dry_run: bool) -> str:
    path = paths.spec(manifest.key)
    present = await session.store.read(path)
    if present is not None and present.value == manifest.text:
        return "unchanged"
    said = "configured" if present is not None else await _created(session, manifest)
    if not dry_run:
        put = Put(path, manifest.text, expected=present.mod_revision if present else 0)
        try:
            await session.store.commit([put])
        except UnknownFate:
            now = await session.store.read(path)
            if now is None or now.value != manifest.text:
                raise
    return said


async def _created(session: Session, manifest: Manifest) -> str:
    """A new spec may find data of an earlier one: say so before somebody wonders."""
    record = await session.store.read(paths.accepted(manifest.key)) if manifest.key.kind == DATABASE else None
    if record is None:
        return "created"
    accepted = stored(record, Accepted)
    if accepted.state == "deleting":
        return "created; it waits until the earlier database of this name is removed"
    return f"created; it adopts the data of incarnation {accepted.incarnation}"
