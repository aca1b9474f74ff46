"""The aiohttp application: route table to handlers, errors to problem+json. No view is made here."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from controlplane.api import openapi, views
from controlplane.api.facade import Facade
from controlplane.api.routes import METRICS_PATH, OPENAPI_PATH, ROUTES, NotFound, Route
from controlplane.api.schemas import Health, Problem
from controlplane.logger import Log

BODY_MAX = 1024
"""Bytes of a request's body: there is no route that wants one."""


def build(facade: Facade, log: Log) -> web.Application:
    app = web.Application(middlewares=[_errors(log)], client_max_size=BODY_MAX)
    for route in ROUTES:
        app.router.add_get(route.path, _handler(route, facade))
    text = openapi.document(facade.version().version)

    async def serve_openapi(_: web.Request) -> web.Response:
        return web.json_response(text)

    async def serve_metrics(request: web.Request) -> web.Response:
        body, content_type = facade.metrics(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    app.router.add_get(OPENAPI_PATH, serve_openapi)
    app.router.add_get(METRICS_PATH, serve_metrics)
    app.on_response_prepare.append(_headers)
    return app


def _handler(route: Route, facade: Facade) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        answer = route.handle(facade, request.match_info.get("name", ""))
        status = 503 if isinstance(answer, Health) and not answer.ok else 200
        return web.Response(text=views.as_json(answer), status=status, content_type=openapi.JSON_TYPE)

    return handle


def _errors(log: Log) -> Middleware:
    @web.middleware
    async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except NotFound as exc:
            return _problem(404, "Not Found", str(exc))
        except web.HTTPException as exc:
            keep = {name: value for name, value in exc.headers.items() if name == "Allow"}
            return _problem(exc.status, exc.reason, "", keep)
        except (
            Exception
        ) as exc:  # a request must not end the process, and must not tell what went wrong inside
            log.error("a request failed on a bug", path=request.path[:200], exc_info=exc)
            return _problem(500, "Internal Server Error", "pgswarm's log says more")

    return errors


def _problem(status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    text = views.as_json(Problem(title=title, status=status, detail=detail))
    return web.Response(text=text, status=status, content_type=openapi.PROBLEM_TYPE, headers=headers)


async def _headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
