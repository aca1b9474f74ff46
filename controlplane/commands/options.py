"""Flags that commands share, made from the settings: one option a setting, named as in docs/configuration.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from controlplane.commands.outcome import translated
from controlplane.commands.session import World
from controlplane.config import Config, from_process
from controlplane.settings import CLIENT_SETTINGS, base_name, flag_name, variable_name

F = TypeVar("F", bound=Callable[..., Any])

api_option = click.option(
    "--api",
    metavar="URL",
    envvar="PGSWARM_API",
    help="Ask the API of a pgswarm process instead of etcd, e.g. http://127.0.0.1:7432.",
)
output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="Form of the answer; json and yaml are for programs.",
)


def settings(attributes: Iterable[str]) -> Callable[[F], F]:
    """Add --config and a flag for each setting; the command gets them as keyword arguments for `read`."""
    names = tuple(attributes)

    def decorate(command: F) -> F:
        for attribute in reversed(names):
            field = Config.model_fields[attribute]
            is_switch = field.annotation is bool
            command = click.option(
                flag_name(attribute),
                base_name(attribute),
                # A switch given as a flag is text like every other layer's value.
                **({"flag_value": "true", "default": None} if is_switch else {"metavar": "TEXT"}),
                help=f"{field.description} [{variable_name(attribute)}]",
            )(command)
        return click.option(
            "--config", "config_file", metavar="FILE", help="Settings file. [PGSWARM_CONFIG]"
        )(command)

    return decorate


client_settings = settings(CLIENT_SETTINGS)


def read(given: dict[str, Any]) -> Config:
    """Take the settings out of a command's keyword arguments and make a Config. Raises: Failure."""
    flags = {attribute: given.pop(base_name(attribute), None) for attribute in Config.model_fields}
    with translated():
        return from_process(given.pop("config_file", None), flags)


def world(context: click.Context) -> World:
    found = context.find_object(World)
    return found if found is not None else World()


FilePath = click.Path(path_type=Path)
