"""The image catalogue: which image runs which Postgres. The data is `catalogue.yaml`, or a file like it."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Annotated

from pydantic import AfterValidator

from crds.meta import Model
from crds.names import Image
from crds.problems import SpecProblem, SpecRefused, refuse
from crds.text import read_model


def _check_catalogue_version(value: str) -> str:
    if re.fullmatch(r"[1-9][0-9](\.[0-9]{1,2})?", value, re.ASCII) is None:
        raise refuse(f"{value[:32]!a} is not a version", 'write "17" or "17.4", in quotes')
    return value


CatalogueVersion = Annotated[str, AfterValidator(_check_catalogue_version)]


class Catalogue(Model):
    flavours: dict[str, dict[CatalogueVersion, Image]]


class NoImage(SpecRefused):
    """The catalogue has no image for what was asked; the problem lists what it has."""

    def __init__(self, field: str, message: str, known: str) -> None:
        path = f"spec.postgres.{field}"
        fix = f"the catalogue has {known or 'nothing'}; or give spec.postgres.image"
        super().__init__([SpecProblem(0, 0, path, message, fix)])


def resolve(version: str, flavour: str, catalogue: Catalogue) -> str:
    """
    Return the image for `version` (major, or major.minor).

    An exact entry wins; a major alone then means its newest minor. A minor is never answered by an entry for
    the whole major, because nobody knows which minor that image holds.

    Raises:
        NoImage: Nothing matches.
    """
    images = catalogue.flavours.get(flavour)
    if images is None:
        raise NoImage("flavour", f"there is no flavour {flavour}", ", ".join(sorted(catalogue.flavours)))
    if version in images:
        return images[version]
    minors = [known for known in images if known.partition(".")[0] == version]
    if minors:
        return images[max(minors, key=_order)]
    known = ", ".join(sorted(images, key=_order))
    raise NoImage("version", f"flavour {flavour} has no image for Postgres {version}", known)


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def parse(text: bytes) -> Catalogue:
    """Read a catalogue file. Raises SpecRefused."""
    return read_model(text, Catalogue)


@cache
def builtin() -> Catalogue:
    """The catalogue that pgswarm comes with."""
    return parse(files("crds").joinpath("catalogue.yaml").read_bytes())
