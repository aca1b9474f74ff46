"""pgswarm get"""

from __future__ import annotations

import sys
from typing import Any

import click

from controlplane import render
from controlplane.api.schemas import HostList
from controlplane.commands.options import api_option, client_settings, output_option, read, world
from controlplane.commands.outcome import not_found, translated
from controlplane.commands.output import as_text
from controlplane.commands.patience import patient
from controlplane.terminal import show


@click.command()
@click.argument("name", required=False)
@click.option("--hosts", is_flag=True, help="Hosts instead of databases.")
@output_option
@api_option
@client_settings
@click.pass_context
def command(
    context: click.Context, /, name: str | None, hosts: bool, output: str, api: str | None, **given: Any
) -> None:
    """List databases (or hosts), or show one.

    \b
    pgswarm get
    pgswarm get orders -o yaml
    pgswarm get --hosts
    """
    config, outside = read(given), world(context)
    name = name.removeprefix("host/" if hosts else "database/") if name is not None else None

    async def fetch() -> Any:
        async with outside.source(config, api) as source:
            if hosts:
                return await source.hosts()
            return await source.databases() if name is None else await source.database(name)

    async def work() -> Any:
        return await patient(fetch(), config.etcd_endpoints if api is None else (api,))

    with translated(() if api else config.etcd_endpoints):
        found = outside.run(work())
    if hosts and name is not None:
        found = next((item for item in found.items if item.metadata.name == name), None)
    if found is None:
        raise not_found("host" if hosts else "database", str(name))
    if output != "table":
        click.echo(as_text(found, output), nl=False)
        return
    items = found.items if hasattr(found, "items") else (found,)
    if not items:
        click.echo("no hosts" if hosts else "no databases; write one with `pgswarm apply -f FILE`", err=True)
        return
    is_hosts = hosts or isinstance(found, HostList)
    show(render.host_table(items) if is_hosts else render.database_table(items), sys.stdout)
