"""
The pages under docs/, made from the code: `python -m tests.reference` writes them, a test compares.

docs/reliability.md is also made from docs/reliability.json, where runs keep what they came to.

What is between the markers is generated; the words around it are written by hand and stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import click

from controlplane import cli
from controlplane.api import openapi
from controlplane.commands.outcome import EXIT_CODES
from controlplane.metrics import DATABASE_FAMILIES, Metrics
from controlplane.settings import Config, file_key, flag_name, variable_name
from tests import reliability

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- generated: python -m tests.reference -->", "<!-- end -->"


def settings() -> str:
    rows = ["| file | environment | flag | default | what it is |", "|---|---|---|---|---|"]
    for attribute, field in Config.model_fields.items():
        default = _default(attribute)
        names = f"`{file_key(attribute)}` | `{variable_name(attribute)}` | `{flag_name(attribute)}`"
        rows.append(f"| {names} | {default} | {field.description} |")
    return "\n".join(rows)


def _default(attribute: str) -> str:
    field = Config.model_fields[attribute]
    value = field.default
    if field.default_factory is not None:
        return "see there"
    if value is None:
        return "none"
    if isinstance(value, tuple):
        value = ",".join(value)
    text = (
        f"{value:g}s"
        if attribute.endswith("_s")
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
    return f"`{text}`"


def metrics() -> str:
    rows = ["| metric | type | labels | what it says |", "|---|---|---|---|"]
    made = Metrics("0", queues=["q"], controllers=["c"])
    names = {name for name, _ in DATABASE_FAMILIES}
    for family in made.registry.collect():
        label_names = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        labels = ["database"] if family.name in names else label_names
        name = family.name + ("_total" if family.type == "counter" else "")
        rows.append(f"| `{name}` | {family.type} | {', '.join(labels) or '-'} | {family.documentation} |")
    return "\n".join(rows)


def commands() -> str:
    parts = [
        "| exit code | meaning |",
        "|---|---|",
        *(f"| {code} | {words} |" for code, words in EXIT_CODES),
        "",
    ]
    parent = click.Context(cli.main, info_name="pgswarm", **cli.main.context_settings)
    for name in cli.COMMANDS:
        command = cli.main.get_command(parent, name)
        assert command is not None
        context = click.Context(
            command, info_name=name, parent=parent, terminal_width=100, max_content_width=100
        )
        parts += [f"### pgswarm {name}", "", "```", command.get_help(context), "```", ""]
    return "\n".join(parts).rstrip()


def routes() -> str:
    rows = ["| GET | answers | what it says |", "|---|---|---|"]
    for path, item in openapi.document("0")["paths"].items():
        found = item["get"]
        rows.append(f"| `{path}` | {', '.join(found['responses'])} | {found['summary']} |")
    return "\n".join(rows)


PAGES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {"configuration.md": settings, "metrics.md": metrics, "cli.md": commands, "api.md": routes}
)
"""What a user looks things up in."""
ALL: Mapping[str, Callable[[], str]] = MappingProxyType({**PAGES, "reliability.md": reliability.page})


def fresh(page: str) -> str:
    """The page with its generated part made anew."""
    text = (DOCS / page).read_text()
    made = f"{BEGIN}\n{ALL[page]()}\n{END}"
    return re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: made, text, flags=re.DOTALL)


if __name__ == "__main__":
    for each in ALL:
        (DOCS / each).write_text(fresh(each))
