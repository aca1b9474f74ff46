"""pgswarm secret"""

from __future__ import annotations

import sys
from typing import Any

import click
from pydantic_core import PydanticCustomError

from controlplane.commands.options import client_settings, read, world
from controlplane.commands.outcome import Failure, translated
from controlplane.commands.patience import patient
from controlplane.config import Config
from crds.meta import Key
from crds.names import check_object_name, check_secret_key
from reconcilers import paths
from reconcilers.ports import Put, Secret

LENGTH_MAX = 1024


@click.command()
@click.argument("name")
@click.option("--key", default="password", show_default=True, help="Which of the secret's values.")
@client_settings
@click.pass_context
def command(context: click.Context, /, name: str, key: str, **given: Any) -> None:
    """Store a password of your own, for a role's secretRef.

    It is read from standard input (asked for on a terminal), sealed with the key file that pgswarm's hosts share,
    and written into etcd. Writing it again replaces it, and every role that refers to it gets the new one.

    \b
    pgswarm secret shop-app < password.txt
    """
    for check, part in ((check_object_name, name), (check_secret_key, key)):
        try:
            check(part)
        except PydanticCustomError as exc:
            raise Failure(exc.message()) from exc
    config, outside = read(given), world(context)
    path = paths.secret(Key("shared", name), key)
    secret = _ask()
    with translated():
        sealed = _seal(config, path, secret)

    async def write() -> None:
        async with outside.session(config) as session:
            await patient(session.store.commit([Put(path, sealed)]), config.etcd_endpoints)

    with translated(config.etcd_endpoints):
        outside.run(write())
    click.echo(f"secret/{name} stored")


def _ask() -> Secret:
    if sys.stdin.isatty():
        text = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        text = sys.stdin.read(LENGTH_MAX + 2).removesuffix("\n")
    if not text or len(text) > LENGTH_MAX or not text.isprintable():
        raise Failure(f"a password is one line of 1 to {LENGTH_MAX} printable characters")
    return Secret(text)


def _seal(config: Config, path: str, secret: Secret) -> bytes:
    from controlplane.stores.keyfile import load_kek
    from controlplane.stores.vault import AesVault

    return AesVault(load_kek(config.key_file)).seal(path, secret)
