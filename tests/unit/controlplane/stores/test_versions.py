from __future__ import annotations

import pytest

from controlplane.stores.versions import progress_is_true, weakness_of


@pytest.mark.parametrize("version", ["3.5.33", "3.5.40", "3.6.14", "3.7.1", "3.8.0", "4.0.0", "3.6.14-rc.0"])
def test_an_etcd_with_the_fixes_is_not_complained_about(version: str) -> None:
    assert weakness_of(version) == ""


@pytest.mark.parametrize("version", ["3.4.23", "3.4.99", "3.5.16", "3.5.32", "3.6.1", "3.6.13", "3.7.0"])
def test_an_etcd_without_them_is_and_the_message_says_what_to_use(version: str) -> None:
    weakness = weakness_of(version)
    assert version in weakness
    assert "3.5.33, 3.6.14, 3.7.1" in weakness


@pytest.mark.parametrize(
    ("version", "true"),
    [("3.4.23", False), ("3.4.25", True), ("3.5.7", False), ("3.5.8", True), ("3.6.0", True), ("", False)],
)
def test_progress_is_believed_from_the_release_on_that_tells_the_truth(version: str, true: bool) -> None:
    assert progress_is_true(version) == true


@pytest.mark.parametrize("version", ["", "latest", "3.6"])
def test_an_etcd_that_says_nothing_sensible_is_not_trusted(version: str) -> None:
    assert "no known version" in weakness_of(version)
