"""Views through a pgswarm process' API instead of etcd: for people without access to etcd."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, ValidationError

from controlplane.api.openapi import PROBLEM_TYPE
from controlplane.api.schemas import DatabaseList, DatabaseView, HostList
from reconcilers.errors import Refused, Unavailable

ANSWER_S = 10.0
"""Seconds for one request, connecting included."""

M = TypeVar("M", bound=BaseModel)


class ApiSource:
    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url, self._http = url.rstrip("/"), http

    async def databases(self) -> DatabaseList:
        found = await self._get("/v1/databases", DatabaseList)
        assert found is not None
        return found

    async def database(self, name: str) -> DatabaseView | None:
        return await self._get(f"/v1/databases/{quote(name, safe='')}", DatabaseView)

    async def hosts(self) -> HostList:
        found = await self._get("/v1/hosts", HostList)
        assert found is not None
        return found

    async def _get(self, path: str, model: type[M]) -> M | None:
        """None when pgswarm says that there is none of that name. Raises: Unavailable, Refused."""
        try:
            async with self._http.get(f"{self._url}{path}") as answer:
                body = await answer.read()
                is_ours = answer.content_type == PROBLEM_TYPE
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise Unavailable(f"the API at {self._url}", str(exc) or "no answer in time") from exc
        if answer.status == 404 and is_ours and path.count("/") > 2:
            return None
        if answer.status != 200:
            raise Refused(f"the API at {self._url}", f"{path}: HTTP {answer.status}; is it pgswarm's API?")
        try:
            return model.model_validate_json(body, extra="ignore")
        except ValidationError as exc:
            raise Refused(f"the API at {self._url}", f"{path}: not an answer of pgswarm's") from exc


@asynccontextmanager
async def api_source(url: str) -> AsyncIterator[ApiSource]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as http:
        yield ApiSource(url, http)
