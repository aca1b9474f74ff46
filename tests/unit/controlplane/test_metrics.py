"""Metrics: everything is there from the start, and observers move what they should."""

from __future__ import annotations

import re

import pytest

from controlplane.controller import OUTCOMES, ControllerObserver
from controlplane.figures import DatabaseFigures
from controlplane.metrics import DATABASE_FAMILIES, Metrics
from controlplane.ownership import CHANGES, OwnershipObserver
from controlplane.queue import QueueObserver, QueueStats

QUEUES, CONTROLLERS = ("database", "instance"), ("database", "instance")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("0.1.0", queues=QUEUES, controllers=CONTROLLERS)


def series(metrics: Metrics) -> dict[str, float]:
    """`name{labels}` -> value, as scraped."""
    body, _ = metrics.exposition()
    lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_it_fits_every_observer(metrics: Metrics) -> None:
    queue: QueueObserver = metrics
    controller: ControllerObserver = metrics
    ownership: OwnershipObserver = metrics

    assert (queue, controller, ownership) == (metrics,) * 3


def test_every_series_is_born_at_zero(metrics: Metrics) -> None:
    found = series(metrics)
    base = {re.sub(r"(_bucket|_sum|_count)?\{.*|(_bucket|_sum|_count)$", "", name) for name in found}
    defined = {family.name for family in metrics.registry.collect()} - {name for name, _ in DATABASE_FAMILIES}

    assert {name.removesuffix("_total") for name in base} == defined
    assert {name: value for name, value in found.items() if value} == {
        'pgswarm_build_info{version="0.1.0"}': 1.0
    }
    for controller in CONTROLLERS:
        for outcome in OUTCOMES:
            assert f'pgswarm_reconciles_total{{controller="{controller}",outcome="{outcome}"}}' in found
    for queue in QUEUES:
        assert f'workqueue_depth{{name="{queue}"}}' in found
        assert f'workqueue_retries_total{{name="{queue}"}}' in found
        assert f'workqueue_unfinished_work_seconds{{name="{queue}"}}' in found
    for change in CHANGES:
        assert f'pgswarm_claim_changes_total{{change="{change}"}}' in found


def test_working_creates_no_series_that_was_not_born(metrics: Metrics) -> None:
    before = series(metrics).keys()
    for queue in QUEUES:
        metrics.queue_depth(queue, 3)
        metrics.queue_added(queue)
        metrics.queue_retried(queue)
        metrics.queue_refused(queue)
        metrics.queue_waited(queue, 0.2)
        metrics.queue_worked(queue, 0.3)
        metrics.watch_queue(queue, lambda: QueueStats(1, 2, 3, 4, 5.0, 6.0, 7.0))
    for controller in CONTROLLERS:
        for outcome in OUTCOMES:
            metrics.pass_started(controller)
            metrics.pass_ended(controller, outcome, 0.1, 2)
    for change in CHANGES:
        metrics.claim_changed(change)
    metrics.claims_held(4)
    metrics.watch_mirror(lambda: 8.0, lambda: 9)
    metrics.watch_lease(lambda: True)
    after = series(metrics)

    assert after.keys() == before
    assert [name for name, value in after.items() if not value and "_bucket" not in name] == [
        'pgswarm_reconciles_running{controller="database"}',
        'pgswarm_reconciles_running{controller="instance"}',
    ]


def test_what_is_watched_is_read_when_it_is_scraped(metrics: Metrics) -> None:
    stale_s = [1.0]
    metrics.watch_mirror(lambda: stale_s[0], lambda: 0)
    stale_s[0] = 42.0

    assert series(metrics)["pgswarm_mirror_stale_seconds"] == 42.0


def test_an_outcome_outside_the_closed_set_is_a_bug(metrics: Metrics) -> None:
    metrics.pass_started("database")

    with pytest.raises(AssertionError):
        metrics.pass_ended("database", "surprise", 0.1, 0)


def test_series_of_a_database_that_is_gone_disappear(metrics: Metrics) -> None:
    figures = [DatabaseFigures("orders", True, 100.0, 0.0), DatabaseFigures("shop", False, 0.0, 7.0)]
    metrics.watch_databases(lambda: figures)
    both = series(metrics)
    del figures[1]

    assert both['pgswarm_database_ready{database="orders"}'] == 1.0
    assert both['pgswarm_database_last_success_timestamp_seconds{database="orders"}'] == 100.0
    assert both['pgswarm_database_oldest_pending_seconds{database="shop"}'] == 7.0
    assert {name for name in series(metrics) if "shop" in name} == set()


def test_a_database_that_is_neither_ready_nor_not_has_no_such_series(metrics: Metrics) -> None:
    metrics.watch_databases(lambda: [DatabaseFigures("orders", None, 100.0, 0.0, paused=True)])
    found = {name: value for name, value in series(metrics).items() if "orders" in name}

    assert found == {
        'pgswarm_database_paused{database="orders"}': 1.0,
        'pgswarm_database_last_success_timestamp_seconds{database="orders"}': 100.0,
        'pgswarm_database_oldest_pending_seconds{database="orders"}': 0.0,
    }


def test_the_accept_header_chooses_the_format(metrics: Metrics) -> None:
    _, plain = metrics.exposition("text/plain")
    body, modern = metrics.exposition("application/openmetrics-text; version=1.0.0")

    assert plain.startswith("text/plain")
    assert modern.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
