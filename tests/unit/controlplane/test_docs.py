"""The reference pages say what the code does, and name nothing that it does not have."""

from __future__ import annotations

import re

import click
import pytest

from controlplane import cli
from controlplane.metrics import Metrics
from controlplane.settings import Config, flag_name, variable_name
from tests import reference

TEXTS = {page: (reference.DOCS / page).read_text() for page in reference.PAGES}


@pytest.mark.parametrize("page", reference.PAGES)
def test_the_generated_part_is_fresh(page: str) -> None:
    """Red: run `python -m tests.reference` and look at the diff."""
    assert reference.BEGIN in TEXTS[page]
    assert reference.fresh(page) == TEXTS[page]


def test_every_variable_is_in_the_pages_and_no_other() -> None:
    known = {variable_name(attribute) for attribute in Config.model_fields} | {
        "PGSWARM_CONFIG",
        "PGSWARM_API",
    }
    named = set(re.findall(r"PGSWARM_[A-Z_]+", "".join(TEXTS.values())))

    assert named - {"PGSWARM_ETCD_PASSWORD"} == known


def test_every_flag_is_in_the_pages_and_no_other() -> None:
    parent = click.Context(cli.main, **cli.main.context_settings)
    known = {flag_name(attribute) for attribute in Config.model_fields} | {"--help"}
    for name in cli.COMMANDS:
        command = cli.main.get_command(parent, name)
        assert command is not None
        known |= {flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "".join(TEXTS.values())))

    assert named == known


def test_every_metric_is_on_its_page_and_no_other() -> None:
    families = Metrics("0", queues=["q"], controllers=["c"]).registry.collect()
    known = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    named = set(re.findall(r"\b(?:pgswarm|workqueue)_[a-z_]+", TEXTS["metrics.md"]))

    assert named == known
