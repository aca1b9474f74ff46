"""
The `pgswarm` command. This file knows names and one-line helps; a command's code is loaded when it is called,
so that `pgswarm version` in a health check costs next to nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType

import click

from controlplane.commands.outcome import EXIT_CODES

COMMANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "run": ("run", "Run pgswarm on this host, until a signal."),
        "apply": ("apply", "Write specs into etcd, after checking them."),
        "get": ("get", "List databases (or hosts), or show one."),
        "status": ("status", "Show everything about one database."),
        "wait": ("wait", "Wait until a database is as asked."),
        "delete": ("delete", "Remove a database's spec."),
        "confirm-deletion": ("confirm", "Confirm a deletion that pgswarm has stopped."),
        "resume": ("resume", "Let pgswarm go on with a database after etcd was restored."),
        "credentials": ("credentials", "Print the password or URI of a role."),
        "secret": ("secret", "Store a password of your own, for a role's secretRef."),
        "schema": ("schema", "Print the JSON Schema of a kind."),
        "version": ("version", "Print the version."),
    }
)
"""Name -> (module below `controlplane.commands`, one-line help)."""

EPILOG = "Exit codes: " + "; ".join(f"{code} {words}" for code, words in EXIT_CODES) + "."


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"controlplane.commands.{COMMANDS[cmd_name][0]}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Postgres on Docker Swarm, declared in etcd and kept as declared."""


if __name__ == "__main__":
    main()
