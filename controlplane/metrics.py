"""
Every metric of pgswarm, in one file. Label sets are closed, and every series is born at zero, so that rate() sees
the first failure. The names of the work queue's are the ones that operators' dashboards know.

`Metrics` fits the observer Protocols of queue, controller and ownership; what is only known when somebody asks
(lease, mirror, databases) is read through callbacks at scrape time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from controlplane.controller import OUTCOMES
from controlplane.figures import DatabaseFigures
from controlplane.ownership import CHANGES
from controlplane.queue import QueueStats

QUEUE_BUCKETS_S = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300)
PASS_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

# A second series per counter that says when the process began: the scraper knows.
disable_created_metrics()  # type: ignore[no-untyped-call]

DATABASE_FAMILIES = (
    (
        "pgswarm_database_ready",
        "1 when the database is Ready; no series when it is retained, or paused and nothing is amiss.",
    ),
    ("pgswarm_database_paused", "1 while spec.paused keeps pgswarm from touching the database."),
    (
        "pgswarm_database_last_success_timestamp_seconds",
        "When a pass over the database last ended well, seconds since 1970; 0: never.",
    ),
    (
        "pgswarm_database_oldest_pending_seconds",
        "Seconds for which what is specified has been refused or not in force; 0: it is in force, or paused.",
    ),
)

Series = tuple[Gauge | Counter | Histogram, ...]


class Metrics:
    """All series of one process, in a registry of its own."""

    def __init__(self, version: str, *, queues: Iterable[str], controllers: Iterable[str]) -> None:
        """
        Args:
            queues: Names of the work queues; the `name` label.
            controllers: Names of the controllers; the `controller` label.
        """
        self.registry = CollectorRegistry()
        self._queue_metrics()
        self._controller_metrics()
        self._process_metrics(version)
        self._databases = _Databases()
        self.registry.register(self._databases)
        self._preset(tuple(queues), tuple(controllers))

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Everything as text in the format that `accept` asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    # --- what is read at scrape time ---

    def watch_queue(self, name: str, stats: Callable[[], QueueStats]) -> None:
        self._unfinished.labels(name).set_function(lambda: stats().unfinished_s)
        self._longest.labels(name).set_function(lambda: stats().longest_s)
        self._oldest.labels(name).set_function(lambda: stats().oldest_s)

    def watch_mirror(self, stale_s: Callable[[], float], records: Callable[[], int]) -> None:
        self._mirror_stale.set_function(stale_s)
        self._mirror_records.set_function(lambda: float(records()))

    def watch_lease(self, valid: Callable[[], bool]) -> None:
        self._lease_valid.set_function(lambda: float(valid()))

    def watch_databases(self, read: Callable[[], Iterable[DatabaseFigures]]) -> None:
        self._databases.read = read

    # --- QueueObserver ---

    def queue_depth(self, queue: str, depth: int) -> None:
        self._depth.labels(queue).set(depth)

    def queue_added(self, queue: str) -> None:
        self._adds.labels(queue).inc()

    def queue_retried(self, queue: str) -> None:
        self._retries.labels(queue).inc()

    def queue_refused(self, queue: str) -> None:
        self._refused.labels(queue).inc()

    def queue_waited(self, queue: str, seconds: float) -> None:
        self._waited.labels(queue).observe(seconds)

    def queue_worked(self, queue: str, seconds: float) -> None:
        self._worked.labels(queue).observe(seconds)

    # --- ControllerObserver ---

    def pass_started(self, controller: str) -> None:
        self._running.labels(controller).inc()

    def pass_ended(self, controller: str, outcome: str, seconds: float, actions: int) -> None:
        assert outcome in OUTCOMES, outcome
        self._running.labels(controller).dec()
        self._reconciles.labels(controller, outcome).inc()
        self._reconcile_seconds.labels(controller).observe(seconds)
        self._actions.labels(controller).inc(actions)

    # --- OwnershipObserver ---

    def claims_held(self, count: int) -> None:
        self._owned.set(count)

    def claim_changed(self, change: str) -> None:
        assert change in CHANGES, change
        self._claim_changes.labels(change).inc()

    # --- definitions ---

    def _queue_metrics(self) -> None:
        name, registry = ["name"], self.registry
        self._depth = Gauge(
            "workqueue_depth", "Keys that are due and wait for a worker.", name, registry=registry
        )
        self._adds = Counter(
            "workqueue_adds", "Keys that became due; duplicates not counted.", name, registry=registry
        )
        self._retries = Counter("workqueue_retries", "Keys put back with back-off.", name, registry=registry)
        self._refused = Counter(
            "workqueue_refused", "Keys not taken: the queue was full.", name, registry=registry
        )
        self._waited = Histogram(
            "workqueue_queue_duration_seconds",
            "Seconds from when a key was due until a worker took it.",
            name,
            registry=registry,
            buckets=QUEUE_BUCKETS_S,
        )
        self._worked = Histogram(
            "workqueue_work_duration_seconds",
            "Seconds for which a worker had a key.",
            name,
            registry=registry,
            buckets=PASS_BUCKETS_S,
        )
        self._unfinished = Gauge(
            "workqueue_unfinished_work_seconds",
            "Sum of the ages of the passes that run.",
            name,
            registry=registry,
        )
        self._longest = Gauge(
            "workqueue_longest_running_processor_seconds",
            "Age of the pass that has run longest.",
            name,
            registry=registry,
        )
        self._oldest = Gauge(
            "workqueue_oldest_waiting_seconds",
            "Time the first key in line has been due.",
            name,
            registry=registry,
        )

    def _controller_metrics(self) -> None:
        labels, registry = ["controller"], self.registry
        self._reconciles = Counter(
            "pgswarm_reconciles",
            "Passes, by controller and by how they ended.",
            ["controller", "outcome"],
            registry=registry,
        )
        self._reconcile_seconds = Histogram(
            "pgswarm_reconcile_seconds",
            "Seconds a pass took.",
            labels,
            registry=registry,
            buckets=PASS_BUCKETS_S,
        )
        self._actions = Counter(
            "pgswarm_actions",
            "Effects carried out; 0 in a pass with nothing to do.",
            labels,
            registry=registry,
        )
        self._running = Gauge("pgswarm_reconciles_running", "Passes that run now.", labels, registry=registry)

    def _process_metrics(self, version: str) -> None:
        registry = self.registry
        self._owned = Gauge("pgswarm_owned_databases", "Databases this process owns.", registry=registry)
        self._claim_changes = Counter(
            "pgswarm_claim_changes", "What happened to claims on databases.", ["change"], registry=registry
        )
        self._lease_valid = Gauge(
            "pgswarm_lease_valid", "1 while this process may act: its lease surely lives.", registry=registry
        )
        self._mirror_stale = Gauge(
            "pgswarm_mirror_stale_seconds", "Seconds since etcd last answered the mirror.", registry=registry
        )
        self._mirror_records = Gauge("pgswarm_mirror_records", "Records in the mirror.", registry=registry)
        info = Gauge(
            "pgswarm_build_info", "Always 1; the version is a label.", ["version"], registry=registry
        )
        info.labels(version).set(1)

    def _preset(self, queues: tuple[str, ...], controllers: tuple[str, ...]) -> None:
        """Create every series at zero."""
        counted = (self._depth, self._adds, self._retries, self._refused, self._waited, self._worked)
        by_queue: Series = (*counted, self._unfinished, self._longest, self._oldest)
        by_controller: Series = (self._reconcile_seconds, self._actions, self._running)
        for metric in (*by_queue, *by_controller, self._reconciles, self._claim_changes):
            # The library's own way to a series costs a lock and a check each time; ours are few, and none goes.
            metric.labels = cache(metric.labels)  # type: ignore[assignment, method-assign]
        for queue in queues:
            for metric in by_queue:
                metric.labels(queue)
        for controller in controllers:
            for metric in by_controller:
                metric.labels(controller)
            for outcome in OUTCOMES:
                self._reconciles.labels(controller, outcome)
        for change in CHANGES:
            self._claim_changes.labels(change)


class _Databases(Collector):
    """Series by database, made anew at each scrape: a database that is gone, or owned elsewhere, has none."""

    def __init__(self) -> None:
        self.read: Callable[[], Iterable[DatabaseFigures]] = list

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families = [GaugeMetricFamily(name, words, labels=["database"]) for name, words in DATABASE_FAMILIES]
        for found in self.read():
            ready = None if found.ready is None else float(found.ready)
            values = (ready, float(found.paused), found.last_success_s, found.oldest_pending_s)
            for family, value in zip(families, values, strict=True):
                if value is not None:
                    family.add_metric([found.database], value)
        yield from families
