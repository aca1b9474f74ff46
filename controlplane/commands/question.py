"""Asking a person before something that cannot be taken back."""

from __future__ import annotations

import sys

import click

from controlplane.commands.outcome import Failure

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def ask(question: str, *, meant: str) -> None:
    """
    Go on only if somebody says yes.

    Args:
        meant: What `--yes` would say, for where nobody can be asked.

    Raises:
        Failure: stdin is no terminal.
        click.Abort: the answer is no.
    """
    if not sys.stdin.isatty():
        raise Failure(f"nobody can be asked here; give --yes if {meant}")
    click.confirm(question, abort=True, err=True)
