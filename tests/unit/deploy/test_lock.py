"""The lock files hold what pyproject.toml asks for, agree with each other, and name no place to fetch from."""

from __future__ import annotations

import re

import pytest

from deploy.lock import BUILD, DEV, REPO, RUNTIME, wanted

NAMES = (RUNTIME, BUILD, DEV)


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([a-z0-9][a-z0-9._-]*)==(\S+) \\$", (REPO / name).read_text()))


@pytest.mark.parametrize("name", NAMES)
def test_every_requirement_is_locked(name: str) -> None:
    asked = {re.split(r"[\[<>=!~ ]", one)[0].lower().replace("_", "-") for one in wanted()[name]}

    assert asked - pins(name).keys() == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_pin_has_hashes(name: str) -> None:
    blocks = re.split(r"(?m)^(?=[a-z0-9])", (REPO / name).read_text())[1:]

    assert blocks
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("name", [RUNTIME, BUILD])
def test_what_is_tested_is_what_is_shipped(name: str) -> None:
    tested = pins(DEV)

    assert {package: tested.get(package) for package in pins(name)} == pins(name)


@pytest.mark.parametrize("name", NAMES)
def test_no_lock_names_a_place(name: str) -> None:
    assert re.findall(r"https?:|--index|--find-links|--trusted|file:|/", (REPO / name).read_text()) == []
