"""One lab for the whole run. With PGSWARM_LAB=attach the lab that is up is used and left up."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from clustertest.cluster import Cluster, database
from clustertest.lab import Lab


def pytest_configure(config: pytest.Config) -> None:
    # What the lab starts outlives the objects that started it, on purpose.
    for warning in ("ResourceWarning", "pytest.PytestUnraisableExceptionWarning"):
        config.addinivalue_line("filterwarnings", f"ignore::{warning}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The first to ask for a database waits for it; the promises themselves have deadlines of their own.
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(420))
    # A module with a lab of its own comes first: it has taken it down when the others ask for theirs.
    items.sort(key=lambda item: not getattr(getattr(item, "module", None), "OWN_LAB", False))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    # The lab is gone when somebody reads what failed, and it may have been a daemon that died.
    report = (yield).get_result()
    found = getattr(item, "funcargs", {}).get("cluster")
    if report.when == "call" and report.failed and isinstance(found, Cluster):
        report.sections.append(("the lab, when it failed", found.evidence()))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if os.geteuid() != 0:
        pytest.fail("the lab makes network namespaces: run the cluster tests as root")
    if os.environ.get("PGSWARM_LAB") == "attach":
        yield Cluster(Lab.attach())
        return
    with Lab.up(hosts=3) as lab:
        yield Cluster(lab)


@pytest.fixture(scope="session")
def orders(cluster: Cluster) -> str:
    """A database with three instances that the tests share; each leaves it Ready."""
    cluster.apply(
        database(
            "orders", cluster.hosts, port=6432, roles=[{"name": "app", "login": True}, {"name": "auditor"}]
        )
    )
    cluster.ready("orders")
    return "orders"


@pytest.fixture(scope="session")
def solo(cluster: Cluster) -> str:
    """A database with one instance."""
    cluster.apply(database("solo", [cluster.hosts[1]], port=6433))
    cluster.ready("solo")
    return "solo"


@pytest.fixture(autouse=True)
def whole_again(cluster: Cluster) -> Iterator[None]:
    """Whatever a test broke on the lab is repaired before the next one."""
    yield
    cluster.mend()
