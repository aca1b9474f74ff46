"""Lines of styled words, tables, quantities for people. Pure: colours get their meaning in `controlplane.terminal`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

GAP = "  "
FOLD = GAP * 4
"""What a line begins with that goes on from the one above."""


class Span(NamedTuple):
    """Words in one style: "", ok, warn, bad, dim, name or head."""

    text: str
    style: str = ""


Line = tuple[Span, ...]
Cell = Span | str


def span(cell: Cell) -> Span:
    """
    Make words fit for one line of a terminal.

    Much of what is shown was written by others (labels, errors of containers): a control or bidirectional character
    in it would move the cursor or turn words around.
    """
    text, style = (cell.text, cell.style) if isinstance(cell, Span) else (cell, "")
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    return Span(text, style)


def heading(text: str) -> Line:
    return (Span(text, "head"),)


def fields(pairs: Iterable[tuple[str, Sequence[Cell]]]) -> list[Line]:
    """`name  words`, names padded to one width."""
    rows = [(name, tuple(span(cell) for cell in cells)) for name, cells in pairs]
    width = max((len(name) for name, _ in rows), default=0)
    return [(Span(f"{GAP}{name.ljust(width)}{GAP}", "dim"), *cells) for name, cells in rows]


def table(titles: Sequence[str], rows: Iterable[Sequence[Cell]], *, indent: str = GAP) -> list[Line]:
    """Columns as wide as their widest cell; nothing is cut, and no line ends in spaces."""
    cells = [[span(cell) for cell in row] for row in rows]
    head = [Span(title, "dim") for title in titles]
    widths = [max(len(row[place].text) for row in [head, *cells]) for place in range(len(titles))]
    return [_row(row, widths, indent) for row in [head, *cells]]


def _row(row: Sequence[Span], widths: Sequence[int], indent: str) -> Line:
    last = max((place for place, cell in enumerate(row) if cell.text), default=0)
    padded = [
        Span(cell.text if place == last else cell.text.ljust(widths[place]) + GAP, cell.style)
        for place, cell in enumerate(row[: last + 1])
    ]
    return (Span(indent), *padded)


def plain_text(lines: Iterable[Line]) -> str:
    return "".join("".join(part.text for part in line).rstrip() + "\n" for line in lines)


def folded(line: Line, width: int) -> list[Line]:
    """
    The line as lines of at most `width`, broken between its parts; nothing is cut.

    The columns of a table have one width each, so its rows are broken where its titles are. A part that would not fit
    into a line of its own stays where it is, for the terminal to wrap: something to be pasted must stay whole.
    """
    rows: list[list[Span]] = [[]]
    used = 0
    for part in line:
        length = len(part.text.removesuffix(GAP))
        if used + length > width and len(FOLD) + length <= width and len(rows[-1]) > 1:
            rows.append([Span(FOLD)])
            used = len(FOLD)
        rows[-1].append(part)
        used += len(part.text)
    # The padding of a last column would itself wrap.
    return [(*row[:-1], row[-1]._replace(text=row[-1].text.rstrip())) if row else () for row in rows]


def human_bytes(count: int | None) -> str:
    """`0 B`, `16.0 MiB`; "?" for unknown."""
    if count is None:
        return "?"
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while abs(size) >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{count} B" if units[0] == "B" else f"{size:.1f} {units[0]}"


def human_age(seconds: float) -> str:
    """The two largest units: `42s`, `3m12s`, `5h02m`, `12d04h`."""
    whole = max(0, int(seconds))
    for size, unit, smaller, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // smaller:02d}{small}"
    return f"{whole}s"
