"""What a spec's text may make happen while it is read: nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from crds.problems import SpecRefused
from crds.text import load


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir"])
def test_a_spec_that_calls_a_function_calls_none(tmp_path: Path, tag: str) -> None:
    made = tmp_path / "made"
    text = f"apiVersion: pgswarm.dev/v1\nkind: Database\nspec: {tag} ['{made}']\n"

    with pytest.raises(SpecRefused):
        load(text.encode(), "Database", "orders")
    assert not made.exists()
