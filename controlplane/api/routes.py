"""The route table: one row a route, from which both the server and /openapi.json are made. Handlers are pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel

from controlplane.api import views
from controlplane.api.facade import Facade
from controlplane.api.schemas import (
    DatabaseList,
    DatabaseView,
    Health,
    HostList,
    HostView,
    VersionView,
)


class NotFound(LookupError):
    """There is no object of that name."""


@dataclass(frozen=True, slots=True)
class Route:
    path: str
    summary: str
    answer: type[BaseModel]
    handle: Callable[[Facade, str], BaseModel]
    """Gets the name in the path, "" where there is none. Raises: NotFound."""
    unhealthy: bool = False
    """May answer 503 with the same body."""

    @property
    def named(self) -> bool:
        return "{name}" in self.path


def _database(facade: Facade, name: str) -> DatabaseView:
    found = views.database(facade.records, name)
    if found is None:
        raise NotFound(f"there is no database {name[:64]!a}")
    return found


def _host(facade: Facade, name: str) -> HostView:
    found = views.host(facade.records, name)
    if found is None:
        raise NotFound(f"there is no host {name[:64]!a}")
    return found


def _ready(facade: Facade, _: str) -> Health:
    checks = tuple(facade.readiness())
    return Health(ok=all(check.ok for check in checks), checks=checks)


ROUTES: tuple[Route, ...] = (
    Route(
        "/v1/databases",
        "All databases, without events.",
        DatabaseList,
        lambda f, _: views.databases(f.records),
    ),
    Route("/v1/databases/{name}", "One database with its latest events.", DatabaseView, _database),
    Route("/v1/hosts", "All hosts.", HostList, lambda f, _: views.hosts(f.records)),
    Route("/v1/hosts/{name}", "One host.", HostView, _host),
    Route("/v1/version", "What answers here.", VersionView, lambda f, _: f.version()),
    Route("/livez", "The process runs and its event loop turns.", Health, lambda _f, _n: Health(ok=True)),
    Route(
        "/readyz", "The process can do its work; 503 names what is missing.", Health, _ready, unhealthy=True
    ),
)

METRICS_PATH = "/metrics"
OPENAPI_PATH = "/openapi.json"
