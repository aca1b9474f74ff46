"""Lines to a terminal or a pipe. The only rich; imported when there is something to colour."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TextIO

from controlplane.layout import Line, plain_text

STYLES: Mapping[str, str] = MappingProxyType(
    {
        "ok": "green",
        "warn": "yellow",
        "bad": "bold red",
        "dim": "dim",
        "name": "bold cyan",
        "head": "bold",
        "": "",
    }
)


def show(lines: Sequence[Line], out: TextIO) -> None:
    """Coloured on a terminal (unless NO_COLOR is set), plain elsewhere."""
    if not out.isatty() or os.environ.get("NO_COLOR"):
        out.write(plain_text(lines))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=out, highlight=False, soft_wrap=True)
    for line in lines:
        console.print(Text.assemble(*((part.text, STYLES[part.style]) for part in line)))
