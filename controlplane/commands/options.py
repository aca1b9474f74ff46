"""Flags that commands share, made from the settings: one option a setting, named as in docs/configuration.md."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
from pydantic_core import PydanticCustomError

from controlplane.commands.outcome import translated
from controlplane.commands.session import World
from controlplane.config import Config, from_process, strangers
from controlplane.settings import CLIENT_SETTINGS, base_name, flag_name, variable_name
from crds.names import check_object_name

F = TypeVar("F", bound=Callable[..., Any])


class ApiUrl(click.ParamType[str]):
    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            url = urlsplit(value)
            usable = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
        except ValueError:
            usable = False
        if value and not usable:
            self.fail(f"{value!a} is not a URL; write it like http://127.0.0.1:7432", param, ctx)
        return str(value)


class DatabaseName(click.ParamType[str]):
    """`orders`, or `database/orders` as `pgswarm apply` prints it."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return check_object_name(str(value).removeprefix("database/"))
        except PydanticCustomError as exc:
            self.fail(exc.message(), param, ctx)


database_argument = click.argument("name", type=DatabaseName())
api_option = click.option(
    "--api",
    type=ApiUrl(),
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
    """
    Take the settings out of a command's keyword arguments and make a Config; warn of misspelt variables.

    Raises:
        Failure: a setting cannot be used.
    """
    for name in strangers(os.environ):
        click.echo(f"pgswarm: warning: {name} is not a setting and is ignored", err=True)
    flags = {attribute: given.pop(base_name(attribute), None) for attribute in Config.model_fields}
    with translated():
        return from_process(given.pop("config_file", None), flags)


def world(context: click.Context) -> World:
    found = context.find_object(World)
    return found if found is not None else World()
