"""The image catalogue: an exact answer or a list of what there is."""

from __future__ import annotations

import pytest

from crds.catalogue import Catalogue, NoImage, builtin, parse, resolve
from crds.problems import SpecRefused

CATALOGUE = Catalogue(
    flavours={"a": {"16": "x/pg:16"}, "b": {"17.9": "x/pg:17.9", "17.10": "x/pg:17.10"}, "c": {}}
)


@pytest.mark.parametrize(
    ("version", "flavour", "image"),
    [
        pytest.param("16", "a", "x/pg:16", id="the major is listed"),
        pytest.param("17.9", "b", "x/pg:17.9", id="the minor is listed"),
        pytest.param("17", "b", "x/pg:17.10", id="a major means its newest minor, counted as numbers"),
    ],
)
def test_an_image_is_found(version: str, flavour: str, image: str) -> None:
    assert resolve(version, flavour, CATALOGUE) == image


@pytest.mark.parametrize(
    ("version", "flavour", "sentence"),
    [
        pytest.param("17", "z", "no flavour z; the catalogue has a, b, c", id="unknown flavour"),
        pytest.param(
            "18", "b", "no image for Postgres 18; the catalogue has 17.9, 17.10", id="unknown major"
        ),
        pytest.param(
            "16.4",
            "a",
            "no image for Postgres 16.4; the catalogue has 16",
            id="nobody knows the major's minor",
        ),
        pytest.param("16", "c", "the catalogue has nothing", id="empty flavour"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(version: str, flavour: str, sentence: str) -> None:
    with pytest.raises(NoImage, match=sentence):
        resolve(version, flavour, CATALOGUE)


@pytest.mark.parametrize("major", ["15", "17", "18"])
def test_pgswarms_own_images_are_listed(major: str) -> None:
    assert resolve(major, "pgswarm", builtin()) == f"pgswarm/postgres:{major}"


@pytest.mark.parametrize("major", ["16", "17", "18"])
def test_spock_images_are_listed(major: str) -> None:
    assert f":{major}." in resolve(major, "spock", builtin())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"flavours: [a]",
        b"flavours: {a: {17: 'x y'}}",
        b"flavours: {a: {x: b}}",
        b"flavors: {}",
        b"flavours: {a: {'17': 17}}",
    ],
)
def test_a_broken_catalogue_is_refused(text: bytes) -> None:
    with pytest.raises(SpecRefused):
        parse(text)


def test_an_own_catalogue_is_read() -> None:
    assert resolve("17", "pgswarm", parse(b"flavours: {pgswarm: {'17': my/postgres:17}}")) == "my/postgres:17"
