"""`hosts/<name>`: what this host is. Its life is the session's lease; it is written only when a fact changes."""

from __future__ import annotations

import asyncio

from controlplane.logger import Log
from controlplane.version import VERSION
from crds.heartbeat import HostRecord
from reconcilers import paths
from reconcilers.errors import PgswarmError
from reconcilers.ports import Clock, Engine, EngineFacts, Put, Records, Store

LOOK_S = 1.0
"""Between two looks at whether the record is still there (a new lease takes it away)."""
FACTS_S = 10.0
"""Between two questions to the engine."""
ASK_AGAIN_S = 2.0
"""The same, while it does not answer."""
ANSWER_S = 10.0
"""So long an answer may take."""
SILENT_S = 25.0
"""After this long without one, what this host owns is better off elsewhere."""


class Heartbeat:
    """Runs for ever beside the queues."""

    def __init__(
        self,
        host: str,
        address: str | None,
        engine: Engine,
        records: Records,
        store: Store,
        clock: Clock,
        log: Log,
    ) -> None:
        self._host, self._address = host, address
        self._engine, self._records, self._store = engine, records, store
        self._clock, self._log = clock, log
        self._started_at = clock.now()
        self._value = b""
        self._ask_at_s = float("-inf")
        self._answered_at_s = clock.monotonic()
        self._manager = True
        self._told = False
        self.answered = False
        """The engine answered the last question."""

    def able(self) -> bool:
        """Docker here is a manager of the Swarm, and has answered lately."""
        return self._manager and self._clock.monotonic() - self._answered_at_s < SILENT_S

    async def run(self) -> None:
        while True:
            try:
                await self._beat()
            except PgswarmError as error:
                self._log.warning("cannot say what this host is", error=str(error))
            await self._clock.sleep(LOOK_S)

    async def _beat(self) -> None:
        if self._clock.monotonic() >= self._ask_at_s:
            await self._ask()
        record = self._records.get(paths.host(self._host))
        if self._value and (record is None or record.value != self._value):
            revision = await self._store.commit([Put(paths.host(self._host), self._value, leased=True)])
            await self._records.reached(revision)

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                facts = await self._engine.facts()
        except (PgswarmError, TimeoutError) as error:
            if not self._told:
                self._log.warning("Docker does not answer", error=str(error) or f"for {ANSWER_S:.0f} s")
            self._told, self.answered = True, False
            self._ask_at_s = self._clock.monotonic() + ASK_AGAIN_S
            return
        self._told, self.answered = False, True
        self._manager = facts.manager
        self._answered_at_s = self._clock.monotonic()
        self._ask_at_s = self._answered_at_s + FACTS_S
        self._value = self._record(facts).model_dump_json().encode()

    def _record(self, facts: EngineFacts) -> HostRecord:
        return HostRecord(
            name=self._host,
            address=self._address or facts.address or self._host,
            node_id=facts.node_id,
            manager=facts.manager,
            bridge_gateway=facts.bridge_gateway,
            cpus=facts.cpus,
            memory_bytes=facts.memory_bytes,
            engine_version=facts.engine_version,
            api_version=facts.api_version,
            os=facts.os,
            architecture=facts.architecture,
            pgswarm_version=VERSION,
            started_at=self._started_at,
        )
