"""Texts with one or more specs to documents, each with the line it begins on. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from crds import text
from crds.database import Database
from crds.host import Host
from crds.meta import Key
from crds.problems import SpecProblem, SpecRefused

# YAML gives a line that begins so no other meaning than this, in a block of text neither.
_SEPARATOR = re.compile(rb"^---(?=\s|$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One valid spec as its author wrote it."""

    source: str
    key: Key
    text: bytes
    value: Database | Host
    line: int = 1
    """Of the file, where the document begins."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One problem with its place in the file, not in the document."""

    source: str
    problem: SpecProblem

    def __str__(self) -> str:
        found = self.problem
        place = f"{self.source}:{found.line}:{found.column}" if found.line else self.source
        words = ": ".join(part for part in (place, found.path, found.message) if part)
        return f"{words}\n    fix: {found.fix}" if found.fix else words


def split(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (lines before it, document) for each document that says anything."""
    starts = [0, *(match.start() for match in _SEPARATOR.finditer(raw))]
    for start, end in zip(starts, [*starts[1:], len(raw)], strict=True):
        document = raw[start:end]
        head = _SEPARATOR.match(document)
        body = document[head.end() :] if head else document
        if any(line.strip() and not line.lstrip().startswith(b"#") for line in body.splitlines()):
            skipped = raw[: start + (head.end() if head else 0)]
            # What stands before the separator's end keeps its lines and columns.
            yield skipped.count(b"\n"), body


def read(source: str, raw: bytes) -> tuple[list[Manifest], list[Mistake]]:
    """Check every document of one file."""
    manifests: list[Manifest] = []
    mistakes: list[Mistake] = []
    for before, body in split(raw):
        try:
            value = text.load_any(body)
        except SpecRefused as exc:
            mistakes += [Mistake(source, _moved(problem, before, body)) for problem in exc.problems]
            continue
        key = Key(value.kind.lower(), value.metadata.name)
        text_ = body.lstrip(b"\n") if before else body
        manifests.append(Manifest(source, key, text_, value, _begins(before, body)))
    return manifests, mistakes


def twice(manifests: list[Manifest]) -> list[Mistake]:
    """The same object in two documents: which of them is meant?"""
    seen: dict[Key, Manifest] = {}
    found = []
    for manifest in manifests:
        first = seen.setdefault(manifest.key, manifest)
        if first is not manifest:
            message = f"{manifest.key} is also at {first.source}:{first.line}"
            problem = SpecProblem(manifest.line, 1, "", message, "keep one of the two")
            found.append(Mistake(manifest.source, problem))
    return found


def _begins(before: int, body: bytes) -> int:
    """Line, from 1, of the first one that says anything."""
    blank = next((place for place, line in enumerate(body.splitlines()) if line.strip()), 0)
    return before + blank + 1


def _moved(problem: SpecProblem, before: int, body: bytes) -> SpecProblem:
    """In lines of the file; a problem of the document as a whole stands where that begins."""
    line, column = (problem.line + before, problem.column) if problem.line else (_begins(before, body), 1)
    return replace(problem, line=line, column=column)
