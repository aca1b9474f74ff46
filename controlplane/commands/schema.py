"""pgswarm schema [KIND]"""

from __future__ import annotations

import click

from controlplane.commands.outcome import NOT_FOUND, Failure


@click.command()
@click.argument("kind", required=False)
def command(kind: str | None) -> None:
    """Print the JSON Schema of a kind.

    Without KIND the kinds are listed. Editors check YAML against a schema while it is written.
    """
    from crds.schema import as_text, schemas

    known = schemas()
    if kind is None:
        click.echo("\n".join(known))
        return
    found = next((schema for name, schema in known.items() if name.lower() == kind.lower()), None)
    if found is None:
        raise Failure(f"there is no kind {kind}; there are {', '.join(known)}", NOT_FOUND)
    click.echo(as_text(found), nl=False)
