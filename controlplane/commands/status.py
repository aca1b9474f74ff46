"""pgswarm status"""

from __future__ import annotations

import sys
from typing import Any

import click

from controlplane import render
from controlplane.api.schemas import DatabaseView
from controlplane.commands.options import (
    api_option,
    client_settings,
    database_argument,
    output_option,
    read,
    world,
)
from controlplane.commands.outcome import NOT_READY, not_found, translated
from controlplane.commands.output import as_text
from controlplane.commands.patience import patient
from controlplane.terminal import show


@click.command()
@database_argument
@click.option("--check", is_flag=True, help="Exit 4 when the database is not Ready, for scripts.")
@output_option
@api_option
@client_settings
@click.pass_context
def command(
    context: click.Context, /, name: str, check: bool, output: str, api: str | None, **given: Any
) -> None:
    """Show everything about one database.

    What is there, what is Ready and since when, what will change next and what it waits for, and how to connect.
    """
    config, outside = read(given), world(context)

    async def fetch() -> DatabaseView | None:
        async with outside.source(config, api) as source:
            return await source.database(name)

    async def work() -> DatabaseView | None:
        return await patient(fetch(), config.etcd_endpoints if api is None else (api,))

    with translated(() if api else config.etcd_endpoints):
        view = outside.run(work())
    if view is None:
        raise not_found("database", name)
    if output == "table":
        show(render.status(view, outside.clock.epoch_s()), sys.stdout)
    else:
        click.echo(as_text(view, output), nl=False)
    if check and render.why_not(view):
        raise click.exceptions.Exit(NOT_READY)
