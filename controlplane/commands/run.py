"""pgswarm run"""

from __future__ import annotations

import os
from typing import Any

import click

from controlplane.commands.options import read, settings
from controlplane.commands.outcome import translated
from controlplane.config import Config, strangers


@click.command()
@settings(Config.model_fields)
def command(**given: Any) -> None:
    """Run pgswarm on this host, until a signal.

    Every setting can also stand in the settings file or in the environment; a flag wins over both.
    """
    config = read(given)
    for name in strangers(os.environ):
        click.echo(f"pgswarm: warning: {name} is not a setting and is ignored", err=True)
    from controlplane.main import run

    with translated(config.etcd_endpoints):
        code = run(config)
    raise click.exceptions.Exit(code)
