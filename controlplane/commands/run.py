"""pgswarm run"""

from __future__ import annotations

from typing import Any

import click

from controlplane.commands.options import read, settings
from controlplane.commands.outcome import translated
from controlplane.config import Config


@click.command()
@settings(Config.model_fields)
def command(**given: Any) -> None:
    """Run pgswarm on this host, until a signal.

    Every setting can also stand in the settings file or in the environment; a flag wins over both.
    """
    config = read(given)
    from controlplane.main import run
    from controlplane.preflight import check_files

    with translated(config.etcd_endpoints):
        check_files(config)
        code = run(config)
    raise click.exceptions.Exit(code)
