"""/openapi.json (3.1) from the route table and the models. Pure."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from controlplane.api.routes import METRICS_PATH, OPENAPI_PATH, ROUTES, Route
from controlplane.api.schemas import Problem

PROBLEM_TYPE = "application/problem+json"
JSON_TYPE = "application/json"


def document(version: str) -> dict[str, Any]:
    models: dict[str, type[BaseModel]] = {route.answer.__name__: route.answer for route in ROUTES}
    models[Problem.__name__] = Problem
    _, schemas = models_json_schema(
        [(model, "serialization") for _, model in sorted(models.items())],
        ref_template="#/components/schemas/{model}",
    )
    paths = {route.path: {"get": _operation(route)} for route in ROUTES}
    paths[METRICS_PATH] = {"get": _text("Metrics in Prometheus' format.", "metrics", "text/plain")}
    paths[OPENAPI_PATH] = {"get": _text("This document.", "openapi", JSON_TYPE)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pgswarm",
            "version": version,
            "description": "What pgswarm knows. Read-only: desired state is written into etcd.",
        },
        "paths": paths,
        "components": {"schemas": schemas["$defs"]},
    }


def _operation(route: Route) -> dict[str, Any]:
    responses = {"200": _content("Found.", JSON_TYPE, route.answer), "500": _problem("An error in pgswarm.")}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": "".join(part for part in route.path.title() if part.isalnum()),
        "responses": responses,
    }
    if route.named:
        # The path's own words, not the names': what cannot be a name is simply not found.
        schema = {"type": "string", "minLength": 1}
        operation["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": schema}]
        responses["404"] = _problem("There is none of that name.")
    if route.unhealthy:
        responses["503"] = _content("Not ready.", JSON_TYPE, route.answer)
    return operation


def _text(summary: str, operation: str, content_type: str) -> dict[str, Any]:
    content = {content_type: {"schema": {"type": "object" if content_type == JSON_TYPE else "string"}}}
    return {
        "summary": summary,
        "operationId": operation,
        "responses": {"200": {"description": "The text.", "content": content}},
    }


def _content(description: str, content_type: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"description": description, "content": {content_type: {"schema": schema}}}


def _problem(description: str) -> dict[str, Any]:
    return _content(description, PROBLEM_TYPE, Problem)
