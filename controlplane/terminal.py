"""Lines to a terminal or a pipe. The only rich; imported when there is something to colour."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TextIO

from controlplane.layout import Line, folded, plain_text

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
    """Folded to its width and coloured (unless NO_COLOR is set) on a terminal, plain and whole elsewhere."""
    if not out.isatty():
        out.write(plain_text(lines))
        return
    width = shutil.get_terminal_size().columns
    rows = [row for line in lines for row in folded(line, width)]
    if os.environ.get("NO_COLOR"):
        out.write(plain_text(rows))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=out, highlight=False, soft_wrap=True)
    for row in rows:
        console.print(Text.assemble(*((part.text, STYLES[part.style]) for part in row)))
