"""pgswarm credentials"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from controlplane import render
from controlplane.api.schemas import DatabaseView
from controlplane.commands.options import client_settings, database_argument, read, world
from controlplane.commands.outcome import NOT_READY, Failure, not_found, translated
from controlplane.commands.patience import patient
from controlplane.commands.session import EtcdSource, Session
from controlplane.config import Config
from crds.meta import Key
from reconcilers import paths
from reconcilers.ports import Record


@click.command()
@database_argument
@click.option("--role", required=True, help="Role inside the database, as in its spec.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["password", "uri"]),
    default="password",
    show_default=True,
    help="The password alone, or a connection URI with it.",
)
@client_settings
@click.pass_context
def command(context: click.Context, /, name: str, role: str, output: str, **given: Any) -> None:
    """Print the password or URI of a role.

    Needs the key file that pgswarm's hosts share. This is the only command that prints a secret.

    \b
    PGPASSWORD="$(pgswarm credentials orders --role app)" psql ...
    """
    config, outside = read(given), world(context)

    async def look() -> tuple[DatabaseView, Record]:
        async with outside.session(config) as session:
            return await patient(_look(session, name, role), config.etcd_endpoints)

    with translated(config.etcd_endpoints):
        view, sealed = outside.run(look())
        password = _open(config, sealed)
    click.echo(password if output == "password" else _uri(view, role, password))


async def _look(session: Session, name: str, role: str) -> tuple[DatabaseView, Record]:
    view = await EtcdSource(session).database(name)
    if view is None:
        raise not_found("database", name)
    path = _path(view, role)
    record = await session.store.read(path)
    if record is None:
        raise Failure(
            f"role {role} of {name} has no password yet; `pgswarm status {name}` says why", NOT_READY
        )
    return view, record


def _path(view: DatabaseView, role: str) -> str:
    """Where the role's password lies. Raises: Failure when pgswarm does not have it."""
    name = view.metadata.name
    if view.spec is None:
        raise Failure(f"no spec of {name} was accepted yet; `pgswarm status {name}` says why", NOT_READY)
    roles = view.spec.get("roles", ())
    found = next((one for one in roles if one["name"] == role), None)
    if found is None:
        known = ", ".join(one["name"] for one in roles if one.get("login")) or "none"
        raise Failure(f"database {name} has no role {role}; roles that may log in: {known}")
    if found.get("scram"):
        raise Failure(f"role {role} was given as a verifier, so pgswarm does not know its password")
    if not found.get("login"):
        raise Failure(f"role {role} may not log in and has no password")
    if found.get("secretRef"):
        return paths.secret(Key("shared", found["secretRef"]["name"]), found["secretRef"]["key"])
    return paths.secret(Key("database", name), f"role-{role}")


def _open(config: Config, sealed: Record) -> str:
    from controlplane.stores.keyfile import load_kek
    from controlplane.stores.vault import AesVault

    return AesVault(load_kek(config.key_file)).open(sealed.path, sealed.value).reveal()


def _uri(view: DatabaseView, role: str, password: str) -> str:
    target = render.connection(view, role)
    if target is None:
        raise Failure(f"database {view.metadata.name} publishes no port; set spec.port", NOT_READY)
    name, hosts, database = target
    where = ",".join(f"{host}:{port}" for host, port in hosts)
    return (
        f"postgresql://{name}:{quote(password, safe='')}@{where}/{database}?target_session_attrs=read-write"
    )
